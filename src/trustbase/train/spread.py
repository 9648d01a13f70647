"""Start the processes that train one model, hear what the first of them tells, and bring back what came of it.

The caller's process does not train: it starts the workers (as torchrun does, on this machine; or by Ray Train), repeats the events
that the first worker writes into a file, and starts all anew from the last complete checkpoint when one is lost. Where a launcher
started the caller itself, it is the first worker, and the launcher starts all anew. What a worker leaves is JSON in the run's own
folder, which all workers must see.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files
from trustbase.errors import TrainingError, TrustbaseError, told_again
from trustbase.events import Emit, ignore
from trustbase.train.cluster import ClusterOptions
from trustbase.train.worker import EVENTS, OUTCOME, Work, told_errors

if TYPE_CHECKING:
    from trustbase.train.on_launcher import Crew

_PLACE = ".cluster"  # in the run's folder, while the workers live
_LOOK = 0.2  # seconds between two looks for events


def spread(work: Work, cluster: ClusterOptions, folder: Path, emit: Emit = ignore, crew: Crew | None = None) -> dict[str, Any]:
    """Do the same work in several processes, of which each makes all its calls; returns what the first came to.

    Args:
        work: can be pickled (a `partial` of a function of a module) and returns JSON; calls `fit` or `pretrain`. It should name its data
            by path: what it holds is sent to every worker.
        cluster: how many processes, and who starts them.
        folder: one that all workers see; a checkpoint folder in it is gone on from.
        emit: gets the events of the first worker, soon after they happened.
        crew: the processes that a launcher started, this one among them; they are then the workers.

    Raises:
        TrustbaseError: what a worker raised; or workers were lost more often than `restarts` allows.
        Interrupted: a signal came; the same call goes on from the last complete checkpoint.
    """
    place = folder.resolve() / _PLACE
    shutil.rmtree(place, ignore_errors=True)  # left by a caller that was killed
    place.mkdir(parents=True)
    where = "that a launcher started" if crew is not None else "of this machine" if cluster.ray is None else f"on Ray ({cluster.ray})"
    emit("note", text=f"training in {cluster.workers} processes {where}")
    try:
        with _heard(place / EVENTS, emit):
            _start(work, cluster, place, crew)
    except TrustbaseError:
        _raise_told(place)  # the worker's own words come before the launcher's
        raise
    else:
        _raise_told(place)
        return dict(files.read_json(place / OUTCOME))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _start(work: Work, cluster: ClusterOptions, place: Path, crew: Crew | None) -> None:
    if crew is not None:
        crew.train(work, cluster, place)
    elif cluster.ray is not None:
        from trustbase.train.on_ray import run_on_ray

        run_on_ray(work, cluster, place)
    else:
        from trustbase.train.on_machine import run_on_machine

        run_on_machine(work, cluster, place)


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


def _raise_told(place: Path) -> None:
    """Raise what a worker raised, if one did.

    Raises:
        TrustbaseError: of the worker's kind, with its words.
    """
    for path in told_errors(place):
        raise told_again(files.read_json(path), TrainingError)
