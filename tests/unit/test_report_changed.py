"""The blocks of changed texts and of weak slices, drawn as a page draws them."""

from __future__ import annotations

from typing import Any

import pytest

from trustbase.report.html import page_environment
from trustbase.report.perturbed import expectation_blocks, flip_blocks, weak_blocks
from trustbase.report.words import LANGUAGES, words

ROW = {"n": 120, "value": 0.25, "low": 0.18, "high": 0.34, "status": "ok"}
GONE = {"n": None, "value": None, "low": None, "high": None, "status": "not_applicable"}
FLIPS = {
    "rows": 200,
    "control": "found",
    "kinds": [
        {"kind": "blank", "keeps": True, **ROW},
        {"kind": "names", "keeps": False, **ROW},
        {"kind": "spaces", "keeps": True, **GONE},
    ],
}
EXPECTED = {
    "margin": 0.1,
    "file": "mine.yaml",
    "expectations": [{"name": "negation", **ROW}, {"name": "polite", **ROW}, {"name": "x", **GONE}],
}
WEAK = [
    {"slice": "word=refund", "p_adjusted": 1e-9, **ROW},
    {"slice": "a\\,b=x\\=y,sex=f", "p_adjusted": 0.01, **ROW},
    {"slice": "sex=m", "p_adjusted": 0.4, **ROW},
]


def drawn(blocks: list[dict[str, Any]], lang: str) -> str:
    template = page_environment().get_template("block.html.j2")
    return "".join(template.render(b=block, t=words(lang), mark=None) for block in blocks)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_all_blocks_are_drawn(lang: str) -> None:
    page = drawn(flip_blocks(FLIPS, words(lang)), lang)
    told = {
        "en": ("a blank at the end", "other names (says something else)", "Not made", "25.0 %"),
        "zh": ("末尾加一个空格", "换人名（内容已不同）", "未作", "25.0 %"),
    }
    assert [part for part in told[lang] if part not in page] == []
    page = drawn(expectation_blocks(EXPECTED, words(lang)), lang)
    assert "polite" in page and "mine.yaml" in page and {"en": "denial", "zh": "否定"}[lang] in page and page.count("<svg") == 3
    page = drawn(weak_blocks(WEAK, words(lang)), lang)
    assert "refund" in page and "a,b = x=y" in page and "&lt; 0.0001" in page and "sex = m" not in page


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_was_not_measured_is_said_and_not_drawn(lang: str) -> None:
    t = words(lang)
    blind = {**FLIPS, "control": "the model answers all 9 rows alike", "kinds": [{"kind": "blank", "keeps": True, **GONE}]}
    assert "all 9 rows alike" in drawn(flip_blocks(blind, t), lang)
    assert flip_blocks(None, t) == expectation_blocks({}, t) == weak_blocks({}, t) == weak_blocks([], t) == []
    page = drawn(weak_blocks(WEAK[2:], t), lang)
    assert {"en": "no part is named as weaker", "zh": "没有一处被点名为弱于其余"}[lang] in page
