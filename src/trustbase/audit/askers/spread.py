"""Askers in several processes, of this machine or of a Ray cluster: opened once, and then whoever is free takes the next part."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from trustbase.audit.askers.asking import Alone, Askers, Part
from trustbase.audit.askers.worker import Asker, LateError, LostError, name_of, value_of
from trustbase.errors import PredictionError
from trustbase.events import Emit, ignore
from trustbase.model.runtime import Counters
from trustbase.records import ArtifactInfo
from trustbase.train.cluster import ClusterOptions

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

START_SECONDS = 600.0  # for a process to come up and open its Predictor; on Ray it may wait for a place
_LOOK = 0.2  # seconds; a wait without end would hold signals back


class Colleague(Protocol):
    """Another process that answers lines, and how it is started.

    `receive` raises `LostError` where the process is no more, and `LateError` after so many seconds without an answer.
    """

    device: str | None
    threads: int | None

    def start(self) -> None: ...
    def send(self, line: str) -> None: ...
    def receive(self, seconds: float | None) -> str: ...
    def end(self) -> None: ...


@contextmanager
def open_askers(artifact: ArtifactInfo, cluster: ClusterOptions | None, emit: Emit = ignore) -> Iterator[Askers]:
    """Whoever asks an artefact: this process, or so many as the cluster has workers, which end with the context.

    Raises:
        ModelError: the artefact cannot be opened.
        UsageError: Ray or its cluster is not there.
    """
    from trustbase.model.predict import Predictor

    if cluster is None or cluster.workers < 2:
        with Predictor.open(artifact) as predictor:
            yield Alone(predictor)
        return
    emit("note", text=f"asking in {cluster.workers} processes " + (f"on Ray ({cluster.ray})" if cluster.ray else "of this machine"))
    desks = Desks(artifact, cluster)
    try:
        desks.start()  # they load while this process does
        with Predictor.open(artifact) as predictor:
            yield Spread(predictor, desks)
    finally:
        desks.end()


@contextmanager
def _colleagues(cluster: ClusterOptions) -> Iterator[Sequence[Colleague]]:
    if cluster.ray is not None:
        from trustbase.audit.askers.on_ray import colleagues_on_ray

        with colleagues_on_ray(cluster) as found:
            yield found
    else:
        from trustbase.audit.askers.on_machine import colleagues_on_machine

        yield colleagues_on_machine(cluster)


class Desk:
    """A colleague with its Predictor: opened before it is asked for the first time, and anew after it was lost."""

    def __init__(self, colleague: Colleague, artifact: ArtifactInfo) -> None:
        self._colleague = colleague
        self._opening = {
            "folder": str(artifact.folder.resolve()),
            "digest": artifact.digest,
            "threads": colleague.threads,
            "device": colleague.device,
            "paths": sys.path,
        }
        self._started = self._opened = False
        self._door = threading.Lock()  # nobody starts what another is ending

    def start(self, over: threading.Event | None = None) -> None:
        """Start the process where there is none, without waiting for it.

        Raises:
            LostError: it is over, and nothing is started any more.
        """
        with self._door:
            if over is not None and over.is_set():
                raise LostError("nobody asks any more")
            if not self._started:
                self._started = True
                self._colleague.start()
                self._colleague.send(json.dumps({"open": self._opening}))

    def ask(self, line: str, over: threading.Event) -> dict[str, Any]:
        """The reply to a line.

        Raises:
            LostError: the process ended.
            TrustbaseError: what the worker raised; or it did not start in time.
        """
        self.start(over)
        if not self._opened:
            try:
                value_of(self._colleague.receive(START_SECONDS))
            except LateError as late:
                raise PredictionError(
                    f"a process that was to ask did not start within {START_SECONDS:g} s: {late}",
                    hint="set fewer workers, or free the machine; on Ray, `ray status` says what it waits for",
                ) from None
            self._opened = True
        self._colleague.send(line)
        return value_of(self._colleague.receive(None))

    def end(self) -> None:
        """End the process, whatever it does."""
        with self._door:
            self._started = self._opened = False
            self._colleague.end()


class Desks:
    """The processes of one audit."""

    def __init__(self, artifact: ArtifactInfo, cluster: ClusterOptions) -> None:
        self.restarts = cluster.restarts
        self.opened: list[Desk] = []
        self._artifact, self._cluster = artifact, cluster
        self._connection = ExitStack()

    def start(self) -> None:
        """Start the processes where there are none, without waiting for them."""
        if not self.opened:
            colleagues = self._connection.enter_context(_colleagues(self._cluster))
            self.opened = [Desk(colleague, self._artifact) for colleague in colleagues]
            for desk in self.opened:
                desk.start()

    def end(self) -> None:
        """End them, and the cluster that was started for them."""
        for desk in self.opened:
            desk.end()
        self.opened = []
        self._connection.close()


class Spread(Askers):
    """The askers are other processes."""

    def __init__(self, predictor: Predictor, desks: Desks) -> None:
        super().__init__(predictor)
        self._desks = desks
        self._lost = 0
        self._asked = Counters()

    def rest(self) -> None:
        self._desks.end()

    @property
    def counters(self) -> Counters:
        return self.predictor.counters.plus(self._asked)

    def _answered(
        self, asker: Asker, arguments: Mapping[str, Any], parts: Sequence[Part], emit: Emit
    ) -> Generator[tuple[int, list[Any]], None, None]:
        asked = {"asker": name_of(asker), "arguments": arguments}
        waiting, said = deque(enumerate(parts)), _Said()
        self._desks.start()
        desks = self._desks.opened
        threads = [threading.Thread(target=_serve, args=(desk, asked, waiting, said), daemon=True) for desk in desks[: len(parts)]]
        left = len(parts)
        try:
            for thread in threads:
                thread.start()
            while left:
                found = said.next()
                if isinstance(found, LostError):
                    self._count_lost(found, emit)
                elif isinstance(found, BaseException):
                    raise found
                elif found is not None:
                    number, reply = found
                    left -= 1
                    self._asked = self._asked.plus(Counters(**reply["counters"]))
                    yield number, reply["value"]
        finally:
            said.over.set()
            if left:  # an error or a signal: nothing goes on, and whoever asks next starts anew
                for desk in desks:
                    desk.end()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()

    def _count_lost(self, lost: LostError, emit: Emit) -> None:
        self._lost += 1
        if self._lost > self._desks.restarts:
            raise PredictionError(
                f"processes that ask were lost {self._lost} times ({self._desks.restarts} restarts are allowed): {lost}",
                hint="if one ran out of memory, set fewer workers; nothing of this audit was kept",
            )
        emit("warning", text=f"a process that asks was lost, and its part is asked anew: {lost}")


class _Said:
    """What the threads that wait for processes have to tell."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._queue: SimpleQueue[tuple[int, dict[str, Any]] | BaseException] = SimpleQueue()

    def put(self, found: tuple[int, dict[str, Any]] | BaseException) -> None:
        self._queue.put(found)

    def next(self) -> tuple[int, dict[str, Any]] | BaseException | None:
        try:
            return self._queue.get(timeout=_LOOK)
        except Empty:
            return None


def _serve(desk: Desk, asked: Mapping[str, Any], waiting: deque[tuple[int, Part]], said: _Said) -> None:
    """Have one process answer parts until none is left; a part whose process was lost is asked anew."""
    try:
        while not said.over.is_set():
            try:
                number, part = waiting.popleft()
            except IndexError:
                return
            try:
                reply = desk.ask(json.dumps({"ask": {**asked, "items": part}}), said.over)
            except LostError as lost:
                if said.over.is_set():
                    return
                desk.end()
                waiting.appendleft((number, part))
                said.put(lost)
            else:
                said.put((number, reply))
    except BaseException as error:  # raised again where somebody sees it
        said.put(error)
