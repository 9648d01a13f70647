"""Output whose reader may go away: what a command did, and its exit code, do not change because nobody reads on.

Output that the system refuses (a full disk) is another matter: somebody wanted it, so the command says so and fails.
"""

from __future__ import annotations

import io
import os
import sys

from trustbase.errors import TrustbaseError


class Patient(io.TextIOWrapper):
    """A text stream that goes to nowhere once its reader has closed it."""

    _refused: OSError | None = None  # why nothing can be written; told at every write, as whoever tried first may have swallowed it

    def write(self, text: str, /) -> int:
        """As ever, also when nobody reads."""
        if self._refused is not None and text:
            self._tell(self._refused)
        try:
            return super().write(text)
        except OSError as error:
            self._to_nowhere()
            self._tell(error)
            return len(text)

    def flush(self) -> None:
        """As ever, also when nobody reads."""
        try:
            super().flush()
        except OSError as error:
            self._to_nowhere()
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError) and self is sys.stdout:  # where messages themselves cannot go, none can be told
            self._refused = error
            raise TrustbaseError(
                f"standard output cannot be written: {error.strerror}", hint="free some space, or send it elsewhere"
            ) from error

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
