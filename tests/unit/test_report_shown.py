"""What a reader of a report is shown: words for all that an audit measures of groups and rivals, and numbers that read as numbers."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import answers_kit as kit
import numpy as np
import pyarrow as pa
import pytest
from parts_kit import span_pair, token_pair
from report_folders import make

from trustbase import files
from trustbase.audit.clustered import Entities, _widened
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.run import run_audit
from trustbase.audit.slices import slice_accuracies
from trustbase.cli.values import four_places
from trustbase.compress.candidates import Candidate, _why
from trustbase.data import conll, facts
from trustbase.data.later import later_page
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.model import artifact
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.recipe.lookup import ADAPTATIONS, options_read
from trustbase.records import Decision, Finding, LabelSchema, Split
from trustbase.report import charts, forms
from trustbase.report.datacard import data_section
from trustbase.report.efficiency import efficiency_blocks
from trustbase.report.facts import model_facts
from trustbase.report.formats import show, tick
from trustbase.report.groups import fairness_blocks
from trustbase.report.html import render
from trustbase.report.material import Material, read_material
from trustbase.report.reasons import method_in, remark_in, why_in
from trustbase.report.rivals import rival_table
from trustbase.report.words import LANGUAGES, words


def classes(folder: Path, rows: int = 700, seed: int = 0) -> AuditContext:
    """Two labels with probabilities, right in four of five rows, and a group column of two."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows)
    sure = np.where(rng.random(rows) < 0.8, truth, 1 - truth)
    score = 0.5 + (sure - 0.5) * rng.random(rows)
    texts = ["x" * int(length) for length in rng.integers(20, 90, rows)]
    sex = rng.choice(["f", "m"], rows).astype(object)
    test = Split("test", texts, truth, {"sex": sex}, pa.table({"text": texts}), np.arange(1, rows + 1), "rows.csv", "sha256:0")
    scores = np.stack([1 - score, score], axis=1)
    labels = LabelSchema(("no", "yes"), "yes", "yes")
    return AuditContext(test, labels, Decision(), Answers(scores, scores.argmax(1)), Evidence(folder), seed)


def material(context: AuditContext, kind: str, folder: Path) -> Material:
    kit.audited(context, kind, folder)
    return read_material(folder)


MADE = {
    "classes": classes,
    "number": kit.numbers,
    "labels": kit.labels,
    "tokens": lambda folder: token_pair(folder).context,
    "span": lambda folder: span_pair(folder).context,
}


@pytest.mark.parametrize("kind", list(MADE))
@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_number_of_a_group_has_a_name(kind: str, lang: str, tmp_path: Path) -> None:
    found, t = material(MADE[kind](tmp_path), kind, tmp_path), words(lang)
    blocks = [block for block in fairness_blocks(found, found.evidence["fairness"], t) if block["kind"] == "rates"]
    heads = [head for block in blocks for head in [*block["heads"], *block.get("every_heads", []), *block["abouts"]]]
    assert blocks and heads and not [head for head in heads if re.search(r"\w\.\w|_", head)], heads
    assert all(block["about"].startswith(t("groups.about_numbers" if kind == "number" else "groups.about")) for block in blocks)
    if kind == "classes":
        assert t("rate.expected_calibration_error") in blocks[0]["every_heads"]
        assert all(cell["value"] != "–" for row in blocks[0]["every"] for cell in row["cells"])


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_most_frequent_is_told_by_what_it_is_for_each_answer_kind(lang: str, tmp_path: Path) -> None:
    t, told = words(lang), {}
    for kind, built in (("labels", kit.labels), ("classes", classes)):
        context = built(tmp_path)
        of_labels = kit.rivals_of_labels(context) if kind == "labels" else {"majority": context.answers}
        context = replace(context, train=context.test, rivals=of_labels)
        row = next(row for row in rival_table(material(context, kind, tmp_path / kind), t).rows if row.key == "majority")
        told[kind] = (row.name, row.about)
    assert told["labels"] == (t("rival.majority_by_exact_match"), t("rival_about.majority_by_exact_match"))
    assert told["classes"] == (t("rival.majority"), t("rival_about.majority"))


def test_how_many_slices_is_told_once_and_the_same(tmp_path: Path) -> None:
    context = classes(tmp_path)
    table = slice_accuracies(context)
    known, all_ = len(table.known_beforehand()), len(table.slices)
    method = run_audit(context, ["quality"], policy_digest=None).find("quality.worst_slice_accuracy").method  # type: ignore[union-attr]
    assert f"lowest of {known} slices by what is known beforehand" in method and known < all_
    assert f"for all {all_} slices at once, {all_ - known} of them by true label or by answer" in method
    assert "slices" not in method_in(method, words("zh"))


def test_an_interval_that_is_not_widened_is_not_said_to_be_1_times_as_wide(tmp_path: Path) -> None:
    finding = Finding("quality.accuracy", 0.8, 0.7, 0.9, n=60, method="mid-P interval")
    entities = Entities(np.arange(60) // 2, 30, 2.0)
    said = {}
    for name, spread in (("alike", 0.001), ("apart", 0.05)):
        values = list(0.8 + spread * np.resize([-1, 1], 40))
        said[name] = _widened(finding, values, 40, entities, False).method
        assert method_in(said[name], words("zh")) != said[name] and "entities" not in method_in(said[name], words("zh"))
    assert "1.00" not in said["alike"] and "hardly wider" in said["alike"] and "times as wide" in said["apart"]


def test_nothing_is_0_and_little_is_not() -> None:
    assert [four_places(value) for value in (-1e-17, 0.0, -0.0, 0.25, 2.2e-6)] == ["0", "0", "0", "0.2500", "2.2e-06"]
    assert [four_places(value, signed=True) for value in (1e-17, -0.0, 0.25, -0.00001)] == ["0", "0", "+0.2500", "-1e-05"]
    assert show(-1e-17, "number", words("en")) == "0" == show(1e-17, "other", words("en"))


# --- what a page says of its data and its model -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(ADAPTATIONS))
def test_of_an_adaptation_only_what_it_reads_is_shown(method: str) -> None:
    whole = AdaptOptions(method=method).model_dump(mode="json")
    read = options_read(whole)
    assert read["method"] == method and set(read) <= {"method", *ADAPTATIONS[method].options} < set(whole)
    assert all(read[name] == value for name, value in whole.items() if name in ADAPTATIONS[method].options and value is not None)


def test_the_adaptation_stands_in_the_report_with_its_own_options(tmp_path: Path) -> None:
    told = {}
    for method in ("full", "lora", "of_tomorrow"):
        adapt = {**AdaptOptions(method="lora", rank=4).model_dump(mode="json"), "method": method}
        shown = replace(read_material(make(tmp_path / method)), artifact={"task": "text-classification", "facts": {"adaptation": adapt}})
        told[method] = dict(model_facts(shown, words("en"))[0])["Adaptation"]
    assert told["full"] == "full" and told["lora"] == "lora (rank 4, dropout 0.0, dora False, rslora False, init default)"
    assert told["of_tomorrow"].startswith("of_tomorrow") and "prune_from 0.1" in told["of_tomorrow"]  # nothing is known of it


LATER = {"source": "later.csv", "rows": 300, "in_train": 4}
TIMES = {"column": "day", "first": "2024-03-01", "last": "2024-03-28", "times": 28, "early": 2}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_later_rows_stand_in_the_report_with_file_rows_and_dates(lang: str) -> None:
    t = words(lang)
    for order, cells in ((TIMES, ["300", "2024-03-01", "2024-03-28", "28", "4"]), (None, ["300", "–", "–", "–", "4"])):
        section = data_section({"splits": {}, "out_of_time": {**LATER, "order": order}}, t)
        assert [table["rows"] for table in section["tables"]] == [[("later.csv", cells)]]
        assert section["warnings"] == ([t("data.later_early", early="2", rows="300", column="day", other=t("split.test"))] if order else [])
    assert data_section({"splits": {}, "out_of_time": None}, t)["tables"] == []


def test_later_rows_stand_on_the_page_of_the_data_card() -> None:
    page = later_page({"out_of_time": {**LATER, "order": TIMES}})
    assert "| `later.csv` | 300 | 2024-03-01 | 2024-03-28 | 4 |" in page and "2 of 300 rows of" in page
    assert "not known | not known" in later_page({"out_of_time": {**LATER, "order": None}}) and later_page({}) == ""


@pytest.mark.parametrize("lang", LANGUAGES)
def test_groups_that_are_read_and_test_rows_that_training_saw_are_noted(lang: str, tmp_path: Path) -> None:
    folder, t = make(tmp_path / "run"), words(lang)
    files.write_json(folder / "data_card.json", {"splits": {"test": {"rows": 1200}}, "overlap": {"train/test": 419}})
    artifact = files.read_json(folder / "artifact" / "artifact.json")
    files.write_json(folder / "artifact" / "artifact.json", {**artifact, "text": "{age}", "features": {"categorical": ["sex"]}})
    page = render(folder, lang=lang)
    for said in (t("note.seen", n="419", rows="1,200"), t("note.shown", columns="sex"), t("groups.shown", columns="sex")):
        assert said in page, said


def test_what_data_and_artefact_recorded_is_said_in_chinese(tmp_path: Path) -> None:
    rows = ["text,label,sex", *(f"text {i},{'yes' if i % 2 else 'no'},{'fm'[i % 2]}" for i in range(60))]
    rows += ["text 3,no,f", "text 4, no ,f", "text 5,nan,m", "text 6,nan,m"]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    (tmp_path / "test.csv").write_text("\n".join(rows[:1] + rows[5:50] + rows[-2:]))
    named = {"train": "rows.csv", "test": "test.csv", "text": "{text}, {sex}", "label": "label", "groups": ["sex"], "deduplicate": False}
    options = DataOptions.model_validate(named)
    found = load(options, root=tmp_path, seed=0).facts["notes"]
    (tmp_path / "numbers.csv").write_text("\n".join(["text,label", *(f"text {i % 40},{i}" for i in range(80))]))
    numbers = DataOptions.model_validate({"train": "numbers.csv", "text": "text", "label": "label", "deduplicate": False})
    found += load(numbers, root=tmp_path, seed=0, answers="number").facts["notes"]
    found += ["data.features shows the group column 'sex' to the model", "120 labels for 200 rows: is 'label' the right column?"]
    found += facts._unordered(SimpleNamespace(query="SELECT 1"))  # type: ignore[arg-type]
    found += [f"train: {conll._notes('BIO', repaired, 2)[0]}" for repaired in (0, 3)]
    found.append("train: 3 entities begin or end within a word, where no model of units can find them; they count as missed")
    spied = used("remark", found)
    assert spied == {key for key in words("en").table if key.startswith("remark.")}


def test_why_an_artefact_is_as_it_is_is_said_in_chinese() -> None:
    one, other = (Candidate("torch", precision, "cpu", 0.5, {}) for precision in ("fp32", "bf16"))
    both = {("torch", "fp32"), ("torch", "bf16")}
    notes = ["onnx was tried and left out: no export", "onnx was not tried: the adapter is not merged"]
    notes += ["bf16 was asked for, but is emulated and slow here: no AVX", "bf16 was not tried: no AVX"]
    found = [_why([one], one, {("torch", "fp32")}, notes, 90), _why([one, other], one, both, [], 90)]
    found += [artifact._WHY, artifact._WHY_ANSWERER, "a base model ships in fp32, which whoever trains it further needs"]
    found.append("learned by scikit-learn, answered by plain numbers: the two differ by 1.2e-16 on 90 rows")
    assert used("why", found) == {key for key in words("en").table if key.startswith("why.")}


def used(family: str, texts: list[str]) -> set[str]:
    """The forms that recorded texts are written in; each of them has one, and so stands in Chinese."""
    in_words = {"remark": remark_in, "why": why_in}[family]
    assert [text for text in texts if in_words(text, words("zh")).startswith(words("zh")("page.recorded", reason=""))] == []
    clauses = [clause for text in texts for clause in (text, *text.split("; "))]
    return {form.key for clause in clauses for form, _ in forms.match(clause, forms.forms_of(words("en").table, family))}


# --- charts -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGUAGES)
def test_answers_that_took_longer_than_is_drawn_are_counted(lang: str, tmp_path: Path) -> None:
    t, found = words(lang), read_material(make(tmp_path / "run"))
    for above, more in ((0, ""), (1, t.count("latency.above", 1)), (3, t.count("latency.above", 3))):
        shape = {"edges": [0.0, 1.0, 2.0], "counts": [490, 10 - above], "above": above}
        block = next(b for b in efficiency_blocks(found, {"latency_ms": {"calls": 500, "histogram": shape}}, t) if b["kind"] == "latency")
        assert block["desc"].startswith("500 ") and block["desc"].endswith(more or t("latency.desc", n="", low="", high="2.00")[-1])
        assert t.count("latency.above", 1) in block["desc"] or above != 1


@pytest.mark.parametrize(("low", "high"), [(-0.06, 0.62), (0.0, 1.0), (-0.02, 0.02), (-0.3, 0.01)])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_labels_of_an_axis_do_not_run_into_each_other(lang: str, low: float, high: float) -> None:
    svg = charts.axis(charts.Scale(low, high), lambda value: tick(value, "points", words(lang)))
    labels = re.findall(r'<text class="tick" x="([\d.]+)%" y="17" text-anchor="(\w+)">([^<]+)<', svg)
    assert labels
    spans = []
    for at, anchor, text in labels:
        wide = sum(5.5 if sign >= "\u2e80" else 3.0 for sign in text)  # percent of 200 pixels, in letters of 11
        start = float(at) - wide * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        spans.append((start, start + wide))
    assert all(one[1] < other[0] for one, other in itertools.pairwise(spans)), labels


@pytest.mark.parametrize("most", [9, 405, 12_345])
def test_counts_of_a_histogram_leave_room_for_the_name_of_their_axis(most: int) -> None:
    svg = charts.histogram([0, 1, 2], [most, 1], {}, title="t", desc="d", x="x", y="回答数", show=str)
    at = min(float(x) - 6.5 * len(text) for x, text in re.findall(r'x="([\d.]+)" y="[\d.]+" text-anchor="end">([\d,]+)<', svg))
    assert at >= 12  # the name of the axis, turned, is as wide as a letter is high
