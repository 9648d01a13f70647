"""The finding over an ensemble's members: what each reaches alone, its interval, and how far a new measurement of it may lie."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import answers_kit as kit
import numpy as np
import pytest
from parts_kit import span_pair, token_pair
from scipy import stats
from sklearn import metrics

from trustbase import finding_id
from trustbase.audit.catalogue import why_never
from trustbase.audit.quality import audit_classes
from trustbase.audit.quality_labels import audit_labels
from trustbase.audit.quality_number import audit_number
from trustbase.audit.quality_span import audit_span
from trustbase.audit.quality_tokens import audit_tokens
from trustbase.audit.recheck import Tolerance
from trustbase.audit.seeds import mean_over_members
from trustbase.data.answers import token_f1
from trustbase.data.tags import tags_of
from trustbase.data.units import touched, units
from trustbase.recheck_command import _unsure_members
from trustbase.records import Decision, Finding, LabelSchema

MEMBERS, ROWS = 3, 200


def numbers(folder: Path) -> tuple[Any, list[float]]:
    context, rng = kit.numbers(folder, ROWS), np.random.default_rng(1)
    scores = context.test.labels[:, None, None] + rng.normal(0, [[[3.0], [5.0], [8.0]]], (ROWS, MEMBERS, 1))
    reached = [float(metrics.root_mean_squared_error(context.test.labels, scores[:, place, 0])) for place in range(MEMBERS)]
    return kit.ensemble(context, scores), reached


def labels(folder: Path) -> tuple[Any, list[float]]:
    context, rng = kit.labels(folder, ROWS), np.random.default_rng(2)
    wrong = rng.random((ROWS, MEMBERS, 3)) < [[[0.05], [0.1], [0.2]]]
    scores = np.where(context.test.labels[:, None] ^ wrong, 0.9, 0.1)
    reached = [float(metrics.accuracy_score(context.test.labels, scores[:, place] >= 0.5)) for place in range(MEMBERS)]
    return kit.ensemble(context, scores), reached


def classes(folder: Path) -> tuple[Any, list[float]]:
    """Answered at a threshold of 0.3, which turns many of the answers that the highest score would give."""
    rng = np.random.default_rng(3)
    positive = rng.random((ROWS, MEMBERS))
    scores = np.stack([1 - positive, positive], axis=2)
    truth = (rng.random(ROWS) < 0.5).astype(np.int64)
    schema, decision = LabelSchema(("no", "yes"), "yes", "yes"), Decision(0.3, "as given")
    context = replace(kit.labels(folder, ROWS), test=kit.split(truth), labels=schema, decision=decision)
    reached = [float(metrics.accuracy_score(truth, positive[:, place] >= 0.3)) for place in range(MEMBERS)]
    return kit.ensemble(context, scores), reached


def tokens(folder: Path) -> tuple[Any, list[float]]:
    """Members that misread entities more and more often; a table of each is as sure as one can be of its tags."""
    told = [list(token_pair(folder, ROWS, champion=wrong).context.answers.predicted) for wrong in (0.05, 0.1, 0.2)]
    context = token_pair(folder, ROWS).context
    names, scores = context.labels.names, []
    for text, each in zip(context.test.texts, zip(*told, strict=True), strict=True):
        bounds = units(text)
        spans = [[(*touched(bounds, start, end), name) for start, end, name in row] for row in each]
        scores.append(np.stack([np.concatenate([bounds, np.eye(len(names))[tags_of(row, len(bounds), names)]], axis=1) for row in spans]))
    truth = [set(row) for row in context.test.labels]
    reached = []
    for rows in told:
        hits = sum(len(set(row) & true) for row, true in zip(rows, truth, strict=True))
        reached.append(2 * hits / (sum(map(len, rows)) + sum(map(len, truth))))
    return kit.ensemble(context, scores), reached


def answers(folder: Path) -> tuple[Any, list[list[Any]]]:
    """What each member answers; where it is not sure enough, that is nothing."""
    told = [list(span_pair(folder, ROWS, champion=wrong).context.answers.predicted) for wrong in (0.05, 0.1, 0.2)]
    rows = [[[*row[0], 0.9, 0.1, 0.8] if row else [3, 5, 0.4, 0.3, 0.6] for row in each] for each in zip(*told, strict=True)]
    context = replace(span_pair(folder, ROWS).context, decision=Decision(0.7, "as given"))
    return kit.ensemble(context, [np.array(row) for row in rows]), told


def exact_answers(folder: Path) -> tuple[Any, list[float]]:
    context, told = answers(folder)  # the text is of words that all differ, so that the same words are the same place
    return context, [float(np.mean([row == true for row, true in zip(rows, context.test.labels, strict=True)])) for rows in told]


def words_of_answers(folder: Path) -> tuple[Any, list[float]]:
    context, told = answers(folder)
    text = context.test.texts[0].split("\x1f")[1]
    spoken = [[[text[start:end] for start, end in row] for row in rows] for rows in (*told, context.test.labels)]
    each = [[token_f1(row[0] if row else None, true) for row, true in zip(rows, spoken[-1], strict=True)] for rows in spoken[:-1]]
    return context, [float(np.mean(values)) for values in each]


CASES = [
    ("classes", "accuracy", classes, audit_classes),
    ("labels", "exact_match", labels, audit_labels),
    ("number", "rmse", numbers, audit_number),
    ("tokens", "entity_f1", tokens, audit_tokens),
    ("span", "exact_match", exact_answers, audit_span),
    ("span", "token_f1", words_of_answers, audit_span),
]


@pytest.mark.parametrize(("kind", "metric", "make", "audit"), CASES, ids=[f"{case[0]} {case[1]}" for case in CASES])
def test_each_member_is_measured_alone(kind: str, metric: str, make: Any, audit: Any, tmp_path: Path) -> None:
    context, reached = make(tmp_path)
    found = {finding.id: finding for finding in audit(context)}
    seeds, whole = found[f"quality.{metric}#seeds"], found[f"quality.{metric}"]
    wanted = stats.ttest_1samp(reached, 0.0).confidence_interval(0.95)
    assert (seeds.value, seeds.n, seeds.direction) == (pytest.approx(np.mean(reached)), MEMBERS, whole.direction)
    most = np.inf if kind == "number" else 1.0
    assert (seeds.low, seeds.high) == (pytest.approx(max(wanted.low, 0)), pytest.approx(min(wanted.high, most)))
    evidence = json.loads((tmp_path / ("seeds-token_f1.json" if metric == "token_f1" else "seeds.json")).read_text(encoding="utf-8"))
    assert context.askers.asked == 1 and evidence["metric"] == metric
    assert [member["value"] for member in evidence["members"]] == pytest.approx(reached) and evidence["together"] == whole.value
    assert why_never(finding_id.parse(seeds.id), [], kind) is None
    alone = audit(replace(context, artifact=replace(context.artifact, members=1)))
    assert [finding.id for finding in alone if finding.parts.variant == "seeds"] == [], "one training says nothing of seeds"


def test_members_that_are_alike_show_nothing_of_seeds(tmp_path: Path) -> None:
    context = kit.labels(tmp_path, ROWS)
    scores = context.answers.scores
    assert scores is not None
    found = audit_labels(kit.ensemble(context, np.stack([scores] * 2, axis=1)))
    seeds = next(finding for finding in found if finding.parts.variant == "seeds")
    assert (seeds.status, seeds.value) == ("insufficient", None) and "all 2 members reach the same value" in seeds.reason


def test_the_interval_holds_the_mean_over_seeds_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(5), 0
    for _ in range(2000):
        found = mean_over_members(rng.normal(0.8, 0.01, 3), 300, most=1.0, confidence=0.9)
        held += found.low <= 0.8 <= found.high
    assert 0.88 < held / 2000 < 0.92  # within three standard errors


@pytest.mark.parametrize(("metric", "times"), [("accuracy", 1), ("exact_match", 1), ("entity_f1", 2)])
def test_what_turned_answers_of_members_can_move_is_allowed_and_no_more_than_some_times_that(metric: str, times: int) -> None:
    """Each member's share moves by one part in a hundred, in any direction: no bound lies beyond the tolerance, and some come near.

    One answer in a hundred that turns moves an F1 by up to twice that.
    """
    values, moved, worst = np.array([0.80, 0.83, 0.85]), 0.01 * times, 0.0
    before = mean_over_members(values, ROWS).finding(f"quality.{metric}#seeds", direction="higher")
    allowed = Tolerance(1e-4, of_members=0.01).of(before)
    for signs in np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T:
        after = mean_over_members(values + moved * signs, ROWS)
        worst = max(worst, abs(after.low - (before.low or 0)), abs(after.high - (before.high or 0)))
    assert allowed / 2 < worst <= allowed
    assert Tolerance().of(before) < 1e-8, "of stored scores nothing may move"
    far = Finding("quality.rmse#seeds", 5.0, 4.0, 6.0, 3, direction="lower")
    assert Tolerance(1e-4, scale=100.0).of(far) < 0.1


def test_what_lies_near_a_members_decision_is_counted_among_what_is_counted(tmp_path: Path) -> None:
    """Of the member with most of it: units among entities, and answers among rows."""
    context, _ = tokens(tmp_path)
    for row in (1, 4, 9):
        context.askers.scores[row][2, 0, 2:] = [0.5, 0.499, 0.001, 0.0, 0.0]
    context.askers.scores[0][1, 0, 2:] = [0.5, 0.499, 0.001, 0.0, 0.0]
    assert _unsure_members(context, 0.001) == pytest.approx(3 / sum(len(row) for row in context.test.labels))
    parts, _ = answers(tmp_path)
    parts.askers.scores[5][1, 4] = 0.7005
    assert _unsure_members(parts, 0.001) == 1 / ROWS
    assert _unsure_members(replace(context, askers=None), 0.001) == 0.0
