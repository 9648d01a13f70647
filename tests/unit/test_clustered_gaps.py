"""Intervals of gaps between groups, over entities: no wider than entities make them, and wide enough where they do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trustbase.audit import contrasts, fairness
from trustbase.audit.clustered import Entities, _of_rows, _widened, clustered
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.contrasts import Rates
from trustbase.audit.fairness_labels import audit_labels
from trustbase.audit.fairness_number import audit_number
from trustbase.records import Decision, Finding, LabelSchema, Split

PARTS = 40
LABELS = LabelSchema(("no", "yes"), "yes", "yes")


def world(folder: Path, *, entities: int = 80, each: int = 4, small: int = 8, seed: int = 3) -> AuditContext:
    """Answers that owe nothing to entities; two groups, and a third one of `small` rows, fewer than are compared."""
    rng = np.random.default_rng(seed)
    rows = entities * each
    truth = rng.integers(0, 2, rows)
    told = np.where(rng.random(rows) < 0.75, truth, 1 - truth)
    sex = rng.choice(["f", "m"], rows).astype(object)
    sex[rng.choice(rows, small, replace=False)] = "unknown"
    texts = [f"text {i}" for i in range(rows)]
    codes = np.repeat(np.arange(entities), each)
    test = Split(
        "test", texts, truth, {"sex": sex}, pa.table({"text": texts}), np.arange(1, rows + 1), "rows.csv", "sha256:x", entities=codes
    )
    return AuditContext(test, LABELS, Decision(), Answers(None, told), Evidence(folder), 0)


def gaps(findings: list[Finding]) -> dict[str, Finding]:
    return {one.id: one for one in findings if one.status == "ok" and "[sex]" in one.id}


def with_numbers(context: AuditContext) -> AuditContext:
    truth = context.test.labels * 10.0
    told = truth + np.random.default_rng(1).normal(0, 3, len(truth))
    return replace(
        context, test=replace(context.test, labels=truth), labels=LabelSchema(("days",), None, None), answers=Answers(None, told)
    )


def with_sets(context: AuditContext) -> AuditContext:
    truth, told = np.stack([context.test.labels] * 2, axis=1), np.stack([context.answers.predicted] * 2, axis=1)
    return replace(context, test=replace(context.test, labels=truth), answers=Answers(None, told))


@pytest.mark.parametrize("kind", ["classes", "sets", "numbers"])
def test_a_group_too_small_to_be_compared_does_not_widen_the_gap_of_the_others(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trustbase.audit.clustered.GROUPS", 20)  # half the time
    context = world(tmp_path)
    audit = {"classes": fairness.audit_classes, "sets": audit_labels, "numbers": audit_number}[kind]
    if kind != "classes":
        context = with_sets(context) if kind == "sets" else with_numbers(context)
    alone = gaps(audit(context))
    found = gaps(clustered(context, audit, audit(context)))
    assert len(found) == len(alone) >= 3
    for name, one in alone.items():
        width = (found[name].high - found[name].low) / (one.high - one.low)  # type: ignore[operator]
        assert 1 <= width < 1.3, (name, width, found[name].method)


def test_a_part_of_the_rows_compares_the_groups_that_all_of_them_do(tmp_path: Path) -> None:
    context = world(tmp_path)
    sex, truth, told = context.test.groups["sex"], context.test.labels, context.answers.predicted
    rows = np.flatnonzero(context.test.entities >= 3)  # type: ignore[operator]
    rate = {group: np.mean(told[rows][sex[rows] == group] == truth[rows][sex[rows] == group]) for group in ("f", "m", "unknown")}
    part = _of_rows(context, rows, context.evidence)
    found = {one.id: one for one in fairness.audit_classes(part)}
    assert found["fairness.accuracy_difference[sex]"].value == pytest.approx(abs(rate["f"] - rate["m"]))
    assert abs(rate["f"] - rate["m"]) < max(rate.values()) - min(rate.values())


def test_a_gap_of_which_a_part_lacks_a_group_is_insufficient(tmp_path: Path) -> None:
    context = world(tmp_path, small=0)
    sex = np.where(context.test.entities < 10, "f", np.where(context.test.entities < 45, "m", "x")).astype(object)  # type: ignore[operator]
    context = replace(context, test=replace(context.test, groups={"sex": sex}))
    without = _of_rows(context, np.flatnonzero(sex != "f"), context.evidence)
    found = {one.id: one for one in fairness.audit_classes(without)}
    assert found["fairness.accuracy_difference[sex]"].value is None
    for one in audit_number(_of_rows(with_numbers(context), np.flatnonzero(sex != "f"), context.evidence)):
        assert one.value is None or "difference" not in one.id, one.id


def test_an_interval_that_ends_at_what_is_possible_tells_of_one_side_only() -> None:
    entities = Entities(np.arange(320) // 4, 80, 4.0)
    values = list(0.02 + 0.0075 * np.resize([-1, 1], PARTS))  # an error of 0.047, so that 0.095 to a side are needed
    gap = Finding("fairness.accuracy_difference[sex]", 0.02, 0.0, 0.12, n=320, method="m", confidence=0.95)
    ratio = Finding("fairness.demographic_parity_ratio[sex]", 0.98, 0.88, 1.0, n=320, method="m", confidence=0.95)
    assert "hardly wider" in _widened(gap, values, PARTS, entities, False).method
    assert "hardly wider" in _widened(ratio, [1 - value for value in values], PARTS, entities, False).method


def drawn(rng: np.random.Generator, rates: tuple[float, float], within: float, entities: int, each: int) -> tuple[Finding, Finding]:
    """The gap of two groups of whole entities, over rows and over entities; rows of one are alike with chance `within`."""
    sex = rng.integers(0, 2, entities).repeat(each)
    own = rng.random(entities).repeat(each)
    hit = np.where(rng.random(sex.size) < within, own, rng.random(sex.size)) < np.asarray(rates)[sex]
    part = (rng.permutation(entities) % PARTS).repeat(each) * 2 + sex
    k, n = np.bincount(part, hit, PARTS * 2).reshape(-1, 2), np.bincount(part, minlength=PARTS * 2).reshape(-1, 2)
    made = contrasts.gap_bounds(Rates.of(k.sum(0), n.sum(0)))
    rows = Finding("fairness.accuracy_difference[sex]", float(made.value), float(made.low), float(made.high), n=sex.size, method="m")
    left = np.ptp((k.sum(0) - k) / (n.sum(0) - n), axis=1)
    return rows, _widened(rows, left.tolist(), PARTS, Entities(np.arange(entities).repeat(each), entities, float(each)), False)


@pytest.mark.parametrize("rates", [(0.3, 0.3), (0.3, 0.45), (0.3, 0.6)])
@pytest.mark.parametrize(("within", "entities", "each"), [(0.0, 79, 4), (0.8, 60, 5)])
def test_coverage_of_a_gap(rates: tuple[float, float], within: float, entities: int, each: int) -> None:
    rng, true = np.random.default_rng(0), rates[1] - rates[0]
    pairs = [drawn(rng, rates, within, entities, each) for _ in range(300)]
    covered = [np.mean([one[i].low - 1e-12 <= true <= one[i].high + 1e-12 for one in pairs]) for i in (0, 1)]  # type: ignore[operator]
    width = np.median([(over.high - over.low) / (rows.high - rows.low) for rows, over in pairs])  # type: ignore[operator]
    assert covered[1] >= 0.93, covered
    if within:
        assert covered[0] < 0.85
    else:
        assert width < 1.1, width
