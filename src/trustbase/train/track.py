"""Experiment trackers as listeners of events: TensorBoard, Weights & Biases, MLflow, where installed.

A tracker's id of the run lies beside the checkpoints, so that a resumed training goes on in the same curve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.errors import Problem, RecipeError
from trustbase.events import Emit

_NEEDS = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
_IDS = "trackers.json"
_STEP_FIELDS = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "flops_per_second", "utilisation")
Scalars = Callable[[Mapping[str, float], int], None]


def missing_trackers(names: Sequence[str]) -> list[Problem]:
    """Trackers that the recipe names but this machine lacks."""
    absent = [name for name in names if find_spec(_NEEDS[name]) is None]
    return [Problem("train.report_to", f"'{name}' is not installed", f"pip install {_NEEDS[name]}, or remove it") for name in absent]


@contextmanager
def tracked(names: Sequence[str], folder: Path, emit: Emit, *, settings: Mapping[str, Any]) -> Iterator[Emit]:
    """An `Emit` that also tells the named trackers each step's and evaluation's numbers.

    Args:
        names: of the trackers.
        folder: the checkpoints'; keeps what a resumption needs to go on in the trackers' same runs.
        emit: is told everything too.
        settings: the trackers show them beside the run.

    Raises:
        RecipeError: a tracker is not installed.
    """
    problems = missing_trackers(names)
    if problems:
        raise RecipeError("experiment trackers are missing", problems=problems)
    with ExitStack() as stack:
        sinks = [stack.enter_context(_OPENERS[name](folder, settings)) for name in names]

        def both(event: str, /, **fields: Any) -> None:
            emit(event, **fields)
            values = _scalars(event, fields)
            for sink in sinks if values else ():
                sink(values, int(fields["step"]))

        yield both


def _scalars(event: str, fields: Mapping[str, Any]) -> dict[str, float]:
    if event == "step":
        found = {f"train/{name}": float(fields[name]) for name in _STEP_FIELDS if fields.get(name) is not None}
        parts = fields.get("parts", {})
        return found | ({f"train/{name}_loss": float(value) for name, value in parts.items()} if len(parts) > 1 else {})
    if event == "evaluation":
        return {f"validation/{name}": float(value) for name, value in fields.items() if name != "step"}
    return {}


@contextmanager
def _tensorboard(folder: Path, settings: Mapping[str, Any]) -> Iterator[Scalars]:
    # torch's own writer also needs setuptools' parts that newer releases dropped, tensorboard's event writer does not
    writer = import_module("torch.utils.tensorboard").SummaryWriter(log_dir=str(folder / "tensorboard"))

    def write(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    try:
        yield write
    finally:
        writer.close()


@contextmanager
def _wandb(folder: Path, settings: Mapping[str, Any]) -> Iterator[Scalars]:
    kept = _ids(folder).get("wandb")
    run = import_module("wandb").init(project="trustbase", dir=str(folder), config=dict(settings), id=kept, resume="allow")
    _keep_id(folder, "wandb", run.id)
    try:
        yield lambda values, step: run.log(dict(values), step=step)
    finally:
        run.finish()


@contextmanager
def _mlflow(folder: Path, settings: Mapping[str, Any]) -> Iterator[Scalars]:
    mlflow = import_module("mlflow")
    kept = _ids(folder).get("mlflow")
    with mlflow.start_run(run_id=kept) as run:
        _keep_id(folder, "mlflow", run.info.run_id)
        if kept is None:  # a run's parameters cannot be changed, and how often to save may be
            mlflow.log_params({name: str(value) for name, value in settings.items()})
        yield lambda values, step: mlflow.log_metrics(dict(values), step=step)


def _ids(folder: Path) -> dict[str, str]:
    """Tracker → its id of this training's run, as far as there was one before."""
    path = folder / _IDS
    known: dict[str, str] = files.read_json(path) if path.is_file() else {}
    return known


def _keep_id(folder: Path, tracker: str, id: str) -> None:
    known = _ids(folder)
    if known.get(tracker) != id:
        files.write_json(folder / _IDS, {**known, tracker: id})


_OPENERS: dict[str, Any] = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
