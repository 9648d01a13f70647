"""A few explained rows in the report of a run or audit, their words marked; the report of a bundle has none, and says nothing of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_folders import finding

from explain_world import audited, cell_rows, review_rows
from trustbase import files
from trustbase.audit.context import EvidenceBeside
from trustbase.audit.explain.kept_rows import KEPT
from trustbase.audit.explain.rows import row_findings
from trustbase.report.html import render
from trustbase.report.words import words

BUDGET = {"texts": 12, "samples": 30, "evaluations": 30, "queries": 10, "stability": 1}
AUDIT = {"model": {}, "data": {}, "machine": {}, "findings": [finding("explanation.comprehensiveness", 0.2, 0.1, 12)]}


@pytest.fixture(params=["texts", "columns"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What an audit leaves of explanations; texts with what a page must escape."""
    made = review_rows(20) if request.param == "texts" else cell_rows(20)
    place = tmp_path / "audit"
    (place / "evidence").mkdir(parents=True)
    with audited(place / "evidence", made, budget=BUDGET) as context:
        row_findings(context)
        assert len(context.shown.rows) == KEPT
        context.shown.rows[0]["text"] = context.shown.rows[0]["text"][:-1] + "<"
        context.shown.write(place)
    files.write_json(place / "audit.json", AUDIT)
    return place


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_rows_are_drawn_with_their_words_marked(folder: Path, lang: str) -> None:
    page, t = render(folder, lang=lang), words(lang)
    assert t("explanation.rows") in page and page.count('<p class="said">') == KEPT
    assert '<mark class="for' in page or '<mark class="against' in page
    assert "&lt;</" in page and "<</" not in page


def test_the_report_of_a_bundle_has_no_rows(folder: Path) -> None:
    files.write_json(folder / "manifest.json", {"files": {}})
    page = render(folder)
    assert '<p class="said">' not in page and words("en")("explanation.rows") not in page and "explained_rows" not in page


def test_rows_of_another_set_than_the_test_rows_are_not_kept(tmp_path: Path) -> None:
    with audited(tmp_path, review_rows(20), budget=BUDGET) as context:
        row_findings(replace(context, evidence=EvidenceBeside(tmp_path, "later")))
        assert context.shown.rows == []
        row_findings(context)
        assert len(context.shown.rows) == KEPT
    assert not any(row["text"] in path.read_text(encoding="utf-8") for row in context.shown.rows for path in tmp_path.glob("*.json"))
