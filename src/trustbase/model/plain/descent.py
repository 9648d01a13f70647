"""Walking many rows down many trees at once: the arrays of the nodes, and where each row ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUTES_AT_ONCE = 2_000_000  # rows × trees


class Forest:
    """Nodes of all trees in one row of arrays; a leaf leads to itself, so that every route may be walked equally long.

    Attributes:
        feature, threshold: what a node asks, int32 and float64 `(nodes,)`: at most the threshold goes left.
        left, right: where it leads, int32 `(nodes,)`, always further on.
        missing_left: where NaN goes, bool `(nodes,)`.
        mask: of a node that asks for a category, the row of `masks` that says which codes go left; else -1, int32 `(nodes,)`.
        masks: bool `(masks, codes)`.
        roots: first node of each tree, int32 `(trees,)`.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], features: int, *, deepest: int) -> None:
        """Keep the arrays, of trees of at most `deepest` questions on any route.

        Raises:
            ValueError: they are no forest over so many features.
        """
        self.feature, self.threshold = arrays["feature"], arrays["threshold"]
        self.left, self.right, self.roots = arrays["left"], arrays["right"], arrays["roots"]
        nodes = len(self.feature)
        self.missing_left = arrays.get("missing_left", np.zeros(nodes, np.bool_)).astype(np.bool_)
        self.mask = arrays.get("mask", np.full(nodes, -1, np.int32))
        self.masks = arrays.get("masks", np.zeros((0, 0), np.bool_)).astype(np.bool_)
        self.categorical = bool((self.mask >= 0).any())
        lengths = {len(array) for array in (self.threshold, self.left, self.right, self.missing_left, self.mask)}
        within = bool(((self.feature >= 0) & (self.feature < features)).all() and ((self.roots >= 0) & (self.roots < nodes)).all())
        masked = not self.categorical or (int(self.mask.max()) < len(self.masks) and self.masks.shape[1] > 0)
        if not nodes or lengths != {nodes} or not within or not masked or not self._are_trees():
            raise ValueError("its nodes are no trees")
        self.depth = self._depth(deepest)

    def _are_trees(self) -> bool:
        """Whether each node is led to once, from a root or from one node before it: no circles, and no two ways to one leaf."""
        places, leaf = np.arange(len(self.feature)), self.is_leaf
        inner = places[~leaf]
        sides = np.concatenate([self.left[inner], self.right[inner]])
        ahead = bool(((sides > np.tile(inner, 2)) & (sides < len(places))).all())
        if not ahead or not (self.right[leaf] == places[leaf]).all():
            return False
        return bool((np.bincount(np.concatenate([self.roots, sides]), minlength=len(places)) == 1).all())

    def _depth(self, deepest: int) -> int:
        """Most questions on any route.

        Raises:
            ValueError: more than `deepest`.
        """
        depth, level, leaf = 0, self.roots, self.is_leaf
        while len(level := level[~leaf[level]]):
            depth += 1
            if depth > deepest:
                raise ValueError(f"a route through its trees asks more than {deepest} questions")
            level = np.concatenate([self.left[level], self.right[level]])
        return depth

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        return np.asarray(self.left == np.arange(len(self.left)))

    def leaves(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """The leaf that each row ends in, of each tree, int64 `(rows, trees)`."""
        step = max(1, _ROUTES_AT_ONCE // len(self.roots))
        parts = [self._walk(values[start : start + step]) for start in range(0, len(values), step)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.roots)), np.int64)

    def _walk(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        node = np.tile(self.roots.astype(np.int64), (len(values), 1))
        rows = np.arange(len(values))[:, None]
        for _ in range(self.depth):
            asked = values[rows, self.feature[node]]
            unknown = np.isnan(asked)
            leftward = np.where(unknown, self.missing_left[node], asked <= self.threshold[node])
            if self.categorical:
                mask = self.mask[node]
                code = np.where(unknown | (mask < 0), 0, asked).clip(0, self.masks.shape[1] - 1).astype(np.int64)
                leftward = np.where(mask >= 0, self.masks[mask, code], leftward)
            node = np.where(leftward, self.left[node], self.right[node])
        return node
