"""Askers that are processes of this machine, each a plain command that ends when its standard input does: with its caller at the latest."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import trustbase
from trustbase.audit.askers.worker import LateError, LostError, Worker
from trustbase.train.cluster import ClusterOptions
from trustbase.train.worker import share_of_cores

_WORDS = 1000  # characters of a lost process's last words


def colleagues_on_machine(cluster: ClusterOptions) -> list[Process]:
    """As many as there are workers, each with its share of the cores; where there are GPUs, they take turns at them."""
    import torch

    gpus = torch.cuda.device_count() if cluster.gpus is not False else 0
    threads = cluster.cpus or share_of_cores(cluster.workers)
    devices = [f"cuda:{number % gpus}" if gpus else ("cpu" if cluster.gpus is False else None) for number in range(cluster.workers)]
    return [Process(threads, device) for device in devices]


class Process:
    """One process that answers lines from its standard input."""

    def __init__(self, threads: int, device: str | None) -> None:
        self.threads: int | None = threads
        self.device = device
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None

    def start(self) -> None:
        root = str(Path(trustbase.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), str(self.threads))
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trustbase.audit.askers.on_machine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, "PYTHONPATH": path, **threads},
            start_new_session=True,  # a Ctrl-C of the terminal reaches the caller alone, which then ends this one
        )

    def send(self, line: str) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise LostError("it was ended")
        with suppress(OSError, ValueError):  # it is gone, and `receive` says how
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()

    def receive(self, seconds: float | None) -> str:
        process = self._process
        if process is None or process.stdout is None:
            raise LostError("it was ended")
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds or 0.0, stop)
        timer.daemon = True
        if seconds is not None:
            timer.start()
        try:
            line = process.stdout.readline()
        except (OSError, ValueError):  # closed by `end` meanwhile
            line = b""
        finally:
            timer.cancel()
        if late.is_set():
            raise LateError(f"it said: {self._last_words()}")
        if not line.endswith(b"\n"):
            raise LostError(f"it ended with code {process.wait()}: {self._last_words()}")
        return line.decode()

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, self._complaints):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()

    def _last_words(self) -> str:
        try:
            assert self._complaints is not None
            self._complaints.seek(0)
            return self._complaints.read().decode("utf-8", "replace").strip()[-_WORDS:] or "nothing"
        except ValueError:  # closed by `end` meanwhile
            return "nothing"


def serve() -> None:
    """Answer lines from standard input until it ends, even in the middle of an answer: nobody waits for it any more."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the error stream, not between the answers
    lines: SimpleQueue[bytes] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    worker = Worker()
    while True:
        out.write(worker.answer(lines.get().decode()).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    serve()
