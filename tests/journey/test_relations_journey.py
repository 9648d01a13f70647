"""Relations go the whole way: the model sees which entity is the head, beats the best rival by twenty points, and bundles answer rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from relation_world import write_relation_world, write_relations
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from hurry import time_quickly
from trustbase import compare, files, recheck
from trustbase.cli.main import app
from trustbase.errors import UsageError
from trustbase.flow import run

MARKS = "\x02\x0e\x0f"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


def test_the_model_knows_who_taught_whom_and_its_bundle_answers(tmp_path: Path) -> None:
    result = run(write_relation_world(tmp_path, epochs=10, limit=0.8), out=tmp_path / "run")
    assert result.exit_code == 0 and not [finding for finding in result.audit.findings if finding.status == "failed"]
    gains = [finding for finding in result.audit.findings if finding.id.startswith("quality.gain_over_") and finding.status == "ok"]
    assert {finding.id for finding in gains} == {"quality.gain_over_majority", "quality.gain_over_bag_of_words"}
    assert min(finding.low for finding in gains if finding.low is not None) > 0.2

    bundle = tmp_path / "run" / "bundle"
    assert files.read_json(bundle / "model" / "artifact.json")["labels"]["neutral"] == "none"
    for page in (bundle / "README.md", tmp_path / "run" / "report.html", tmp_path / "run" / "data_card.md"):
        assert not set(MARKS) & set(page.read_text(encoding="utf-8"))
    assert "text (head: head, tail: tail)" in (bundle / "README.md").read_text(encoding="utf-8")

    new = write_relations(tmp_path / "new.jsonl", 60, seed=9)
    rows = [json.loads(line) for line in new.read_text(encoding="utf-8").splitlines()]
    asked = tmp_path / "asked.csv"
    with asked.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "head", "tail"])
        writer.writerows([row["text"], json.dumps(row["head"]), row["tail"]] for row in rows)
        writer.writerow(["anna met", "0:4", "5:99"])
    told = CliRunner().invoke(app, ["predict", str(bundle), "--input", str(asked), "--output", str(tmp_path / "out.jsonl")])
    assert told.exit_code == 0, told.output
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "lies outside the text" in answers.pop()["error"]["message"]
    named = [answer["label"] for answer in answers]
    f1 = f1_score([row["relation"] for row in rows], named, labels=["pupil", "teacher"], average="micro")
    assert f1 > 0.9

    audit = ["audit", str(bundle), "--data", str(new), "--label", "relation", "--only", "quality"]
    refused = CliRunner().invoke(app, [*audit, "--text", "text", "--out", str(tmp_path / "other")])
    assert isinstance(refused.exception, UsageError) and "two entities" in str(refused.exception)
    own = CliRunner().invoke(app, [*audit, "--out", str(tmp_path / "own")])
    findings = files.read_json(tmp_path / "own" / "audit.json")["findings"]
    assert next(item["value"] for item in findings if item["id"] == "quality.relation_f1") == pytest.approx(f1), own.output

    found = compare(tmp_path / "run", bundle, data=new, label="relation", calls=0, out=tmp_path / "compared").contrast("accuracy")
    assert found is not None and found["difference"] == 0.0
    again = {row.id: row.outcome for row in recheck(bundle, data=tmp_path / "rows.jsonl").rows}
    assert again["quality.relation_f1"] == again["quality.relation_recall"] == "same" and "different" not in again.values()


@pytest.mark.parametrize(("runtime", "adapt"), [("onnx", "frozen")])
def test_other_ways_to_train_and_ship_ask_the_same(tmp_path: Path, runtime: str, adapt: str) -> None:
    """Long texts too: nearly every row is cut, and no entity is."""
    recipe = write_relation_world(tmp_path, rows=300, epochs=1, runtime=runtime, limit=0.0, max_length=15)
    result = run(recipe, ["train.max_steps=4", f"adapt={adapt}", "audit=[quality, efficiency]"], out=tmp_path / "run")
    assert result.exit_code == 0 and not [finding for finding in result.audit.findings if finding.status == "failed"]
    card = files.read_json(tmp_path / "run" / "data_card.json")["splits"]["train"]["tokens"]
    assert card["truncated_share"] > 0.1 and "entities_parted" not in card
