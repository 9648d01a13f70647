"""Certificates and sensitivity through `trustbase audit`: English and Chinese, torch, ONNX and a plain model, one process and two."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_task import WORLDS

import trustbase
from hurry import time_quickly
from tiny import tiny_bert
from trustbase import files
from trustbase.records import Finding

pytestmark = pytest.mark.usefixtures("one_thread")
OURS = ("robustness.certified_accuracy", "robustness.smoothed_accuracy", "robustness.sensitivity")
BUDGET = {"robustness": {"certify_texts": 40, "certify_samples": 60, "sensitivity_texts": 40, "texts": 5, "queries": 5, "shift_texts": 30}}
CHINESE = ("电影", "服务", "很", "好", "差", "不", "喜欢", "吃", "饭", "东西", "今天", "味道", "快", "慢", "好看", "难吃", "推荐", "价格")


def audited(model: Path, rows: Path, out: Path, **more: Any) -> dict[str, Finding]:
    asked = {"label": "label", "only": ["robustness"], "budget": BUDGET, "lang": "en", **more}
    found = trustbase.audit(model, data=rows, out=out, **asked).report.findings
    return {finding.id: finding for finding in found if finding.id.split("#")[0] in OURS}


def status(found: dict[str, Finding]) -> dict[str, str]:
    return {id.removeprefix("robustness."): finding.status for id, finding in found.items()}


@pytest.fixture(scope="module")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint that nobody trained, whose labels lean on what it reads, and Chinese texts."""
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("chinese")
    model = tiny_bert(folder / "model", sorted(set("".join(CHINESE))), seed=3, characters=False)
    made = AutoModelForSequenceClassification.from_pretrained(model, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    for parameter in made.classifier.parameters():
        parameter.data *= 40
    made.save_pretrained(model)
    rng = np.random.default_rng(0)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream)
        out.writerow(["text", "label"])
        out.writerows(["".join(rng.choice(CHINESE, rng.integers(6, 20))), rng.choice(["no", "yes"])] for _ in range(90))
    return model, folder / "rows.csv"


def test_chinese_texts_are_certified_by_words_in_one_process_and_in_two(chinese: tuple[Path, Path], tmp_path: Path) -> None:
    model, rows = chinese
    found = audited(model, rows, tmp_path / "one", text="text", train=rows, lang="zh")
    assert {finding.status for id, finding in found.items() if "training" not in id} == {"ok"}, status(found)
    evidence = files.read_json(tmp_path / "one" / "evidence" / "robustness.certified.json")
    assert evidence["units"] == "words" and evidence["hidden_as"] == "[MASK]" and evidence["median_units"] > 3
    layers = [one["layer"] for one in files.read_json(tmp_path / "one" / "evidence" / "robustness.sensitivity.json")["layers"]]
    assert layers == ["bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.1", "bert.pooler", "classifier"]
    page = (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    assert "替换任何词都不会改变的回答" in page and "权重上的噪声" in page and "平滑后可证明的准确率" in page
    assert "white-box" in found["robustness.sensitivity"].method and "白盒" in page
    two = audited(model, rows, tmp_path / "two", text="text", train=rows, workers=2)
    assert {id: finding.to_json() for id, finding in found.items()} == {id: finding.to_json() for id, finding in two.items()}


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_english_fields_on_what_is_shipped(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch, forked=False)
    world = WORLDS["text-classification"]
    recipe = world.write(tmp_path)
    trustbase.run(recipe, ["train.max_steps=6", "audit=[quality]", f"release.runtime={runtime}"], out=tmp_path / "run")
    found = audited(tmp_path / "run" / "artifact", tmp_path / world.rows, tmp_path / "out", label=world.label)
    told = status(found)
    assert told["sensitivity"] == told["sensitivity#parameters"] == told["sensitivity#precision"] == "ok", told
    assert told["sensitivity#training"] == "insufficient" and "--train" in found["robustness.sensitivity#training"].reason
    assert runtime in found["robustness.sensitivity"].method and f"'{runtime} " in found["robustness.sensitivity#precision"].method
    assert told["smoothed_accuracy"] == "ok" and told["certified_accuracy"] in ("ok", "insufficient")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Answers that no replaced word turns" in page and "What noise on the weights moves" in page
