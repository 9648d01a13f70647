"""The thin faces of the engine: a synchronous call, and `await` inside any event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, TypeVar

from trustbase.errors import PredictionError, UsageError
from trustbase.model.engine import Engine
from trustbase.model.questions import Question, Result
from trustbase.model.requests import Request

T = TypeVar("T")

_QUIET_TICKS = 3  # turns of the loop without a new question before "nobody can go on" (subtasks need a turn or two to start)
_CHECK_SECONDS = 1.0


def ask_and_wait(engine: Engine, questions: Sequence[Question]) -> list[Result]:
    """Ask all and wait for all, in the order asked. Ctrl-C withdraws the questions that have not run yet."""
    results: list[Any] = [None] * len(questions)
    left = len(questions)
    done = threading.Event()

    def deliver(pairs: list[tuple[int, Result]]) -> None:
        nonlocal left
        for position, result in pairs:
            results[position] = result
        left -= len(pairs)  # only ever called by one thread at a time: the engine's, or ours when it refuses
        if left == 0:
            done.set()

    if not questions:
        return []
    request = Request(questions, deliver)
    engine.submit(request)
    try:
        while not done.wait(_CHECK_SECONDS):
            if not engine.alive and not done.is_set():  # cannot happen while the engine keeps its word; a hang would be worse
                raise PredictionError("the engine thread ended without answering", hint="open the Predictor again")
    except BaseException:
        request.cancelled = True
        raise
    return results


class LoopFace:
    """Collects the questions of one event loop until no asker can go on, then hands them to the engine as one request.

    Without a deadline the answers of a request come back together, so that what is asked next, and with which neighbours in a batch, does
    not hang on how busy the machine is: the same askers get the same answers, to the last bit.

    Args:
        engine: the engine.
        loop: the running loop that the askers live in.
        deadline: None flushes as soon as the loop has nothing else to do; a number waits that many seconds (servers).
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop, *, deadline: float | None) -> None:
        self._engine = engine
        self._loop = loop
        self._deadline = deadline
        self._pending: list[tuple[Question, asyncio.Future[Result]]] = []
        self._seen = 0
        self._quiet = 0
        self._watching = False

    def ask(self, question: Question) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = self._loop.create_future()
        self._pending.append((question, future))
        if not self._watching:
            self._watching = True
            self._seen, self._quiet = len(self._pending), 0
            if self._deadline is None:
                self._loop.call_soon(self._tick)
            else:
                self._loop.call_later(self._deadline, self._flush)
        return future

    def _tick(self) -> None:
        """Wait until the loop went round a few times without a new question."""
        quiet = len(self._pending) == self._seen
        self._seen, self._quiet = len(self._pending), self._quiet + 1 if quiet else 0
        if self._quiet >= _QUIET_TICKS:
            self._flush()
        else:
            self._loop.call_soon(self._tick)

    def _flush(self) -> None:
        self._watching = False
        pending = [(question, future) for question, future in self._pending if not future.done()]  # an asker may have been cancelled
        self._pending = []
        if not pending:
            return
        futures = [future for _, future in pending]
        held: list[tuple[int, Result]] = []

        def deliver(pairs: list[tuple[int, Result]]) -> None:
            if self._loop.is_closed():
                request.cancelled = True  # its askers are gone
                return
            held.extend(pairs)
            if self._deadline is None and len(held) < len(futures):
                return
            told, held[:] = list(held), []
            try:
                self._loop.call_soon_threadsafe(_resolve, futures, told)
            except RuntimeError:  # the loop closed between the two lines
                request.cancelled = True

        request = Request([question for question, _ in pending], deliver)
        self._engine.submit(request)


def _resolve(futures: Sequence[asyncio.Future[Result]], pairs: Sequence[tuple[int, Result]]) -> None:
    for position, result in pairs:
        if not futures[position].done():
            futures[position].set_result(result)


class _Ended(BaseException):
    """Carries an asker's KeyboardInterrupt or SystemExit out of its task.

    A task that raises one of these itself stops the loop in the middle of its turn, and asyncio complains about it afterwards.
    """

    def __init__(self, end: BaseException) -> None:
        super().__init__(end)
        self.end = end


def run_askers(coroutines: Iterable[Awaitable[T]], *, at_once: int) -> list[T]:
    """Run many askers, at most `at_once` at a time, and return what they return, in order.

    Works where a loop is already running (a notebook): the askers then run in a loop of a thread of their own.

    Raises:
        BaseException: the first exception an asker raised, after the others were cancelled.
        UsageError: `at_once` leaves room for nobody.
    """
    if at_once < 1:
        raise UsageError(f"at_once must be at least 1, got {at_once}: no asker could ever begin")

    async def run_all() -> list[T]:
        room = asyncio.Semaphore(at_once)

        async def one(coroutine: Awaitable[T]) -> T:
            async with room:
                try:
                    return await coroutine
                except (KeyboardInterrupt, SystemExit) as end:
                    raise _Ended(end) from None

        waiting = list(coroutines)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(coroutine)) for coroutine in waiting]
        finally:
            for coroutine in waiting:
                if inspect.iscoroutine(coroutine):
                    coroutine.close()  # those that never started, where another asker raised
        return [task.result() for task in tasks]

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _unwrapped(run_all)
    outcome: list[Any] = []

    def in_thread() -> None:
        try:
            outcome.append((_unwrapped(run_all), None))
        except BaseException as error:  # raised again below, in the caller's thread
            outcome.append((None, error))

    thread = threading.Thread(target=in_thread, name="trustbase-askers", daemon=True)
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return list(value)


def _unwrapped(run_all: Any) -> list[Any]:
    """`asyncio.run`, with the first asker's own exception instead of a group of them."""
    try:
        return list(asyncio.run(run_all()))
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if isinstance(first, _Ended):
            raise first.end from None
        raise first from group
