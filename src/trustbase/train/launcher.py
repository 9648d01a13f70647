"""What a launcher such as `torchrun` says of this process: which of several it is, and how they find each other. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from trustbase.errors import FirstProcessError, UsageError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PLACES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_AGAIN = "start it with torchrun, or unset WORLD_SIZE"


@dataclass(frozen=True)
class Launched:
    """This process among those that a launcher started.

    Attributes:
        rank: which it is, from 0.
        size: how many there are.
        local_rank: which it is of its machine's.
        local_size: how many its machine has; 0 where the launcher does not say.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def first(self) -> bool:
        """Whether this is the process that makes the journey."""
        return self.rank == 0


def launched() -> Launched | None:
    """What a launcher says of this process; None where it started no others.

    Raises:
        UsageError: there are others, but not how they find each other.
    """
    if _size() in {"", "1"}:
        return None
    given = {name: os.environ.get(name, "").strip() or "0" for name in (*_PLACES, "MASTER_PORT")}
    odd = [f"{name}={value}" for name, value in given.items() if not value.isdecimal()]
    if odd:
        raise UsageError(f"a launcher's numbers must be whole, got {', '.join(odd)}", hint=_AGAIN)
    missing = [name for name in _NEEDED if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is {_size()}, so several processes are to train together, but {', '.join(missing)} is not set",
            hint="write `cluster: {workers: …}` in the recipe, start them with torchrun, or unset WORLD_SIZE",
        )
    here = Launched(*(int(os.environ.get(name, "").strip() or "0") for name in _PLACES))
    port = int(os.environ["MASTER_PORT"])
    if not here.rank < here.size or not 0 < port < 65536:
        raise UsageError(f"these cannot be a launcher's numbers: RANK={here.rank}, WORLD_SIZE={here.size}, MASTER_PORT={port}", hint=_AGAIN)
    return here


def follows() -> bool:
    """Whether this is one of a launcher's other processes, which leave all words to the first."""
    return _size() not in {"", "1"} and os.environ.get("RANK", "").strip() not in {"", "0"}


def refuse_launchers(what: str) -> None:
    """All but a run is done by one process: several would each do the whole, and stand in each other's way.

    Raises:
        UsageError: there are others.
        FirstProcessError: this is one of the others; the first one tells it.
    """
    if follows():
        raise FirstProcessError(f"{what} is refused in the first of {_size()} processes")
    if _size() not in {"", "1"}:
        raise UsageError(
            f"{what} was started {_size()} times, by torchrun or another launcher (WORLD_SIZE is {_size()}), and is done by one process",
            hint="start it once, without the launcher; `trustbase run` alone can use several processes",
        )


@contextmanager
def hidden() -> Iterator[None]:
    """Let nothing in this process, nor in those that it starts, take itself for one of several while the context lasts."""
    before = {name: os.environ.pop(name) for name in _PLACES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def _size() -> str:
    return os.environ.get("WORLD_SIZE", "").strip()
