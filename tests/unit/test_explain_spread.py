"""Where the packages draw at random, our values agree with theirs as well as theirs do with themselves under another seed."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats
from test_explain_oracles import play

from trustbase.audit.explain.lime import draw_masks, fit_linear, largest
from trustbase.audit.explain.shapley import values_over_orders

UNITS, SEEDS, FIRST = 14, 8, 5
NAMES = [f"w{unit:02d}" for unit in range(UNITS)]


def score(masks: Any, scorer: int = 3) -> np.ndarray:
    """A cheap scorer: weights and pairs, squeezed; `(masks, 2)`."""
    rng = np.random.default_rng(scorer)
    alone, both = rng.normal(size=UNITS), rng.normal(size=(UNITS, UNITS)) / UNITS
    kept = np.asarray(masks, dtype=float)
    raw = kept @ alone + np.einsum("mi,ij,mj->m", kept, both, kept)
    told = 1 / (1 + np.exp(-raw / 3))
    return np.stack([1 - told, told], axis=1)


def read(texts: Any) -> np.ndarray:
    return score([[name in text.split() for name in NAMES] for text in texts])


def agreement(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Rank correlation, and the share of the first five that both name."""
    shared = set(largest(one, FIRST).tolist()) & set(largest(other, FIRST).tolist())
    return float(stats.spearmanr(one, other).statistic), len(shared) / FIRST


def held(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    """Ours beside theirs on average lies within what theirs beside themselves range over, or above."""
    own = np.array([agreement(a, b) for a, b in combinations(theirs, 2)])
    between = np.array([agreement(a, b) for a in ours for b in theirs])
    assert (between.mean(axis=0) >= own.min(axis=0)).all(), (between.mean(axis=0), own.min(axis=0))
    noise = own.std(axis=0) / np.sqrt(SEEDS)  # pairs share their seeds
    assert (between.mean(axis=0) >= own.mean(axis=0) - 3 * noise - 0.01).all(), (between.mean(axis=0), own.mean(axis=0), noise)


def test_lime_agrees_with_the_package_as_the_package_with_itself() -> None:
    lime_text = pytest.importorskip("lime.lime_text")
    ours, theirs = [], []
    for seed in range(SEEDS):
        masks = np.concatenate([np.ones((1, UNITS), bool), draw_masks(UNITS, 149, np.random.default_rng(seed))])
        ours.append(fit_linear(masks, score(masks)).weights[:, 1])
        explainer = lime_text.LimeTextExplainer(random_state=seed, bow=True, split_expression=r"\s+")
        found = explainer.explain_instance(" ".join(NAMES), read, labels=(1,), num_features=UNITS, num_samples=150)
        told = dict(found.as_list(label=1))
        theirs.append(np.array([told[name] for name in NAMES]))
    held(ours, theirs)


def test_shapley_values_over_orders_agree_with_the_package_as_the_package_with_itself() -> None:
    """Over six scorers, since of one the first five may have a tie that a sampler always falls on the same side of."""
    shap = pytest.importorskip("shap")
    own, between = [], []
    evaluations = 4 * UNITS + 4
    for scorer in range(3, 9):
        ours, theirs = [], []
        for seed in range(SEEDS):
            found, _ = play(values_over_orders(UNITS, evaluations, np.random.default_rng(seed)), lambda masks, s=scorer: score(masks, s))
            ours.append(found.values[:, 1])
            explainer = shap.explainers.Permutation(lambda rows, s=scorer: score(rows, s)[:, 1], np.zeros((1, UNITS)), seed=seed)
            theirs.append(explainer(np.ones((1, UNITS)), max_evals=evaluations, silent=True).values[0])
        own += [agreement(a, b) for a, b in combinations(theirs, 2)]
        between += [agreement(a, b) for a in ours for b in theirs]
    mean, least = np.mean(own, axis=0), np.min(own, axis=0)
    assert (least < 1).all(), "the package's own seeds differ"
    assert (np.mean(between, axis=0) >= np.maximum(least, mean - 0.02)).all(), (np.mean(between, axis=0), mean, least)
