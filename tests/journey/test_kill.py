"""Killed half-way and resumed: nothing is lost beyond one save interval, and the weights are the same to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy import write_world

from trustbase import files


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "TRUSTBASE_HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start(recipe: Path, out: Path, home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "trustbase.cli", "run", str(recipe), "--out", str(out), "train.epochs=4"]
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
    saved, trained_first, trained_later = steps(first, "checkpoint"), steps(first, "step"), steps(later, "step")
    assert resumed[0] >= max(saved), "an older checkpoint than the last complete one was taken"
    assert min(trained_later) == resumed[0] + 1
    assert sorted(trained_later) == list(range(resumed[0] + 1, max(steps(events(straight), "step")) + 1))
    longest = max(after - before for before, after in zip([0, *saved], [*saved, max(trained_first)], strict=True))
    assert max(trained_first) - resumed[0] <= longest, "more than one save interval was trained twice"
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
