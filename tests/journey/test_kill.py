"""Killed half-way and resumed: nothing is lost beyond one save interval, and the weights are the same to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from toy import write_world

from trustbase import files

SAVE_EVERY = 0.05  # seconds; an epoch takes several times as long


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "TRUSTBASE_HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start(recipe: Path, out: Path, home: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "trustbase.cli",
        "run",
        str(recipe),
        "--out",
        str(out),
        "train.epochs=4",
        f"train.save_every={SAVE_EVERY}",
        "audit=[quality, fairness]",  # its timing takes most of a minute and says nothing here
    ]
    return subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def events(out: Path) -> list[dict[str, object]]:
    path = out / "log.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def wait_for_checkpoint(process: subprocess.Popen[bytes], out: Path) -> None:
    """Return once a checkpoint lies behind and training has gone on beyond it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        seen = [event["event"] for event in events(out)]
        if "checkpoint" in seen and "step" in seen[len(seen) - 1 - seen[::-1].index("checkpoint") :]:
            return
        time.sleep(0.01)
    raise AssertionError(
        f"no checkpoint was seen in time; the process ended with {process.poll()}: {process.communicate()[1].decode()[-2000:]}"
    )


def steps(log: list[dict[str, object]], event: str) -> list[int]:
    return [int(str(record["step"])) for record in log if record["event"] == event]


def seconds(record: dict[str, object]) -> float:
    return datetime.fromisoformat(str(record["time"])).timestamp()


def assert_saved_often_enough(log: list[dict[str, object]], *, since: int = 0) -> None:
    """By the log's own clock, no more was ever at stake than one save interval: up to each save, and up to the end of the log.

    A save comes before the step that would overrun the interval, unless that step takes longer than those before; it and the
    saving are allowed for as they were, so that a busy machine changes nothing.
    """
    trained = [record for record in log if record["event"] in {"step", "evaluation", "checkpoint"} and int(str(record["step"])) >= since]
    start = 0
    for index, record in enumerate(trained):
        if record["event"] != "checkpoint" and index != len(trained) - 1:
            continue
        part = trained[start : index + 1]
        longest = max((seconds(after) - seconds(before) for before, after in pairwise(part)), default=0.0)
        lost = seconds(part[-1]) - seconds(part[0])
        assert lost <= SAVE_EVERY + 2 * longest + 0.005, f"{lost:.3f} s were at stake before step {record['step']}"
        start = index


def weights(out: Path) -> str:
    return files.sha256_file(out / "checkpoints" / "trained" / "model.safetensors")


@pytest.mark.slow
def test_kill_and_interrupt_resume_to_the_same_bits(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=1500, limit=0.5)
    killed, straight = tmp_path / "killed", tmp_path / "straight"

    process = start(recipe, killed, tmp_path / "home")
    wait_for_checkpoint(process, killed)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    first = events(killed)

    process = start(recipe, killed, tmp_path / "home")
    uninterrupted = start(recipe, straight, tmp_path / "home")
    _, complaint = process.communicate(timeout=240)
    assert process.returncode in (0, 3), complaint.decode()[-2000:]
    uninterrupted.communicate(timeout=240)
    assert uninterrupted.returncode in (0, 3)

    later = events(killed)[len(first) :]
    resumed = steps(later, "resumed")
    assert len(resumed) == 1 and resumed[0] > 0
    saved, trained_later = steps(first, "checkpoint"), steps(later, "step")
    assert resumed[0] >= max(saved), "an older checkpoint than the last complete one was taken"
    assert min(trained_later) == resumed[0] + 1
    assert sorted(trained_later) == list(range(resumed[0] + 1, max(steps(events(straight), "step")) + 1))
    assert_saved_often_enough(first)
    assert_saved_often_enough(first, since=resumed[0])  # what was trained twice
    assert_saved_often_enough(events(straight))
    assert len(set(steps(events(straight), "checkpoint"))) > 2 * 4, "saves at the ends of the four epochs prove nothing"
    assert weights(killed) == weights(straight)


@pytest.mark.slow
def test_sigterm_leaves_a_resumable_state_and_143(tmp_path: Path) -> None:
    recipe, out = write_world(tmp_path, rows=1500, limit=0.5), tmp_path / "out"
    process = start(recipe, out, tmp_path / "home")
    wait_for_checkpoint(process, out)
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 143, complaint.decode()[-2000:]
    assert b"Traceback" not in complaint and b"goes on" in complaint
    assert not (out / "verdict.json").exists()
