"""Askers that are processes of this machine."""

from __future__ import annotations

import tempfile
import threading
from typing import IO

from trustbase.audit.askers.worker import LateError, LostError, Worker
from trustbase.lines import LineProcess, serve
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
        self._process: LineProcess | None = None
        self._complaints: IO[bytes] | None = None

    def start(self) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = LineProcess("trustbase.audit.askers.on_machine", self.threads or 1, self._complaints)

    def send(self, line: str) -> None:
        self._running().send(line)

    def receive(self, seconds: float | None) -> str:
        process, late = self._running(), threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds or 0.0, stop)
        timer.daemon = True
        if seconds is not None:
            timer.start()
        try:
            line = process.receive()
        finally:
            timer.cancel()
        if late.is_set():
            raise LateError(f"it said: {self._last_words()}")
        if not line:
            raise LostError(f"it ended with code {process.code()}: {self._last_words()}")
        return line

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()
        if self._complaints is not None:
            self._complaints.close()

    def _running(self) -> LineProcess:
        if self._process is None:
            raise LostError("it was ended")
        return self._process

    def _last_words(self) -> str:
        try:
            assert self._complaints is not None
            self._complaints.seek(0)
            return self._complaints.read().decode("utf-8", "replace").strip()[-_WORDS:] or "nothing"
        except ValueError:  # closed by `end` meanwhile
            return "nothing"


if __name__ == "__main__":
    serve(Worker().answer)
