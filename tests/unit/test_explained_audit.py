"""The explanation audit on models whose reasons are known: what is true is found, what is planted is found, and its twin is silent."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from explain_world import TEMPLATE, WEIGHTS, audited, cell_rows, review_rows
from trustbase import files
from trustbase.audit.explain import counterfactual, surrogate
from trustbase.audit.explain.agreement import first_overlap, rank_correlation
from trustbase.audit.explain.audit import audit_any
from trustbase.audit.explain.edits import edited_items, same_units
from trustbase.audit.explain.local import Game
from trustbase.audit.explain.rows import explained_rows, row_findings
from trustbase.audit.explain.subject import items_of
from trustbase.audit.explain.turned import editor_of
from trustbase.audit.explain.units import fields, words
from trustbase.audit.measured import asked_inputs
from trustbase.data.cells import Reading
from trustbase.data.pair import CELL, join
from trustbase.data.template import TextTemplate
from trustbase.records import Finding

SOME = {"texts": 30, "samples": 80, "evaluations": 80, "queries": 60, "stability": 12}


def by_id(found: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.id.removeprefix("explanation."): finding for finding in found}


def test_explanations_of_a_model_that_adds_up_words_are_true(tmp_path: Path) -> None:
    with audited(tmp_path, review_rows(240), budget=SOME) as context:
        found = by_id(audit_any(context))
    for name in ("comprehensiveness", "sufficiency", "deletion_auc", "insertion_auc"):
        assert found[f"{name}_gain"].low > 0, name  # type: ignore[operator]
        assert found[name].status == found[f"{name}#lime"].status == "ok"
    assert found["comprehensiveness"].value > 0.2 > found["sufficiency"].value  # type: ignore[operator]
    assert found["method_agreement"].value > 0.8 and found["principal_reasons"].value == 1.0  # type: ignore[operator]
    assert found["stability#seed"].value > 0.8 and found["stability#paraphrase"].value > 0.8  # type: ignore[operator]
    assert found["stability"].value == min(found["stability#seed"].value, found["stability#paraphrase"].value)  # type: ignore[type-var]
    assert found["counterfactual_found"].value > 0.8 and found["surrogate_fidelity"].value > 0.75  # type: ignore[operator]
    assert found["sanity_check"].status == "not_applicable" and "no torch weights" in found["sanity_check"].reason
    told = files.read_json(tmp_path / "explanation.global.json")
    yes = {row["unit"]: row for row in told if row["class"] == "yes"}
    assert [set(row) for row in told] == [{"class", "unit", "weight", "low", "high"}] * len(told)
    assert yes["great"]["low"] > 0 > yes["awful"]["high"] and abs(yes["film"]["weight"]) < 0.05
    assert sorted(told, key=lambda row: (["no", "yes"].index(row["class"]), -abs(row["weight"]))) == told


def test_fields_of_a_template_are_units_and_their_cells_are_replaced(tmp_path: Path) -> None:
    with audited(tmp_path, cell_rows(120), budget=SOME) as context:
        found = by_id(row_findings(context))
    told = files.read_json(tmp_path / "explanation.global.json")
    assert {row["unit"] for row in told} == {"age", "job", "town", "mood"} and told[0]["unit"] == "mood"
    assert found["counterfactual_found"].value == 1.0 and found["counterfactual_size"].value == 0.25  # another mood is enough
    counted = files.read_json(tmp_path / "explanation.counterfactual.json")
    assert counted["units_changed"] == {"1": 30} and counted["left_out"] == 0


@pytest.mark.parametrize("kind", ["labels", "number"])
def test_other_kinds_of_answers_are_explained(kind: str, tmp_path: Path) -> None:
    with audited(tmp_path, review_rows(60), kind=kind, budget=SOME) as context:
        found = by_id(audit_any(context))
    assert found["comprehensiveness_gain"].low > 0 and found["principal_reasons"].value == 1.0  # type: ignore[operator]
    assert found["comprehensiveness"].unit == ("standard deviations of the training rows" if kind == "number" else "")
    assert found["surrogate_fidelity"].status == "not_applicable"
    if kind == "number":  # weights of the global table are in the unit of the label: 4 for each of the sum's
        row = next(row for row in files.read_json(tmp_path / "explanation.global.json") if row["unit"] == "great")
        assert row["weight"] == pytest.approx(4 * 2.0, rel=0.35)


def test_chinese_texts_are_explained_by_their_words(tmp_path: Path) -> None:
    weights = {"喜欢": 1.5, "难吃": -1.5}
    with audited(tmp_path, review_rows(100, chinese=True), weights=weights, budget=SOME) as context:
        found = by_id(audit_any(context))
    assert found["comprehensiveness_gain"].low > 0 and found["stability"].status == "ok"  # type: ignore[operator]
    yes = {row["unit"]: row["weight"] for row in files.read_json(tmp_path / "explanation.global.json") if row["class"] == "yes"}
    assert yes["喜欢"] > 0.1 and yes["难吃"] < -0.1
    assert any("喜欢" in str(rule) for rule in files.read_json(tmp_path / "explanation.surrogate.json")["rules"])


# --- planted, and its twin -----------------------------------------------------------------------------------------------------


def gain(folder: Path, seed: int, weights: Mapping[str, float], mixed: float) -> Finding:
    """How much more faithful explanations are than chance."""
    folder.mkdir()
    budget = {"texts": 30, "samples": 40, "evaluations": 20, "queries": 10, "stability": 1}
    with audited(folder, review_rows(60, seed), weights=weights, mixed=mixed, budget=budget, seed=seed) as context:
        return by_id(row_findings(context))["comprehensiveness_gain"]


def test_power_and_false_alarms_of_the_gain_over_chance(tmp_path: Path) -> None:
    """Of a model that adds up words the gain is above 0 in 6 of 6; of one whose score no word explains it is large in 0 of 6."""
    true = [gain(tmp_path / f"true{seed}", seed, WEIGHTS, 0.0) for seed in range(6)]
    none = [gain(tmp_path / f"none{seed}", seed, {}, 2.0) for seed in range(6)]
    assert sum(finding.low > 0.05 for finding in true) == 6  # type: ignore[operator]
    assert sum(finding.low > 0.05 for finding in none) == 0  # type: ignore[operator]
    assert np.mean([finding.value for finding in true]) > 2 * np.mean([finding.value for finding in none])  # type: ignore[misc]


def test_a_stand_in_of_a_shortcut_names_it_and_has_its_fidelity(tmp_path: Path) -> None:
    """A model that hangs on one word alone is told to the letter; one that hangs on no word is not."""
    with audited(tmp_path, review_rows(300), weights={"staff": 4.0, "": -0.01}) as context:
        found = surrogate.surrogate_findings(context)
    told = files.read_json(tmp_path / "explanation.surrogate.json")
    assert found[0].value == 1.0 and told["tree"]["if"] == {"column": None, "is": "has", "value": "staff"}
    with audited(tmp_path, review_rows(300), weights={}, mixed=3.0) as context:
        found = surrogate.surrogate_findings(context)
    constant = files.read_json(tmp_path / "explanation.surrogate.json")["constant"]
    assert found[0].low < constant + 0.05  # type: ignore[operator]


# --- edits ---------------------------------------------------------------------------------------------------------------------


def test_the_smallest_edit_is_the_smallest_where_all_can_be_tried(tmp_path: Path) -> None:
    """Of a model that adds up words, greedy search finds edits as small as a search over all of them does, and none that is not needed."""
    with audited(tmp_path, review_rows(30, 5)) as context:
        texts, predictor = asked_inputs(context), context.predictor
        assert predictor is not None
        for text in texts:
            game = Game(predictor, words(text), question="class_scores")
            whole = predictor.scores([text])[0]
            target = int(whole.argmax())
            weights = np.array([WEIGHTS.get(name.lower(), 0.0) for name in game.units.names]) * (1 if target else -1)
            flips = lambda scores, target=target: int(scores.argmax()) != target  # noqa: E731
            others = [[] for _ in game.units.names]
            search = counterfactual.smallest_edit(game, weights, target, flips=flips, others=others, queries=200)
            found = predictor.gather([search])[0]
            assert len(found.edits) == least_left_out(predictor, game, flips) and found.left_out == len(found.edits)
            assert found.asked <= 200


def least_left_out(predictor: Any, game: Game, flips: Any) -> int:
    """Fewest units without which the answer is another, of all sets of units; 0 where there are none."""
    for size in range(1, len(game) + 1):
        sets = [dict.fromkeys(units, "") for units in itertools.combinations(range(len(game)), size)]
        if any(flips(row) for row in predictor.gather([game.edited(sets)])[0]):
            return size
    return 0


def test_units_are_replaced_where_they_stand() -> None:
    plain = words("Good food, bad staff.")
    assert plain.edited([{0: "Fine"}, {0: "", 3: "room"}, {}]) == ["Fine food, bad staff.", "food, bad room.", "Good food, bad staff."]
    beside = words(f"good film{CELL}42", columns=("age",))
    assert beside.edited([{2: "17", 1: "room"}, {2: ""}]) == [f"good room{CELL}17", f"good film{CELL}"]
    reading = Reading(TextTemplate.parse(TEMPLATE, None))
    row = {"age": "30", "job": "cook", "town": "Bath", "mood": "good"}
    assert fields(row, reading).edited([{1: "nurse"}, {3: ""}])[0] == "30 years, nurse in Bath, good"


def test_edits_that_a_reader_does_not_see_keep_what_may_not_change() -> None:
    text = Reading(TextTemplate.parse("text", None))
    found = edited_items({"text": "Good food, and 2 rooms", "row": None}, text, 0)
    assert len(found) >= 3 and all("2" in each["text"] for each in found)
    pair = edited_items({"text": join("Good food", "Bad room"), "row": None}, Reading(TextTemplate.parse(join("a", "b"), None)), 0)
    assert all(each["text"].count(join("", "")) == 1 for each in pair)
    row = {"age": "30", "job": "Cook", "town": "Bath", "mood": "good"}
    cells = edited_items({"text": "30 years, Cook in Bath, good", "row": row}, Reading(TextTemplate.parse(TEMPLATE, None)), 0)
    assert cells and all(each["row"]["age"] == "30" and each["text"].startswith("30 years, ") for each in cells)
    one, other = same_units(words("Good food and room"), words("well, good Food room"))
    assert one.tolist() == [0, 1, 3] and other.tolist() == [1, 2, 3]


def test_agreement_of_rankings() -> None:
    ranks = np.array([4.0, 3.0, 2.0, 1.0])
    assert rank_correlation(ranks, 10 * ranks) == 1.0 and rank_correlation(ranks, -ranks) == -1.0
    assert rank_correlation(ranks[:2], ranks[:2]) is None and rank_correlation(ranks, np.ones(4)) is None
    assert first_overlap(ranks, ranks[::-1]) == 0.0 and first_overlap(ranks, np.array([1.0, 9.0, 3.0, 0.0])) == 0.5


# --- evidence ------------------------------------------------------------------------------------------------------------------


def holds(condition: Mapping[str, Any], row: Mapping[str, str], text: str) -> bool:
    """Whether a condition of the evidence holds of a row."""
    cell = text if condition["column"] is None else row[condition["column"]]
    if condition["is"] in ("above", "at_most"):
        return (float(cell) > condition["value"]) == (condition["is"] == "above")
    if condition["is"] == "value":
        held = cell == condition["value"]
    else:
        assert condition["is"] == "has"
        held = condition["value"] in cell.lower().replace(".", " ").split()
    return held != condition.get("not", False)


def said_by(node: Any, row: Mapping[str, str], text: str) -> str:
    """What the evidence answers for a row."""
    if isinstance(node, list):
        return next(rule["answer"] for rule in node if all(holds(each, row, text) for each in rule["if"]))
    while "if" in node:
        node = node["then"] if holds(node["if"], row, text) else node["else"]
    return node["answer"]


@pytest.mark.parametrize("table", [review_rows(200), cell_rows(200)], ids=["words", "cells"])
def test_the_evidence_is_the_stand_in_whose_fidelity_was_measured(table: pa.Table, tmp_path: Path) -> None:
    with audited(tmp_path, table, weights={**WEIGHTS, "cook": 1.0}) as context:
        found = by_id(surrogate.surrogate_findings(context))
        _, measured = surrogate._parts(context)
    told, rows = files.read_json(tmp_path / "explanation.surrogate.json"), measured.table.to_pylist()
    names = np.array(["no", "yes"])[np.asarray(measured.labels)]
    for form in ("tree", "rules"):
        said = [said_by(told[form], row, text) for row, text in zip(rows, measured.texts, strict=True)]
        assert np.mean(said == names) == pytest.approx(found[f"surrogate_fidelity#{form}"].value)


def test_words_of_few_rows_are_never_written(tmp_path: Path) -> None:
    texts = review_rows(80).column("text").to_pylist()
    named = [f"{text} secret{number % 20}name" for number, text in enumerate(texts)]  # each of them stands in four rows
    budget = {**SOME, "texts": 80, "stability": 1}
    with audited(tmp_path, pa.table({"text": named}), weights={**WEIGHTS, "secret": 0.5}, budget=budget) as context:
        audit_any(context)
    for path in tmp_path.glob("*.json"):
        assert "secret" not in path.read_text(encoding="utf-8"), path.name
    assert "great" in (tmp_path / "explanation.global.json").read_text(encoding="utf-8")


def test_rows_are_explained_alike_in_any_order_and_a_broken_measure_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trustbase.audit.explain import rows

    with audited(tmp_path, review_rows(40), budget={**SOME, "texts": 12}) as context:
        items = items_of(context, 12)
        editor = editor_of(context, items)
        first = explained_rows(context, items, editor)
        backwards = replace(context.test, texts=list(context.test.texts)[::-1], table=context.test.table.take(list(range(40))[::-1]))
        again = replace(context, test=backwards)
        assert explained_rows(again, items_of(again, 12), editor) == first
        ids, _ = rows._MEASURES[0]
        monkeypatch.setattr(rows, "_MEASURES", ((ids, lambda context, rows: [][0]), *rows._MEASURES[1:]))
        found = by_id(row_findings(context))
    assert found["comprehensiveness"].status == "failed" and "IndexError" in found["comprehensiveness"].reason
    assert found["method_agreement"].status == "ok"
