"""Tasks in several processes: each is a module-level function called by name with JSON, and leaves its result on disk.

Processes are started as plain commands and not by `multiprocessing`: that would import the caller's main module again, and a process
whose parent was killed would wait for ever. Here a worker ends as soon as its standard input does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import trustbase
from trustbase.errors import DataError, Problem, TrustbaseError
from trustbase.machine import usable_cores

Task = tuple[str, dict[str, Any]]  # "module:function" and its arguments


def run_tasks(tasks: Sequence[Task], workers: int | str, done: Callable[[int, Any], None]) -> None:
    """Run every task; in this process where one worker is enough.

    Args:
        tasks: what to run; order of completion is free.
        workers: how many processes, or "auto" for one on each usable core.
        done: told the number of each finished task and what it returned.

    Raises:
        TrustbaseError: a task failed, as the task said it; the others that run are ended.
    """
    count = min(usable_cores() if workers == "auto" else int(workers), len(tasks))
    if count <= 1:
        for index, (target, arguments) in enumerate(tasks):
            done(index, call(target, arguments))
        return
    for index, value in _spread(tasks, count):
        done(index, value)


def call(target: str, arguments: dict[str, Any]) -> Any:
    """The named function, called."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)(**arguments)


def _spread(tasks: Sequence[Task], count: int) -> Iterator[tuple[int, Any]]:
    pool = [_Worker() for _ in range(count)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in pool:
        idle.put(worker)

    def one(index: int) -> tuple[int, Any]:
        worker = idle.get()
        try:
            return index, worker.ask(tasks[index])
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(count)
    try:
        waiting = [threads.submit(one, index) for index in range(len(tasks))]
        for future in as_completed(waiting):
            yield future.result()
    finally:  # also after an error or a signal: nothing is left running
        for worker in pool:
            worker.end()
        threads.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """One process that answers tasks, one at a time."""

    def __init__(self) -> None:
        root = str(Path(trustbase.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trustbase.data.corpus.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, **threads},
            start_new_session=True,  # a Ctrl-C of the terminal reaches the parent alone, which then ends us
        )

    def ask(self, task: Task) -> Any:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError):
            line = b""
        if not line:
            raise TrustbaseError(
                f"a worker process ended with code {self._process.wait()} while it was at work",
                hint="if it ran out of memory, set fewer workers (corpus.workers); the same command goes on from what is done",
            )
        answer = json.loads(line)
        if "error" in answer:
            kind = DataError if answer["error"]["data"] else TrustbaseError
            problems = [Problem(*item) for item in answer["error"]["problems"]]
            raise kind(answer["error"]["message"], hint=answer["error"]["hint"], problems=problems)
        return answer["value"]

    def end(self) -> None:
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()


def _answer(task: Task) -> dict[str, Any]:
    try:
        return {"value": call(*task)}
    except TrustbaseError as error:
        problems = [[item.where, item.message, item.hint] for item in error.problems]
        told = {"message": error.message, "hint": error.hint, "problems": problems}
        return {"error": {**told, "data": isinstance(error, DataError)}}
    except Exception as error:
        return {"error": {"message": f"{type(error).__name__}: {error}", "hint": "", "problems": [], "data": False}}


def serve() -> None:
    """Answer tasks from standard input until it ends, which it also does when the parent is killed."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the error stream, not between the answers
    tasks: SimpleQueue[bytes] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            tasks.put(line)
        os._exit(0)  # nobody waits for an answer; what is half written has a name that nobody reads

    threading.Thread(target=listen, daemon=True).start()
    while True:
        answers.write(json.dumps(_answer(json.loads(tasks.get()))).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    serve()
