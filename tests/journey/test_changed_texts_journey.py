"""Changed texts from end to end: a model that learned a shortcut, audited by the command, and the pages that tell it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trustbase
from trustbase import files
from trustbase.errors import RecipeError, StaleRunError, UsageError
from trustbase.report.html import render

NAMES = ("Emily", "Sarah", "James", "John", "David", "Laura")
EXPECTED = """
- {name: thanks, expect: same, pairs: [[the food was good, "the food was good, thank you"]]}
- {name: praise, expect: good, texts: [the food was good, the room was clean]}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a linear model, which learned from rows where who says something tells the label, and not what is said."""
    folder = tmp_path_factory.mktemp("shortcut")
    rng = np.random.default_rng(0)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(900):
            place = int(rng.integers(6))
            word = ("good", "clean", "fresh", "terrible", "dirty", "rude")[int(rng.integers(6))]
            label = "good" if place < 3 else "bad"
            writer.writerow([f"the {('food', 'room', 'staff')[row % 3]} was {word}, says {NAMES[place]} of table {row}", label])
    (folder / "mine.yaml").write_text(EXPECTED, encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        "task: text-classification\nbase: linear\n"
        "data: {train: rows.csv, text: text, label: label, split: {test: 0.3, validation: 0.1, by: content-hash}}\n"
        "audit: [quality, {robustness: {texts: 80, expectations: mine.yaml, queries: 10, shift_texts: 30, certify_texts: 5, "
        "certify_samples: 50, sensitivity_texts: 5}}]\n",
        encoding="utf-8",
    )
    trustbase.run(folder / "recipe.yaml", out=folder / "run")
    return folder


def found_in(folder: Path) -> dict[str, Any]:
    return {item["id"]: item for item in files.read_json(folder / "audit.json")["findings"]}


def audit_of(folder: Path) -> Path:
    return next(place for place in (folder, folder / "rejected", folder / "bundle") if (place / "audit.json").is_file())


def test_a_shortcut_on_names_is_found(root: Path) -> None:
    """Its twin without the shortcut is silent in tests/unit/test_invariance.py."""
    found = found_in(audit_of(root / "run"))
    flips = {kind: found[f"robustness.prediction_flips#{kind}"] for kind in ("names", "blank", "numbers", "filler", "spaces")}
    assert flips["names"]["low"] > 0.2 and flips["names"]["n"] == 80
    assert flips["blank"]["value"] == 0 and flips["numbers"]["high"] < 0.1 and flips["filler"]["high"] < 0.1
    assert flips["spaces"]["status"] == "not_applicable" and found["robustness.accuracy_under_typos"]["status"] == "ok"
    denial = found["robustness.expectation_failures#negation"]
    assert denial["status"] in ("ok", "insufficient") and "must fall" not in denial["method"]  # labels do not follow praise here
    assert found["robustness.expectation_failures#praise"]["n"] == 2 and found["robustness.expectation_failures#thanks"]["n"] == 1
    assert found["quality.weak_slices"]["value"] == 0


def test_another_file_of_expectations_is_another_audit(root: Path) -> None:
    before = found_in(audit_of(root / "run"))
    assert trustbase.run(root / "recipe.yaml", out=root / "run") is not None  # nothing is computed
    assert found_in(audit_of(root / "run")) == before
    (root / "mine.yaml").write_text(EXPECTED.replace("praise", "renamed"), encoding="utf-8")
    with pytest.raises(StaleRunError, match="'audit' of other inputs: expectations changed"):
        trustbase.run(root / "recipe.yaml", out=root / "run")


def test_a_file_that_cannot_be_used_is_refused_before_anything_is_read(root: Path, tmp_path: Path) -> None:
    (root / "bad.yaml").write_text("- {name: a b, expect: same}\n- {name: c, expect: same, texts: [x]}\n", encoding="utf-8")
    with pytest.raises(RecipeError) as told:
        trustbase.run(root / "recipe.yaml", ["audit.robustness.expectations=bad.yaml"], out=tmp_path / "run")
    said = str(told.value)
    assert "0.name" in said and "give pairs" in said
    (root / "other.yaml").write_text("- {name: a, expect: maybe, texts: [x]}\n", encoding="utf-8")
    asked: dict[str, Any] = {"data": root / "rows.csv", "label": "label", "only": ["robustness"], "out": tmp_path / "out"}
    with pytest.raises(UsageError, match="do not fit"):
        trustbase.audit(root / "run", **asked, budget={"robustness": {"expectations": str(root / "other.yaml")}})


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_pages_tell_what_was_found(root: Path, lang: str) -> None:
    page = render(audit_of(root / "run"), lang=lang)
    told = {
        "en": ("Answers that a small change turns", "other names (says something else)", "How answers should move", "weaker than the rest")
    }
    told["zh"] = ("小改动使哪些回答改变", "换人名（内容已不同）", "回答应如何变化", "弱于其余数据的部分")
    assert [part for part in told[lang] if part not in page] == []
