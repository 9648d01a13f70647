"""Signals while a command runs: raised as `Interrupted`, so that it can leave its state in order and say what goes on."""

from __future__ import annotations

import signal
from types import FrameType

from trustbase.errors import Interrupted

_came: list[int] = []  # a signal handler has nobody to return to; the command line asks here when all is over


def install() -> None:
    """Raise `Interrupted` on Ctrl-C and SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)


def leave() -> None:
    """Back to the system's own way: while the interpreter closes nobody is left to catch what would be raised."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def pending() -> Interrupted | None:
    """The interruption that came, whatever became of it: a library in C may let it come out as an error of another kind."""
    return _told(_came[-1]) if _came else None


def _interrupt(number: int, frame: FrameType | None) -> None:
    _came.append(number)
    raise _told(number)


def _told(number: int) -> Interrupted:
    what = "Ctrl-C" if number == signal.SIGINT else f"signal {number}"
    return Interrupted(f"stopped by {what}", signal_number=number, hint="the same command goes on from here")
