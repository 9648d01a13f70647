"""Where the package `lime` draws at random, our weights agree with its own as well as these do with themselves under another seed."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from trustbase.audit.explain.lime import draw_masks, fit_linear, largest

UNITS, SEEDS, FIRST = 14, 8, 5
NAMES = [f"w{unit:02d}" for unit in range(UNITS)]


def score(masks: Any) -> np.ndarray:
    """A cheap scorer: weights and pairs, squeezed; `(masks, 2)`."""
    rng = np.random.default_rng(3)
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
