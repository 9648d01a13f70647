"""The engine: one thread that owns model and queue.

Askers hand in requests; the engine refuses what cannot be asked, takes known answers from the cache, joins equal
questions, sorts the rest by length, cuts batches by token budget, and runs them turn by turn. A batch that raises is
halved until the guilty question stands alone. If the thread itself dies, everything still open fails with its reason.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trustbase.data.batch import plan_batches
from trustbase.machine import give_back_memory
from trustbase.model.cache import AnswerCache
from trustbase.model.questions import Answer, Failure, Kind, Question, Result
from trustbase.model.requests import Desk, Plan, Request, Waiter
from trustbase.model.runtime import Counters, Runtime
from trustbase.records import LabelSchema

_GIVE_BACK = 5.0  # seconds of forward passes after which free memory is handed back, which takes some hundredths of one


class Engine:
    """Owner of the model and of the queue. Safe to call from any thread of the process that made it."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        labels: LabelSchema,
        answer_kind: str,
        kinds: Mapping[str, Kind],
        scope: bytes,
        cache: AnswerCache,
        batch_tokens: int,
        setup: Callable[[], None] | None = None,
    ) -> None:
        self._runtime = runtime
        self._labels = labels
        self._desk = Desk(runtime, labels, answer_kind, kinds, scope)
        self._cache = cache
        self._batch_tokens = batch_tokens
        self._setup = setup
        self._arrivals: deque[Request] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._dead: Failure | None = None
        self._plans: deque[Plan] = deque()
        self._waiting: dict[bytes, list[Waiter]] = {}
        self._open: dict[Request, None] = {}  # taken, not yet wholly answered
        self._counters = Counters()
        self._given_back = 0.0  # forward seconds when free memory was last handed back
        self.model_lock = threading.Lock()  # held while the model runs, and by a white-box session
        self._thread = threading.Thread(target=self._run, name="trustbase-engine", daemon=True)
        self._thread.start()

    # ---- called by askers ------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request. A closed or dead engine answers it at once, with failures."""
        with self._changed:
            refusal = self._dead or (Failure("closed", "this Predictor was closed; open it again") if self._closing else None)
            if refusal is None:
                self._arrivals.append(request)
                self._changed.notify_all()
        if refusal is not None:
            request.deliver([(position, refusal) for position in range(len(request.questions))])

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def counters(self) -> Counters:
        """A copy; the engine goes on counting."""
        return replace(self._counters)

    def forget(self) -> None:
        """Empty the cache (for timings)."""
        with self.model_lock:
            self._cache.clear()

    def close(self) -> None:
        """Answer what was already asked, then stop. Safe to call twice, and from the engine's own thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # ---- the engine's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._setup is not None:
                self._setup()
            while self._turn():
                pass
            self._end(Failure("closed", "this Predictor was closed; open it again"))
        except BaseException as error:  # the thread's last act: tell every asker, else they wait for ever
            self._end(Failure("engine", f"the engine thread died: {type(error).__name__}: {error}"))

    def _turn(self) -> bool:
        """Take what arrived, run one batch; False when closed and drained."""
        with self._changed:
            while not self._arrivals and not self._plans and not self._closing:
                self._changed.wait()
            arrived = list(self._arrivals)
            self._arrivals.clear()
            self._open.update(dict.fromkeys(arrived))
            if not arrived and not self._plans:
                return False
        with self.model_lock:
            if arrived:
                self._plans.extend(self._plan(arrived))
            if self._plans:
                plan = self._plans.popleft()  # turn by turn: a small request does not wait for the end of a large one
                self._run_batch(plan, plan.batches.popleft())
                if plan.batches:
                    self._plans.append(plan)
        return True

    def _end(self, failure: Failure) -> None:
        with self._changed:
            self._dead = failure
            unanswered = [*self._open, *self._arrivals]
            self._arrivals.clear()
            self._waiting.clear()
        for request in unanswered:
            self._hand_over(request, [(position, failure) for position in sorted(request.open)])

    def _plan(self, arrived: Sequence[Request]) -> list[Plan]:
        """Sort out what has to be computed; everything else is answered here."""
        fresh: dict[str, list[tuple[bytes, Question]]] = {}
        done: list[tuple[Waiter, Result | NDArray[np.float32]]] = []
        failed: list[tuple[Request, int, Failure]] = []
        for request in arrived:
            self._counters.questions += len(request.questions)
            for position, question in enumerate(request.questions):
                identified = self._desk.identify(question)
                if isinstance(identified, Failure):
                    failed.append((request, position, identified))
                    continue
                kind, key = identified
                row = self._cache.get(key)
                waiter = Waiter(request, position, question, kind, joined=key in self._waiting or row is not None)
                if row is not None:
                    self._counters.cache_hits += 1
                    done.append((waiter, row))
                elif key in self._waiting:
                    self._counters.duplicates += 1
                    self._waiting[key].append(waiter)
                else:
                    self._waiting[key] = [waiter]
                    fresh.setdefault(kind.output, []).append((key, question))
        self._fail(failed)
        self._deliver(done)
        return [plan for output, items in fresh.items() if (plan := self._encode(output, items)) is not None]

    def _encode(self, output: str, items: list[tuple[bytes, Question]]) -> Plan | None:
        """Tokenise all at once; where that raises, one by one, so that only the guilty question fails."""
        started = time.perf_counter()
        try:
            encodings = self._runtime.prepare([question.input for _, question in items])
        except Exception as error:  # becomes a typed failure of the question that caused it
            items = [item for item in items if self._encodable(item)]
            if not items:
                return None
            try:
                encodings = self._runtime.prepare([question.input for _, question in items])
            except Exception:  # each was fine alone, together they are not: nobody can be singled out
                for key, _ in items:
                    self._fail_key(key, Failure("runtime", f"the inputs could not be prepared together: {error!r}"))
                return None
        lengths = np.asarray(encodings.lengths)
        batches = deque(plan_batches(lengths, batch_tokens=self._batch_tokens))
        self._counters.unique += len(items)
        self._counters.tokenize_seconds += time.perf_counter() - started
        return Plan(output, [key for key, _ in items], encodings, lengths, batches)

    def _encodable(self, item: tuple[bytes, Question]) -> bool:
        key, question = item
        try:
            self._runtime.prepare([question.input])
        except Exception as error:
            self._fail_key(key, Failure("bad_input", f"the input could not be prepared: {type(error).__name__}: {error}"))
            return False
        return True

    def _run_batch(self, plan: Plan, rows: NDArray[np.int64]) -> None:
        """One forward pass; a batch that raises is halved until the guilty question stands alone."""
        rows = self._wanted(plan, rows)
        if not len(rows):
            return
        started = time.perf_counter()
        try:
            values = _checked(self._runtime.forward(plan.output, plan.encodings, rows), len(rows))
        except Exception as error:  # becomes a typed failure of the question that caused it
            if len(rows) == 1:
                self._fail_key(plan.keys[int(rows[0])], Failure("runtime", f"{type(error).__name__}: {error}"))
                return
            half = len(rows) // 2
            plan.batches.extendleft([rows[half:], rows[:half]])
            return
        self._counters.forward_seconds += time.perf_counter() - started
        if self._counters.forward_seconds - self._given_back > _GIVE_BACK:
            give_back_memory()
            self._given_back = self._counters.forward_seconds
        self._count(plan.lengths[rows])
        self._settle(plan, rows, values)

    def _settle(self, plan: Plan, rows: NDArray[np.int64], values: Sequence[NDArray[np.float32]]) -> None:
        """Store and deliver the rows of one batch; a row that is not finite fails alone and is not kept."""
        finite = [bool(np.isfinite(row).all()) for row in values]
        for value in values:
            value.setflags(write=False)
        done: list[tuple[Waiter, Result | NDArray[np.float32]]] = []
        for index, row in enumerate(rows.tolist()):
            waiters = self._waiting.pop(plan.keys[row])
            if not finite[index]:
                failure = Failure("not_finite", "the model gave NaN or an infinity for this input")
                done.extend((waiter, failure) for waiter in waiters)
                continue
            if not waiters[0].kind.sampled:
                self._cache.put(plan.keys[row], values[index].copy())
            done.extend((waiter, values[index]) for waiter in waiters)
        self._deliver(done)

    def _wanted(self, plan: Plan, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows that somebody still waits for."""
        keep = []
        for row in rows.tolist():
            if all(waiter.request.cancelled for waiter in self._waiting[plan.keys[row]]):
                del self._waiting[plan.keys[row]]
            else:
                keep.append(row)
        return np.array(keep, dtype=np.int64)

    def _count(self, lengths: NDArray[np.integer]) -> None:
        self._counters.batches += 1
        self._counters.tokens += int(lengths.sum())
        self._counters.padded_tokens += self._runtime.computed_tokens(lengths)

    # ---- handing over ----------------------------------------------------------------------------------------------

    def _fail_key(self, key: bytes, failure: Failure) -> None:
        self._deliver([(waiter, failure) for waiter in self._waiting.pop(key)])

    def _fail(self, failed: Sequence[tuple[Request, int, Failure]]) -> None:
        by_request: dict[Request, list[tuple[int, Result]]] = {}
        for request, position, failure in failed:
            by_request.setdefault(request, []).append((position, failure))
        self._counters.failures += len(failed)
        for request, pairs in by_request.items():
            self._hand_over(request, pairs)

    def _deliver(self, done: Sequence[tuple[Waiter, Result | NDArray[np.float32]]]) -> None:
        """Turn runtime rows into values, kind by kind, and give every asker its own."""
        by_request: dict[Request, list[tuple[int, Result]]] = {}
        by_kind: dict[str, list[tuple[Waiter, NDArray[np.float32]]]] = {}
        for waiter, value in done:
            if isinstance(value, np.ndarray):
                by_kind.setdefault(waiter.kind.name, []).append((waiter, value))
            else:
                self._counters.failures += isinstance(value, Failure)
                by_request.setdefault(waiter.request, []).append((waiter.position, value))
        for pairs in by_kind.values():
            for (waiter, _), result in zip(pairs, self._finish(pairs), strict=True):
                by_request.setdefault(waiter.request, []).append((waiter.position, result))
        for request, results in by_request.items():
            self._hand_over(request, results)

    def _finish(self, pairs: Sequence[tuple[Waiter, NDArray[np.float32]]]) -> Sequence[Result]:
        kind = pairs[0][0].kind
        try:
            rows = kind.rows([row for _, row in pairs])
            values = kind.finish(rows, [waiter.question for waiter, _ in pairs], self._labels)
            return [Answer(value, cached=waiter.joined) for (waiter, _), value in zip(pairs, values, strict=True)]
        except Exception as error:  # a kind somebody registered may be wrong; its askers must not hang
            if len(pairs) == 1:
                self._counters.failures += 1
                return [Failure("bad_question", f"kind '{kind.name}' could not make a value: {type(error).__name__}: {error}")]
            return [result for pair in pairs for result in self._finish([pair])]

    def _hand_over(self, request: Request, results: list[tuple[int, Result]]) -> None:
        request.open.difference_update(position for position, _ in results)
        if not request.open:
            self._open.pop(request, None)
        if results and not request.cancelled:
            request.deliver(results)


def _checked(values: object, rows: int) -> Sequence[NDArray[np.float32]]:
    """What a runtime gave, row by row.

    Raises:
        ValueError: neither one array `(rows, width)` nor a list of one table `(units, width)` for each row.
    """
    if isinstance(values, list):
        tables = [np.asarray(table, dtype=np.float32) for table in values]
        if len(tables) != rows or any(table.ndim != 2 for table in tables):
            raise ValueError(
                f"the runtime gave {len(tables)} tables for {rows} rows, of shapes {sorted({table.shape for table in tables})[:3]}"
            )
        return tables
    whole = np.asarray(values, dtype=np.float32)
    if whole.ndim != 2 or len(whole) != rows:
        raise ValueError(f"the runtime gave shape {whole.shape} for {rows} rows")
    return list(whole)
