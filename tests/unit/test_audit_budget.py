"""How much an audit asks: what a recipe and the command may say, and a dimension made of parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from robust_kit import robust_context

from trustbase import files
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.measured import Part, measure_parts, sampled_rows
from trustbase.audit.options import AuditOptions, options_of
from trustbase.audit.robustness.audit import PARTS
from trustbase.cli.values import budgets
from trustbase.errors import DataError, Interrupted, UsageError
from trustbase.records import ArtifactInfo, Decision, Finding, LabelSchema, Split
from trustbase.shifted import place_of

LABELS = LabelSchema(("no", "yes"), "yes", "yes")


def context_of(folder: Path, texts: list[str], *, kind: str = "classes", predictor: Any = "asked") -> AuditContext:
    truth = np.zeros(len(texts), dtype=np.int64)
    test = Split("test", texts, truth, {}, pa.table({"text": texts}), np.arange(1, len(texts) + 1), "made", "sha256:0")
    info = ArtifactInfo(folder, "sha256:1", "text-classification", kind, LABELS, "torch", "fp32", 64, "base", "local")
    return AuditContext(test, LABELS, Decision(), Answers(None, truth), Evidence(folder), 0, predictor=predictor, artifact=info)


def test_a_list_carries_options_of_its_dimensions() -> None:
    found = AuditOptions.model_validate(["quality", {"explanation": {"texts": 7}}, {"robustness": {"queries": 9}}])
    assert found.dimensions == ["quality", "explanation", "robustness"]
    assert (found.explanation.texts, found.robustness.queries) == (7, 9)
    assert (found.explanation.samples, found.explanation.evaluations, found.explanation.stability) == (500, 300, 20)
    assert AuditOptions.model_validate({"explanation": {"texts": 7}}).dimensions is None
    assert (AuditOptions().explanation.texts, AuditOptions().robustness.texts, AuditOptions().robustness.queries) == (100, 200, 100)


@pytest.mark.parametrize("value", [[{"explanation": {"text": 7}}], [{"explanation": {"texts": 0}}], [{"quality": 3}], [{"a": 1, "b": 2}]])
def test_what_is_no_option_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        AuditOptions.model_validate(value)


def test_the_command_reads_a_budget() -> None:
    assert budgets(["explanation.texts=20,robustness.queries=5", "explanation.samples=50"]) == {
        "explanation": {"texts": "20", "samples": "50"},
        "robustness": {"queries": "5"},
    }
    assert options_of(["explanation"], {"explanation": {"texts": "20"}}).explanation.texts == 20
    for bad in ("texts=3", "explanation.texts", "explanation.texts=1,explanation.texts=2", ".texts=3"):
        with pytest.raises(UsageError):
            budgets([bad])


def test_every_fault_of_a_budget_is_told_at_once() -> None:
    with pytest.raises(UsageError) as told:
        options_of(["explanation"], {"explanation": {"texts": "none"}, "quality": {"texts": "3"}, "safety": {"queries": "100"}})
    assert [problem.where for problem in told.value.problems] == ["--budget quality", "--budget safety", "--budget explanation.texts"]


def fine(context: AuditContext) -> list[Finding]:
    return [Finding.exact("safety.good", 1.0, n=3)]


def broken(context: AuditContext) -> list[Finding]:
    raise ValueError("broke")


def test_what_breaks_in_one_part_leaves_the_others_standing(tmp_path: Path) -> None:
    parts = [Part("broken", ("safety.bad",), broken), Part("fine", ("safety.good", "safety.owed"), fine)]
    found = {finding.id: finding for finding in measure_parts(context_of(tmp_path, ["a"]), "safety", parts, {"queries": 3})}
    assert found["safety.good"].status == "ok"
    assert found["safety.bad"].status == found["safety.owed"].status == "failed"
    assert "broke" in found["safety.bad"].reason
    written = files.read_json(tmp_path / "safety.json")
    assert written["budget"] == {"queries": 3} and list(written["asked"]) == ["broken", "fine"]


def test_parts_say_where_they_have_no_sense(tmp_path: Path) -> None:
    parts = [Part("fine", ("safety.good",), fine)]
    other = measure_parts(context_of(tmp_path, ["a"], kind="number"), "safety", parts, {})
    alone = measure_parts(replace(context_of(tmp_path, ["a"]), predictor=None), "safety", parts, {})
    assert [finding.status for finding in (*other, *alone)] == ["not_applicable"] * 2
    assert "a model that gives a number" in other[0].reason and "without a model" in alone[0].reason


def test_an_interruption_goes_on_its_way(tmp_path: Path) -> None:
    def interrupted(context: AuditContext) -> list[Finding]:
        raise Interrupted("stop")

    with pytest.raises(Interrupted):
        measure_parts(context_of(tmp_path, ["a"]), "safety", [Part("x", ("safety.good",), interrupted)], {})


def test_rows_are_drawn_by_what_they_say(tmp_path: Path) -> None:
    texts = [f"text {number % 40}" for number in range(80)]
    context = context_of(tmp_path, texts)
    drawn = [texts[row] for row in sampled_rows(context, 15, "some")]
    backwards = context_of(tmp_path, texts[::-1])
    assert drawn == [texts[::-1][row] for row in sampled_rows(backwards, 15, "some")]
    assert len(set(drawn)) == 15 and len(sampled_rows(context, 500, "some")) == 40
    assert drawn != [texts[row] for row in sampled_rows(context, 15, "other")]


def owned(folder: Path, customers: int, each: int) -> AuditContext:
    """So many rows of each customer; a change turns the answers to all rows of half of them, and to no other."""
    names = [f"customer{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(customers)]
    texts = [f"{name} writes about thing number {row}" for row in range(each) for name in names]
    known = set(texts)

    def score(text: str) -> float:
        number = next((place for place, name in enumerate(names) if name in text.casefold()), 0)
        return 0.9 if (number % 2 == 0) == (text in known or number % 4 < 2) else 0.1

    context = robust_context(folder, texts, score)
    return replace(context, test=replace(context.test, entities=np.tile(np.arange(customers), each)))


def test_of_each_entity_one_row_is_drawn_so_that_intervals_are_over_entities(tmp_path: Path) -> None:
    """30 rows of each of 10 customers are 10 draws, which are too few; of 60 customers they are 60, and no 1,800."""
    few = owned(tmp_path / "few", 10, 30)
    rows = sampled_rows(few, 200, "robustness")
    assert len(rows) == 10 and few.test.entities is not None and len(set(few.test.entities[rows])) == 10
    assert len(sampled_rows(few, 200, "robustness", one_each=False)) == 200
    backwards = replace(
        few.test, texts=few.test.texts[::-1], table=few.test.table.take(np.arange(300)[::-1]), entities=few.test.entities[::-1]
    )
    again = sampled_rows(replace(few, test=backwards), 200, "robustness")
    assert [few.test.texts[row] for row in rows] == [backwards.texts[row] for row in again]
    flips = [part for part in PARTS if part.name in ("flips", "typos")]
    assert {finding.status for finding in measure_parts(few, "robustness", flips, {})} <= {"insufficient", "not_applicable"}
    many = owned(tmp_path / "many", 60, 30)
    found = {finding.id: finding for finding in measure_parts(many, "robustness", flips, {})}
    case = found["robustness.prediction_flips#case"]
    assert case.status == "ok" and case.n == 60 and "one row of each of 60 entities" in case.method
    assert case.high - case.low > 0.2  # type: ignore[operator]
    alone = {
        finding.id: finding for finding in measure_parts(replace(many, test=replace(many.test, entities=None)), "robustness", flips, {})
    }
    assert alone["robustness.prediction_flips#case"].n == 200 and "entities" not in alone["robustness.prediction_flips#case"].method


def test_entities_of_few_and_of_many_rows_are_equally_likely_to_be_drawn(tmp_path: Path) -> None:
    whose = np.repeat(np.arange(40), [1] * 20 + [20] * 20)
    drawn = 0
    for seed in range(60):
        context = context_of(tmp_path, [f"row {number}" for number in range(len(whose))])
        rows = sampled_rows(replace(context, seed=seed, test=replace(context.test, entities=whose)), 10, "any")
        drawn += int((whose[rows] < 20).sum())
    assert drawn / 600 == pytest.approx(0.5, abs=0.08)


def test_what_takes_every_row_says_that_rows_are_not_independent(tmp_path: Path) -> None:
    context = context_of(tmp_path, ["a", "b", "c", "d"])
    context = replace(context, test=replace(context.test, entities=np.array([0, 0, 1, 1])))

    def measure(_: AuditContext) -> list[Finding]:
        return [Finding("quality.accuracy", 0.5, 0.1, 0.9, 4, method="share"), Finding.exact("quality.f1", 1.0, n=4, method="counted")]

    said = {
        over: [f.method for f in measure_parts(context, "quality", [Part("one", ("quality.accuracy",), measure, over=over)], {})]
        for over in ("drawn", "every", "other")
    }  # type: ignore[arg-type]
    assert said["drawn"] == ["share; one row of each of 2 entities", "counted"]
    assert said["every"] == ["share; rows are taken as independent, although they are of 2 entities", "counted"]
    assert said["other"] == ["share", "counted"]


def test_an_option_that_is_none_is_told_with_those_that_are() -> None:
    with pytest.raises(UsageError) as told:
        options_of([], {"robustness": {"text": 3, "queries": 0}, "safety": {"zzz": 1}})
    said = [str(problem) for problem in told.value.problems]
    assert any("did you mean 'texts'?" in line for line in said) and any("known: queries, texts" in line for line in said), said
    assert any(line.startswith("--budget robustness.queries: Input should be") for line in said)


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x.csv", "x" * 3000, "a\0b", "none.csv"])
def test_texts_of_another_kind_that_are_not_there_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        place_of(name, tmp_path)
