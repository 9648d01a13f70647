"""What one of several workers does, and what it leaves for its caller: events, an outcome, or an error, each in a file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.errors import TrainingError, TrustbaseError, told
from trustbase.events import Emit, ignore

Work = Callable[[Emit], Mapping[str, Any]]

EVENTS, OUTCOME = "events.jsonl", "outcome.json"
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def member(work: Work, place: Path, rank: int) -> None:
    """What a worker does.

    Raises:
        TrustbaseError: as the work did; the caller is told by a file, since a launcher passes on no more than a text.
    """
    if told_errors(place):  # started again although the work itself failed: once more would be the same
        return
    emit: Emit = _Retold(place / EVENTS) if rank == 0 else ignore
    try:
        result = work(emit)
    except TrustbaseError as error:
        files.write_json(place / f"error-{rank}.json", told(error))
        raise
    if rank == 0:
        files.write_json(place / OUTCOME, dict(result))


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


def told_errors(place: Path) -> list[Path]:
    """Files of what workers raised."""
    return sorted(place.glob("error-*.json"))


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
