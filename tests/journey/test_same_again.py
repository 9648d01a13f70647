"""The same audit twice is the same to the byte, and no run asks the network for anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy import write_rows, write_world

from hurry import time_quickly
from trustbase import audit
from trustbase.flow import run


def test_the_same_audit_twice_is_byte_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)
    result = run(write_world(tmp_path, rows=500, limit=0.2), out=tmp_path / "run")
    assert result.exit_code == 0
    write_rows(tmp_path / "new.csv", 200, seed=3)
    asked = {"data": tmp_path / "new.csv", "label": "label", "groups": ["sex"], "train": tmp_path / "rows.csv"}
    for name in ("one", "two"):
        audit(tmp_path / "run" / "bundle", **asked, only=["quality", "fairness"], out=tmp_path / name, seed=4)
    names = sorted(path.relative_to(tmp_path / "one").as_posix() for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert {"audit.json", "evidence/quality.json", "evidence/fairness.json", "scores.parquet"} <= set(names)
    differing = [name for name in names if (tmp_path / "one" / name).read_bytes() != (tmp_path / "two" / name).read_bytes()]
    # the second is one more look at the same rows: that is in the verdict, and in the page that shows it
    assert set(differing) <= {"verdict.json", "report.html"}, differing


GUARD = """
import os, socket
_real = socket.socket.connect
def _connect(self, address):
    if self.family != socket.AF_UNIX:
        with open(os.environ["ATTEMPTS"], "a") as stream:
            stream.write(f"{address!r}\\n")
        raise OSError("no network in this test")
    return _real(self, address)
socket.socket.connect = _connect
socket.socket.connect_ex = lambda self, address: _connect(self, address) or 0
def _look_up(host, *rest, **named):
    with open(os.environ["ATTEMPTS"], "a") as stream:
        stream.write(f"name {host!r}\\n")
    raise OSError("no network in this test")
socket.getaddrinfo = _look_up
"""


def test_a_run_asks_the_network_for_nothing(tmp_path: Path) -> None:
    """Every Python process of the run has the guard, those that it starts too."""
    recipe = write_world(tmp_path, rows=900, limit=0.2)
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(guard), os.environ.get("PYTHONPATH", "")]),
        "ATTEMPTS": str(tmp_path / "tried"),
    }
    environment |= {"TRUSTBASE_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    environment.pop("HF_HUB_OFFLINE", None)  # nobody told it to be quiet
    command = [sys.executable, "-m", "trustbase", "run", str(recipe), "--out", str(tmp_path / "run")]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert told.returncode == 0, told.stderr[-2000:]
    assert not (tmp_path / "tried").exists(), (tmp_path / "tried").read_text()
    probe = [sys.executable, "-c", "import socket; socket.create_connection(('example.org', 80))"]
    assert subprocess.run(probe, env=environment, capture_output=True, check=False).returncode != 0
    assert (tmp_path / "tried").read_text().startswith("name 'example.org'"), "the guard saw nothing, so this test could not fail"
