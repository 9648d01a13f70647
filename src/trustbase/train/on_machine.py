"""Workers that are processes of this machine, started as `torchrun` starts them and by the same code of torch."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import cuda, set_num_threads
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from trustbase.errors import Interrupted, UsageError
from trustbase.train.cluster import ClusterOptions
from trustbase.train.worker import Work, lost, member, share_of_cores

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run_on_machine(work: Work, cluster: ClusterOptions, place: Path) -> None:
    """Run the workers; all start anew when one is lost.

    Raises:
        UsageError: more workers than GPUs.
        TrainingError: workers were lost more often than allowed.
        Interrupted: a signal came; the workers got it too, and saved what they had.
    """
    there = cuda.device_count()
    gpus = there > 0 if cluster.gpus is None else cluster.gpus
    if gpus and there < cluster.workers:
        raise UsageError(
            f"{cluster.workers} workers want a GPU each, and this machine has {there}", hint="set fewer workers, or gpus: false"
        )
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=cluster.workers,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=cluster.restarts,
        start_method="spawn",
    )
    with _signals_put_back():
        try:
            elastic_launch(config, _member)(work, place, cluster.cpus or share_of_cores(cluster.workers), gpus, os.getpid())
        except SignalException as stopped:
            raise Interrupted(
                f"training in {cluster.workers} processes was stopped by {stopped.sigval.name}",
                signal_number=int(stopped.sigval),
                hint="the same command goes on from the last complete checkpoint",
            ) from None
        except ChildFailedError as error:
            raise lost(cluster.workers, cluster.restarts, str(error)) from None


def _member(work: Work, place: Path, threads: int, gpus: bool, parent: int) -> None:
    if not gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    set_num_threads(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        member(work, place, int(os.environ["RANK"]))
    except Interrupted:  # the launcher says so itself; a traceback would stand between its words
        sys.exit(1)


def _end_with(parent: int) -> None:
    """A worker whose caller was killed must not go on writing where the next one will."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@contextmanager
def _signals_put_back() -> Iterator[None]:
    """The launcher installs handlers of its own and leaves them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
