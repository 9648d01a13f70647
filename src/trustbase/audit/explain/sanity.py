"""Whether explanations hang on what the model has learned: with its weights shuffled they must become others.

Source: Adebayo, Gilmer, Muelly, Goodfellow, Hardt & Kim (2018), Sanity checks for saliency maps, NeurIPS, section 3.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.agreement import rank_correlation
from trustbase.audit.explain.findings import mean_finding
from trustbase.audit.explain.local import by_shapley
from trustbase.audit.explain.one_row import ready
from trustbase.audit.explain.subject import Item, items_of
from trustbase.recipe.lookup import RUNTIMES
from trustbase.records import ArtifactInfo, Finding

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

_ID = "explanation.sanity_check"
METRICS = (_ID,)
LEAST_ALIKE = 0.8  # rank correlation that two copies of one model must reach, or a low one of a shuffled copy says nothing
_SOURCE = "Adebayo et al. (2018), Sanity checks for saliency maps, NeurIPS, section 3 (model parameter randomization)"


def sanity_findings(context: AuditContext) -> list[Finding]:
    """How far |Shapley values| rank units as they do once all weights are shuffled; a copy left as it is must rank them as the artefact."""
    from trustbase.model.shuffled import copied

    assert context.predictor is not None
    options, items = context.options.explanation, items_of(context, context.options.explanation.stability)
    how: dict[str, Any] = {"direction": "lower", "confidence": context.confidence}
    if missing := _missing(context.predictor.info):
        return [Finding.without_value(_ID, "not_applicable", missing, **how)]
    with context.predictor.white_box() as box:
        models, note = copies(box.model), box.note
    rng = seeds.generator(context.seed, "explanation", "sanity")
    with copied(context.predictor, models[0]) as same, copied(context.predictor, models[1], shuffle=rng) as shuffled:
        own, kept, changed = (_explained(asked, items, options.evaluations) for asked in (context.predictor, same, shuffled))
    control, values = _correlations(own, kept), _correlations(kept, changed)
    reached = float(np.mean(control)) if control else None
    context.evidence.write("explanation.sanity_check", {"rows": len(values), "alike": reached, "least_alike": LEAST_ALIKE})
    if reached is not None and reached < LEAST_ALIKE:
        reason = f"the positive control, a copy with the same weights, agrees by {reached:.2f} alone, and {LEAST_ALIKE} is the least"
        return [Finding.without_value(_ID, "insufficient", reason, n=len(values), **how)]
    said = f"rank correlation of |Shapley values| with those after all weights were shuffled; {note}"
    return [mean_finding(context, _ID, values, direction="lower", said=said, source=_SOURCE, bounded=True)]


def copies(model: Any) -> tuple[Any, Any]:
    """Two of a model: one stays as it is, the weights of the other are shuffled."""
    return copy.deepcopy(model), copy.deepcopy(model)


def _missing(info: ArtifactInfo) -> str:
    """Why there are no weights to shuffle; empty where there are."""
    if not RUNTIMES[info.runtime].tokens:
        return f"runtime '{info.runtime}' has no torch weights"
    return f"the answer is the mean of {info.members} models, so there is no one model to lend" if info.members > 1 else ""


def _explained(predictor: Predictor, items: Sequence[Item], evaluations: int) -> list[NDArray[np.float64] | None]:
    """|Shapley values| of each item; None where it cannot be explained."""

    async def one(item: Item) -> NDArray[np.float64] | None:
        row = await ready(predictor, item)
        if row is None:
            return None
        return np.abs((await by_shapley(row.game, row.target, evaluations=evaluations)).weights)

    return predictor.gather(one(item) for item in items)


def _correlations(one: Sequence[NDArray[np.float64] | None], other: Sequence[NDArray[np.float64] | None]) -> list[float]:
    pairs = ((a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None)
    found = (rank_correlation(a, b) for a, b in pairs)
    return [value for value in found if value is not None]
