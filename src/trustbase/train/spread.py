"""Start the processes that train one model, hear what the first of them tells, and bring back what came of it.

The caller's process does not train: it starts the workers (as torchrun does, on this machine; or by Ray Train), repeats the events
that the first worker writes into a file, and starts all anew from the last complete checkpoint when one is lost. What a worker
leaves is JSON in the run's own folder, which all workers must see.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trustbase import errors, files
from trustbase.errors import Problem, TrainingError, TrustbaseError
from trustbase.events import Emit, ignore
from trustbase.train.cluster import ClusterOptions

Work = Callable[[Emit], Mapping[str, Any]]

_PLACE = ".cluster"  # in the run's folder, while the workers live
_EVENTS, _OUTCOME = "events.jsonl", "outcome.json"
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_LOOK = 0.2  # seconds between two looks for events


def spread(work: Work, cluster: ClusterOptions, folder: Path, emit: Emit = ignore) -> dict[str, Any]:
    """Do the same work in several processes, of which each makes all its calls; returns what the first came to.

    Args:
        work: can be pickled (a `partial` of a function of a module) and returns JSON; calls `fit` or `pretrain`. It should name its data
            by path: what it holds is sent to every worker.
        cluster: how many processes, and who starts them.
        folder: one that all workers see; a checkpoint folder in it is gone on from.
        emit: gets the events of the first worker, soon after they happened.

    Raises:
        TrustbaseError: what a worker raised; or workers were lost more often than `restarts` allows.
        Interrupted: a signal came; the same call goes on from the last complete checkpoint.
    """
    place = folder.resolve() / _PLACE
    shutil.rmtree(place, ignore_errors=True)  # left by a caller that was killed
    place.mkdir(parents=True)
    emit("note", text=f"training in {cluster.workers} processes " + (f"on Ray ({cluster.ray})" if cluster.ray else "of this machine"))
    try:
        with _heard(place / _EVENTS, emit):
            _start(work, cluster, place)
    except TrustbaseError:
        _raise_told(place)  # the worker's own words come before the launcher's
        raise
    else:
        _raise_told(place)
        return dict(files.read_json(place / _OUTCOME))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _start(work: Work, cluster: ClusterOptions, place: Path) -> None:
    if cluster.ray is not None:
        from trustbase.train.on_ray import run_on_ray

        run_on_ray(work, cluster, place)
    else:
        from trustbase.train.on_machine import run_on_machine

        run_on_machine(work, cluster, place)


def member(work: Work, place: Path, rank: int) -> None:
    """What a worker does.

    Raises:
        TrustbaseError: as the work did; the caller is told by a file, since a launcher passes on no more than a text.
    """
    if _told(place):  # started again although the work itself failed: once more would be the same
        return
    emit: Emit = _Retold(place / _EVENTS) if rank == 0 else ignore
    try:
        result = work(emit)
    except TrustbaseError as error:
        problems = [[each.where, each.message, each.hint] for each in error.problems]
        told = {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "problems": problems}
        files.write_json(place / f"error-{rank}.json", told)
        raise
    if rank == 0:
        files.write_json(place / _OUTCOME, dict(result))


class _Retold:
    """An `Emit` into a file that the caller reads; progress too, since somebody may watch it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            with path.open("ab") as stream:  # a lost worker's last line
                stream.write(b"\n")

    def __call__(self, event: str, /, **fields: Any) -> None:
        line = json.dumps([event, fields], ensure_ascii=False, default=str)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


@contextmanager
def _heard(path: Path, emit: Emit) -> Iterator[None]:
    """Repeat what the first worker tells while the context lasts."""
    over = threading.Event()
    broken: list[BaseException] = []

    def listen() -> None:
        try:
            _listen(path, emit, over)
        except BaseException as error:  # a listener's; raised where it is seen
            broken.append(error)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if broken:
        raise broken[0]


def _listen(path: Path, emit: Emit, over: threading.Event) -> None:
    read = 0
    while True:
        last = over.is_set()  # looked at before the file, so that nothing is missed
        if path.is_file():
            with path.open("rb") as stream:
                stream.seek(read)
                new = stream.read()
            whole = new[: new.rfind(b"\n") + 1]
            read += len(whole)
            for line in whole.splitlines():
                _retell(line, emit)
        if last:
            return
        time.sleep(_LOOK)


def _retell(line: bytes, emit: Emit) -> None:
    try:
        event, fields = json.loads(line)
    except ValueError:
        emit("warning", text=f"an event was cut off when a worker was lost: {line[:80]!r}")
    else:
        emit(event, **fields)


def _told(place: Path) -> list[Path]:
    return sorted(place.glob("error-*.json"))


def _raise_told(place: Path) -> None:
    """Raise what a worker raised, if one did.

    Raises:
        TrustbaseError: of the worker's kind, with its words.
    """
    for path in _told(place):
        told = files.read_json(path)
        kind = getattr(errors, told["kind"], TrainingError)
        problems = [Problem(*each) for each in told["problems"]]
        raise kind(told["message"], hint=told["hint"], problems=problems)


def lost(workers: int, restarts: int, why: str) -> TrainingError:
    """The error of workers that were lost too often."""
    return TrainingError(
        f"training in {workers} processes failed for good ({restarts} restarts are allowed): {_COLOUR.sub('', why)[:2000]}",
        hint="the last complete checkpoint is kept, and the same command goes on from it; fewer workers need less memory",
    )


def share_of_cores(workers: int) -> int:
    """Threads of each of this machine's workers."""
    from trustbase.machine import usable_cores

    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) else max(1, usable_cores() // workers)
