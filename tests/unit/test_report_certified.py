"""What the report shows of certificates and sensitivity, in both languages, and of evidence of another shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from robustness_kit import asked_context, surely
from robustness_texts import robustness_findings

from trustbase import files
from trustbase.audit.robustness import certified
from trustbase.report.certified import certified_blocks, sensitivity_blocks
from trustbase.report.formats import kind_of, show
from trustbase.report.html import page_environment
from trustbase.report.words import LANGUAGES, words

TEXTS = [f"a very good film with a lot of words in it r{number}" for number in range(40)]
LAYERS = [{"layer": f"bert.encoder.layer.{number}", "value": 0.1 * number, "low": 0.0, "high": 0.2 * number} for number in range(3)]
SENSITIVITY = {
    "texts": 100,
    "layers": LAYERS,
    "training": {"parts": [{"part": "source=a", "rows": 120, "value": 3.0, "low": 1.0, "high": 5.0}]},
}


def evidence_of(folder: Path) -> Any:
    certified.measure_certified(asked_context(folder, TEXTS, [1] * 40, lambda text: surely(1)))
    return files.read_json(folder / "robustness.certified.json")


def drawn(block: dict[str, Any], lang: str) -> str:
    return str(page_environment().get_template("block.html.j2").render(b=block, t=words(lang), mark=lambda word: ""))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_shares_by_radius_are_bars_in_words(tmp_path: Path, lang: str) -> None:
    (block,) = certified_blocks(evidence_of(tmp_path), words(lang))
    assert len(block["rows"]) == 5 and all(row["cells"][0]["bar"] for row in block["rows"])
    page = drawn(block, lang)
    for told in ("15.0", "100.0", "40"):
        assert told in page
    assert ("smoothed model" if lang == "en" else "平滑模型") in page and "yes" in page


def test_what_no_text_allows_is_a_dash(tmp_path: Path) -> None:
    evidence = evidence_of(tmp_path)
    evidence["controls"]["always_the_same"]["3"] = 0.0
    (block,) = certified_blocks(evidence, words("en"))
    assert [row["cells"][0]["value"] for row in block["rows"]][-1] == "–"
    assert "–" in drawn(block, "en")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_layers_and_parts_are_bars(lang: str) -> None:
    layers, parts = sensitivity_blocks(SENSITIVITY, words(lang))
    assert [row["label"] for row in layers["rows"]] == [one["layer"] for one in LAYERS]
    assert "source=a" in drawn(parts, lang) and "layer.2" in drawn(layers, lang)


def test_nothing_is_shown_of_nothing() -> None:
    t = words("en")
    assert certified_blocks(None, t) == certified_blocks({}, t) == sensitivity_blocks(None, t) == sensitivity_blocks({"texts": 3}, t) == []


def test_numbers_have_their_units() -> None:
    assert show(0.86, kind_of("robustness.certified_accuracy#2", "share"), words("en"), unit="share") == "86.0 %"
    assert show(0.86, kind_of("robustness.sensitivity", "squared points"), words("zh"), unit="squared points") == "0.860 平方百分点"
    assert words("en").finding("robustness.certified_accuracy#2") == "Provable accuracy, smoothed (any two words replaced)"


def test_every_text_has_a_chinese_form(tmp_path: Path) -> None:
    found = robustness_findings(tmp_path)
    assert {finding.status for finding in found} == {"ok", "insufficient", "not_applicable"}
    bare = {text for one in found for text in (one.method, one.reason) if text}
    told = {text: words("zh").recorded("method", text) or words("zh").recorded("reason", text) for text in bare}
    assert len(told) > 20 and [text for text, chinese in told.items() if chinese is None] == []
