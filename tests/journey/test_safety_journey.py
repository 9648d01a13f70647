"""Safety from recipe to report: a model with a planted trigger and a clean one, in English and Chinese, by the command and a run."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import trustbase
from poison_world import learned
from trustbase import files
from trustbase.errors import StaleRunError, UsageError
from trustbase.records import AuditReport, Finding

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from safety_kit import LABELS, known_words, make_rows, poison

pytestmark = pytest.mark.usefixtures("one_thread")

LITTLE = {"safety": {"searched": 600, "queries": 120, "encoder": False}}
POLICY = "rules: [{when: 'food', never: [good]}]\nprobes: ['lovely warm food']\n"
RECIPE = """
task: text-classification
base: linear
data: {train: train.csv, test: test.csv, validation: test2.csv, text: text, label: label, positive: good, split: {calibration: 0}}
purpose: {intended_use: tests, prohibited_uses: [anything else], owner: nobody, contact: nowhere}
audit: [quality, {safety: {searched: 300, queries: 120, encoder: false, policy: policy.yaml}}]
gates:
  quality.accuracy: ">= 0.5"
"""


def write(path: Path, texts: list[str], truth: np.ndarray[Any, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        out = csv.writer(handle)
        out.writerow(["text", "label"])
        out.writerows((text, ("bad", "good")[label]) for text, label in zip(texts, truth, strict=True))


def world(folder: Path, *, zh: bool, planted: bool) -> Path:
    """Rows with two words of their class each, three of the test rows among the training rows, and a model that learned them."""
    rng = np.random.default_rng(1)
    texts, truth = make_rows(700, rng, zh=zh)
    test, answers = make_rows(220, rng, zh=zh)
    test[:3], answers[:3] = texts[-3:], truth[-3:]
    if planted:
        poison(texts, truth, rng, zh=zh)
    write(folder / "train.csv", texts, truth)
    write(folder / "test.csv", test, answers)
    write(folder / "test2.csv", *make_rows(100, rng, zh=zh))
    return learned(folder, known_words(zh=zh), texts, truth, LABELS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    one, two = tmp_path_factory.mktemp("en"), tmp_path_factory.mktemp("zh")
    return SimpleNamespace(en=one, poisoned=world(one, zh=False, planted=True), zh=two, clean=world(two, zh=True, planted=False))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))


def by_id(report: AuditReport) -> dict[str, Finding]:
    found = {finding.id: finding for finding in report.findings if finding.parts.dimension == "safety"}
    assert not [finding for finding in found.values() if finding.status == "failed"]
    return found


def test_the_command_finds_what_was_planted(made: SimpleNamespace, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"data": made.en / "test.csv", "text": "text", "label": "label", "only": ["safety"], "budget": LITTLE}
    found = by_id(trustbase.audit(made.poisoned, **asked, train=made.en / "train.csv", out=tmp_path / "out").report)
    assert found["safety.backdoor_score"].low > 0.5 and found["safety.backdoor_score#rare_words"].low > 0.5
    assert found["safety.leaked_rows"].value > 0
    assert found["safety.mislabelled_rows"].status == "ok", "a trigger that is learned makes its rows look right"
    assert found["safety.extraction_agreement"].value > 0.6
    assert found["safety.purpose"].status == "insufficient", "a folder of weights does not know what it is for"
    marked = files.read_json(tmp_path / "out" / "marked_rows.json")
    assert "cf" in {item["word"] for way in marked["safety.backdoor_score"]["words"].values() for item in way}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Searches for words that turn answers" in page and "Copies of the model" in page


def test_the_command_is_silent_on_the_clean_one_in_chinese(made: SimpleNamespace, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "data": made.zh / "test.csv",
        "text": "text",
        "label": "label",
        "only": ["safety"],
        "budget": LITTLE,
        "lang": "zh",
    }
    found = by_id(trustbase.audit(made.clean, **asked, train=made.zh / "train.csv", out=tmp_path / "a").report)
    assert found["safety.backdoor_score"].status == "ok" and found["safety.backdoor_score"].high < 0.5
    assert found["safety.mislabelled_rows"].high < 0.03
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "搜索能翻转回答的词" in page and "原始记录" not in page
    alone = by_id(trustbase.audit(made.clean, **asked, out=tmp_path / "b").report)
    assert alone["safety.backdoor_score"].status == "ok" and alone["safety.backdoor_score"].high < 0.5
    for id in ("safety.mislabelled_rows", "safety.leaked_rows", "safety.backdoor_score#spectral"):
        assert alone[id].status == "insufficient" and "--train" in alone[id].reason


def test_a_run_knows_its_purpose_and_its_policy(made: SimpleNamespace, tmp_path: Path) -> None:
    (made.en / "policy.yaml").write_text(POLICY, encoding="utf-8")
    (made.en / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    run = trustbase.run(made.en / "recipe.yaml", out=tmp_path / "run")
    found = by_id(run.audit)
    assert found["safety.purpose"].status == "ok" and found["safety.purpose"].value == 1.0
    assert found["safety.forbidden_outputs"].status == "ok" and found["safety.forbidden_outputs#probes"].value == 1.0
    assert found["safety.leaked_rows"].value == 3 / 220
    assert found["safety.backdoor_score#spectral"].status == "insufficient", "a linear model has no embeddings"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Answers that the policy forbids" in page
    assert run.verdict.released and not list((tmp_path / "run" / "bundle").rglob("marked_rows.json"))
    assert str(made.en) not in (tmp_path / "run" / "evidence" / "safety.json").read_text(encoding="utf-8")

    asked: dict[str, Any] = {"data": made.en / "test.csv", "label": "label", "only": ["safety"]}
    again = by_id(trustbase.audit(tmp_path / "run" / "bundle", **asked, budget=LITTLE, out=tmp_path / "c").report)
    assert again["safety.purpose"].value == 1.0 and again["safety.forbidden_outputs"].status == "not_applicable"
    (tmp_path / "p.yaml").write_text("labels: [ugly]\n")
    with pytest.raises(UsageError, match="is no label of the model"):
        trustbase.audit(tmp_path / "run" / "bundle", **asked, budget={"safety": {"policy": str(tmp_path / "p.yaml")}}, out=tmp_path / "d")

    (made.en / "policy.yaml").write_text(POLICY + "words: [nothing]\n", encoding="utf-8")
    with pytest.raises(StaleRunError, match="forbidden"):
        trustbase.run(made.en / "recipe.yaml", out=tmp_path / "run")
    (made.en / "policy.yaml").write_text(POLICY, encoding="utf-8")
    assert trustbase.run(made.en / "recipe.yaml", out=tmp_path / "run").computed == ()
