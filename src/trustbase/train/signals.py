"""Ctrl-C and SIGTERM during training: the step is finished and saved before anything stops."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopSignal:
    """Remembers the first SIGINT or SIGTERM while the context lasts; a second one acts at once, as usual.

    Handlers are installed in the main thread only (Python allows no other) and the old ones are put back.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._old.items():
            # a handler that was not set from Python reads as None and cannot be put back as such
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._old.clear()
