"""Learns an ordered list of rules: a rule at a time, from a small tree of the rows that no earlier rule answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.model.plain.options import RulesOptions
from trustbase.model.plain.rules import RulesModel
from trustbase.model.plain.shared import smoothed_logits
from trustbase.train.plain.learned import Learned, Material
from trustbase.train.plain.tree import grown

Condition = tuple[int, float, bool]  # feature, threshold, whether above it


def learn(material: Material, options: RulesOptions, *, state: int) -> Learned:
    """Separate and conquer: of a small tree of the rows that are left, the most telling leaf becomes the next rule, and its rows leave.

    As PART, but that the trees are CART's of few questions and not pruned ones of C4.5, and that the leaf is chosen as CN2 judges rules
    and not by its size. Neither optimises the list as a whole.

    Source: Frank & Witten (1998), "Generating accurate rule sets without global optimization" (PART), ICML.
    """
    matrix, labels, classes = material.matrix, material.labels, material.classes
    left = np.arange(len(labels))
    rules: list[list[Condition]] = []
    counts: list[NDArray[np.float64]] = []
    while len(rules) < options.rules and len(left) >= 2 * options.least_leaf and len(np.unique(labels[left])) > 1:
        tree = grown(matrix[left], labels[left], depth=options.conditions, least_leaf=options.least_leaf, state=state)
        if tree.tree_.node_count == 1:
            break
        leaves = tree.apply(matrix[left].astype(np.float32))
        leaf = _most_telling(leaves, labels[left], classes)
        rules.append(_shortened(list(_path(tree, leaf))))
        counts.append(np.bincount(labels[left[leaves == leaf]], minlength=classes).astype(np.float64))
        left = left[leaves != leaf]
    counts.append(np.bincount(labels[left], minlength=classes).astype(np.float64))
    model = RulesModel(_arrays(rules, np.array(counts)), material.width, classes)
    return Learned(model, lambda rows: _by_hand(rows, rules, np.array(counts)))


def _most_telling(leaves: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> int:
    """The leaf whose shares of the classes are least likely to be those of all rows: the likelihood ratio, Σ n log(share / overall).

    Source: the significance test of CN2; Clark & Niblett (1989), "The CN2 induction algorithm", Machine Learning 3.
    """
    overall = np.bincount(labels, minlength=classes) / len(labels)

    def ratio(leaf: int) -> float:
        counts = np.bincount(labels[leaves == leaf], minlength=classes)
        there = counts > 0
        return float((counts[there] * np.log(counts[there] / counts.sum() / overall[there])).sum())

    return int(max(np.unique(leaves).tolist(), key=ratio))


def _path(tree: Any, leaf: int) -> Iterator[Condition]:
    """The conditions from the root to a leaf."""
    inner, route, node = tree.tree_, [], leaf
    sides = ((False, inner.children_left), (True, inner.children_right))
    came_from = {int(child): (parent, above) for above, side in sides for parent, child in enumerate(side) if child >= 0}
    while node:
        parent, above = came_from[node]
        route.append((int(inner.feature[parent]), float(inner.threshold[parent]), above))
        node = parent
    yield from reversed(route)


def _shortened(conditions: list[Condition]) -> list[Condition]:
    """The same without a condition that a later one of the same feature and side implies."""
    tightest = {(feature, above): threshold for feature, threshold, above in conditions}  # further down is always tighter
    return [(feature, threshold, above) for (feature, above), threshold in tightest.items()]


def _arrays(rules: list[list[Condition]], counts: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    flat = [condition for rule in rules for condition in rule]
    return {
        "feature": np.array([feature for feature, _, _ in flat], np.int32),
        "threshold": np.array([threshold for _, threshold, _ in flat], np.float64),
        "above": np.array([above for _, _, above in flat], np.uint8),
        "bounds": np.concatenate([[0], np.cumsum([len(rule) for rule in rules])]).astype(np.int32),
        "counts": counts,
    }


def _by_hand(rows: sparse.csr_matrix, rules: list[list[Condition]], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same answers by walking down the list row by row."""
    fired = []
    for row in rows.astype(np.float32).toarray():
        holds = (all((row[feature] > threshold) == above for feature, threshold, above in rule) for rule in rules)
        fired.append(next((place for place, held in enumerate(holds) if held), len(rules)))
    return np.exp(smoothed_logits(counts))[fired]
