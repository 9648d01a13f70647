"""A process of this machine that answers lines with lines, as a plain command.

Not by `multiprocessing`: that would import the caller's main module again, and a process whose parent was killed would wait for ever.
This one ends when its standard input does: with its caller at the latest, however that ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import trustbase

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class LineProcess:
    """One such process, running from the start.

    Args:
        module: is run with `python -m`, and calls `serve`.
        threads: that its libraries may use.
        complaints: gets its error stream; the caller's own where not given.
    """

    def __init__(self, module: str, threads: int, complaints: IO[bytes] | None = None) -> None:
        root = str(Path(trustbase.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, "PYTHONPATH": path, **dict.fromkeys(_THREADS, str(threads))},
            start_new_session=True,  # a Ctrl-C of the terminal reaches the caller alone, which then ends this one
        )

    def send(self, line: str) -> None:
        """Hand a line over; where the process is gone, `receive` notices."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def receive(self) -> str:
        """Its next line; empty where it ended instead, or is being ended by another thread."""
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline()
        except (OSError, ValueError):
            return ""
        return line.decode() if line.endswith(b"\n") else ""

    def pid(self) -> int:
        """Its number in the system."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def code(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait()

    def end(self) -> None:
        """End it, and forget it."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def serve(answer: Callable[[str], str]) -> None:
    """Answer lines from standard input until it ends, even in the middle of an answer: nobody waits for it any more."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the error stream, not between the answers
    lines: SimpleQueue[bytes] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        out.write(answer(lines.get().decode()).encode() + b"\n")
        out.flush()
