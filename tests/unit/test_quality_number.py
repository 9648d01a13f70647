"""Quality and fairness of numbers at their edges: ties, bounds of the worst part, gains that are alike, bins; counted plainly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answers_kit import INTERVAL, numbers
from scipy import stats as scipy_stats

from trustbase.audit.challenge import Pair, contrasting
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.fairness_number import audit_number as fair_numbers
from trustbase.audit.quality_number import audit_number
from trustbase.audit.tails import mean_size
from trustbase.records import Decision, Finding


def of(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.id: finding for finding in findings}


def unseen(rows: int, level: float = 0.95) -> float:
    """What an unseen row weighs at a bound beside rows that are alike (`test_paired_reach.py`), but for two hundredths."""
    square = float(scipy_stats.norm.ppf(0.5 + level / 2)) ** 2
    return square / (rows + square)


def answering(context: AuditContext, told: Any, **more: Any) -> AuditContext:
    """The same rows with these answers."""
    return replace(context, answers=Answers(np.asarray(told, float)[:, None], np.asarray(told, float)), **more)


def whole(folder: Path, rows: int = 400) -> AuditContext:
    """Whole numbers, so that errors can lie exactly on a bound."""
    context = numbers(folder, rows)
    return replace(context, test=replace(context.test, labels=np.round(context.test.labels)))


def test_a_truth_on_the_bound_lies_inside(tmp_path: Path) -> None:
    """The bounds are that of a validation error (`conformal_half_width`), which itself is held: ties count, in every audit alike."""
    context = whole(tmp_path)
    errors = np.resize([8.0, -8.0, 9.0, -7.0], 400)
    group, (low, high) = context.test.groups["g"], ([8.0, -9.0], [8.0, -8.0])  # S on a bound or outside, N on either bound
    errors = np.where(group == "S", np.resize(low, 400), np.where(group == "N", np.resize(high, 400), errors))
    context = answering(context, context.test.labels + errors)
    held = (errors != 9.0) & (errors != -9.0)
    assert of(audit_number(context))["quality.interval_coverage"].value == held.mean()
    fair = of(fair_numbers(context))
    assert fair["fairness.interval_coverage[g=N]"].value == 1.0
    assert fair["fairness.interval_coverage[g=S]"].value == held[group == "S"].mean()
    other = Pair(context, Answers(None, context.test.labels + 8.0), decision=INTERVAL)
    (item,) = (item for item in contrasting("number").contrasts(other) if item.metric == "interval_coverage")
    assert (item.champion, item.challenger) == (held.mean(), 1.0)


def test_each_of_two_models_is_held_to_its_own_interval(tmp_path: Path) -> None:
    context = whole(tmp_path)
    context = answering(context, context.test.labels + np.resize([2.0, -9.0], 400))
    narrow = Decision(None, "conformal", interval={"coverage": 0.9, "half_width": 1.0, "rows": 160.0})
    other = Pair(context, Answers(None, context.test.labels + np.resize([2.0, 1.0, 1.0, 1.0], 400)), decision=narrow)
    (item,) = (item for item in contrasting("number").contrasts(other) if item.metric == "interval_coverage")
    assert (item.champion, item.challenger, item.difference) == (0.5, 0.75, 0.25)


def test_the_worst_part_may_be_as_bad_as_any_of_them(tmp_path: Path) -> None:
    """The largest mean error seen is that of many rows and sure; another part, of few rows that differ, may in truth be worse."""
    context = numbers(tmp_path, 630)
    rng = np.random.default_rng(2)
    group = np.array(["many"] * 600 + ["few"] * 30, dtype=object)
    errors = np.r_[rng.normal(9, 1, 600), rng.exponential(6, 30)]
    plain = replace(context.test, groups={"g": group}, texts=["text"] * 630, table=context.test.table.select([]))
    context = answering(replace(context, test=plain), plain.labels + errors)
    found = of(audit_number(context))
    rows = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["slices"]
    assert [row["slice"] for row in rows] == [{"g": "many"}, {"g": "few"}]
    worst, few = found["quality.worst_slice_mae"], found["quality.slice_mae[g=few]"]
    assert worst.high == few.high == rows[1]["high"] > rows[0]["high"] + 1
    assert (worst.low, worst.value, worst.n) == (rows[0]["low"], pytest.approx(np.abs(errors[:600]).mean()), 600)
    assert (few.value, few.n) == (pytest.approx(np.abs(errors[600:]).mean()), 30)
    alike = float(max(context.answers.predicted.max(), plain.labels.max()) - min(context.answers.predicted.min(), plain.labels.min()))
    made = mean_size(np.abs(errors[600:]), alike, confidence=0.975)  # two slices at once
    assert (few.low, few.high) == pytest.approx((made.low, made.high))


def test_parts_of_thirty_rows_are_looked_at_and_of_fewer_not(tmp_path: Path) -> None:
    context = numbers(tmp_path, 300)
    group = np.array(["a"] * 30 + ["b"] * 29 + ["c"] * 241, dtype=object)
    context = replace(context, test=replace(context.test, groups={"g": group}, texts=["text"] * 300, table=context.test.table.select([])))
    audit_number(context)
    rows = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["slices"]
    assert {row["slice"]["g"]: row["n"] for row in rows} == {"a": 30, "c": 241}


def test_parts_whose_errors_are_alike_reach_as_far_as_any_answer_lies_from_any_truth(tmp_path: Path) -> None:
    """Otherwise 100 rows that are off by 1 would say that none is off by more than 2.2."""
    context = numbers(tmp_path, 100, rows_like={"small": 0})
    truth = np.resize([50.0, 150.0], 100)
    context = answering(replace(context, test=replace(context.test, labels=truth)), truth + 1.0)
    assert of(audit_number(context))["quality.mae"].high == pytest.approx(1 + 100 * unseen(100), rel=0.02)
    north = int((context.test.groups["g"] == "N").sum())
    fair = of(fair_numbers(context))
    assert fair["fairness.mae[g=N]"].high == pytest.approx(1 + 100 * unseen(north), rel=0.02)
    assert fair["fairness.mean_error[g=N]"].low == pytest.approx(1 - 102 * unseen(north), rel=0.02)
    slices = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["slices"]
    (row,) = (row for row in slices if row["slice"] == {"g": "N"})
    assert row["high"] == pytest.approx(1 + 100 * unseen(north, 1 - 0.05 / len(slices)), rel=0.02)


def test_gains_that_are_alike_reach_as_far_as_any_of_both_answers(tmp_path: Path) -> None:
    """Truths from 0 to 10, the model's answers from 1 to 11, the rival's from 3 to 13: an unseen row may be 13 apart."""
    context = numbers(tmp_path, 40)
    truth = np.resize(np.arange(11.0), 40)
    context = answering(replace(context, test=replace(context.test, labels=truth)), truth + 1)
    rival = {"mean": Answers((truth + 3)[:, None], truth + 3)}
    gain = of(audit_number(replace(context, train=context.test, rivals=rival)))["quality.gain_over_mean"]
    wanted = pytest.approx((2 - 15 * unseen(40), 2.0, 2 + 11 * unseen(40)), abs=0.02)
    assert (gain.low, gain.value, gain.high) == wanted
    pair = Pair(context, rival["mean"])
    (mae,) = (item for item in contrasting("number").contrasts(pair) if item.metric == "mae")
    assert (mae.low, mae.difference, mae.high) == wanted


def test_as_few_rows_as_are_asked_for_suffice(tmp_path: Path) -> None:
    context = numbers(tmp_path, 50)
    rivals = {"mean": Answers(np.full((50, 1), 100.0), np.full(50, 100.0))}
    found = of(audit_number(replace(context, train=context.test, rivals=rivals)))
    assert {found[f"quality.{name}"].status for name in ("mae", "rmse", "r2", "gain_over_mean")} == {"ok"}
    few = numbers(tmp_path, 20)
    rivals = {"mean": Answers(np.full((20, 1), 100.0), np.full(20, 100.0))}
    found = of(audit_number(replace(few, train=few.test, rivals=rivals)))
    assert {found[f"quality.{name}"].status for name in ("mae", "rmse", "gain_over_mean")} == {"ok"}
    assert found["quality.r2"].reason == "20 rows, fewer than the minimum of 50"


def test_rivals_stand_beside_the_model_with_their_errors(tmp_path: Path) -> None:
    context = numbers(tmp_path, 300)
    rivals = {
        name: context.test.labels + np.resize(errors, 300) for name, errors in (("mean", [30.0, -2.0]), ("boosting", [-4.0, 3.0, 1.0]))
    }
    context = replace(context, train=context.test, rivals={name: Answers(told[:, None], told) for name, told in rivals.items()})
    found = of(audit_number(context))
    rows = {row["name"]: row for row in json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["rivals"]}
    for name, told in {"model": context.answers.predicted, **rivals}.items():
        errors, row = told - context.test.labels, rows[name]
        assert (row["mae"], row["rmse"]) == pytest.approx((np.abs(errors).mean(), np.sqrt((errors**2).mean())))
        assert row["low"] < row["mae"] < row["high"] and ("gain" in row) == (name != "model")
    saved = np.abs(rivals["mean"] - context.test.labels) - np.abs(context.answers.predicted - context.test.labels)
    assert rows["mean"]["gain"] == found["quality.gain_over_mean"].value == pytest.approx(saved.mean()) and saved.mean() > 8
    assert found["quality.gain_over_boosting"].value < 0  # type: ignore[operator]
    assert (rows["boosting"]["gain_low"], rows["boosting"]["gain_high"]) == (
        found["quality.gain_over_boosting"].low,
        found["quality.gain_over_boosting"].high,
    )


@pytest.mark.parametrize(("rows", "bins"), [(600, 10), (315, 10), (299, 9), (95, 3), (60, 2), (59, 0)])
def test_bins_are_of_rows_that_were_told_alike(rows: int, bins: int, tmp_path: Path) -> None:
    """As many as 30 rows each allow, ten at most, of equal sizes but for one row; cut by what was told and not by what is true."""
    context = numbers(tmp_path, rows, noise=30.0)
    audit_number(context)
    found = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["number"]
    made = found["told_and_true"]
    assert len(made) == bins and found["rows"] == rows and found["unit"] == "price"
    ordered = pd.DataFrame({"told": context.answers.predicted, "true": context.test.labels}).sort_values("told").reset_index(drop=True)
    start = 0
    for row in made:
        part = ordered.iloc[start : start + row["n"]]
        start += row["n"]
        assert (row["told"], row["true"]) == pytest.approx((part["told"].mean(), part["true"].mean()))
        assert (row["low"], row["high"]) == pytest.approx(
            (row["true"] - 1.96 * part["true"].sem(), row["true"] + 1.96 * part["true"].sem()), rel=1e-4
        )
    assert start == (rows if bins else 0) and (not bins or max(row["n"] for row in made) - min(row["n"] for row in made) <= 1)


def test_quantiles_of_errors_are_of_what_was_told_less_what_is_true(tmp_path: Path) -> None:
    context = numbers(tmp_path, 101, rows_like={"groups": False})
    shuffled = np.random.default_rng(0).permutation(np.arange(101.0)) - 10  # from 10 too little to 90 too much
    audit_number(answering(context, context.test.labels + shuffled))
    told = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["number"]["error_quantiles"]
    assert told == pytest.approx({"0.05": -5, "0.25": 15, "0.5": 40, "0.75": 65, "0.95": 85})
    for rows, known in ((29, False), (30, True)):  # of fewer rows a quantile would be nearly one row's number
        audit_number(numbers(tmp_path, rows))
        told = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["number"]["error_quantiles"]
        assert bool(told) is known
