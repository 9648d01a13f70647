"""The fairness audit against Fairlearn, and what it says where there is too little to say."""

import json

import fairlearn.metrics as fl
import numpy as np
import pyarrow as pa
import pytest

from trustbase import finding_id
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.fairness import audit_classes, class_variants, slices
from trustbase.records import Decision, LabelSchema, Split

IDS = [
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalized_odds_difference",
    "equal_opportunity_difference",
    "average_odds_difference",
    "accuracy_difference",
]
_RATES = {"selection_rate", "accuracy", "true_positive_rate", "false_positive_rate", "positive_predictive_value"}
GROUP_METRICS = {*_RATES, "auroc", "calibration_gap"}


def context(tmp_path, truth, predicted, groups, *, names=("<=50K", ">50K"), favourable=None, scores=None, **fields):
    rows = len(truth)
    label = LabelSchema(tuple(names), names[-1], favourable or names[-1], favourable_assumed=favourable is None)
    split = Split("test", [""] * rows, np.asarray(truth), groups, pa.table({"x": [0] * rows}), np.arange(1, rows + 1), "made", "sha256:0")
    return AuditContext(split, label, Decision(), Answers(scores, np.asarray(predicted)), Evidence(tmp_path), seed=0, **fields)


def make(tmp_path, rows=4000, seed=0, classes=2, **fields):
    rng = np.random.default_rng(seed)
    sex = np.array(["Female", "Male"], dtype=object)[rng.integers(0, 2, rows)]
    race = np.array(["White", "Black", "Asian"], dtype=object)[rng.choice(3, rows, p=[0.6, 0.25, 0.15])]
    truth = (rng.random(rows) < np.where(sex == "Male", 0.5, 0.3)).astype(int) if classes == 2 else rng.integers(0, classes, rows)
    scores = rng.dirichlet(np.ones(classes), rows) + 1.2 * np.eye(classes)[truth] * rng.random((rows, 1))
    scores /= scores.sum(1, keepdims=True)
    names = ("<=50K", ">50K") if classes == 2 else tuple(f"label {i}" for i in range(classes))
    return context(tmp_path, truth, scores.argmax(1), {"sex": sex, "race": race}, names=names, scores=scores, **fields)


def by_id(findings):
    assert len({f.id for f in findings}) == len(findings)
    return {f.id: f for f in findings}


@pytest.mark.parametrize("columns", [("sex",), ("race",), ("sex", "race")])
def test_gaps_equal_fairlearn(tmp_path, columns):
    made = make(tmp_path, favourable=">50K")
    found = by_id(audit_classes(made))
    groups = np.array(["/".join(row) for row in zip(*(made.test.groups[c] for c in columns), strict=True)])
    y, p = made.test.labels, made.answers.predicted
    oracle = {
        "demographic_parity_difference": fl.demographic_parity_difference(y, p, sensitive_features=groups),
        "demographic_parity_ratio": fl.demographic_parity_ratio(y, p, sensitive_features=groups),
        "equalized_odds_difference": fl.equalized_odds_difference(y, p, sensitive_features=groups),
        "equal_opportunity_difference": fl.equal_opportunity_difference(y, p, sensitive_features=groups),
        "average_odds_difference": fl.equalized_odds_difference(y, p, sensitive_features=groups, agg="mean"),
        "accuracy_difference": np.ptp([(y[groups == g] == p[groups == g]).mean() for g in np.unique(groups)]),
    }
    assert list(oracle) == IDS
    for metric, value in oracle.items():
        finding = found[f"fairness.{metric}[{','.join(columns)}]"]
        assert finding.value == pytest.approx(value, abs=1e-12)
        assert finding.low < finding.value < finding.high
        assert finding.n > 0
        assert finding.method
        assert finding.source


def test_each_group_has_its_rates_with_bounds(tmp_path):
    made = make(tmp_path)
    found = by_id(audit_classes(made))
    women = made.test.groups["sex"] == "Female"
    y, p, s = made.test.labels[women], made.answers.predicted[women], made.answers.scores[women, 1]
    assert found["fairness.true_positive_rate[sex=Female]"].value == pytest.approx(fl.true_positive_rate(y, p))
    assert found["fairness.false_positive_rate[sex=Female]"].value == pytest.approx(fl.false_positive_rate(y, p))
    assert found["fairness.selection_rate[sex=Female]"].value == pytest.approx(p.mean())
    assert found["fairness.positive_predictive_value[sex=Female]"].value == pytest.approx(y[p == 1].mean())
    assert found["fairness.calibration_gap[sex=Female]"].value == pytest.approx((s - y).mean())
    from sklearn.metrics import roc_auc_score

    assert found["fairness.auroc[sex=Female]"].value == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    assert found["fairness.accuracy[sex=Female,race=Black]"].n == int((women & (made.test.groups["race"] == "Black")).sum())


def test_small_groups_are_insufficient_left_out_and_named(tmp_path):
    rng = np.random.default_rng(0)
    groups = np.array(["a"] * 500 + ["b"] * 500 + ["tiny"] * 29 + ["unknown"] * 3, dtype=object)
    truth = rng.integers(0, 2, 1032)
    predicted = np.where(groups == "tiny", 1, truth)  # the tiny group would widen every gap
    scores = np.eye(2)[predicted] * 0.8 + 0.1
    found = by_id(audit_classes(context(tmp_path, truth, predicted, {"g": groups}, scores=scores)))
    gap = found["fairness.demographic_parity_difference[g]"]
    assert gap.status == "ok"
    assert gap.reason == "left out, as fewer than 30: tiny (29 rows); unknown (3 rows)"
    assert gap.n == 1000
    assert gap.value == pytest.approx(abs(truth[:500].mean() - truth[500:1000].mean()))
    assert found["fairness.equalized_odds_difference[g]"].reason == gap.reason  # once each, though both rates leave them out
    for group, n in (("tiny", 29), ("unknown", 3)):
        own = {f.parts.metric: f for f in found.values() if f.parts.slice == (("g", group),)}
        assert set(own) == GROUP_METRICS
        for finding in own.values():  # the rows alone: how many truly have the label, or were answered so, would be a rate
            assert (finding.status, finding.value, finding.n) == ("insufficient", None, n)
            assert finding.reason == f"{n} rows, fewer than the minimum of 30"
    written = json.loads((tmp_path / "fairness.json").read_text())["columns"]["g"]
    assert [(row["group"], row["n"]) for row in written["groups"]] == [("a", 500), ("b", 500), ("tiny", 29), ("unknown", 3)]
    assert written["groups"][2]["intervals"] == {} and written["groups"][2]["base_rate"] is None
    assert written["unnamed"] == {"least": 30, "most": 50, "small": 0, "small_rows": 0, "further": 0, "further_rows": 0}


def test_with_one_group_left_the_gap_is_insufficient_and_names_the_others(tmp_path):
    groups = np.array(["a"] * 500 + ["tiny"] * 29, dtype=object)
    truth = np.random.default_rng(0).integers(0, 2, 529)
    found = by_id(audit_classes(context(tmp_path, truth, truth, {"g": groups})))
    for metric in IDS:
        gap = found[f"fairness.{metric}[g]"]
        assert (gap.status, gap.value) == ("insufficient", None)
        assert gap.reason == "a gap needs two groups of at least 30 rows; left out, as fewer than 30: tiny (29 rows)"


def test_a_smaller_minimum_gives_the_cells_above_it_numbers(tmp_path):
    groups = np.array(["a"] * 500 + ["b"] * 500 + ["tiny"] * 29 + ["one"], dtype=object)
    truth = np.random.default_rng(0).integers(0, 2, 1030)
    found = by_id(audit_classes(context(tmp_path, truth, truth, {"g": groups}, minimum_cell=5)))
    assert found["fairness.accuracy[g=tiny]"].value == 1
    assert found["fairness.accuracy[g=one]"].status == "insufficient"
    assert found["fairness.accuracy_difference[g]"].reason == "left out, as fewer than 5: one (1 rows)"


@pytest.mark.parametrize("count", [50, 51])
def test_fifty_groups_are_named_however_small_and_more_are_not(tmp_path, count):
    groups = np.array([f"zip{i:02d}" for i in range(count) for _ in range(3 if i > 1 else 40)], dtype=object)
    truth = np.arange(groups.size) % 2
    found = by_id(audit_classes(context(tmp_path, truth, truth, {"zip": groups})))
    named = {f.parts.slice[0][1] for f in found.values() if f.parts.slice and f.parts.slice[0][1]}
    reason = found["fairness.accuracy_difference[zip]"].reason
    if count == 50:
        assert len(named) == 50 and all(f"zip{i:02d} (3 rows)" in reason for i in range(2, 50))
    else:
        assert named == {"zip00", "zip01"}
        rest = "49 of the groups with fewer than 30 rows each, 147 rows together"
        assert reason == f"left out and not named, as there are more than 50 groups: {rest}"
        assert "zip02" not in (tmp_path / "fairness.json").read_text()


def test_a_column_of_postcodes_is_capped_and_counted(tmp_path):
    rng = np.random.default_rng(0)
    sizes = np.concatenate([np.arange(40, 110), np.full(3000, 2)])  # 70 groups that could be named, 3,000 that could not
    groups = np.repeat([f"zip{i:05d}" for i in range(sizes.size)], sizes).astype(object)
    truth = rng.integers(0, 2, groups.size)
    notes = []
    made = context(
        tmp_path, truth, truth, {"zip": groups}, minimum_cell=10, emit=lambda event, /, **fields: notes.append(fields.get("text"))
    )
    found = by_id(audit_classes(made))
    named = {f.parts.slice[0][1] for f in found.values() if f.parts.slice and f.parts.slice[0][1]}
    assert named == {f"zip{i:05d}" for i in range(20, 70)}  # the 50 largest; no option names those of fewer than 30 rows
    text = "3000 of the groups with fewer than 30 rows each, 6000 rows together; 20 of the groups beyond the 50 largest, 990 rows together"
    assert text in found["fairness.accuracy_difference[zip]"].reason
    assert text in notes[0]
    assert "zip00100" not in (tmp_path / "fairness.json").read_text()


def test_a_number_of_one_group_that_breaks_fails_alone(tmp_path, monkeypatch):
    whole = by_id(audit_classes(make(tmp_path / "a")))

    def bad(*args, **kwargs):
        raise OverflowError("math range error")

    monkeypatch.setattr("trustbase.audit.fairness.ranks.auroc", bad)
    found = by_id(audit_classes(make(tmp_path / "b")))
    failed = {id for id, finding in found.items() if finding.status == "failed"}
    assert failed == {id for id in whole if id.startswith("fairness.auroc[")}
    assert all(found[id].value is None for id in failed)
    assert {id: f for id, f in found.items() if id not in failed} == {id: f for id, f in whole.items() if id not in failed}


def test_each_group_has_a_calibration_error_or_says_why_not(tmp_path):
    rng = np.random.default_rng(1)
    groups = np.array(["many"] * 2000 + ["few"] * 60, dtype=object)
    score = rng.random(2060)
    truth = (rng.random(2060) < score).astype(int)
    audit_classes(context(tmp_path, truth, (score > 0.5).astype(int), {"g": groups}, scores=np.stack([1 - score, score], 1)))
    few, many = json.loads((tmp_path / "fairness.json").read_text())["columns"]["g"]["groups"]
    assert few["expected_calibration_error"]["status"] == "insufficient"
    assert "60 rows" in few["expected_calibration_error"]["reason"]
    part = many["expected_calibration_error"]
    bins = np.minimum((score[:2000] * 15).astype(int), 14)
    expected = sum(abs((truth[:2000] - score[:2000])[bins == b].sum()) for b in range(15)) / 2000
    assert part["value"] == pytest.approx(expected)
    assert part["low"] == 0 < part["value"] < part["high"] < 0.1


def test_a_group_without_an_error_is_not_certainly_calibrated(tmp_path):
    groups = np.array(["a", "b"] * 40, dtype=object)
    truth = np.array([0, 0, 1, 1] * 20)
    scores = np.eye(2)[truth]
    gap = by_id(audit_classes(context(tmp_path, truth, truth, {"g": groups}, scores=scores)))["fairness.calibration_gap[g=a]"]
    assert gap.value == 0
    assert gap.low < -0.05
    assert gap.high > 0.05


def test_a_conditional_rate_is_judged_by_the_rows_that_meet_its_condition(tmp_path):
    groups = np.array(["a"] * 200 + ["b"] * 200, dtype=object)
    truth = np.concatenate([np.arange(200) % 2, (np.arange(200) < 20)]).astype(int)  # group b has 20 positives only
    found = by_id(audit_classes(context(tmp_path, truth, truth, {"g": groups})))
    assert found["fairness.demographic_parity_difference[g]"].status == "ok"
    for metric in ("equal_opportunity_difference", "equalized_odds_difference", "average_odds_difference"):
        gap = found[f"fairness.{metric}[g]"]
        assert gap.status == "insufficient"
        assert gap.value is None
        assert "b (20 rows that truly have the label)" in gap.reason
    assert found["fairness.true_positive_rate[g=b]"].status == "insufficient"
    assert found["fairness.false_positive_rate[g=b]"].status == "ok"


def test_one_group_or_no_selected_row_gives_insufficient(tmp_path):
    groups = {"one": np.array(["x"] * 100, dtype=object), "two": np.array(["x", "y"] * 50, dtype=object)}
    found = by_id(audit_classes(context(tmp_path, [0, 1] * 50, [0] * 100, groups)))
    assert found["fairness.demographic_parity_difference[one]"].status == "insufficient"
    ratio = found["fairness.demographic_parity_ratio[two]"]
    assert ratio.status == "insufficient"
    assert "nothing" in ratio.reason
    assert found["fairness.demographic_parity_difference[two]"].value == 0
    assert found["fairness.demographic_parity_difference[two]"].high > 0


def test_without_groups_one_finding_says_so(tmp_path):
    (finding,) = audit_classes(context(tmp_path, [0, 1], [0, 1], {}))
    assert finding.status == "not_applicable"
    assert "group columns" in finding.reason


def test_without_scores_the_rest_is_still_measured(tmp_path):
    made = make(tmp_path)
    bare = context(tmp_path, made.test.labels, made.answers.predicted, made.test.groups)
    found = by_id(audit_classes(bare))
    assert found["fairness.auroc"].status == found["fairness.calibration_gap"].status == "not_applicable"
    assert found["fairness.demographic_parity_difference[sex]"].status == "ok"


@pytest.mark.parametrize("named", [None, "<=50K"])
def test_who_named_the_favourable_label_is_said(tmp_path, named):
    made = make(tmp_path, favourable=named)
    found = by_id(audit_classes(made))
    gap = found["fairness.demographic_parity_difference[sex]"]
    assert ("is assumed" if named is None else "as the recipe says") in gap.method
    evidence = json.loads((tmp_path / "fairness.json").read_text())
    assert evidence["assumed"] is (named is None)
    assert evidence["favourable"] == (named or ">50K")
    rate = found["fairness.selection_rate[sex=Male]"].value
    assert rate == pytest.approx((made.answers.predicted[made.test.groups["sex"] == "Male"] == (1 if named is None else 0)).mean())


def test_several_labels_are_each_compared_with_the_rest(tmp_path):
    made = make(tmp_path, classes=4, favourable="label 2")
    found = by_id(audit_classes(made))
    y, p, sex = made.test.labels, made.answers.predicted, made.test.groups["sex"]
    main = found["fairness.equalized_odds_difference[sex]"]
    assert main.value == pytest.approx(fl.equalized_odds_difference(y == 2, p == 2, sensitive_features=sex), abs=1e-12)
    other = found["fairness.demographic_parity_difference[sex]#label-0"]
    assert other.value == pytest.approx(fl.demographic_parity_difference(y == 0, p == 0, sensitive_features=sex), abs=1e-12)
    assert found["fairness.accuracy[sex=Male]"].value == pytest.approx((y == p)[sex == "Male"].mean())
    assert "fairness.demographic_parity_difference[sex]#label-2" not in found
    assert set(json.loads((tmp_path / "fairness.json").read_text())["columns"]["sex"]["other_labels"]) == {"label 0", "label 1", "label 3"}


def test_group_and_column_names_with_signs_survive_in_ids(tmp_path):
    made = make(tmp_path)
    groups = {"a,b": np.where(made.test.groups["sex"] == "Male", "x=1]", "\\y,"), "race": made.test.groups["race"]}
    found = audit_classes(context(tmp_path, made.test.labels, made.answers.predicted, groups))
    assert {f.parts.slice for f in found} >= {(("a,b", None),), (("a,b", "x=1]"),), (("a,b", "\\y,"), ("race", "Black"))}
    assert all(str(finding_id.parse(f.id)) == f.id for f in found)


def test_the_same_seed_gives_identical_findings_and_evidence(tmp_path):
    first = audit_classes(make(tmp_path / "a"))
    second = audit_classes(make(tmp_path / "b"))
    assert first == second
    assert (tmp_path / "a/fairness.json").read_bytes() == (tmp_path / "b/fairness.json").read_bytes()


def test_slices_are_columns_pairs_and_all_in_recipe_order():
    assert list(slices(("b", "a"))) == [("b",), ("a",), ("b", "a")]
    assert list(slices(("c", "a", "b"))) == [("c",), ("a",), ("b",), ("c", "a"), ("c", "b"), ("a", "b"), ("c", "a", "b")]


def test_variants_are_unique_and_fit_the_grammar():
    variants = class_variants(["card lost", "card-lost", "<>", "银行卡", "b+1"])
    assert len(set(variants)) == 5
    for variant in variants:
        assert finding_id.parse(f"fairness.accuracy_difference[sex]#{variant}").variant == variant
