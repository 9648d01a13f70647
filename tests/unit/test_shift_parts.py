"""Scores that tell other kinds of texts, answers withheld, prediction sets: against other libraries, simulation, planted defects."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.special import logsumexp
from shift_kit import Asked, by_id, context_of, hash_of
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors

from trustbase import files
from trustbase.audit.calibrated import calibrated, held_out_rows
from trustbase.audit.catalogue import SHIFTS, why_never
from trustbase.audit.context import Answers
from trustbase.audit.robustness.abstention import area, area_interval, contributions, measure_abstention, risks, threshold_of
from trustbase.audit.robustness.conformal import conformal_threshold, expected_coverage, measure_conformal, prediction_sets
from trustbase.audit.robustness.distance import Shape, energy, neighbours, shape_of
from trustbase.audit.robustness.foreign import foreign
from trustbase.audit.robustness.guardrails import SCHEMA
from trustbase.audit.robustness.shift import measure_shift
from trustbase.data.marked import HEAD, TAIL, TYPED
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.finding_id import parse
from trustbase.outputs.decision import decide_labels
from trustbase.records import Decision

# --- scores -------------------------------------------------------------------------------------------------------------------


def test_distances_are_those_of_other_libraries() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 300)
    known = rng.normal(0, 1, (300, 9)) @ rng.normal(0, 1, (9, 9)) + 3 * codes[:, None]
    asked = rng.normal(0, 2, (40, 9))
    shape = shape_of(known, codes, ["a", "b"])
    assert (
        isinstance(shape, Shape) and shape.names == ("a", "b") and shape.axes.shape == (8, 9)
    )  # one direction is left, of its own variance
    means = np.stack([known[codes == code].mean(0) for code in (0, 1)])
    inverse = np.linalg.inv(ledoit_wolf(known - means[codes], assume_centered=True)[0])
    expected = [min(mahalanobis(row, mean, inverse) ** 2 for mean in means) for row in asked]
    assert np.allclose(shape.distances(asked), expected, rtol=1e-6)
    again = Shape.from_json(shape.to_json())
    assert np.allclose(again.distances(asked), shape.distances(asked), rtol=1e-4)
    length = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)  # noqa: E731
    nearest = NearestNeighbors(n_neighbors=3).fit(length(known)).kneighbors(length(asked))[0][:, 2]
    assert np.allclose(neighbours(known, asked, 3), nearest, atol=1e-7)
    assert np.allclose(energy(asked), -logsumexp(asked, axis=1))


def test_few_rows_leave_no_shape_and_a_small_class_no_mean() -> None:
    rng = np.random.default_rng(0)
    known, codes = rng.normal(0, 1, (140, 5)), np.append(np.zeros(120, np.int64), np.ones(20, np.int64))
    shape = shape_of(known, codes, ["many", "few"])
    assert isinstance(shape, Shape) and shape.names == ("many",) and shape.rows == 120
    assert "fewer than the minimum of 100" in str(shape_of(known[:90], codes[:90], ["many", "few"]))
    alone = shape_of(known, None, ["any"])
    assert isinstance(alone, Shape) and alone.names == ("*",)


@pytest.mark.parametrize("kind", SHIFTS)
def test_a_text_of_another_kind_keeps_its_layout(kind: str) -> None:
    text = f"39 years old, works every day as a senior clerk {SEPARATOR}in 银行账户工作和其他地方{CELL}clerk{CELL}40"
    made = foreign(text, kind, 0)
    assert made == foreign(text, kind, 0) != text and made != foreign(text, kind, 1)
    assert made.count(SEPARATOR) == 1 and made.endswith(f"{CELL}clerk{CELL}40") and made.startswith("39 ") and "," in made
    marked = f"The {HEAD}PER{TYPED}Ann{HEAD} met {TAIL}{TYPED}Bob Ray{TAIL} today"
    changed = foreign(marked, kind, 0)
    assert [sign for sign in changed if sign in (HEAD, TAIL, TYPED)] == [
        HEAD,
        TYPED,
        HEAD,
        TAIL,
        TYPED,
        TAIL,
    ] and f"{HEAD}PER{TYPED}" in changed
    if kind == "shuffled":
        assert sorted(re.findall(r"[a-z]+", foreign("one two three four", kind, 0))) == ["four", "one", "three", "two"]
    if kind == "other-language":
        assert re.search("[\u4e00-\u9fff]", foreign("plain english words", kind, 0)) and re.search(
            "[a-z]", foreign("全是中文的句子", kind, 0)
        )


# --- the parts ----------------------------------------------------------------------------------------------------------------


def test_other_kinds_are_told_with_a_threshold_that_a_server_can_keep(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    found = by_id(measure_shift(context))
    assert found["robustness.ood_auroc"].value == found["robustness.ood_auroc#mahalanobis"].value > 0.95  # type: ignore[operator]
    assert all(finding.status == "ok" and "a seeded" in finding.method for finding in found.values())
    assert found["robustness.ood_auroc#shuffled"].value == pytest.approx(0.5, abs=0.12)
    guard = files.read_json(context.evidence.folder / "robustness.guardrails.json")
    assert guard["schema"] == SCHEMA and guard["model"] == "sha256:1"
    told = files.read_json(context.evidence.folder / "robustness.shift.json")
    assert told["head"] == "mahalanobis" and min(told["controls"].values()) > 0.9 and told["scores"]["energy"]["own_refused"] < 0.12
    kept = guard["out_of_distribution"]
    shape = Shape.from_json(kept["mahalanobis"])
    asked = Asked()
    own, other = (np.stack([asked.embedding(text) for text in texts]) for texts in (context.test.texts[:300], ["zz yy xx"] * 3))
    assert (shape.distances(own) > kept["mahalanobis"]["threshold"]).mean() < 0.12
    assert (shape.distances(other) > kept["mahalanobis"]["threshold"]).all()


def test_what_does_not_notice_random_signs_is_believed_in_nothing(tmp_path: Path) -> None:
    context = context_of(tmp_path, asked=Asked(blind=True))
    found = measure_shift(context)
    assert "ok" not in {finding.status for finding in found} and found[0].status == "insufficient" and "blind" in found[0].reason
    assert not (context.evidence.folder / "robustness.guardrails.json").exists()
    assert not files.read_json(context.evidence.folder / "robustness.shift.json")["scores"]


class BlindLogits(Asked):
    """Embeddings notice other texts, logits nothing."""

    def class_logits(self, text: str) -> np.ndarray:
        return np.random.default_rng(abs(hash_of(text))).normal(0, 1, 2)


class BlindEmbeddings(Asked):
    """Logits notice other texts, embeddings nothing."""

    def embedding(self, text: str) -> np.ndarray:
        return np.random.default_rng(abs(hash_of(text))).normal(0, 1, 8)

    def class_logits(self, text: str) -> np.ndarray:
        return Asked(logits=self.own).class_logits(text)


def test_each_score_stands_its_own_control_and_ships_only_where_it_does(tmp_path: Path) -> None:
    for asked, sees, not_seeing in ((BlindLogits(), "mahalanobis", "energy"), (BlindEmbeddings(), "energy", "mahalanobis")):
        context = context_of(tmp_path / sees, asked=asked)
        found = by_id(measure_shift(context))
        blind = found[f"robustness.ood_auroc#{not_seeing}"]
        assert found[f"robustness.ood_auroc#{sees}"].status == "ok" and blind.status == "insufficient" and "blind" in blind.reason
        head = found["robustness.ood_auroc"]  # of embeddings, as was said beforehand: no other score takes its place
        assert head.status == found["robustness.ood_auroc#random"].status == found["robustness.ood_auroc#mahalanobis"].status
        kept = files.read_json(context.evidence.folder / "robustness.guardrails.json")["out_of_distribution"]
        assert sees in kept and not_seeing not in kept
        told = files.read_json(context.evidence.folder / "robustness.shift.json")
        assert sees in told["scores"] and not_seeing not in told["scores"] and told["controls"][not_seeing] < 0.8
        assert not_seeing not in {row["score"] for row in told["kinds"]}


def test_given_texts_are_the_headline_and_made_ones_the_control(tmp_path: Path) -> None:
    given = tuple(f"other words {number}" for number in range(60))
    found = by_id(measure_shift(context_of(tmp_path, shift=given)))
    assert found["robustness.ood_auroc"].n == 282 + 60 and "60 texts that are given" in found["robustness.ood_auroc"].method
    assert "test rows in random signs" in found["robustness.ood_auroc#random"].method
    few = measure_shift(context_of(tmp_path, shift=given[:5]))
    assert few[0].status == "insufficient" and "5 different texts" in few[0].reason


def test_a_model_without_embeddings_has_its_energy_and_one_without_either_nothing(tmp_path: Path) -> None:
    found = by_id(measure_shift(context_of(tmp_path, outputs=("logits",))))
    assert found["robustness.ood_auroc"].value == found["robustness.ood_auroc#energy"].value
    assert found["robustness.ood_auroc#knn"].status == "not_applicable"
    flat = by_id(measure_shift(context_of(tmp_path, outputs=("logits",), asked=Asked(logits=False))))
    assert flat["robustness.ood_auroc"].status == "not_applicable" and "logarithms" in flat["robustness.ood_auroc"].reason
    number = by_id(measure_shift(context_of(tmp_path, kind="number")))
    assert number["robustness.ood_auroc"].status == "ok" and number["robustness.ood_auroc#energy"].status == "not_applicable"


def test_without_calibration_rows_nothing_is_fitted(tmp_path: Path) -> None:
    context = context_of(tmp_path, held_out=None)
    found = [*measure_shift(context), *measure_abstention(context), *measure_conformal(context)]
    assert {finding.status for finding in found} == {"insufficient"} and all("calibration" in finding.reason for finding in found)
    few = context_of(tmp_path, 80)
    assert {finding.status for finding in (*measure_abstention(few), *measure_conformal(few))} == {"insufficient"}


def test_the_rows_that_are_held_out_follow_from_what_they_say(tmp_path: Path) -> None:
    context = context_of(tmp_path, 500)
    rows = calibrated(context)
    assert not isinstance(rows, str) and rows.held is not None
    assert not set(rows.held) & set(rows.measured) and len(rows.held) + len(rows.measured) == 500
    back = replace(context.test, texts=list(context.test.texts)[::-1])
    assert np.array_equal(held_out_rows(back, (), 0.3, 0)[::-1], context.held_out)
    owned = replace(context.test, entities=np.arange(500) // 5)
    of_one = held_out_rows(owned, (), 0.3, 0).reshape(100, 5)
    assert (of_one.all(1) | ~of_one.any(1)).all()


def test_kept_rows_serve_and_then_every_test_row_is_measured(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    kept = replace(context.test, name="calibration", texts=[f"own{number} own" for number in range(200)])
    kept = replace(kept, labels=context.test.labels[:200], table=pa.table({"text": kept.texts}), row_numbers=np.arange(1, 201), groups={})
    found = by_id(measure_abstention(replace(context, calibration=kept, held_out=None)))
    assert found["robustness.aurc"].n == found["robustness.selective_coverage#0.80"].n == 800
    assert "200 rows kept apart from training" in found["robustness.selective_coverage#0.80"].method


# --- risk and coverage --------------------------------------------------------------------------------------------------------


def test_the_area_is_the_mean_risk_over_coverages_whatever_the_ties() -> None:
    rng = np.random.default_rng(1)
    sure, wrong = rng.random(4_000), (rng.random(4_000) < 0.3).astype(float)
    order = np.argsort(-sure)
    plain = (np.cumsum(wrong[order]) / np.arange(1, 4_001)).mean()  # Geifman et al. (2019), equation 3
    assert area(sure, wrong, np.ones((1, 4_000)))[0] == pytest.approx(plain, abs=2e-3)
    tied, weights = np.round(sure, 1), np.ones((1, 4_000))
    broken = [area(tied + 1e-6 * rng.random(4_000), wrong, weights)[0] for _ in range(40)]
    assert area(tied, wrong, weights)[0] == pytest.approx(np.mean(broken), abs=3 * np.std(broken) / np.sqrt(40) + 1e-3)
    covered, risk = risks(tied, wrong, weights)
    assert covered[0, -1] == 1 and risk[0, -1] == pytest.approx(wrong.mean())


def test_the_interval_of_the_area_holds_the_truth_whatever_the_order_of_rows() -> None:
    """94 to 99 % of intervals for 95 %, where a percentile bootstrap of few wrong rows covered 90 % (benchmarks/shift.py)."""
    rng = np.random.default_rng(5)
    real = rng.beta(0.4, 0.2, 400_000)
    told, missed = np.maximum(real, 1 - real), (rng.random(400_000) < np.minimum(real, 1 - real)).astype(float)
    truth = area(told, missed, np.ones((1, 400_000)))[0]
    found = [area_interval(told[start : start + 150], missed[start : start + 150], 0.95) for start in range(0, 45_000, 150)]
    assert 0.93 < np.mean([each.low <= truth <= each.high for each in found]) <= 1
    assert np.mean([each.value for each in found]) == pytest.approx(truth, abs=0.004)
    tied, order = np.round(told[:300], 2), rng.permutation(300)
    one, two = contributions(tied, missed[:300]), contributions(tied[order], missed[:300][order])
    assert np.allclose(one[order], two) and one.mean() == pytest.approx(area(tied, missed[:300], np.ones((1, 300)))[0])


def test_a_threshold_answers_at_least_what_it_is_set_for(tmp_path: Path) -> None:
    sure = np.random.default_rng(0).random(997)
    for level in (0.8, 0.9, 0.95):
        assert level <= (sure >= threshold_of(sure, level)).mean() < level + 0.002
    context = context_of(tmp_path, 3_000)
    found = by_id(measure_abstention(context))
    assert [found[f"robustness.selective_coverage#{level}"].value for level in ("0.80", "0.90", "0.95")] == pytest.approx(
        [0.8, 0.9, 0.95], abs=0.04
    )
    risk = [found[f"robustness.selective_risk#{level}"].value for level in ("0.80", "0.90", "0.95")]
    assert risk == sorted(risk) and risk[0] < risk[-1]  # type: ignore[type-var]
    curve = files.read_json(context.evidence.folder / "robustness.abstention.json")["curve"]
    assert len(curve) == 20 and curve[-1]["coverage"] == 1 and all(point["low"] <= point["risk"] <= point["high"] for point in curve)


def test_rows_are_answered_by_the_probability_of_the_answer_that_the_shipped_decision_gives(tmp_path: Path) -> None:
    """With right probabilities and a threshold of 1/6 the highest one is no measure of doubt: an answer of 0.3 counts as sure as 0.7."""
    context = context_of(tmp_path, 4_000)
    assert context.answers.scores is not None
    rule, scores = Decision(threshold=1 / 6), context.answers.scores
    answers = decide_labels(scores, context.labels, rule)
    context = replace(context, decision=rule, answers=Answers(scores, answers))
    found = by_id(measure_abstention(context))
    rows = calibrated(context)
    assert not isinstance(rows, str)
    measured, wrong = rows.measured, (answers != context.test.labels)[rows.measured]
    told = scores[measured, answers[measured]]
    count = round(0.8 * len(measured))
    best, highest = (wrong[np.argsort(-sure)[:count]].mean() for sure in (told, scores[measured].max(1)))
    assert highest > best + 0.03
    assert found["robustness.selective_risk#0.80"].value == pytest.approx(best, abs=0.015)
    assert found["robustness.aurc"].value == pytest.approx(area(told, wrong.astype(float), np.ones((1, len(told))))[0])
    guard = files.read_json(context.evidence.folder / "robustness.guardrails.json")["abstention"]
    assert guard["score"] == "probability of the answer given" and guard["thresholds"][0]["threshold"] < 0.5


# --- prediction sets ----------------------------------------------------------------------------------------------------------


def test_sets_hold_the_right_label_as_often_as_theory_says() -> None:
    """Mean coverage over calibration sets is in [level, level + 1/(n + 1)], and its spread that of the beta variable (Vovk 2012)."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        scores = rng.dirichlet([1, 1, 1], 100)
        truth = (rng.random((100, 1)) > scores.cumsum(1)).sum(1)
        threshold = conformal_threshold(1 - scores[np.arange(100), truth], 0.9)
        fresh = rng.dirichlet([1, 1, 1], 2_000)
        right = (rng.random((2_000, 1)) > fresh.cumsum(1)).sum(1)
        assert threshold is not None
        covered.append(prediction_sets(fresh, threshold)[np.arange(2_000), right].mean())
    assert 0.9 - 0.006 < np.mean(covered) < 0.9 + 1 / 101 + 0.006
    low, high = expected_coverage(100, 0.9, 0.95)
    assert 0.92 < np.mean([low <= each <= high for each in covered]) < 0.98
    assert conformal_threshold(np.zeros(8), 0.9) is None and conformal_threshold(np.arange(9.0), 0.9) == 8


def test_the_interval_of_the_coverage_holds_the_truth() -> None:
    """Of the very sets that are shipped, over rows: 93 to 98 % of intervals for 95 %."""
    from trustbase.audit import stats

    rng = np.random.default_rng(3)
    held = []
    for _ in range(400):
        known, told = rng.random(150), rng.random(200)
        threshold = conformal_threshold(known, 0.9)
        assert threshold is not None
        found = stats.proportion(int((told <= threshold).sum()), 200)
        held.append(found.low <= threshold <= found.high)  # uniform scores: the threshold is its own coverage
    assert 0.925 < np.mean(held) < 0.985


def test_coverage_of_groups_and_the_gap_between_them(tmp_path: Path) -> None:
    context = context_of(tmp_path, 2_000)
    found = by_id(measure_conformal(context))
    low, high = expected_coverage(600, 0.9, 0.999)
    assert low < found["robustness.conformal_coverage"].value < high  # type: ignore[operator]
    assert found["robustness.conformal_coverage[sex=f]"].status == "ok"
    assert found["robustness.conformal_coverage[sex=x]"].status == "insufficient"
    gap = found["robustness.conformal_coverage_difference[sex]"]
    assert gap.status == "ok" and gap.low == 0 and "x (" in gap.reason
    told = files.read_json(context.evidence.folder / "robustness.conformal.json")
    assert sum(told["sizes"]) == told["measured"] and {row["group"] for row in told["groups"]["sex"]} == {"f", "m"}
    assert why_never(parse("robustness.conformal_coverage[sex=f]"), ["sex"]) is None
    assert why_never(parse("robustness.conformal_coverage[sex]"), ["sex"]) is not None


def test_sets_that_were_fitted_on_easier_rows_are_found_out(tmp_path: Path) -> None:
    """Thresholds of a well-known group, measured where another one that the model knows badly has joined: power and false alarms."""
    alarms = {False: 0, True: 0}
    for seed in range(20):
        for planted in alarms:
            context = context_of(tmp_path, 1_500, seed=seed, groups=False)
            if planted:  # a quarter of the measured rows carry the other label than they are told for
                rng = np.random.default_rng(seed)
                assert context.held_out is not None
                worse = ~context.held_out & (rng.random(1_500) < 0.25)
                context = replace(context, test=replace(context.test, labels=np.where(worse, 1 - context.test.labels, context.test.labels)))
            finding = by_id(measure_conformal(context))["robustness.conformal_coverage"]
            low, _ = expected_coverage(450, 0.9, 0.95)
            alarms[planted] += finding.high < low  # type: ignore[operator]
    assert alarms[True] >= 18 and alarms[False] <= 1
