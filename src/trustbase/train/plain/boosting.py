"""Learns gradient-boosted trees, and takes scikit-learn's own trees apart into plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.model.plain.boosting import BoostingModel
from trustbase.model.plain.options import BoostingOptions
from trustbase.model.plain.readers import dense
from trustbase.train.plain.learned import Learned, Material


def learn(material: Material, options: BoostingOptions, *, state: int) -> Learned:
    """Histogram gradient boosting; NaN is a missing number, and codes of categories are split as sets.

    Source: scikit-learn's HistGradientBoostingClassifier; Ke et al. (2017), "LightGBM", NeurIPS.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=options.rounds,
        learning_rate=options.learning_rate,
        max_leaf_nodes=options.leaves,
        min_samples_leaf=options.least_leaf,
        categorical_features=material.codes if material.codes.any() else None,
        random_state=state,
    )
    values = dense(material.matrix)
    model.fit(values, material.labels)
    arrays = _arrays(model, values, material.codes)
    return Learned(BoostingModel(arrays, material.width, material.classes), lambda rows: model.predict_proba(dense(rows)))


def _arrays(model: Any, values: NDArray[np.float64], categorical: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """All trees end to end, with features and codes as we number them.

    Inside, scikit-learn puts the categories first, and numbers the codes that it saw anew.
    """
    order = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])
    seen = {int(place): np.unique(values[:, place]) for place in np.flatnonzero(categorical)}
    codes = 1 + max((int(each.max()) for each in seen.values()), default=1)
    parts: dict[str, list[Any]] = {name: [] for name in ("feature", "threshold", "left", "right", "missing_left", "mask", "value", "gain")}
    masks: list[NDArray[np.bool_]] = []
    roots, outputs, start = [], [], 0
    for stage in model._predictors:
        for output, tree in enumerate(stage):
            nodes = tree.nodes
            leaf, places = nodes["is_leaf"].astype(bool), start + np.arange(len(nodes))
            feature = np.where(leaf, 0, order[nodes["feature_idx"].clip(0, len(order) - 1)])
            asks = nodes["is_categorical"].astype(bool) & ~leaf
            mask = np.full(len(nodes), -1, np.int32)
            for node in np.flatnonzero(asks).tolist():
                mask[node] = len(masks)
                masks.append(_left_codes(tree, nodes[node], seen[int(feature[node])], codes))
            parts["feature"].append(feature)
            parts["threshold"].append(np.where(leaf | asks, 0.0, nodes["num_threshold"]).clip(-1e300, 1e300))
            parts["left"].append(np.where(leaf, places, start + nodes["left"].astype(np.int64)))
            parts["right"].append(np.where(leaf, places, start + nodes["right"].astype(np.int64)))
            parts["missing_left"].append(nodes["missing_go_to_left"].astype(np.uint8))
            parts["mask"].append(mask)
            parts["value"].append(np.where(leaf, nodes["value"], 0.0))
            parts["gain"].append(np.where(leaf, 0.0, nodes["gain"].clip(0)))
            roots.append(start)
            outputs.append(output)
            start += len(nodes)
    joined = {name: np.concatenate(each) for name, each in parts.items()}
    gain = np.bincount(joined["feature"], weights=joined["gain"], minlength=values.shape[1])
    return {
        **{name: joined[name].astype(np.int32) for name in ("feature", "left", "right", "mask")},
        "threshold": joined["threshold"].astype(np.float64),
        "missing_left": joined["missing_left"],
        "value": joined["value"].astype(np.float64),
        "masks": np.array(masks, np.uint8).reshape(len(masks), codes),
        "roots": np.array(roots, np.int32),
        "output": np.array(outputs, np.int32),
        "start": np.asarray(model._baseline_prediction, np.float64).ravel(),
        "gain": gain,
    }


def _left_codes(tree: Any, node: Any, seen: NDArray[np.float64], codes: int) -> NDArray[np.bool_]:
    """Which codes go left at a node that asks for a category; a code that training never saw goes where a missing value goes."""
    bits = tree.raw_left_cat_bitsets[node["bitset_idx"]]
    left = np.full(codes, bool(node["missing_go_to_left"]))
    for inner, code in enumerate(seen.astype(int).tolist()):
        left[code] = bool(bits[inner // 32] >> np.uint32(inner % 32) & np.uint32(1))
    return left
