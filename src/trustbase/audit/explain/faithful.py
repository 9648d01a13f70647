"""Whether an explanation is true of the model: what happens to the score as the units that it names are left out, or left alone.

Source: DeYoung et al. (2020), "ERASER", ACL, section 4 (comprehensiveness and sufficiency, averaged over shares of the units); Samek et
al. (2017), IEEE TNNLS 28 (deletion curves); Petsiuk, Das & Saenko (2018), BMVC (deletion and insertion).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.explain.local import Game
from trustbase.audit.explain.units import Masks

Floats = NDArray[np.float64]

SHARES = (0.01, 0.05, 0.10, 0.20, 0.50)  # of the units; of each at least one
STEPS = 10  # of the curves of deletion and insertion


def first_masks(weights: Floats) -> Masks:
    """Masks that keep the units of the largest weights, one for each of `SHARES`, `(shares, units)`."""
    return _keep_first(weights, np.maximum(1, np.ceil(np.array(SHARES) * len(weights) - 1e-9)))


def curve_masks(weights: Floats) -> Masks:
    """Masks that keep the first 0, 1/10, … 10/10 of the units by weight, `(steps + 1, units)`."""
    return _keep_first(weights, np.round(np.linspace(0, len(weights), STEPS + 1)))


def _keep_first(weights: Floats, counts: Floats) -> Masks:
    """Masks that keep so many units, the largest weights first, `(counts, units)`."""
    rank = np.argsort(np.argsort(-weights, kind="stable"), kind="stable")
    return np.asarray(rank < counts[:, None])


async def faithfulness(game: Game, weights: Floats, target: int) -> Mapping[str, float]:
    """How the score of `target` follows these weights.

    Returns:
        `comprehensiveness`: by how much the score falls without the first units, mean over `SHARES` (higher: they were needed).
        `sufficiency`: by how much it falls with the first units alone (lower: they are enough).
        `deletion`, `insertion`: area under the score as units leave, or join, from the largest weight on (lower; higher).
    """
    first, curve = first_masks(weights), curve_masks(weights)
    whole = np.ones((1, len(weights)), dtype=bool)
    scores = (await game.scores(np.concatenate([whole, ~first, first, ~curve, curve])))[:, target]
    bounds = np.cumsum([1, len(first), len(first), len(curve)])
    score, without, alone, leaving, joining = np.split(scores, bounds)
    return {
        "comprehensiveness": float((score - without).mean()),
        "sufficiency": float((score - alone).mean()),
        "deletion": float(np.trapezoid(leaving, dx=1 / STEPS)),
        "insertion": float(np.trapezoid(joining, dx=1 / STEPS)),
    }
