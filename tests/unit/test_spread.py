"""Workers that are started here: their events are heard, a lost one costs nothing but time, and their errors come back as themselves."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from several import ON_RAY_TOO as ON
from several import one_cluster, together
from train_kit import Log, job, rows, weights

from trustbase.errors import TrainingError, UsageError
from trustbase.events import ignore
from trustbase.train.cluster import ClusterOptions, cluster_problems
from trustbase.train.options import TrainOptions
from trustbase.train.spread import spread
from trustbase.train.update import plain
from trustbase.train.world import joined

TOY = {"accumulation": 2, "batch_tokens": 24, "epochs": 3, "save_every": 1e-3}


def toy(emit, folder: Path, *, die_at: int = 0, always: bool = False, fail_at: int = 0, slow: float = 0.0) -> dict:
    """A toy training of several processes; the second one is killed, once or always, or its numbers are spoiled."""
    with joined("cpu") as world:

        def update(tools, batches, step, **named):
            time.sleep(slow)
            if world.rank == 1 and step == die_at and (always or not (folder / "died").exists()):
                (folder / "died").write_text("once")
                os.kill(os.getpid(), signal.SIGKILL)
            if world.rank == 1 and step == fail_at:
                for parameter in tools.parameters:
                    parameter.data[0] = float("nan")
            return plain(tools, batches, step, **named)

        heard = emit if world.first else ignore
        model, progress, _ = job(folder, emit=heard, update=update, world=world, validation=rows(30, 1), **TOY)
        return {"step": progress.step, "weights": hashlib.sha256(weights(model)).hexdigest(), "pid": os.getpid()}


def alone(rank: int, folder: Path) -> dict:
    return toy(ignore, folder)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wanted")
    return together(alone, folder, folder)[0]


@pytest.fixture(scope="module", params=ON, ids=["machine", "ray"])
def ray(request):
    """Where workers are started: here, or on a cluster that all these tests share."""
    with one_cluster(request.param):
        yield request.param


def test_a_lost_worker_costs_time_only(tmp_path, wanted, ray):
    log = Log()
    found = spread(partial(toy, folder=tmp_path, die_at=7), ClusterOptions(workers=2, ray=ray), tmp_path, log)
    assert (found["step"], found["weights"]) == (wanted["step"], wanted["weights"]) and found["pid"] != os.getpid()
    steps = [fields["step"] for fields in log.of("step")]
    assert log.of("resumed")[0]["step"] == 6 and steps == list(range(1, wanted["step"] + 1))
    assert all(np.isfinite(fields["loss"]) for fields in log.of("step")) and "2 processes" in log.of("note")[0]["text"]
    assert not (tmp_path / ".cluster").exists()


def test_a_worker_that_is_always_lost_is_an_error_in_the_end(tmp_path, ray):
    with pytest.raises(TrainingError, match=r"in 2 processes failed for good \(1 restarts") as error:
        spread(partial(toy, folder=tmp_path, die_at=3, always=True), ClusterOptions(workers=2, ray=ray, restarts=1), tmp_path)
    assert "goes on from it" in error.value.hint and not (tmp_path / ".cluster").exists()


def test_an_error_of_the_work_itself_comes_back_and_is_not_tried_again(tmp_path, ray):
    log = Log()
    with pytest.raises(TrainingError, match=r"the loss of step 4 is not a finite number \(rows") as error:
        spread(partial(toy, folder=tmp_path, fail_at=4), ClusterOptions(workers=2, ray=ray), tmp_path, log)
    assert "precision: fp32" in error.value.hint and len(log.of("step")) == 3 and not log.of("resumed")


@pytest.mark.parametrize("on", ON)
def test_a_signal_stops_the_workers_and_the_same_call_goes_on(tmp_path, wanted, on):
    process = _caller(tmp_path, 0.2, on)
    _await(tmp_path, "step-00000003")
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert "Traceback" not in (tmp_path / "complaints").read_text()
    log = Log()
    found = spread(partial(toy, folder=tmp_path), ClusterOptions(workers=2), tmp_path, log)  # wherever the others were
    assert log.of("resumed") and found["weights"] == wanted["weights"]


@pytest.mark.parametrize("on", ON)
def test_workers_end_with_a_caller_that_was_killed(tmp_path, on):
    process = _caller(tmp_path, 0.3, on)
    _await(tmp_path, "step-00000002")
    process.kill()
    process.wait()
    time.sleep(3)
    left = sorted(path.name for path in tmp_path.glob("step-*"))
    time.sleep(2)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == left


CALLER = """
import sys
from functools import partial
from pathlib import Path
import test_spread
from trustbase.cli import interrupt
from trustbase.errors import Interrupted
from trustbase.train.cluster import ClusterOptions
from trustbase.train.spread import spread
if __name__ == "__main__":
    folder, slow, ray = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] or None
    interrupt.install()
    try:
        spread(partial(test_spread.toy, folder=folder, slow=slow), ClusterOptions(workers=2, ray=ray), folder)
    except Interrupted as stopped:
        sys.exit(stopped.exit_code)
"""


def _caller(folder: Path, slow: float, ray: str | None) -> subprocess.Popen:
    """A process that spreads a slow training."""
    script = folder / "caller.py"
    script.write_text(CALLER)
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    with (folder / "complaints").open("wb") as complaints:
        return subprocess.Popen(
            [sys.executable, str(script), str(folder), str(slow), ray or ""], env={**os.environ, "PYTHONPATH": paths}, stderr=complaints
        )


def _await(folder: Path, name: str) -> None:
    for _ in range(1800):
        if (folder / name).exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{name} never came")


def test_what_cannot_be_is_said_when_the_recipe_is_read(monkeypatch):
    options = TrainOptions(batch_tokens=1024, max_length=128)
    assert not list(cluster_problems(None, options)) and not list(cluster_problems(ClusterOptions(workers=8), options))
    (problem,) = cluster_problems(ClusterOptions(workers=16), options)
    assert problem.where == "cluster.workers" and "at least 2048" in problem.hint and "multiple of 16" in problem.hint
    (problem,) = cluster_problems(ClusterOptions(workers=2), options, length=600)
    assert "fewer than one row may have (600)" in problem.message
    monkeypatch.setattr("trustbase.train.cluster.find_spec", lambda name: None)
    (problem,) = cluster_problems(ClusterOptions(ray="auto"), options)
    assert problem.where == "cluster.ray" and "pip install 'trustbase[ray]'" in problem.hint


def test_more_workers_than_gpus_are_refused(tmp_path, ray):
    with pytest.raises(UsageError, match="9 workers want a GPU each"):
        spread(partial(toy, folder=tmp_path), ClusterOptions(workers=9, ray=ray, gpus=True), tmp_path)
