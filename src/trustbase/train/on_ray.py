"""Workers on Ray Train: on a cluster that is running, or on one that is started on this machine and ends with the training.

Ray starts the workers, lets them find each other and starts them anew when one is lost; what they do is what `torchrun`'s do.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trustbase.errors import UsageError
from trustbase.machine import usable_cores
from trustbase.train.cluster import ClusterOptions
from trustbase.train.worker import Work, lost, member

_OWN = "trustbase_own"  # a resource by which a cluster of our own is known: whoever joined it would end with the run that started it
_STORE = 300 * 10**6  # bytes of Ray's object store: only the work itself passes through it
_TIMEOUT = 7200  # seconds; as in `world`
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to Ray's makers
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # workers stay in the caller's folder, so that its paths hold
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as Ray will do anyway; GPUs are hidden by `_member`
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # a busy machine takes more than Ray's minute
    "RAY_worker_niceness": "0",  # on a cluster started here: the caller's own priority, where Ray takes 15 less
}


def run_on_ray(work: Work, cluster: ClusterOptions, place: Path) -> None:
    """Run the workers; all start anew when one is lost.

    A signal ends them at once: unlike `torchrun`'s they do not finish their update, so that up to `save_every` seconds are made again.

    Raises:
        UsageError: Ray or the cluster is not there.
        TrainingError: workers were lost more often than allowed.
    """
    with settings(), connected(cluster) as gpus:
        from ray import cloudpickle
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        packed, paths = cloudpickle.dumps(work), list(sys.path)
        trainer = TorchTrainer(
            lambda: _member(packed, paths, place, gpus),
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=_TIMEOUT),
            scaling_config=ScalingConfig(num_workers=cluster.workers, use_gpu=gpus, resources_per_worker=_resources(cluster, gpus)),
            run_config=RunConfig(
                name="train", storage_path=str(place / "ray"), failure_config=FailureConfig(max_failures=cluster.restarts)
            ),
        )
        failed = _in_thread(trainer.fit)
    if failed is not None:
        raise lost(cluster.workers, cluster.restarts, str(failed)) from failed


def _member(packed: bytes, paths: list[str], place: Path, gpus: bool) -> None:
    import ray.train
    from ray import cloudpickle

    if not gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.path += [path for path in paths if path not in sys.path]  # the work may be a function of a file beside the caller's
    member(cloudpickle.loads(packed), place, ray.train.get_context().get_world_rank())


def _resources(cluster: ClusterOptions, gpus: bool) -> dict[str, float]:
    return {"CPU": float(cluster.cpus or 1), **({"GPU": 1.0} if gpus else {})}


def _in_thread(call: Any) -> Exception | None:
    """Call in a thread of its own, where Ray installs no signal handlers, so that the caller's act at once; returns what it raised."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:  # told to the caller, who knows what it means
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)  # a wait without end would hold signals back
    return raised[0] if raised else None


@contextmanager
def settings() -> Iterator[None]:
    """Ray reads its settings from the environment, its workers too."""
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update({name: value for name, value in _SETTINGS.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@contextmanager
def connected(cluster: ClusterOptions) -> Iterator[bool]:
    """A connection to Ray, which is closed again if it was opened here; gives whether workers get a GPU each.

    Raises:
        UsageError: Ray is not installed, no cluster answers, or it has too few GPUs.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("cluster.ray is set, but Ray is not installed", hint="pip install 'trustbase[ray]'") from error
    opened = not ray.is_initialized()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if opened:
            _open_with(ray, cluster, handlers)
        there = int(ray.cluster_resources().get("GPU", 0))
        gpus = there > 0 if cluster.gpus is None else cluster.gpus
        if gpus and there < cluster.workers:
            raise UsageError(
                f"{cluster.workers} workers want a GPU each, and the Ray cluster has {there}", hint="set fewer workers, or gpus: false"
            )
        yield gpus
    finally:
        if opened:
            ray.shutdown()
            _put_back(handlers)


def _open_with(ray: Any, cluster: ClusterOptions, handlers: dict[signal.Signals, Any]) -> None:
    """Open it and keep the caller's handlers: Ray's would end this process without a word, and are in place before it is open."""
    ended: SystemExit | None = None
    try:
        _open(ray, cluster)
    except SystemExit as error:
        ended = error
    _put_back(handlers)
    if ended is not None:
        signal.raise_signal(signal.SIGTERM)  # once more, for whom it was meant
        raise ended


def _put_back(handlers: dict[signal.Signals, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _open(ray: Any, cluster: ClusterOptions) -> None:
    quiet = {"log_to_driver": False, "logging_level": "warning"}
    address = cluster.ray or "auto"
    cores = max(usable_cores(), cluster.workers * (cluster.cpus or 1))
    own = {"address": "local", "num_cpus": cores, "resources": {_OWN: 1.0}, "include_dashboard": False, "object_store_memory": _STORE}
    if address == "auto" and "RAY_ADDRESS" not in os.environ and not _shared_cluster_here():
        ray.init(**own, **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except ConnectionError as error:
        if address != "auto":
            raise UsageError(
                f"no Ray cluster answers at {address}: {error}", hint="start it, or write ray: auto to have one on this machine"
            ) from error
        ray.init(**own, **quiet)


def _shared_cluster_here() -> bool:
    """Whether this machine is a node of a cluster that somebody started to share; one that another run started ends with that run."""
    import psutil

    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet" and not any(_OWN in word for word in process.info["cmdline"] or ()):
            return True
    return False
