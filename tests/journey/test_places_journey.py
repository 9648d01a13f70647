"""No command replaces what somebody else keeps under its names, nor writes into a signed bundle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from toy import write_world
from typer.testing import CliRunner

from hurry import time_quickly
from trustbase.bundle.verify import verify
from trustbase.cli.main import app
from trustbase.errors import UsageError
from trustbase.flow import run
from trustbase.places import RUN_PARTS


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


def kept(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("taken", ["data/rows.csv", "bundle/mine.txt", "evidence/mine.txt", "report.html", "checkpoints/x"])
def test_a_run_in_a_folder_of_other_things_is_refused_before_anything_is_written(tmp_path: Path, taken: str) -> None:
    recipe = write_world(tmp_path, rows=200)
    project = tmp_path / "project"
    (project / taken).parent.mkdir(parents=True)
    (project / taken).write_text("the only copy", encoding="utf-8")
    before = kept(project)
    with pytest.raises(UsageError, match=f"holds {taken.partition('/')[0]}, which would be replaced"):
        run(recipe, out=project)
    assert kept(project) == before


def test_what_runs_leave_is_theirs_and_nothing_is_written_into_bundles(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=400)
    result = run(recipe, ["audit=[quality]", "gates={quality.accuracy: '>= 0.2'}"], out=tmp_path / "run")
    assert result.exit_code == 0 and result.bundle is not None
    names = {entry for entry in os.listdir(tmp_path / "run") if not entry.startswith(".")}
    assert len(names) > 12 and names <= RUN_PARTS
    assert not run(recipe, ["audit=[quality]", "gates={quality.accuracy: '>= 0.2'}"], out=tmp_path / "run").computed

    bundle, rows = result.bundle.folder, str(tmp_path / "rows.csv")
    before = kept(bundle)
    columns = ["--text", "text", "--label", "label"]
    calls = [
        ["run", str(recipe), "--out", str(bundle)],
        ["run", str(recipe), "--out", str(bundle / "more")],
        ["audit", str(bundle), "--data", rows, "--label", "label", "--only", "quality", "--out", str(bundle / "evidence")],
        ["compare", str(bundle), str(bundle), "--data", rows, "--out", str(bundle / "evidence")],
        ["data", rows, *columns, "--out", str(bundle)],
        ["data", rows, *columns, "--out", str(bundle / "evidence")],
        ["init", str(bundle / "recipe.resolved"), "--force"],
        ["predict", str(bundle), "--input", rows, "--output", str(bundle / "answers.jsonl")],
    ]
    for call in calls:
        told = CliRunner().invoke(app, call)
        assert isinstance(told.exception, UsageError) and "bundle" in str(told.exception), call
        assert kept(bundle) == before, call
    verify(bundle)


def test_an_audit_replaces_an_earlier_one_and_nobody_elses_evidence(tmp_path: Path) -> None:
    answers = tmp_path / "answers.csv"
    answers.write_text("truth,said\n" + "".join(f"{'ab'[i % 2]},{'ab'[i % 3 == 0]}\n" for i in range(80)), encoding="utf-8")
    call = ["audit", "--predictions", str(answers), "--label", "truth", "--predicted", "said", "--only", "quality", "--out"]
    for _ in range(2):
        assert CliRunner().invoke(app, [*call, str(tmp_path / "audit")]).exit_code == 0
    (tmp_path / "mine" / "evidence").mkdir(parents=True)
    (tmp_path / "mine" / "evidence" / "mine.txt").write_text("the only copy", encoding="utf-8")
    told = CliRunner().invoke(app, [*call, str(tmp_path / "mine")])
    assert isinstance(told.exception, UsageError) and "holds evidence, which would be replaced" in str(told.exception)
    assert (tmp_path / "mine" / "evidence" / "mine.txt").read_text(encoding="utf-8") == "the only copy"
