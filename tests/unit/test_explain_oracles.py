"""The weights of LIME and the values of SHAP: on the same masks and scores those of the packages `lime` and `shap`, to 1e-6."""

import numpy as np
import pytest

from trustbase.audit.explain.lime import draw_masks, fit_linear, largest, settled
from trustbase.audit.explain.shapley import exact_values, neighbours, owen_values, quantile, values_over_orders


def game(units, seed=0, scores=2):
    """Scores of masks with weights, and with what every two units do together."""
    rng = np.random.default_rng(seed)
    alone, both = rng.normal(size=(units, scores)), rng.normal(size=(units, units, scores)) / units

    def score(masks):
        kept = np.asarray(masks, dtype=float)
        raw = kept @ alone + np.einsum("mi,ijs,mj->ms", kept, both, kept)
        return 1 / (1 + np.exp(-raw / 3))

    return score


def play(method, score):
    """Drive a method to its end; returns what it found and the masks that it asked."""
    asked = []
    masks = next(method)
    while True:
        asked.append(masks)
        try:
            masks = method.send(score(masks))
        except StopIteration as end:
            return end.value, np.concatenate(asked)


@pytest.mark.parametrize("units", [1, 2, 7, 30])
def test_lime_gives_the_weights_of_lime(units):
    lime_base = pytest.importorskip("lime.lime_base")
    from sklearn.metrics import pairwise_distances

    rng = np.random.default_rng(units)
    masks = np.concatenate([np.ones((1, units), bool), draw_masks(units, 199, rng)])
    scores = game(units)(masks)
    ours = fit_linear(masks, scores)
    data = masks.astype(float)
    distances = pairwise_distances(data, data[:1], metric="cosine").ravel() * 100
    package = lime_base.LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 25.0**2)), random_state=0)
    for score in range(2):
        intercept, weights, fit, _ = package.explain_instance_with_data(data, scores, distances, score, units, feature_selection="none")
        found = np.zeros(units)
        for unit, weight in weights:
            found[unit] = weight
        assert np.abs(ours.weights[:, score] - found).max() < 1e-6
        assert ours.intercept[score] == pytest.approx(intercept, abs=1e-6) and ours.fit[score] == pytest.approx(fit, abs=1e-6)


def test_errors_of_lime_are_how_weights_move_with_the_masks():
    score, fits = game(12), []
    for seed in range(300):
        masks = np.concatenate([np.ones((1, 12), bool), draw_masks(12, 300, np.random.default_rng(seed))])
        fits.append(fit_linear(masks, score(masks)))
    seen = np.std([fit.weights[:, 0] for fit in fits], axis=0)
    told = np.mean([np.sqrt(np.diag(fit.covariance[0])) for fit in fits], axis=0)
    assert np.abs(told / seen - 1).max() < 0.2, (told, seen)


def test_units_are_settled_where_masks_do_not_change_them():
    rng = np.random.default_rng(0)
    apart, alike = np.array([3.0, -2, 1, 0, 0]), np.array([1.0, 1, 1, 1, 1])
    assert settled(apart, np.eye(5) * 1e-6, 3, rng) == 1.0 and settled(alike, np.eye(5), 3, rng) < 0.8
    assert settled(apart[:3], np.eye(3), 3, rng) == 1.0
    assert largest(np.array([1.0, -3, 3, 2]), 3).tolist() == [1, 2, 3]


def test_masks_of_lime_leave_out_one_to_all():
    masks = draw_masks(6, 5_000, np.random.default_rng(0))
    left_out = (~masks).sum(1)
    assert left_out.min() == 1 and left_out.max() == 6 and np.abs(np.bincount(left_out)[1:] / 5_000 - 1 / 6).max() < 0.02
    assert np.abs(masks.mean(0) - masks.mean()).max() < 0.03  # no unit more than another


def shap_values(score, tree, units, evaluations):
    """What `shap.explainers.Partition` gives along this tree."""
    shap = pytest.importorskip("shap")
    sizes = tree[:, 2]
    linkage = np.column_stack([tree[:, :2], np.arange(1, len(tree) + 1), sizes]).astype(float)

    class Masker(shap.maskers.Masker):
        clustering = linkage
        shape = (1, units)
        immutable_outputs = True

        def __call__(self, mask, x):
            return (np.where(mask, x, 0)[None],)

    explainer = shap.explainers.Partition(lambda rows: score(rows != 0), Masker())
    found = explainer(np.ones((1, units)), max_evals=evaluations, silent=True)
    return found.values[0], found.base_values[0]


@pytest.mark.parametrize(("units", "evaluations"), [(2, 100), (5, 10_000), (8, 10_000), (13, 200), (20, 120), (20, 42)])
def test_owen_values_are_those_of_shap(units, evaluations):
    score = game(units, seed=units)
    tree = neighbours(np.random.default_rng(units).integers(0, 4, units - 1).tolist())
    ours, asked = play(owen_values(tree, units, evaluations), score)
    values, base = shap_values(score, tree, units, evaluations)
    assert np.abs(ours.values - values).max() < 1e-6 and np.abs(ours.base - base).max() < 1e-6
    assert len(asked) <= evaluations


@pytest.mark.parametrize("evaluations", [11, 12, 43, 101])
def test_owen_values_ask_no_more_than_they_may(evaluations):
    _, asked = play(owen_values(neighbours([0] * 29), 30, evaluations), game(30))
    assert evaluations - 2 <= len(asked) <= evaluations


@pytest.mark.parametrize("units", [1, 2, 3, 7])
def test_exact_values_are_the_mean_over_all_orders(units):
    from itertools import permutations

    score = game(units, seed=3)
    (ours, together), asked = play(exact_values(units), score)
    total = np.zeros((units, 2))
    orders = list(permutations(range(units)))
    for order in orders:
        mask = np.zeros((1, units), bool)
        before = score(mask)[0]
        for unit in order:
            mask[0, unit] = True
            after = score(mask)[0]
            total[unit] += after - before
            before = after
    assert np.allclose(ours.values, total / len(orders)) and len(asked) == 2**units
    assert np.allclose(ours.values.sum(0), ours.whole - ours.base) and np.allclose(together, together.transpose(1, 0, 2))


def test_interactions_are_what_two_units_do_together():
    both = lambda masks: (1.0 * masks[:, 0] * masks[:, 1] + 0.5 * masks[:, 2])[:, None]  # noqa: E731
    (values, together), _ = play(exact_values(3), both)
    assert np.allclose(values.values[:, 0], [0.5, 0.5, 0.5])
    assert np.allclose(together[:, :, 0], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_values_over_orders_hold_the_exact_ones_within_their_intervals():
    units, evaluations, inside = 8, 500, []
    for number in range(4):
        score = game(units, seed=number)
        (exact, _), _ = play(exact_values(units), score)
        for seed in range(50):
            found, asked = play(values_over_orders(units, evaluations, np.random.default_rng(seed)), score)
            assert len(np.unique(asked, axis=0)) <= evaluations
            assert np.allclose(found.values.sum(0), found.whole - found.base)
            inside.append(np.abs(found.values - exact.values) <= quantile(evaluations, units, 0.95) * found.errors)
    assert 0.90 < np.mean(inside) < 0.99, np.mean(inside)


def test_one_pair_of_orders_tells_no_errors():
    found, _ = play(values_over_orders(5, 3, np.random.default_rng(0)), game(5))
    assert found.errors is None and np.allclose(found.values.sum(0), found.whole - found.base)


def test_a_tree_parts_sentences_first():
    tree = neighbours([0, 3, 0, 0, 1, 0])
    assert tree[-1, 2] == 7 and set(tree[-1, :2].tolist()) == {7, 7 + len(tree) - 2}  # two words, and the five behind the full stop
    assert neighbours([]).shape == (0, 3) and tree[:, 2].max() == 7
