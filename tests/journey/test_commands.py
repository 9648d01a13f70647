"""The command line itself: exit codes, plain output, no traceback, quick help."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


def trustbase(*arguments: str, cwd: Path, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRUSTBASE_HOME": str(home or cwd / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "trustbase.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_help_lists_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    answer = trustbase("--help", cwd=tmp_path)
    assert answer.returncode == 0
    for command in ("init", "run", "audit", "verify", "predict", "report", "doctor"):
        assert command in answer.stdout


def test_init_writes_a_recipe_that_reads_back(tmp_path: Path) -> None:
    from trustbase.recipe.read import read_recipe

    assert trustbase("init", "mine", cwd=tmp_path).returncode == 0
    plan = read_recipe(tmp_path / "mine.yaml")
    assert plan.recipe.data.groups == ["sex", "race"] or list(plan.recipe.data.groups) == ["sex", "race"]
    again = trustbase("init", "mine", cwd=tmp_path)
    assert again.returncode == 2 and "already exists" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "nothing.yaml"), 2, "is not a file"),
        (("verify", "nothing"), 4, "nothing"),
        (("report", "nothing"), 2, "nothing"),
        (("audit", "--out", "x"), 2, ""),
        (("nonsense",), 2, "nonsense"),
        (("run",), 2, ""),
    ],
)
def test_wrong_use_has_an_exit_code_and_no_traceback(tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    answer = trustbase(*arguments, cwd=tmp_path)
    assert answer.returncode == code, answer.stderr
    assert words in answer.stderr and "Traceback" not in answer.stderr
    assert "verified" not in answer.stdout + answer.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    answer = trustbase("run", "nothing.yaml", "--debug", cwd=tmp_path)
    assert answer.returncode == 2 and "Traceback" in answer.stderr


def test_doctor_says_what_this_machine_can_do(tmp_path: Path) -> None:
    answer = trustbase("doctor", cwd=tmp_path)
    assert answer.returncode == 0
    for name in ("python", "memory", "torch", "training precision", "model hub"):
        assert name in answer.stdout


def test_somebody_elses_answers_are_audited_without_torch(tmp_path: Path) -> None:
    rows = ["truth,probability,sex"]
    rows += [f"{'yes' if i % 3 else 'no'},{0.8 if i % 3 else 0.3},{'f' if i % 2 else 'm'}" for i in range(400)]
    (tmp_path / "answers.csv").write_text("\n".join(rows) + "\n")
    started = time.perf_counter()
    arguments = ["audit", "--predictions", "answers.csv", "--label", "truth", "--score", "probability", "--groups", "sex", "--out", "out"]
    answer = trustbase(*arguments, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert time.perf_counter() - started < 60  # generous: the figure is in benchmarks/
    for name in ("audit.json", "report.html", "evidence"):
        assert (tmp_path / "out" / name).exists()
    call = "trustbase.audit(predictions='answers.csv', label='truth', score='probability', out='again')"
    code = f"import sys, trustbase; {call}; print('torch' in sys.modules)"
    environment = {**os.environ, "TRUSTBASE_HOME": str(tmp_path)}
    check = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert check.stdout.strip().endswith("False"), check.stderr
