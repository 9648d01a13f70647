"""Group counts against Fairlearn's MetricFrame and plain loops."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate
from sklearn.metrics import accuracy_score, precision_score

from trustbase.audit.groups import Codes, encode, group_counts, rows_by_group


def make(rows=3000, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    answer = np.where(rng.random(rows) < 0.7, truth, rng.integers(0, classes, rows))
    sex = np.array(["Female", "Male"], dtype=object)[rng.integers(0, 2, rows)]
    race = np.array(["White", "Black", "Asian", "Other"], dtype=object)[rng.choice(4, rows, p=[0.7, 0.2, 0.08, 0.02])]
    return truth, answer, {"sex": sex, "race": race}


@pytest.mark.parametrize("columns", [("sex",), ("race",), ("sex", "race"), ("race", "sex")])
def test_rates_equal_fairlearn_to_1e_12(columns):
    truth, answer, groups = make()
    metrics = {
        "accuracy": accuracy_score,
        "selection_rate": selection_rate,
        "true_positive_rate": true_positive_rate,
        "false_positive_rate": false_positive_rate,
        "positive_predictive_value": precision_score,
        "n": count,
    }
    oracle = MetricFrame(
        metrics=metrics, y_true=truth, y_pred=answer, sensitive_features=pd.DataFrame({c: groups[c] for c in columns})
    ).by_group
    part = group_counts(truth, answer, groups).marginal(columns)
    cell = part.one_vs_rest(1)
    assert len(part.members) == len(oracle) > 1
    for i, member in enumerate(part.members):
        row = oracle.loc[member if len(columns) > 1 else member[0]]
        for metric in metrics:
            ours = cell.n[i] if metric == "n" else cell.rate(metric)[i]
            assert ours == pytest.approx(row[metric], abs=1e-12)


def test_one_label_against_the_rest_counts_each_label_and_exact_accuracy():
    truth, answer, groups = make(classes=4, seed=3)
    part = group_counts(truth, answer, groups, classes=4).marginal(["sex"])
    for label in range(4):
        cell = part.one_vs_rest(label)
        for i, (name,) in enumerate(part.members):
            rows = groups["sex"] == name
            assert cell.rate("true_positive_rate")[i] == pytest.approx((answer[rows & (truth == label)] == label).mean(), abs=1e-12)
            assert cell.rate("false_positive_rate")[i] == pytest.approx((answer[rows & (truth != label)] == label).mean(), abs=1e-12)
            assert cell.rate("accuracy")[i] == pytest.approx((answer[rows] == truth[rows]).mean(), abs=1e-12)


def as_fresh_strings(values):
    """Equal strings that are different objects, as a file reader may leave them."""
    return np.array(["".join(list(value)) for value in values], dtype=object)


@pytest.mark.parametrize(
    "form",
    [
        lambda v: v,
        lambda v: np.tile(v, 9),
        lambda v: as_fresh_strings(np.tile(v, 9)),
        lambda v: np.concatenate([np.tile(v, 9), as_fresh_strings(v)]),
        lambda v: v.astype(str),
        lambda v: pd.Series(v, dtype="str"),
        lambda v: pd.Series(v).astype("category"),
        lambda v: pd.Categorical(v, categories=["never", *sorted(set(v), reverse=True)]),
    ],
    ids=["object", "repeated", "fresh", "both", "unicode", "series", "category-series", "categorical"],
)
def test_every_form_of_a_column_encodes_to_the_same_groups(form):
    values = make()[2]["race"]
    given = form(values)
    coded = encode(given)
    assert (np.array(coded.names, dtype=object)[coded.codes] == np.asarray(given, dtype=object)).all()
    assert list(coded.names) == sorted(coded.names)
    assert encode(coded) is coded


def test_missing_values_are_the_group_unknown_and_join_rows_that_say_so():
    for values in (
        ["a", None, "unknown", float("nan")],
        pd.Series(["a", None, "unknown", None], dtype="str"),
        pd.Categorical(["a", None, "unknown", None]),
    ):
        coded = encode(np.array(values, dtype=object) if isinstance(values, list) else values)
        assert [coded.names[c] for c in coded.codes] == ["a", "unknown", "unknown", "unknown"]


def test_an_odd_object_late_in_a_long_column_is_seen():
    values = np.array(["a", "b"], dtype=object)[np.arange(200_000) % 2]
    values[-1] = "late"
    assert encode(values).names == ("a", "b", "late")
    assert [encode(values).names[c] for c in encode(values).codes[-2:]] == ["a", "late"]


def test_many_columns_count_only_combinations_that_occur():
    rng = np.random.default_rng(1)
    groups = {f"c{i}": np.array([f"v{v}" for v in rng.integers(0, 40, 500)], dtype=object) for i in range(5)}
    truth, answer = rng.integers(0, 3, 500), rng.integers(0, 3, 500)
    counts = group_counts(truth, answer, groups, classes=3)
    assert counts.table.shape[0] <= 500
    assert counts.table.sum() == 500
    direct = group_counts(truth, answer, {"c2": groups["c2"]}, classes=3)
    summed = counts.marginal(["c2"])
    assert summed.members == direct.members
    assert (summed.table == direct.table).all()


def test_rows_by_group_partition_the_rows():
    _, _, groups = make()
    coded = {name: encode(values) for name, values in groups.items()}
    parts = rows_by_group(coded, ["sex", "race"])
    assert sorted(np.concatenate(list(parts.values()))) == list(range(3000))
    for (sex, race), rows in parts.items():
        assert set(groups["sex"][rows]) == {sex}
        assert set(groups["race"][rows]) == {race}


@pytest.mark.parametrize(
    ("truth", "answer", "classes", "word"),
    [([0, 1], [0], None, "one length"), ([0, 2], [0, 1], 2, "labels must lie"), ([0, -1], [0, 1], 2, "labels"), ([], [], 2, "length")],
)
def test_counts_that_cannot_be_are_refused(truth, answer, classes, word):
    with pytest.raises(ValueError, match=word):
        group_counts(np.array(truth, int), np.array(answer, int), {}, classes=classes)


def test_a_column_that_was_not_counted_is_named():
    counts = group_counts([0, 1], [0, 1], {"sex": Codes(np.array([0, 1]), ("f", "m"))})
    with pytest.raises(KeyError, match="'age' was not counted; there are sex"):
        counts.marginal(["age"])
