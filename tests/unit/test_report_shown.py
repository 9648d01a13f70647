"""What a reader of a report is shown: words for all that an audit measures of groups and rivals, and numbers that read as numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import answers_kit as kit
import numpy as np
import pyarrow as pa
import pytest
from parts_kit import span_pair, token_pair

from trustbase.audit.catalogue import CATALOGUE
from trustbase.audit.clustered import _widened
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.run import run_audit
from trustbase.audit.slices import slice_accuracies
from trustbase.cli.values import four_places
from trustbase.records import Decision, Finding, LabelSchema, Split
from trustbase.report.formats import show
from trustbase.report.groups import fairness_blocks
from trustbase.report.material import Material, read_material
from trustbase.report.reasons import method_in
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
    if kind == "classes":
        assert t("rate.expected_calibration_error") in blocks[0]["every_heads"]
        assert all(cell["value"] != "–" for row in blocks[0]["every"] for cell in row["cells"])


@pytest.mark.parametrize("lang", LANGUAGES)
def test_all_that_the_catalogue_measures_of_groups_has_words(lang: str) -> None:
    t = words(lang)
    for metric, measure in CATALOGUE["fairness"].items():
        if measure.form in ("group", "gap"):
            assert t.has(f"metric.fairness.{metric}.name") and t.has(f"metric.fairness.{metric}.about"), metric


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_most_frequent_is_told_by_what_it_is_for_each_answer_kind(lang: str, tmp_path: Path) -> None:
    t, told = words(lang), {}
    for kind, make in (("labels", kit.labels), ("classes", classes)):
        context = make(tmp_path)
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
    from trustbase.audit.clustered import Entities

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
