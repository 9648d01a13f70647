"""A model of entities goes the whole way, and beats a dictionary and a window of neighbours by far."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entity_world import AFTER, CUES, FILL, NAMES, SECOND, write_entity_world, write_long_names, write_names
from hurry import time_quickly
from tiny import tiny_bert
from trustbase import files, recheck
from trustbase.cli.main import app
from trustbase.flow import RunResult, run
from trustbase.model.artifact import read_artifact
from trustbase.model.predict import Predictor

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = sorted({word.lower() for text in (*FILL, *AFTER, *NAMES, *SECOND, *sum(CUES.values(), ())) for word in text.split()})
MARGIN = 0.4  # of entity F1 over the best rival, at the lower bound
READ_MARGIN = 0.3  # of entity F1 over that of the same recipe without windows, from bound to bound


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


def long_run(folder: Path, *settings: str, epochs: int = 30) -> RunResult:
    folder.mkdir()
    tiny_bert(folder / "base", WORDS)
    recipe = write_entity_world(folder, base="base", epochs=epochs, rate=4e-3, limit=0.0)
    write_long_names(folder / "names.jsonl", 200)
    return run(recipe, ["audit=[quality]", *settings], out=folder / "run")


def test_windows_find_entities_all_over_long_texts(tmp_path: Path) -> None:
    read, cut = long_run(tmp_path / "read", "data.stride=14"), long_run(tmp_path / "cut")
    (whole, lost), (part, missed) = (
        (found.audit.find("quality.entity_f1"), found.audit.find("quality.unread_units")) for found in (read, cut)
    )
    assert whole and lost and part and missed and lost.value == 0.0 and (missed.value or 0) > 0.4
    assert (whole.low or 0.0) - (part.high or 1.0) > READ_MARGIN, (whole, part)
    facts = [files.read_json(tmp_path / name / "run" / "checkpoints" / "facts.json") for name in ("read", "cut")]
    assert [each["truncated_rows"] == each["unread_units"] == 0 for each in facts] == [True, False]
    log = (tmp_path / "cut" / "run" / "log.jsonl").read_text(encoding="utf-8")
    assert "data.stride reads longer texts in windows" in log

    bundle = tmp_path / "read" / "run" / "bundle"
    for told in (bundle / "README.md", tmp_path / "read" / "run" / "report.html"):
        assert "windows that overlap by 14" in (text := told.read_text(encoding="utf-8")) and "each word answered by one of them" in text
    new = write_long_names(tmp_path / "new.jsonl", 40, seed=7)
    told = CliRunner().invoke(app, ["predict", str(bundle), "--input", str(new), "--output", str(tmp_path / "out.jsonl")])
    answers, rows = ([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in (tmp_path / "out.jsonl", new))
    assert told.exit_code == 0 and not any("unread_tokens" in answer for answer in answers), told.output
    found, truth = (
        {(row, e["start"], e["end"], e["label"]) for row, item in enumerate(items) for e in item["entities"]} for items in (answers, rows)
    )
    asked = ["audit", str(bundle), "--data", str(new), "--label", "entities", "--only", "quality", "--out", str(tmp_path / "own")]
    own = CliRunner().invoke(app, asked)
    audited = {finding["id"]: finding["value"] for finding in files.read_json(tmp_path / "own" / "audit.json")["findings"]}
    assert audited["quality.entity_f1"] == pytest.approx(2 * len(found & truth) / (len(found) + len(truth))), own.output
    assert audited["quality.entity_f1"] > 0.8 and audited["quality.unread_units"] == 0.0
    assert not [row for row in recheck(tmp_path / "read" / "run").rows if row.outcome == "different"]


@pytest.mark.parametrize(("runtime", "adapt"), [("onnx", "full"), ("torch", "frozen")])
def test_bundles_that_read_windows_answer_alike_and_short_texts_as_without_them(tmp_path: Path, runtime: str, adapt: str) -> None:
    result = long_run(tmp_path / "world", "data.stride=14", "train.max_steps=3", f"adapt={adapt}", f"release.runtime={runtime}", epochs=1)
    assert not [finding for finding in result.audit.findings if finding.status == "failed"]
    made = read_artifact(tmp_path / "world" / "run" / "artifact")
    assert (made.runtime, made.stride) == (runtime, 14)
    texts = [json.loads(line)["text"] for line in (tmp_path / "world" / "names.jsonl").read_text(encoding="utf-8").splitlines()[:6]]
    short = " ".join(texts[0].split()[:20])
    with Predictor.open(made) as windows, Predictor.open(replace(made, stride=None)) as cut:
        long, without = windows.scores([*texts, short]), cut.scores([*texts, short])
        assert (long[-1] == without[-1]).all() and windows.unread(texts).sum() == 0 < cut.unread(texts).min()
        assert all(
            (one[:10] == other[:10]).all() and (one[40:] != other[40:]).any() for one, other in zip(long[:-1], without, strict=False)
        )
    if runtime == "onnx":
        with Predictor.open(replace(made, runtime="torch")) as other:
            assert max(abs(one - two).max() for one, two in zip(long[:-1], other.scores(texts), strict=True)) < 1e-4
