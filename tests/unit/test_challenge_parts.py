"""Two models that find entities, or answer questions from a text: numbers are counted by hand, intervals drawn by brute force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parts_kit import WORDS, span_pair, token_pair
from scipy import stats as scipy_stats

from trustbase.audit import paired
from trustbase.audit.challenge import Contrast, Pair, contrasting, discordant, gap_findings, group_contrasts
from trustbase.audit.context import Answers
from trustbase.audit.stats import paired_difference
from trustbase.data.answers import exact_match, token_f1
from trustbase.model.ragged import ragged

MAKE = {"tokens": token_pair, "span": span_pair}
ENTITIES = ("entity_f1", "entity_precision", "entity_recall")


def of(found: list[Contrast]) -> dict[str, Contrast]:
    return {item.metric: item for item in found}


def test_entities_of_both_are_counted_whole(tmp_path: Path) -> None:
    pair = token_pair(tmp_path)
    way = contrasting("tokens")
    found, flat = of(way.contrasts(pair)), [flattened(answers.predicted) for answers in (pair.champion, pair.challenger)]
    truth = flattened(pair.context.test.labels)
    assert list(found) == [*ENTITIES, "exact_match"]
    hits = [len(told & truth) for told in flat]
    counted = {
        "entity_f1": [2 * hit / (len(told) + len(truth)) for hit, told in zip(hits, flat, strict=True)],
        "entity_precision": [hit / len(told) for hit, told in zip(hits, flat, strict=True)],
        "entity_recall": [hit / len(truth) for hit in hits],
    }
    for name, values in counted.items():
        item = found[name]
        assert (item.champion, item.challenger) == pytest.approx(values) and item.difference == pytest.approx(values[1] - values[0])
        assert item.low is not None and item.high is not None and item.low < item.difference < item.high  # type: ignore[operator]
        assert item.outcome == "champion ahead" and item.n == 400 and item.seed == 0
    wrong = [{row for row, *_ in told ^ truth} for told in flat]
    alone = len(wrong[1] - wrong[0]), len(wrong[0] - wrong[1])
    assert way.right is not None and discordant(pair, way.right) == alone and min(alone) > 0
    assert paired.mcnemar_exact(*alone) == pytest.approx(scipy_stats.binomtest(min(alone), sum(alone), 0.5).pvalue)
    made = paired_difference(*(np.array([row not in rows for row in range(400)]) for rows in reversed(wrong)))
    assert (found["exact_match"].low, found["exact_match"].high) == (made.low, made.high)


def flattened(rows: Any) -> set[tuple[Any, ...]]:
    return {(row, *entity) for row, entities in enumerate(rows) for entity in entities}


def test_a_difference_of_entity_f1_is_bounded_as_texts_drawn_again_bound_it(tmp_path: Path) -> None:
    """Texts are drawn with both models' answers: drawn each by themselves, the bounds would lie further apart."""
    pair = token_pair(tmp_path, champion=0.1, challenger=0.2)
    other = [
        told if row % 2 else own for row, (own, told) in enumerate(zip(pair.champion.predicted, pair.challenger.predicted, strict=True))
    ]
    pair = Pair(pair.context, Answers(None, ragged(other)))  # every second text alike, so that sharing rows matters
    truth = [set(entities) for entities in pair.context.test.labels]
    told = [[set(entities) for entities in answers.predicted] for answers in (pair.champion, pair.challenger)]
    counts = np.array([[(len(a & t), len(a), len(t)) for a, t in zip(side, truth, strict=True)] for side in told], float)
    rng = np.random.default_rng(3)

    def f1(rows: np.ndarray, side: int) -> float:
        hits, answered, true = counts[side][rows].sum(axis=0)
        return float(2 * hits / (answered + true))

    drawn = [rng.integers(0, 400, 400) for _ in range(2000)]
    low, high = np.quantile([f1(rows, 1) - f1(rows, 0) for rows in drawn], [0.025, 0.975])
    apart = np.quantile([f1(rows, 1) - f1(other, 0) for rows, other in zip(drawn, drawn[::-1], strict=True)], [0.025, 0.975])
    item = of(contrasting("tokens").contrasts(pair))["entity_f1"]
    np.testing.assert_allclose([item.low, item.high], [low, high], atol=0.12 * (high - low))
    assert item.high - item.low < 0.9 * (apart[1] - apart[0])  # type: ignore[operator]


def test_answers_of_both_are_counted_by_words(tmp_path: Path) -> None:
    pair = span_pair(tmp_path)
    way = contrasting("span")
    found = of(way.contrasts(pair))
    truth = [[WORDS[start:end] for start, end in spans] for spans in pair.context.test.labels]
    said = [
        [WORDS[told[0][0] : told[0][1]] if told else None for told in answers.predicted] for answers in (pair.champion, pair.challenger)
    ]
    answerable = np.array([bool(spans) for spans in truth])
    parts = {"": np.ones(400, bool), "has_answer_": answerable, "no_answer_": ~answerable}
    assert list(found) == ["token_f1", "exact_match", "has_answer_token_f1", "has_answer_exact_match", "no_answer_accuracy"]
    for name, item in found.items():
        rows = parts[next((part for part in ("has_answer_", "no_answer_") if name.startswith(part)), "")]
        score = token_f1 if name.endswith("token_f1") else exact_match
        each = [np.array([score(told, true) for told, true in zip(side, truth, strict=True)])[rows] for side in said]
        assert (item.champion, item.challenger) == pytest.approx([values.mean() for values in each]) and item.n == rows.sum()
        assert item.low is not None and item.high is not None and item.low < item.difference < item.high  # type: ignore[operator]
        if score is token_f1:  # against the bounds of a t interval of the paired differences
            apart = each[1] - each[0]
            bounds = scipy_stats.t.interval(0.95, rows.sum() - 1, apart.mean(), scipy_stats.sem(apart))
            np.testing.assert_allclose([item.low, item.high], bounds, atol=0.1 * (bounds[1] - bounds[0]))
        else:
            made = paired_difference(each[1] == 1, each[0] == 1)
            assert (item.low, item.high) == (made.low, made.high)
    right = [np.array([exact_match(told, true) for told, true in zip(side, truth, strict=True)]) == 1 for side in said]
    assert way.right is not None
    assert discordant(pair, way.right) == ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())


def test_kinds_of_rows_are_told_apart_only_where_there_are_both(tmp_path: Path) -> None:
    for none in (0.0, 1.0):
        assert list(of(contrasting("span").contrasts(span_pair(tmp_path, none=none)))) == ["token_f1", "exact_match"]


@pytest.mark.parametrize("kind", ["tokens", "span"])
def test_groups_and_gaps_are_told_and_few_texts_claim_nothing(kind: str, tmp_path: Path) -> None:
    make, way = MAKE[kind], contrasting(kind)
    pair = make(tmp_path)
    found = {item.group: item.contrast for item in group_contrasts(pair, way)}
    assert set(found) == {"N", "S", "T"} and found["T"].outcome == "not enough evidence" and found["T"].champion is None
    assert found["N"].metric == way.main and found["N"].outcome == "champion ahead"
    assert found["N"].n + found["S"].n == 396
    gaps = [ours.id for ours, theirs in gap_findings(pair, kind) if ours.id == theirs.id]
    assert f"fairness.{way.main}_difference[g]" in gaps
    few = way.contrasts(make(tmp_path, 20))
    assert {item.outcome for item in few} == {"not enough evidence"} and all("fewer than 30" in item.reason for item in few)
    json.dumps([item.to_json() for item in few])


@pytest.mark.parametrize("kind", ["tokens", "span"])
def test_one_artefact_twice_differs_by_exactly_nothing(kind: str, tmp_path: Path) -> None:
    found = contrasting(kind).contrasts(MAKE[kind](tmp_path, same=True))
    assert found and {(item.difference, item.low, item.high) for item in found} == {(0.0, 0.0, 0.0)}


def test_texts_that_hardly_differ_bound_nothing(tmp_path: Path) -> None:
    """Two artefacts with the same answers may differ on texts that were not seen: resampling these shows none of it."""
    pair = token_pair(tmp_path)
    twin = Pair(pair.context, pair.champion)
    found = of(contrasting("tokens").contrasts(twin))
    assert found["entity_f1"].difference == 0 and found["entity_f1"].low is None and "only 0 rows" in found["entity_f1"].reason
    assert found["exact_match"].low < 0 < found["exact_match"].high  # type: ignore[operator]
    spans = span_pair(tmp_path)
    same = of(contrasting("span").contrasts(Pair(spans.context, spans.champion)))
    assert all(item.low is not None and item.low < 0 < item.high for item in same.values())  # type: ignore[operator]


def test_who_finds_nothing_has_no_precision(tmp_path: Path) -> None:
    pair = token_pair(tmp_path)
    silent = Pair(pair.context, Answers(None, ragged([()] * 400)))
    found = of(contrasting("tokens").contrasts(silent))
    assert found["entity_precision"].champion is None and found["entity_precision"].reason == "the value is not defined on these rows"
    assert found["entity_recall"].challenger == 0 and found["entity_recall"].outcome == "champion ahead"
