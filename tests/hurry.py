"""Whole runs in tests: everything is really done, but the artefact is timed over fewer calls than a release deserves."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import pytest

from forks import forks
from trustbase.audit.measure import Tell

FEW = {"warm_up": 2, "calls": 100, "call_seconds": 3, "chunks": 5, "chunk_seconds": 0.5, "invariance": 16}


def time_quickly(monkeypatch: pytest.MonkeyPatch, *, forked: bool = True) -> None:
    """Time an artefact for a second or two instead of twenty, still in a process of its own.

    `forked`: it comes from one that has imported what is heavy. The command that starts it otherwise is held by
    tests/unit/test_efficiency.py, by the runs of commands, and by those of models that need nothing heavy.
    """
    from trustbase.audit import efficiency, measure

    def quick(*arguments: Any, effort: measure.Effort, **named: Any) -> Any:
        return measure.measure_apart(*arguments, effort=measure.Effort(**FEW), **named)

    monkeypatch.setattr(efficiency, "measure_apart", quick)
    if forked:
        monkeypatch.setattr(measure, "_ask", _ask)


def _ask(request: bytes, tell: Tell, complaints: IO[bytes]) -> tuple[int, dict[str, Any] | None]:
    """What the process comes to, as of `measure._ask`; its signs of life are heard at the end."""
    from trustbase.audit import measure

    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in ("request", "answer", "complaints")]
        places[0].write_bytes(request)
        child = forks().Process(target=_measure, args=(places, dict(os.environ)))
        child.start()
        child.join(measure.CHILD_SECONDS)
        child.kill()
        child.join()
        complaints.write(places[2].read_bytes() if places[2].exists() else b"")
        with places[1].open("rb") as answer:
            return child.exitcode or 0, measure._listen(answer, tell)


def _measure(places: list[Path], environment: dict[str, str]) -> None:
    """The process: what its command does, on files instead of pipes."""
    from trustbase.audit import measure

    os.environ.clear()
    os.environ.update(environment)
    for number, (place, flags) in enumerate(zip(places, (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT), strict=True)):
        os.dup2(os.open(place, flags), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    measure._main()
