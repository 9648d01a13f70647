"""Askers that are Ray actors: on a cluster that is running, or on one that is started on this machine and ends with the context.

An actor that is not told its cores reserves less than one, so that askers find a place where few are free; nothing else of Ray's is used
that would wait for one while they hold it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from trustbase.audit.askers.worker import LateError, LostError, Worker
from trustbase.train.cluster import ClusterOptions
from trustbase.train.on_ray import connected, settings

_CORE = 0.4  # reserved by an asker whose cores are not given


@contextmanager
def colleagues_on_ray(cluster: ClusterOptions) -> Iterator[list[Actor]]:
    """As many actors as there are workers, on machines that see the artefact's folder.

    Raises:
        UsageError: Ray or the cluster is not there, or it has fewer GPUs than workers want.
    """
    with settings(), connected(cluster) as gpus:
        yield [Actor(cluster.cpus, gpus) for _ in range(cluster.workers)]


class Actor:
    """One actor that answers lines."""

    def __init__(self, cores: int | None, gpu: bool) -> None:
        self.threads: int | None = cores or 1
        self.device = None if gpu else "cpu"
        self._options = {"num_cpus": float(cores) if cores else _CORE, "num_gpus": 1.0 if gpu else 0.0, "scheduling_strategy": "SPREAD"}
        self._actor: Any = None
        self._answer: Any = None

    def start(self) -> None:
        import ray

        self._actor = ray.remote(_Listener).options(**self._options).remote(list(sys.path), self.device == "cpu")

    def send(self, line: str) -> None:
        if self._actor is None:
            raise LostError("it was ended")
        self._answer = self._actor.answer.remote(line)

    def receive(self, seconds: float | None) -> str:
        import ray
        from ray.exceptions import GetTimeoutError, RayActorError

        try:
            return str(ray.get(self._answer, timeout=seconds))
        except GetTimeoutError:
            cpus, gpus = self._options["num_cpus"], self._options["num_gpus"]
            raise LateError(f"Ray gave it no place, or it is still loading (it asked for {cpus:g} CPU and {gpus:g} GPU)") from None
        except RayActorError as error:
            raise LostError(str(error)) from None

    def end(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None:
            import ray
            from ray.exceptions import RayError

            with suppress(RayError, RuntimeError):  # it is gone already, or its cluster is
                ray.kill(actor)


class _Listener:
    """A `Worker` within an actor."""

    def __init__(self, paths: list[str], cpu: bool) -> None:
        if cpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        sys.path += [path for path in paths if path not in sys.path]
        self._worker = Worker()

    def answer(self, line: str) -> str:
        return self._worker.answer(line)
