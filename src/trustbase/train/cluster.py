"""What a recipe may say under `cluster`: how many processes train and audit, and who starts them. Imports neither torch nor Ray."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from trustbase.errors import Problem
from trustbase.machine import usable_cores
from trustbase.train.options import TrainOptions

MOST_WORKERS, _PER_CORE = 4096, 64


class ClusterOptions(BaseModel):
    """The processes that train one model together, and ask it in the audit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    workers: int = Field(
        2, ge=1, le=MOST_WORKERS, description="processes; the batches of an update, and what an audit asks, are dealt to them"
    )
    ray: str | None = Field(
        None,
        min_length=1,
        description="auto: on the Ray cluster that is running, else on one started here; or its address. Not given: processes of this "
        "machine, as torchrun starts them",
    )
    cpus: int | None = Field(
        None, ge=1, le=1024, description="cores of a worker; where not given, one on Ray, and its share of this machine's otherwise"
    )
    shard: bool = Field(
        False, description="divide the model's state over the workers (FSDP), for models that do not fit one; else each holds all of it"
    )
    gpus: bool | None = Field(None, description="one GPU a worker; where not given, if this machine has any")
    restarts: int = Field(
        3,
        ge=0,
        le=1000,
        description="how often training goes on from its last complete checkpoint, or an audit asks a part anew, after a worker was lost",
    )

    @property
    def numbers(self) -> dict[str, Any]:
        """What of it may change a trained model: all but who starts the workers, and how often."""
        return self.model_dump(mode="json", exclude={"restarts", "ray"})


def cluster_problems(cluster: ClusterOptions | None, options: TrainOptions, *, length: int | None = None) -> Iterator[Problem]:
    """Why a recipe's processes cannot be had, or cannot share its batches.

    Args:
        cluster: as the recipe says.
        options: of the training.
        length: most tokens of a row, such as the context in pretraining; `max_length` where not given.
    """
    if cluster is None:
        return
    if cluster.ray is not None and find_spec("ray") is None:
        yield Problem("cluster.ray", "Ray is not installed", "pip install 'trustbase[ray]', or remove it to use this machine's processes")
    if cluster.ray is None and cluster.workers > most_here():
        yield Problem(
            "cluster.workers",
            f"{cluster.workers} processes of this machine are more than it can hold: it has {usable_cores()} cores",
            f"set at most {most_here()}, better {usable_cores()}; or name a Ray cluster",
        )
    if cluster.shard:
        yield from shard_problems(cluster.workers, options)
    pieces = cluster.workers // math.gcd(options.accumulation, cluster.workers)
    longest = options.max_length if length is None else length
    if options.batch_tokens // pieces < longest:
        yield Problem(
            "cluster.workers",
            f"{cluster.workers} workers share an update of {options.accumulation} x {options.batch_tokens} tokens, which leaves batches of "
            f"{options.batch_tokens // pieces}: fewer than one row may have ({longest})",
            f"set train.batch_tokens to at least {longest * pieces}, or train.accumulation to a multiple of {cluster.workers}",
        )


def most_here() -> int:
    """The most processes that this machine is asked to start: each loads torch and a model."""
    return min(MOST_WORKERS, _PER_CORE * usable_cores())


def shard_problems(workers: int, options: TrainOptions) -> Iterator[Problem]:
    """Why a model's state cannot be divided over so many processes."""
    if workers < 2:
        yield Problem("cluster.shard", f"divides the model's state over the workers, and there is {workers}", "set workers: 2 or more")
    if options.optimizer != "adamw":
        why = "muon turns whole matrices" if options.optimizer == "muon" else f"{options.optimizer} takes means over whole rows and columns"
        yield Problem("train.optimizer", f"{why}, and cluster.shard leaves a worker parts", "set optimizer: adamw, or remove cluster.shard")
    if options.precision == "fp16":
        yield Problem("train.precision", "fp16 and its scale were never tried with cluster.shard", "set precision: bf16, or fp32")
