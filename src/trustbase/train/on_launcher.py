"""Workers that a launcher started beside this process (`torchrun … -m trustbase run`): the others wait, and join where it trains.

The first process makes the whole journey. What it wants next of the others is one word in the launcher's own store; work and results
travel through a group of the processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore

from trustbase.device import choose_device
from trustbase.errors import FirstProcessError, TrainingError, TrustbaseError, UsageError
from trustbase.train.cluster import ClusterOptions
from trustbase.train.launcher import Launched, hidden
from trustbase.train.process import threads
from trustbase.train.worker import Work, member, share_of_cores
from trustbase.train.world import World, grouped, meeting_place

T = TypeVar("T")

_TRAIN, _DONE, _FAILED = "train", "done", "failed"
_LOOK = 0.25  # seconds between two looks into the store: waiting in it holds signals back, and warns of each wait that ended in vain
_TELLING = 5.0  # seconds that the first waits for what others say of their failures; one that was killed says nothing
_GRACE = 20.0  # seconds in which the first ends after a failure that nobody foresaw; else it hangs, and the launcher must end it
_ORDERLY = 1800.0  # the same where the work itself raised an error, which the first will too, once it has saved its state


def led(journey: Callable[[Crew], T], launched: Launched) -> T:
    """Make a journey in the first process, helped by the others where it trains; each gets what it came to.

    Raises:
        UsageError: several processes would share a GPU, or have a group of their own.
        FirstProcessError: in the others, where the first one's journey raised an error.
    """
    if distributed.is_initialized():
        raise UsageError(
            "a run starts and ends the group of its processes itself, and one is open already", hint="call it before init_process_group"
        )
    gpus = torch.cuda.device_count()
    if 0 < gpus < launched.local_size:
        raise UsageError(
            f"{launched.local_size} processes want a GPU each, and this machine has {gpus}",
            hint=f"start at most {gpus}, or none on GPUs: CUDA_VISIBLE_DEVICES= torchrun …",
        )
    store = meeting_place()
    runs = store.add(f"runs-{launched.rank}", 1)  # a program may make several, and each has words of its own
    crew = Crew(launched, PrefixStore(f"run-{runs}", store))
    with hidden():
        if not launched.first:
            return crew.follow()  # type: ignore[no-any-return]
        return crew.lead(journey)


class Crew:
    """The processes that a launcher started, as a run knows them.

    Args:
        launched: this one among them.
        store: what all can write to and read.
    """

    def __init__(self, launched: Launched, store: Any) -> None:
        self._launched = launched
        self._store = store
        self._words = 0  # said by the first, or heard by another
        self._groups = 0

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self._launched.size

    def refuse(self, cluster: ClusterOptions) -> None:
        """A recipe's cluster must be the one that the launcher made.

        Raises:
            UsageError: it is another.
        """
        if cluster.ray is not None:
            raise UsageError(
                f"a launcher started {self.size} processes, and the recipe asks for Ray (cluster.ray: {cluster.ray})",
                hint="start it once, with `trustbase run`, or add the override cluster.ray=null",
            )
        if cluster.workers != self.size:
            raise UsageError(
                f"a launcher started {self.size} processes, and the recipe asks for {cluster.workers} (cluster.workers)",
                hint=f"start {cluster.workers}, or add the override cluster.workers={self.size}",
            )
        gpus = torch.cuda.is_available()
        if cluster.gpus not in {None, gpus}:
            raise UsageError(
                f"cluster.gpus is {str(cluster.gpus).lower()}, and this process, which a launcher started, has {'one' if gpus else 'none'}",
                hint="remove it, and set CUDA_VISIBLE_DEVICES before the launcher",
            )

    def lead(self, journey: Callable[[Crew], T]) -> T:
        """The first process's part: the journey, and the word that it is over."""
        try:
            result = journey(self)
        except BaseException:
            with suppress(distributed.DistNetworkError):  # the launcher is gone, and the others with it
                self._say(_FAILED)
            raise
        self._say(_DONE)
        with self._group("cpu") as world:
            return world.from_first(lambda: result)

    def follow(self) -> Any:
        """The others' part: wait, help wherever the first one trains, and end with it.

        Raises:
            FirstProcessError: the first one's journey raised an error, which it tells itself; or it is gone.
            TrainingError: this process failed alone.
        """
        while True:
            word = self._heard()
            if word == _FAILED:
                raise FirstProcessError("the first process ended with an error, which it tells itself")
            if word == _DONE:
                with self._group("cpu") as world:
                    return world.from_first(lambda: None)
            self._help()

    def train(self, work: Work, cluster: ClusterOptions, place: Path) -> None:
        """Do work in all processes, the first one's share in this.

        Raises:
            TrainingError: a process was lost, or failed in a way that was not foreseen.
        """
        self._say(_TRAIN)
        try:
            self._share((work, place, cluster.cpus))
        except TrustbaseError:
            raise
        except Exception as error:
            told = [f"process 0: {type(error).__name__}: {error}", *self._others_told()]
            raise TrainingError(
                f"training in {self.size} processes failed: {'; '.join(told)[:2000]}",
                hint="the last complete checkpoint is kept, and the same command goes on from it, as torchrun --max-restarts does",
            ) from error

    def _help(self) -> None:
        """One training of the first process's."""
        try:
            self._share(None)
        except Exception as error:
            with suppress(distributed.DistNetworkError):
                self._store.set(self._failure(self._launched.rank), f"{type(error).__name__}: {error}")
            if self._heard(patience=_ORDERLY if isinstance(error, TrustbaseError) else _GRACE) is None:
                raise TrainingError(f"process {self._launched.rank} failed: {type(error).__name__}: {error}") from error
            raise FirstProcessError("a training failed, which the first process tells") from error

    def _share(self, given: tuple[Work, Path, int | None] | None) -> None:
        """This process's share of a training; the first one gives what it is."""
        with self._group(choose_device()) as world:
            work, place, cpus = world.from_first(lambda: given)  # type: ignore[misc]
            with threads(cpus or share_of_cores(self._launched.local_size or self.size)):
                member(work, place, world.rank)

    @contextmanager
    def _group(self, device: str) -> Iterator[World]:
        self._groups += 1
        store = PrefixStore(f"group-{self._groups}", self._store)
        with grouped(store, self._launched.rank, self.size, device, local_rank=self._launched.local_rank) as world:
            yield world

    def _say(self, word: str) -> None:
        self._store.set(f"word-{self._words}", word)
        self._words += 1

    def _heard(self, patience: float | None = None) -> str | None:
        """The first one's next word; None where it did not come within so many seconds.

        Raises:
            FirstProcessError: the first one, or the launcher that keeps the words, is gone.
        """
        key, began = f"word-{self._words}", time.monotonic()
        try:
            while not self._store.check([key]):
                if patience is not None and time.monotonic() - began > patience:
                    return None
                time.sleep(_LOOK)
            word = str(self._store.get(key).decode())
        except distributed.DistNetworkError as error:
            raise FirstProcessError("the first process or its launcher is gone") from error
        self._words += 1
        return word

    def _others_told(self) -> list[str]:
        """What the others say of their failures."""
        began, keys = time.monotonic(), {rank: self._failure(rank) for rank in range(1, self.size)}
        while not self._store.check(list(keys.values())) and time.monotonic() - began < _TELLING:
            time.sleep(_LOOK)
        return [f"process {rank}: {self._store.get(key).decode()}" for rank, key in keys.items() if self._store.check([key])]

    def _failure(self, rank: int) -> str:
        return f"failure-{rank}-of-group-{self._groups}"
