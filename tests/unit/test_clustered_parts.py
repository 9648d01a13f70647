"""Intervals over owners of what is found in texts, of relations and numbers: they cover where rows of one owner are alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import answers_kit as kit
import numpy as np
import pytest
from parts_kit import span_pair, token_pair

from trustbase.audit.clustered import GROUPS, clustered, widening
from trustbase.audit.context import AuditContext
from trustbase.audit.entities import f1, interval, precision, recall
from trustbase.audit.fairness_tokens import audit_tokens as audit_groups_of_tokens
from trustbase.audit.quality_number import audit_number
from trustbase.audit.quality_relation import f1_of
from trustbase.audit.quality_span import audit_span, mean_interval
from trustbase.audit.quality_tokens import audit_tokens
from trustbase.audit.resampled import of_sums
from trustbase.audit.stats import Floats, Interval
from trustbase.audit.tails import mean_size
from trustbase.records import Finding

OWNERS, EACH, REPEATS = 50, 6, 100


def chances(rng: np.random.Generator, owners: int, each: int) -> tuple[Floats, np.ndarray]:
    """How well each row is answered: whole owners are easy or hard."""
    own = rng.beta(1.2, 0.5, owners)
    codes = np.repeat(np.arange(owners), each)
    return own[codes], codes


def entity_sums(rng: np.random.Generator, owners: int, each: int) -> tuple[Floats, np.ndarray]:
    chance, codes = chances(rng, owners, each)
    true = rng.integers(0, 4, len(codes))
    hits = rng.binomial(true, chance)
    return np.stack([hits, hits + rng.binomial(true - hits, 0.6), true], axis=1).astype(float), codes


def relation_sums(rng: np.random.Generator, owners: int, each: int) -> tuple[Floats, np.ndarray]:
    chance, codes = chances(rng, owners, each)
    some = rng.random(len(codes)) < 0.6
    answered = np.where(some, rng.random(len(codes)) < 0.9, rng.random(len(codes)) < 0.1)
    return np.stack([some & answered & (rng.random(len(codes)) < chance), answered, some], axis=1).astype(float), codes


def overlap_sums(rng: np.random.Generator, owners: int, each: int) -> tuple[Floats, np.ndarray]:
    """F1 over words of each row: nothing, some, or all of an answer."""
    chance, codes = chances(rng, owners, each)
    values = np.where(rng.random(len(codes)) < chance, 1.0, rng.choice([0.0, 0.5, 0.8], len(codes)))
    return np.stack([values, np.ones(len(codes))], axis=1), codes


def exact_sums(rng: np.random.Generator, owners: int, each: int) -> tuple[Floats, np.ndarray]:
    sums, codes = overlap_sums(rng, owners, each)
    return np.stack([sums[:, 0] == 1.0, sums[:, 1]], axis=1).astype(float), codes


def error_sums(rng: np.random.Generator, owners: int, each: int) -> tuple[Floats, np.ndarray]:
    """Absolute errors in a unit of their own, far above 1."""
    codes = np.repeat(np.arange(owners), each)
    return np.stack([np.abs(rng.normal(0, 40 + 60 * rng.random(owners)[codes])), np.ones(len(codes))], axis=1), codes


def ratio(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def of_mean(sums: Floats, rng: np.random.Generator) -> Interval:
    return mean_interval(sums[:, 0], confidence=0.95, binary=bool(np.isin(sums[:, 0], (0, 1)).all()))


Draw = Callable[[np.random.Generator, int, int], tuple[Floats, np.ndarray]]
WAYS: dict[str, tuple[Draw, Callable[[Floats], Floats], Callable[[Floats, np.random.Generator], Interval]]] = {
    **{
        f"entity_{of.__name__}": (entity_sums, of, lambda sums, rng, of=of: interval(sums, of, rng=rng, confidence=0.95))
        for of in (f1, precision, recall)
    },
    "relation_f1": (relation_sums, f1_of, lambda sums, rng: of_sums(sums, f1_of, rng=rng, replicates=400, least=0.0, most=1.0)),
    "token_f1": (overlap_sums, ratio, of_mean),
    "exact_match": (exact_sums, ratio, of_mean),
    "mae": (error_sums, ratio, lambda sums, rng: mean_size(sums[:, 0], 0.0)),
}


@pytest.mark.parametrize("name", list(WAYS))
def test_coverage_where_rows_of_one_owner_resemble_each_other(name: str) -> None:
    draw, statistic, measure = WAYS[name]
    rng = np.random.default_rng(11)
    true = float(statistic(draw(rng, 40_000, EACH)[0].sum(axis=0)))
    covered = {"rows": 0, "owners": 0}
    for _ in range(REPEATS):
        sums, codes = draw(rng, OWNERS, EACH)
        made = measure(sums, rng)
        part = (rng.permutation(OWNERS) % GROUPS)[codes]
        left_out = sums.sum(axis=0) - np.stack([np.bincount(part, column, GROUPS) for column in sums.T], axis=1)
        factor = widening(statistic(left_out).tolist(), made.value, made.low, made.high, confidence=0.95, weighted=EACH)
        covered["rows"] += made.low <= true <= made.high
        covered["owners"] += made.value - factor * (made.value - made.low) <= true <= made.value + factor * (made.high - made.value)
    assert covered["owners"] / REPEATS >= 0.9 and covered["owners"] > covered["rows"], (covered, true)


def owned(context: AuditContext, each: int = 4) -> AuditContext:
    """Rows in a row belong to one owner, who all answer alike: what one is told, all are."""
    codes = np.arange(len(context.test)) // each
    first = codes * each
    told = context.answers.predicted[first]
    scores = None if context.answers.scores is None else context.answers.scores[first]
    test = replace(context.test, labels=context.test.labels[first], entities=codes)
    return replace(context, test=test, answers=replace(context.answers, predicted=told, scores=scores))


def both(context: AuditContext, audit: Callable[[AuditContext], list[Finding]]) -> list[tuple[Finding, Finding]]:
    findings = audit(context)
    return list(zip(findings, clustered(context, audit, findings), strict=True))


@pytest.mark.parametrize("kind", ["tokens", "groups of tokens", "span"])
def test_every_finding_of_parts_is_widened_and_says_so(kind: str, tmp_path: Path) -> None:
    audit: Any = {"tokens": audit_tokens, "groups of tokens": audit_groups_of_tokens, "span": audit_span}[kind]
    pair = (span_pair if kind == "span" else token_pair)(tmp_path, 320, champion=0.3)
    found = [(one, other) for one, other in both(owned(pair.context), audit) if one.status == "ok"]
    assert len(found) >= 5
    for one, other in found:
        assert other.status == "ok" and "delete-a-group" in other.method, (other.id, other.reason)
        assert 0 <= other.low <= one.low and one.high <= other.high <= 1, one.id  # type: ignore[operator]
    widths = [(other.high - other.low) / (one.high - one.low) for one, other in found]  # type: ignore[operator]
    least = 1.3 if kind == "groups of tokens" else 1.5  # gaps near none end at 0 already, and widen to one side only
    assert least < float(np.median(widths)) < 2.7, widths  # four copies of a row are one: twice as wide


def test_numbers_are_widened_in_their_own_unit(tmp_path: Path) -> None:
    found = {one.id: (one, other) for one, other in both(owned(kit.numbers(tmp_path, 400)), audit_number) if one.status == "ok"}
    for metric in ("rmse", "mae", "r2", "interval_coverage"):
        one, other = found[f"quality.{metric}"]
        assert other.high > one.high + 1e-9 or metric == "interval_coverage", metric  # type: ignore[operator]
        assert other.low < one.low, metric  # type: ignore[operator]
    assert found["quality.mae"][1].high > 1  # in pounds, not a share


def test_what_is_no_sample_of_rows_stays_as_it_is(tmp_path: Path) -> None:
    context = owned(token_pair(tmp_path, 200).context)
    made = Finding("quality.unread_units", 0.1, 0.05, 0.2, 200, "share", "lower", "counted")
    over = replace(made, id="quality.exact_match#seeds")
    assert clustered(context, lambda part: [], [made, over]) == [made, over]


def test_parts_with_large_errors_are_widened_though_they_are_named_by_rank(tmp_path: Path) -> None:
    found = [other for _, other in both(owned(kit.numbers(tmp_path, 400)), audit_number) if "slice_mae" in other.id]
    assert len(found) == 6
    for item in found:
        assert item.status == "ok" and "delete-a-group" in item.method, (item.id, item.reason)
