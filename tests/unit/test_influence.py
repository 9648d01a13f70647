"""What training rows taught: against learning again without them, against gradients of torch row by row, and planted rows found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from inside_kit import classifier, inside_of
from scipy import stats
from sklearn.linear_model import LogisticRegression

from trustbase.audit.explain import gradient_features as module
from trustbase.audit.explain.agreement_over_parts import over_parts
from trustbase.audit.explain.gradient_features import gradient_features
from trustbase.audit.explain.influence import Lessons, foremost, relative, taught
from trustbase.audit.stats import bounded_mean

RIDGE = 1.0


def world(seed: int, rows: int = 150, width: int = 12, wrong: float = 0.1):
    """Embeddings with a bias, labels of a linear rule with some wrong, and rows that are asked about."""
    rng = np.random.default_rng(seed)
    rule = rng.normal(size=width)
    inputs = np.concatenate([rng.normal(size=(rows + 20, width)), np.ones((rows + 20, 1))], axis=1)
    labels = (inputs[:, :-1] @ rule + 0.5 * rng.normal(size=rows + 20) > 0) != (rng.random(rows + 20) < wrong)
    return inputs[:rows], labels[:rows], inputs[rows:]


def learned(inputs, labels):
    head = LogisticRegression(C=1 / RIDGE, fit_intercept=False, tol=1e-10, max_iter=5000)
    return head.fit(inputs, labels).coef_[0]


def signed(inputs, labels):
    return inputs * np.where(labels, 1.0, -1.0)[:, None]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_told_is_what_learning_again_shows(seed):
    """Head-only logistic regression on fixed embeddings: told and real falls of the score, for parts of the rows and for the foremost."""
    inputs, labels, asked = world(seed)
    weights = learned(inputs, labels)
    answers = asked @ weights > 0
    lessons = Lessons.of_classes(signed(inputs, labels), signed(inputs, labels) @ weights)
    told = taught(lessons, signed(asked, answers), ridge=RIDGE)
    before = signed(asked, answers) @ weights
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(len(inputs))[:15] for _ in range(40)]
    real = np.stack([before - signed(asked, answers) @ learned(np.delete(inputs, part, 0), np.delete(labels, part)) for part in parts])
    ours = np.stack([told[:, part].sum(1) for part in parts])
    ranks = [stats.spearmanr(ours[:, row], real[:, row]).statistic for row in range(len(asked))]
    assert np.mean(ranks) > 0.9, np.mean(ranks)
    falls = []
    for row in range(5):
        part = foremost(told[row], 15)
        falls.append(before[row] - signed(asked, answers)[row] @ learned(np.delete(inputs, part, 0), np.delete(labels, part)))
        assert falls[-1] > real[:, row].max(), "no random part moves it as much"
    assert np.corrcoef(falls, [told[row][foremost(told[row], 15)].sum() for row in range(5)])[0, 1] > 0.5


def test_more_parameters_than_rows_are_the_same_equations():
    rng = np.random.default_rng(0)
    features, asked = rng.normal(size=(30, 50)), rng.normal(size=(4, 50))
    lessons = Lessons.of_classes(features, rng.normal(size=30))
    whole = np.linalg.inv((features.T * lessons.bend) @ features + 0.7 * np.eye(50))
    assert np.allclose(taught(lessons, asked, ridge=0.7), asked @ whole @ features.T * lessons.left)
    fewer = Lessons(features[:, :9], lessons.left, lessons.bend)
    padded = Lessons(np.pad(features[:, :9], ((0, 0), (0, 41))), lessons.left, lessons.bend)
    both = taught(fewer, asked[:, :9], ridge=0.7), taught(padded, np.pad(asked[:, :9], ((0, 0), (0, 41))), ridge=0.7)
    assert np.allclose(*both)


def test_rows_that_fit_badly_are_not_the_foremost_of_every_answer():
    inputs, labels, asked = world(5, wrong=0.1)
    weights = learned(inputs, labels)
    scores = signed(inputs, labels) @ weights
    lessons, answers = Lessons.of_classes(signed(inputs, labels), scores), signed(asked, asked @ weights > 0)
    share, usual = (scores < 0).mean(), np.mean([(scores[foremost(row, 10)] < 0).mean() for row in taught(lessons, answers, ridge=RIDGE)])
    told = relative(lessons, answers, ridge=RIDGE)
    assert usual > 2 * share > np.mean([(scores[foremost(row, 10)] < 0).mean() for row in told])
    itself = relative(lessons, lessons.features, ridge=RIDGE)
    assert (itself.argmax(axis=1) == np.arange(len(inputs))).all()  # by the inequality of Cauchy and Schwarz
    assert (np.sign(told) == np.sign(taught(lessons, answers, ridge=RIDGE))).all()


def test_of_numbers_it_is_what_least_squares_shows():
    inputs, _, asked = world(3)
    rng = np.random.default_rng(0)
    truth = inputs @ rng.normal(size=inputs.shape[1]) + rng.normal(size=len(inputs))

    def fit(inputs, truth):
        return np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ truth)

    weights = fit(inputs, truth)
    told = taught(Lessons.of_numbers(inputs, inputs @ weights, truth), asked, ridge=RIDGE)
    real = np.stack([asked @ (weights - fit(np.delete(inputs, row, 0), np.delete(truth, row))) for row in range(len(inputs))], axis=1)
    assert np.abs(told - real).max() < 0.2 * np.abs(real).max() and np.corrcoef(told.ravel(), real.ravel())[0, 1] > 0.99


def parts_of(rng: np.random.Generator, *, noise: float = 0.0, mixed: bool = False):
    """Told and real falls of answers that hang on three things, over 20 parts; `mixed` ones are told of other rows."""
    real = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 200))
    told = real + noise * real.std() * rng.normal(size=real.shape)
    told = told[:, rng.permutation(200)] if mixed else told
    parts = [rng.permutation(200)[:40] for _ in range(20)]
    return tuple(np.array([values[:, part].sum(1) for part in parts]) for values in (told, real))


def test_intervals_over_parts_say_nothing_where_nothing_is_known():
    """Told of other rows: an interval over answers alone misses 0 in half of 40 draws, one over parts too in at most one of ten."""
    alone, both = 0, 0
    for seed in range(40):
        told, real = parts_of(np.random.default_rng(seed), mixed=True)
        found = over_parts(told, real)
        each = [stats.spearmanr(told[:, row], real[:, row]).statistic for row in range(40)]
        assert found is not None and found.value == pytest.approx(np.mean(each)) and found.n == 40
        answers = bounded_mean(each, -1.0, 1.0)
        alone += answers.low > 0 or answers.high < 0
        both += found.low > 0 or found.high < 0
    assert both <= 4 and alone >= 16, (both, alone)


def test_intervals_over_parts_find_what_is_told_rightly():
    found = [over_parts(*parts_of(np.random.default_rng(seed), noise=2.0)) for seed in range(20)]
    assert sum(each is not None and each.low > 0 for each in found) == 20
    perfect = over_parts(*parts_of(np.random.default_rng(0)))
    assert perfect is not None and perfect.value == pytest.approx(1.0) and perfect.low > 0.9
    told, real = parts_of(np.random.default_rng(0))
    assert over_parts(told[:4], real[:4]) is None and over_parts(0 * told, real) is None


TEXTS = ["the film was very good", "bad", "the service is not good and the food was poor", "a film"]


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
def test_features_are_the_gradients_of_each_row(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Kept whole, they are what torch gives for each row alone, weight by weight; projected, inner products stay as they were."""
    inside = inside_of(classifier(tmp_path / family, family, labels=3))
    tokens = inside.tokens(TEXTS)
    monkeypatch.setattr(module, "_WHOLE", 10**9)
    found = gradient_features(inside, tokens, [0, 1, 2, 1])  # type: ignore[arg-type]
    layers = [each.layer for each in module._watched(inside.model, 0)]
    for row, token in enumerate(tokens):
        for layer in layers:
            layer.requires_grad_(True)
        logits = inside.model(input_ids=torch.from_numpy(token.ids)[None]).logits
        score = inside.score(logits, torch.tensor([[0, 1, 2, 1][row]]))[0]
        grads = torch.autograd.grad(score, [part for layer in layers for part in (layer.weight, layer.bias)])
        whole = [torch.cat([grads[2 * k], grads[2 * k + 1][:, None]], 1).flatten() for k in range(len(layers))]
        assert np.abs(found.gradients[row] - torch.cat(whole).numpy()).max() < 1e-4
        assert found.scores[row] == pytest.approx(score.item(), abs=1e-4)


def test_projections_keep_inner_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inside = inside_of(classifier(tmp_path / "model"))
    tokens = inside.tokens(TEXTS)
    monkeypatch.setattr(module, "_WHOLE", 10**9)
    whole = gradient_features(inside, tokens, [1] * 4).gradients  # type: ignore[arg-type]
    monkeypatch.setattr(module, "_WHOLE", 100)
    products = []
    for seed in range(40):
        found = gradient_features(inside, tokens, [1] * 4, seed=seed).gradients  # type: ignore[arg-type]
        assert found.shape[1] < whole.shape[1] / 4
        products.append(found @ found.T)
    true = whole @ whole.T
    assert np.abs(np.mean(products, 0) / true - 1).max() < 0.25


def test_a_row_is_told_the_same_in_any_company(tmp_path: Path):
    inside = inside_of(classifier(tmp_path / "model"))
    tokens = inside.tokens(TEXTS * 3)
    together = gradient_features(inside, tokens, [1] * 12, budget=40)  # type: ignore[arg-type]
    alone = [gradient_features(inside, [each], [1]) for each in tokens[:4]]  # type: ignore[list-item]
    for place in range(12):
        assert np.abs(together.gradients[place] - alone[place % 4].gradients[0]).max() < 1e-4


def test_planted_rows_are_found_and_their_twins_say_nothing():
    """Rows with a mark of their own and a wrong label teach a marked row its wrong answer: power and false alarms over seeds."""
    found, silent = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        inputs, labels, asked = world(seed, wrong=0.02)
        mark = np.zeros((len(inputs), 1))
        planted = rng.permutation(np.flatnonzero(labels))[:8]
        mark[planted] = 2.0
        for wrong in (True, False):
            told_labels = labels.copy()
            told_labels[planted] = not wrong
            marked = np.concatenate([inputs, mark], axis=1)
            weights = learned(marked, told_labels)
            row = np.concatenate([asked[:1] * 0.3, [[2.0]]], axis=1)
            lessons = Lessons.of_classes(signed(marked, told_labels), signed(marked, told_labels) @ weights)
            against = taught(lessons, row * -1.0, ridge=RIDGE)[0]  # what teaches it the answer "no"
            share = np.isin(foremost(against, 8), planted).mean()
            (found if wrong else silent).append(share >= 3 / 8)  # by chance 5 % of them
    assert np.mean(found) == 1.0 and np.mean(silent) == 0.0, (np.mean(found), np.mean(silent))
