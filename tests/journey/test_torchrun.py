"""`torchrun … -m trustbase run`: the journey of one process, the training of several, through losses, signals, errors and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from raw import write_raw_world
from toy import write_world

from trustbase import files
from trustbase.flow import run

LONG = 300  # seconds, for a machine that is busy with other things
ONE_LEFT = ("--max-restarts", "1", "--monitor-interval", "0.1")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as torchrun sets it: the same bits need the same threads


@contextmanager
def torchrun(*arguments: str | Path, launcher: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Two processes of a command; whatever is left of them ends with the context."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *launcher, "-m", "trustbase"]
    process = subprocess.Popen([*start, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(LONG)


def events(out: Path) -> list[dict[str, Any]]:
    path = out / "log.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def of(out: Path, event: str) -> list[dict[str, Any]]:
    return [each for each in events(out) if each["event"] == event]


def await_checkpoint(process: subprocess.Popen[str], out: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if of(out, "checkpoint"):
            return
        time.sleep(0.02)
    process.terminate()
    raise AssertionError(f"no checkpoint in time: {process.communicate()[1][-3000:]}")


def assert_same_training(one: Path, two: Path) -> None:
    """The same inputs, down to the number of processes, and the same weights to the bit."""
    records = [files.read_json(folder / "stages" / "train.json") for folder in (one, two)]
    assert records[0]["inputs"] == records[1]["inputs"] and records[0]["inputs"]["cluster"]["workers"] == 2
    assert [record["result"]["facts"]["processes"] for record in records] == [2, 2]
    weights = [files.sha256_file(folder / "checkpoints" / "trained" / "model.safetensors") for folder in (one, two)]
    assert weights[0] == weights[1]


def test_a_killed_process_and_a_failed_gate_of_a_fine_tuning(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, limit=0.999)
    settings = ["train.epochs=2", "train.save_every=0.05", "audit=[quality]", "gates={quality.accuracy: '>= 0.999'}"]
    out = tmp_path / "launched"
    with torchrun("run", recipe, *settings, "--out", out, launcher=ONE_LEFT) as process:
        await_checkpoint(process, out)
        next(child for child in psutil.Process(process.pid).children() if child.environ().get("RANK") == "1").kill()
        said, told = process.communicate(timeout=LONG)
    assert process.returncode == 1 and "exitcode  : 3" in told and "NOT RELEASED" in said.upper()
    assert len(of(out, "resumed")) == 1 and said.upper().count("NOT RELEASED") == 1
    run(recipe, [*settings, "cluster={workers: 2}"], out=tmp_path / "here")
    assert_same_training(out, tmp_path / "here")
    assert run(recipe, [*settings, "cluster.workers=2"], out=out).computed == ()  # one process finds what the several left


def test_a_signal_and_the_same_command_again_of_a_pretraining(tmp_path: Path) -> None:
    recipe = write_raw_world(tmp_path, tokens=30_000, objective="masked")
    settings = ["train.save_every=0.05", "audit=[quality]"]
    out = tmp_path / "launched"
    with torchrun("run", recipe, *settings, "--out", out) as process:
        await_checkpoint(process, out)
        process.terminate()
        said, told = process.communicate(timeout=LONG)
    assert process.returncode != 0 and told.count("error: ") == 1 and "its state is saved" in told
    with torchrun("run", recipe, *settings, "--out", out) as process:
        said, told = process.communicate(timeout=LONG)
    assert process.returncode == 0 and said.startswith("RELEASED"), told
    assert told.count("train: started") == 1 and len(of(out, "resumed")) == 1
    run(recipe, [*settings, "cluster={workers: 2}"], out=tmp_path / "here")
    assert_same_training(out, tmp_path / "here")


def test_what_the_first_process_cannot_do_ends_all_at_once(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=40)
    (tmp_path / "rows.csv").write_text("text,label,sex\na film,yes,f\n", encoding="utf-8")  # one label is none
    with torchrun("run", recipe, "--out", tmp_path / "out") as process:
        _, told = process.communicate(timeout=LONG)
    assert process.returncode == 1 and "exitcode  : 2" in told and told.count("error: ") == 1, told


def test_other_commands_are_refused_once(tmp_path: Path) -> None:
    with torchrun("corpus", tmp_path / "recipe.yaml") as process:
        said, told = process.communicate(timeout=LONG)
    assert process.returncode == 1 and "exitcode  : 2" in told and not said
    assert told.count("trustbase corpus was started 2 times") == 1 and told.count("error: ") == 1
