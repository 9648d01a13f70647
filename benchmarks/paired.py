"""Two ways to train, judged on the same test rows with several seeds: what each got right, and how far apart they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import t

from trustbase import seeds as streams
from trustbase.audit.stats import paired_difference
from trustbase.flow import RunResult


def right_rows(result: RunResult) -> np.ndarray:
    """Which test rows a run's artefact got right, `(rows,)` in the order of the rows."""
    table = pq.read_table(result.folder / "scores.parquet", columns=["row", "label", "predicted"]).to_pandas().sort_values("row")
    return (table.label.astype(str) == table.predicted.astype(str)).to_numpy()


def accuracies(result: RunResult) -> dict[str, float]:
    """Accuracy of a run's artefact, and of a bag of words trained on the same rows."""
    accuracy, gain = (result.audit.find(id).value for id in ("quality.accuracy", "quality.gain_over_bag_of_words"))
    assert accuracy is not None and gain is not None
    return {"accuracy": accuracy, "bag_of_words": accuracy - gain}


def difference(right: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Of one seed, with its paired interval (Tango)."""
    paired = paired_difference(right, other)
    return {"difference": paired.value, "low": paired.low, "high": paired.high}


def means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of each accuracy, and of the difference, over seeds."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name not in {"seed", "low", "high"}}


def over_seeds(pairs: Sequence[tuple[np.ndarray, np.ndarray]], name: str) -> dict[str, Any]:
    """Two intervals of the mean difference of accuracies: over test rows (bootstrap, seeds kept), and over seeds (t)."""
    differences = np.array([right.astype(float) - other for right, other in pairs])
    each, by_seed = differences.mean(axis=0), differences.mean(axis=1)
    rng = streams.generator(0, "benchmark", name)
    drawn = np.array([each[rng.integers(len(each), size=len(each))].mean() for _ in range(4000)])
    half = float(t.ppf(0.975, len(by_seed) - 1) * by_seed.std(ddof=1) / len(by_seed) ** 0.5) if len(by_seed) > 1 else None
    return {
        "test_rows": len(each),
        "over_rows": np.quantile(drawn, [0.025, 0.975]).tolist(),
        "over_seeds": None if half is None else [float(by_seed.mean()) - half, float(by_seed.mean()) + half],
    }
