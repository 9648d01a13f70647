"""Reports on models that give numbers or sets of labels: everything that their audits write is drawn, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from answers_kit import audited, labels, numbers, rivals_of_labels, rivals_of_numbers

from trustbase import files
from trustbase.report.datacard import data_section
from trustbase.report.facts import model_facts
from trustbase.report.html import _page
from trustbase.report.material import read_material
from trustbase.report.words import LANGUAGES, words


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for kind, make, rivals in (("number", numbers, rivals_of_numbers), ("labels", labels, rivals_of_labels)):
        folder = tmp_path_factory.mktemp(kind)
        context = make(folder)
        audited(make(folder, train=context.test, rivals=rivals(context)), kind, folder)
        made[kind] = folder
    return made


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL).split())


@pytest.mark.parametrize("lang", LANGUAGES)
def test_numbers_are_told_against_the_truth_in_the_unit_of_the_label(folders: dict[str, Path], lang: str) -> None:
    page, unshown = _page(folders["number"], lang)
    t, text = words(lang), text_of(page)
    assert unshown == []
    for key in ("told.title", "errors.title", "slices.about_mae", "rivals.score.mae", "rivals.second.rmse", "rivals.better"):
        assert t(key) in text, key
    found = {item["id"]: item for item in files.read_json(folders["number"] / "audit.json")["findings"]}
    mae = f"{found['quality.mae']['value']:.3f} price"
    assert text.count(mae) >= 2, "once among the findings, and once beside the rivals"
    assert f"+{found['quality.gain_over_mean']['value']:.3f} price" in text
    assert t.metric("fairness.mean_error") in text and f"{found['fairness.mean_error[g=S]']['value']:.3f} price" in text
    assert t("groups.title", column="g") in text
    assert page.count('class="bar ratebar"') >= 8 and 'class="diagonal"' in page


@pytest.mark.parametrize("lang", LANGUAGES)
def test_sets_of_labels_have_a_table_of_labels_and_rivals_by_exact_match(folders: dict[str, Path], lang: str) -> None:
    page, unshown = _page(folders["labels"], lang)
    t, text = words(lang), text_of(page)
    assert unshown == []
    for key in ("classes.title", "rivals.score.exact_match", "rivals.second.micro_f1", "groups.each_label"):
        assert t(key) in text, key
    found = {item["id"]: item for item in files.read_json(folders["labels"] / "audit.json")["findings"]}
    assert f"{100 * found['quality.exact_match']['value']:.1f} %" in text
    assert all(name in text for name in ("L1", "L2", "L3"))
    assert t.finding("fairness.demographic_parity_difference[g]#L1").partition("[")[0][:6] in text
    assert t("groups.favourable", label="L3", how=t("groups.assumed")) not in text, "no label of several is the favourable one"


def test_no_text_of_an_audit_stands_as_recorded(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        page = _page(folder, "zh")[0]
        assert words("zh")("page.recorded", reason="") not in page


TOLD = {"coverage": 0.9, "half_width": 12.5, "rows": 80.0}


@pytest.mark.parametrize(
    ("artifact", "said"),
    [
        (
            {"answer_kind": "number", "labels": {"names": ["price"]}, "decision": {"interval": TOLD}},
            "the number, plus and minus 12.500 price: an interval for 90.0 % of rows, from the errors on 80 validation rows",
        ),
        ({"answer_kind": "number", "labels": {"names": ["price"]}, "decision": {"threshold": None}}, "the number alone"),
        ({"answer_kind": "labels", "labels": {"names": ["a"]}, "decision": {"threshold": 0.4}}, "every label whose score is at least 0.4"),
    ],
)
def test_the_rule_of_decision_is_that_of_the_answer_kind(folders: dict[str, Path], tmp_path: Path, artifact: dict, said: str) -> None:
    (tmp_path / "audit.json").write_bytes((folders["number"] / "audit.json").read_bytes())
    files.write_json(tmp_path / "artifact" / "artifact.json", artifact)
    rows = dict(model_facts(read_material(tmp_path), words("en"))[0])
    assert rows["Decision rule"] == said
    assert ("Labels" in rows) == (artifact["answer_kind"] == "labels")


def test_the_data_section_speaks_of_numbers_and_of_rows_without_a_label() -> None:
    t = words("en")
    number = {
        "label": {"column": "price", "names": ["price"]},
        "splits": {"train": {"rows": 9, "labels": {}, "numbers": {"mean": 2.5, "median": 2.0}}},
    }
    tables = {table["title"]: table["rows"] for table in data_section(number, t)["tables"]}
    assert tables["Numbers (price)"] == [("Mean", ["2.500"]), ("Median", ["2.000"])] and "Labels" not in tables
    sets = {"label": {"column": "tags", "names": ["a"]}, "splits": {"train": {"rows": 8, "labels": {"a": 6}, "rows_without_label": 2}}}
    tables = {table["title"]: table["rows"] for table in data_section(sets, t)["tables"]}
    assert tables["Labels"] == [("a", ["6 (75.0 %)"]), ("(no label at all)", ["2 (25.0 %)"])]
