"""A model of entities goes the whole way, and beats a dictionary and a window of neighbours by far."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entity_world import AFTER, CUES, FILL, NAMES, SECOND, write_entity_world, write_names
from hurry import time_quickly
from tiny import tiny_bert
from trustbase import files, recheck
from trustbase.cli.main import app
from trustbase.flow import run

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = sorted({word.lower() for text in (*FILL, *AFTER, *NAMES, *SECOND, *sum(CUES.values(), ())) for word in text.split()})
MARGIN = 0.4  # of entity F1 over the best rival, at the lower bound


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


def test_the_model_beats_the_best_rival_by_forty_points(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "base", WORDS)
    recipe = write_entity_world(tmp_path, base="base", epochs=24, rate=4e-3, limit=0.9)
    result = run(recipe, out=tmp_path / "run")
    assert result.exit_code == 0 and not [finding for finding in result.audit.findings if finding.status == "failed"]
    gains = [finding for finding in result.audit.findings if finding.id.startswith("quality.gain_over_")]
    assert [finding.id for finding in gains] == ["quality.gain_over_dictionary", "quality.gain_over_window"]
    assert min(finding.low or 0.0 for finding in gains) > MARGIN
    assert "the quicker route agrees" in json.dumps(files.read_json(tmp_path / "run" / "checkpoints" / "facts.json"))

    bundle = tmp_path / "run" / "bundle"
    write_names(tmp_path / "new.jsonl", 40, seed=5)
    rows = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text(encoding="utf-8").splitlines()]
    told = CliRunner().invoke(
        app, ["predict", str(bundle), "--input", str(tmp_path / "new.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    )
    assert told.exit_code == 0, told.output
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == len(rows) and all(0 < entity["score"] <= 1 for answer in answers for entity in answer["entities"])
    found, truth = ([{(e["start"], e["end"], e["label"]) for e in item["entities"]} for item in items] for items in (answers, rows))
    hits = sum(len(one & other) for one, other in zip(found, truth, strict=True))
    wanted = 2 * hits / (sum(map(len, found)) + sum(map(len, truth)))

    asked = ["audit", str(bundle), "--data", str(tmp_path / "new.jsonl"), "--label", "entities", "--only", "quality"]
    own = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "own")])
    audited = {finding["id"]: finding for finding in files.read_json(tmp_path / "own" / "audit.json")["findings"]}
    assert audited["quality.entity_f1"]["value"] == pytest.approx(wanted) and audited["quality.entity_f1"]["low"] < 1.0, own.output
    assert not [row for row in recheck(tmp_path / "run").rows if row.outcome == "different"]
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "wrong boundary" in report.lower() and "Dictionary of training entities" in report


@pytest.mark.parametrize(("runtime", "adapt"), [("onnx", "lora"), ("torch", "frozen"), ("torch", "{method: frozen, layers: 1}")])
def test_every_way_to_adapt_and_run_gives_a_bundle_that_answers(tmp_path: Path, runtime: str, adapt: str) -> None:
    tiny_bert(tmp_path / "base", WORDS)
    recipe = write_entity_world(tmp_path, base="base", rows=300, epochs=1, runtime=runtime, limit=0.0)
    result = run(recipe, ["train.max_steps=3", f"adapt={adapt}"], out=tmp_path / "run")
    assert not [finding for finding in result.audit.findings if finding.status == "failed"]
    folder = tmp_path / "run" / ("bundle" if result.exit_code == 0 else "rejected")
    assert files.read_json(folder / "model" / "artifact.json")["runtime"] == runtime
    golden = files.read_json(folder / "golden.json")
    assert golden["answers"] == "tokens" and all(len(line) == 9 for item in golden["inputs"] for line in item["scores"])
