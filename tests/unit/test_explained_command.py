"""`trustbase audit FOLDER --only explanation` on a checkpoint folder of others, in English and in Chinese, by one process and by two."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import trustbase
from explain_world import CHINESE, WORDS, review_rows
from tiny import tiny_bert
from trustbase import files
from trustbase.model.load import resolve_base
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import Finding, LabelSchema
from trustbase.report.html import render

BUDGET = {"explanation": {"texts": 12, "samples": 40, "evaluations": 40, "queries": 20, "stability": 10}}
SIGNS = sorted({sign for word in CHINESE.values() for sign in word})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as transformers leaves it, and rows in both languages."""
    root = tmp_path_factory.mktemp("explained")
    base = resolve_base(str(tiny_bert(root / "base", [*WORDS, *SIGNS])))
    TEXT_CLASSIFICATION.build(base, LabelSchema(("no", "yes"), "yes", "yes"), seed=0).save_pretrained(root / "model")  # type: ignore[operator]
    load_tokenizer(base.folder).save_pretrained(root / "model")
    for name, chinese in (("en", False), ("zh", True)):
        with (root / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            out = csv.writer(stream)
            out.writerow(["text", "label"])
            out.writerows((text, ["no", "yes"][row % 2]) for row, text in enumerate(review_rows(90, chinese=chinese)["text"].to_pylist()))
    return root


def audited(folder: Path, lang: str, out: Path, **more: Any) -> dict[str, Finding]:
    rows: dict[str, Any] = {"data": folder / f"{lang}.csv", "text": "text", "label": "label", "lang": lang}
    result = trustbase.audit(folder / "model", **rows, only=["explanation"], out=out, budget=BUDGET, **more)
    return {finding.id: finding for finding in result.report.findings}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_checkpoint_of_others_is_explained_in_both_languages(
    lang: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    found = audited(folder, lang, tmp_path / "out")
    assert not [(finding.id, finding.reason) for finding in found.values() if finding.status == "failed"]
    for name in ("comprehensiveness", "sufficiency", "stability", "method_agreement", "sanity_check", "principal_reasons", "global_units"):
        assert found[f"explanation.{name}"].status == "ok", name
    told = files.read_json(tmp_path / "out" / "evidence" / "explanation.global.json")
    units = {row["unit"] for row in told}
    assert units and units <= ({word.lower() for word in WORDS} if lang == "en" else set(CHINESE.values()) | units)
    assert lang == "en" or units & set(CHINESE.values())
    for page in ("en", "zh"):
        shown = render(tmp_path / "out", lang=page)
        assert all(row["unit"] in shown for row in told[:5])
        assert ("What speaks for" if page == "en" else "的因素") in shown


def test_two_processes_find_what_one_finds(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    one, two = audited(folder, "en", tmp_path / "one"), audited(folder, "en", tmp_path / "two", workers=2)
    assert {id: finding.status for id, finding in one.items()} == {id: finding.status for id, finding in two.items()}
    measured = {id: finding.value for id, finding in one.items() if finding.value is not None}
    assert measured == pytest.approx({id: two[id].value for id in measured}, abs=1e-4)
