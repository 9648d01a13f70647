"""Learns a decision tree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.model.plain.options import TreeOptions
from trustbase.model.plain.shared import smoothed_logits
from trustbase.model.plain.tree import TreeModel
from trustbase.train.plain.learned import Learned, Material


def learn(material: Material, options: TreeOptions, *, state: int) -> Learned:
    """CART, split by Gini impurity.

    Source: scikit-learn's DecisionTreeClassifier; Breiman, Friedman, Olshen & Stone (1984), Classification and Regression Trees.
    """
    tree = grown(material.matrix, material.labels, depth=options.depth, least_leaf=options.least_leaf, state=state)
    counts = node_counts(tree)

    def oracle(rows: sparse.csr_matrix) -> NDArray[np.float64]:
        return np.exp(smoothed_logits(counts[tree.apply(rows.astype(np.float32))]))

    return Learned(TreeModel(tree_arrays(tree), material.width, material.classes), oracle)


def grown(matrix: sparse.csr_matrix, labels: NDArray[np.int64], *, depth: int, least_leaf: int, state: int) -> Any:
    """scikit-learn's tree of these rows."""
    from sklearn.tree import DecisionTreeClassifier

    least = max(1, min(least_leaf, len(labels) // 2))
    model = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=least, random_state=state)
    return model.fit(matrix.astype(np.float32), labels)


def node_counts(tree: Any) -> NDArray[np.float64]:
    """Training rows of each class in each node, `(nodes, classes)`."""
    inner = tree.tree_
    return np.asarray(np.rint(inner.value[:, 0, :] * inner.weighted_n_node_samples[:, None]), dtype=np.float64)


def tree_arrays(tree: Any) -> dict[str, NDArray[Any]]:
    """Its nodes as a `Forest` keeps them."""
    inner = tree.tree_
    places = np.arange(inner.node_count)
    leaf = inner.children_left < 0
    return {
        "feature": np.where(leaf, 0, inner.feature).astype(np.int32),
        "threshold": np.where(leaf, 0.0, inner.threshold).astype(np.float64),
        "left": np.where(leaf, places, inner.children_left).astype(np.int32),
        "right": np.where(leaf, places, inner.children_right).astype(np.int32),
        "roots": np.zeros(1, np.int32),
        "counts": node_counts(tree),
    }
