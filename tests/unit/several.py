"""Several processes for a test: each runs the same function, and what it returns or raises comes back by rank."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from forks import forks

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'trustbase[ray]'")
#: Where a test starts processes: on this machine, and on Ray.
ON_RAY_TOO = [None, pytest.param("auto", marks=[needs_ray, pytest.mark.slow])]


def together(function, folder: Path, *args, size: int = 2, patience: float = 300) -> list:
    """Run `function(rank, *args)` in `size` processes that can find each other.

    Args:
        function: of a module that a new process can import.
        folder: where they leave what came of it.
        args: further arguments.
        size: how many processes.
        patience: seconds after which one is killed.

    Returns:
        By rank: the value, the exception that was raised, or the exit code of a process that left neither.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    context = forks()
    members = [context.Process(target=_member, args=(rank, size, port, folder, function, args, dict(os.environ))) for rank in range(size)]
    for member in members:
        member.start()
    for member in members:
        member.join(patience)
        if member.is_alive():
            member.kill()
            member.join()
    left = [folder / f"{rank}.pickle" for rank in range(size)]
    found = [pickle.loads(path.read_bytes()) if path.is_file() else member.exitcode for path, member in zip(left, members, strict=True)]
    for path in left:
        path.unlink(missing_ok=True)
    return found


@contextmanager
def one_cluster(ray: str | None) -> Iterator[None]:
    """A Ray cluster that several tests find open, as a program that opened one would; none where none is asked for."""
    if ray is None:
        yield
        return
    from trustbase.train.cluster import ClusterOptions
    from trustbase.train.on_ray import connected, settings

    with settings(), connected(ClusterOptions(ray=ray)):
        yield


def outcomes(function, folder: Path, patience: float) -> list[dict]:
    """What `function(rank, folder)` returned in two processes; both must have come to an end."""
    found = together(function, folder, folder, patience=patience)
    assert all(isinstance(each, dict) for each in found), found
    return found


def check_stopped_by_nan(found: list[dict]) -> None:
    """What is not finite in one process stops all with the same words."""
    assert found[0]["nan"] == found[1]["nan"]
    assert found[0]["nan"].startswith("TrainingError: the loss of step 6 is not a finite number (rows ")


def check_stopped_by_signal(found: list[dict]) -> None:
    """A signal to one process stops all."""
    for each in found:
        assert each["signal"].startswith("Interrupted: training was stopped by SIGTERM after step 6")


def _member(rank: int, size: int, port: int, folder: Path, function, args: tuple, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)  # as it is now: the process this one comes from is older than the test
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        outcome = function(rank, *args)
    except BaseException as error:  # a signal's too: it is the outcome
        outcome = error
    part = folder / f"{rank}.part"
    part.write_bytes(pickle.dumps(outcome))
    part.rename(folder / f"{rank}.pickle")
