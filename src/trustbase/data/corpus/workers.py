"""Tasks in several processes: each is a module-level function called by name with JSON, and leaves its result on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from trustbase.errors import TrustbaseError, told, told_again
from trustbase.lines import LineProcess, serve
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
        self._process = LineProcess("trustbase.data.corpus.workers", threads=1)

    def ask(self, task: Task) -> Any:
        self._process.send(json.dumps(task))
        line = self._process.receive()
        if not line:
            raise TrustbaseError(
                f"a worker process ended with code {self._process.code()} while it was at work",
                hint="if it ran out of memory, set fewer workers (corpus.workers); the same command goes on from what is done",
            )
        answer = json.loads(line)
        if "error" in answer:
            raise told_again(answer["error"], TrustbaseError)
        return answer["value"]

    def end(self) -> None:
        self._process.end()


def answered(line: str) -> str:
    """What a task came to, as a line of JSON: its value, or its error in its own words."""
    try:
        return json.dumps({"value": call(*json.loads(line))})
    except TrustbaseError as error:
        return json.dumps({"error": told(error)})
    except Exception as error:  # a fault of ours; the caller says which task it was
        return json.dumps({"error": told(TrustbaseError(f"{type(error).__name__}: {error}"))})


if __name__ == "__main__":
    serve(answered)
