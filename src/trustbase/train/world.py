"""The processes that train one model together: which one this is, and the little that they tell each other.

All hold the whole model, or each its part of it (`shard.py`). The batches of an update are dealt out, gradients and losses are summed,
and every decision (a limit broken, a signal, a better checkpoint) is made everywhere from the same numbers. Only the first writes. One
process alone is the same code with nothing to tell.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from trustbase.errors import TrainingError, UsageError
from trustbase.train.launcher import launched
from trustbase.train.options import TrainOptions

T = TypeVar("T")

_BUCKET = 1 << 24  # numbers that are summed in one message: enough to fill a line, and the next is copied while they travel
_MEETING = timedelta(minutes=5)  # a launcher starts all its processes at the same time
_PATIENCE = timedelta(hours=2)  # the others wait while the first measures held-out documents; a lost one is noticed at once


class DividedModel(Protocol):
    """A model of which every process holds a part (`train.shard`); all must ask it the same, in the same order."""

    def trained(self, work: Callable[[], T]) -> T:
        """What comes of work with the model from which gradients are to follow."""

    def asked(self, work: Callable[[], T]) -> T:
        """What comes of work with the model without gradients."""

    def put_together(self) -> None:
        """Make the model of the first process a plain and whole one again, on the CPU."""


@dataclass(frozen=True)
class World:
    """The processes of a training.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
        messages: the group that carries small things; NCCL itself carries tensors of GPUs only.
        divided: the model, where each holds its part of it.
    """

    rank: int = 0
    size: int = 1
    messages: Any = None
    divided: DividedModel | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, measures and tells."""
        return self.rank == 0

    def own(self, things: Sequence[T]) -> list[tuple[int, T]]:
        """This process's share of an update's batches, each with its place among all."""
        return list(enumerate(things))[self.rank :: self.size]

    def lacks(self, things: Sequence[T]) -> bool:
        """Whether this process's share is smaller than the first one's."""
        return len(self.own(things)) < -(-len(things) // self.size)

    def gather(self, value: T) -> list[T]:
        """What each process holds, in their order; the same list everywhere."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value, group=self.messages)
        return found

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes; the others wait for it."""
        if self.size == 1:
            return make()
        box: list[Any] = [make() if self.first else None]
        distributed.broadcast_object_list(box, src=0, group=self.messages)
        made: T = box[0]
        return made

    def trained(self, work: Callable[[], T]) -> T:
        """What comes of work with the model from which gradients are to follow."""
        return work() if self.divided is None else self.divided.trained(work)

    def asked(self, work: Callable[[], T]) -> T:
        """What each process finds of the model, without gradients."""
        return work() if self.divided is None else self.divided.asked(work)

    def measured(self, work: Callable[[], T]) -> T:
        """What the first process finds of the model, without gradients; all of them ask a model of which each holds a part."""
        if self.divided is None:
            return self.from_first(work)
        found = self.divided.asked(work)
        return self.from_first(lambda: found)

    def wait(self) -> None:
        """Until all are here."""
        self.gather(None)

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """The first process goes through alone, then the others: they find the files that it left."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes; where no process has one, there is none afterwards either."""
        if self.size == 1 or self.divided is not None:  # a divided model's are summed as they come
            return
        there = self.gather([parameter.grad is not None for parameter in parameters])
        asked = [parameter for parameter, *has in zip(parameters, *there, strict=True) if any(has)]
        sent = []
        for bucket in _buckets(asked):
            flat = torch.cat([_gradient(parameter).flatten() for parameter in bucket])
            sent.append((bucket, flat, distributed.all_reduce(flat, async_op=True)))
        for bucket, flat, work in sent:
            work.wait()
            pieces = torch.split(flat, [parameter.numel() for parameter in bucket])
            for parameter, piece in zip(bucket, pieces, strict=True):
                parameter.grad = piece.view(parameter.shape)  # not copied back: what a gradient lay in stays this process's own

    def length(self, own: float) -> float:
        """Of a vector, from that of what this process holds of it."""
        return own if self.divided is None else math.hypot(*self.gather(own))

    def agree_on(self, mine: Mapping[str, Any]) -> None:
        """Go on only if every process says the same.

        Raises:
            TrainingError: they do not.
        """
        told = self.gather(mine)
        differing = [name for name in mine if len({str(each[name]) for each in told}) > 1]
        if differing:
            values = "; ".join(f"{name}: {', '.join(str(each[name])[:12] for each in told)}" for name in differing)
            raise TrainingError(
                f"the {self.size} processes would not train the same model: they differ in {values}",
                hint="all must see the same folders (a shared file system), data, and versions of this program and its libraries",
            )


ALONE = World()


def digest_of(parameters: Iterable[nn.Parameter]) -> str:
    """Of whole parameters, in their order."""
    found = hashlib.sha256()
    for parameter in parameters:
        found.update(parameter.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(each.numel() for each in bucket) + parameter.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The processes that a launcher (torchrun, Ray Train, `spread`) started; this one alone where there was none.

    Args:
        device: where the model will be: GPUs talk by NCCL, all else by Gloo.

    Raises:
        UsageError: a launcher started several processes but does not say how they find each other.
    """
    if distributed.is_available() and distributed.is_initialized():  # by Ray Train, or by the caller
        yield _here()
        return
    here = launched()
    if here is None:
        yield ALONE
        return
    store = meeting_place()
    # so does one that joins once more: what divided a model may keep the store of its first training alive
    fresh = PrefixStore(f"joined-{store.add(f'joins-{here.rank}', 1)}", store)
    with grouped(fresh, here.rank, here.size, device, local_rank=here.local_rank) as world:
        yield world


def meeting_place() -> Store:
    """The store through which a launcher's processes find each other.

    Raises:
        UsageError: they do not; a signal is heard only when that is known.
    """
    here = tuple(os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"))
    # a restarted process finds the addresses of those that are gone in torchrun's store, and would wait for them
    return PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", _launchers_store(here))


@cache
def _launchers_store(here: tuple[str, ...]) -> Store:
    """The one store of this process among these others.

    It is kept: where no launcher holds it, the first process does, and another that begins the next run sooner would else find the
    store of the last one in the moment in which it goes.
    """
    try:
        store: Store = next(rendezvous("env://", timeout=_MEETING))[0]
    except (distributed.DistNetworkError, distributed.DistStoreError) as error:
        raise UsageError(
            f"the processes of a launcher did not find each other in {_MEETING.total_seconds():g} seconds: {str(error)[:300]}",
            hint="start all of them with torchrun, or unset WORLD_SIZE to train in one process",
        ) from error
    store.set_timeout(_PATIENCE)
    return store


@contextmanager
def grouped(store: Store, rank: int, size: int, device: str, *, local_rank: int) -> Iterator[World]:
    """Processes as one group while the context lasts; each makes this call, with a store that no group used before.

    Args:
        store: where they find each other.
        rank: of this process.
        size: how many there are.
        device: where the model will be.
        local_rank: of this process on its machine, which says what GPU is its own.
    """
    if device == "cuda":
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield _here()
    finally:
        distributed.destroy_process_group()


def processes() -> int:
    """How many processes train together, as far as this one is told."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    here = launched()
    return 1 if here is None else here.size


def _here() -> World:
    size = distributed.get_world_size()
    by_gloo = distributed.get_backend() == "gloo"
    messages = None if by_gloo or size == 1 else distributed.new_group(backend="gloo", timeout=_PATIENCE)
    return World(distributed.get_rank(), size, messages)


def dealt(options: TrainOptions, size: int, *, length: int | None = None) -> TrainOptions:
    """The same updates in batches of which each process gets as many: in smaller ones where there are too few.

    An update of one batch of 8,192 tokens becomes one of two of 4,096 for two processes. One process under the options that come
    out makes the same updates, up to the order of sums.

    Raises:
        UsageError: a batch would be smaller than a text may be.
    """
    pieces = size // math.gcd(options.accumulation, size)
    if pieces == 1:
        return options
    tokens = options.batch_tokens // pieces
    longest = options.max_length if length is None else length
    if tokens < longest:
        raise UsageError(
            f"{size} processes share an update of {options.accumulation} batches of {options.batch_tokens} tokens, "
            f"which leaves batches of {tokens}: fewer than one row may have ({longest})",
            hint=f"set batch_tokens to at least {longest * pieces}, or accumulation to a multiple of {size}",
        )
    return options.model_copy(update={"batch_tokens": tokens, "accumulation": options.accumulation * pieces})
