"""What happened, as it happens: the run's log file and whoever listens (the command line draws progress from it)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol


class Emit(Protocol):
    """Anything that takes events: `emit("step", step=3, loss=0.4)`.

    Event names used across stages: `stage_started`, `stage_done`, `stage_reused`, `note` (text), `warning` (text),
    `progress` (what, done, total; never stored), `step`, `checkpoint`, `resumed`.
    """

    def __call__(self, event: str, /, **fields: Any) -> None: ...


def ignore(event: str, /, **fields: Any) -> None:
    """An `Emit` that drops everything; the default of library functions."""


Listener = Callable[[Mapping[str, Any]], None]


class RunLog:
    """Appends events to `log.jsonl`, one object a line, and passes them to listeners."""

    def __init__(self, path: Path | None, *, listeners: tuple[Listener, ...] = ()) -> None:
        self._path = path
        self._listeners = listeners
        self._stage = "run"
        self._torn = _torn(path)

    def enter(self, stage: str) -> None:
        """Name the stage that the following events belong to."""
        self._stage = stage

    def __call__(self, event: str, /, **fields: Any) -> None:
        record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, "stage": self._stage, **fields}
        if self._path is not None and event != "progress":
            line = json.dumps(record, ensure_ascii=False, default=str).encode("utf-8") + b"\n"
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                line, self._torn = (b"\n" + line if self._torn else line), False
                while line:  # a signal or a full disk can cut a write short
                    line = line[os.write(handle, line) :]
            finally:
                os.close(handle)
        for listener in self._listeners:
            listener(record)


def _torn(path: Path | None) -> bool:
    """Whether a log's last line was cut off by a crash; the next event must not join it."""
    if path is None or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() != b"\n"
