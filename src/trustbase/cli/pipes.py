"""Output whose reader may go away: what a command did, and its exit code, do not change because nobody reads on."""

from __future__ import annotations

import io
import os
import sys


class Patient(io.TextIOWrapper):
    """A text stream that goes to nowhere once its reader has closed it."""

    def write(self, text: str, /) -> int:
        """As ever, also when nobody reads."""
        try:
            return super().write(text)
        except BrokenPipeError:
            self._to_nowhere()
            return len(text)

    def flush(self) -> None:
        """As ever, also when nobody reads."""
        try:
            super().flush()
        except BrokenPipeError:
            self._to_nowhere()

    def _to_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        super().flush()


def install() -> None:
    """Make standard output and error patient, where they are the interpreter's own."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is io.TextIOWrapper:
            encoding, errors, lines, through = stream.encoding, stream.errors, stream.line_buffering, stream.write_through
            setattr(sys, name, Patient(stream.detach(), encoding, errors, line_buffering=lines, write_through=through))
