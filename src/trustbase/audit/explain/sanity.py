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
from trustbase.audit.explain.agreement import ZEROED, rank_correlation
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
_Explained = tuple[NDArray[np.float64], int] | None
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
        own = _explained(context.predictor, items, options.evaluations)
        targets = [None if each is None else each[1] for each in own]  # the same score of all three, whatever the copies answer
        kept, changed = (_explained(asked, items, options.evaluations, targets) for asked in (same, shuffled))
    control, values = _correlations(own, kept), _correlations(kept, changed)
    reached = float(np.mean(control)) if control else None
    context.evidence.write("explanation.sanity_check", {"rows": len(values), "alike": reached, "least_alike": LEAST_ALIKE})
    if reached is not None and reached < LEAST_ALIKE:
        reason = f"the positive control, a copy with the same weights, agrees by {reached:.2f} alone, and {LEAST_ALIKE} is the least"
        return [Finding.without_value(_ID, "insufficient", reason, n=len(values), **how)]
    said = f"rank correlation of |Shapley values| with those of the same score after all weights were shuffled; {ZEROED}; {note}"
    return [mean_finding(context, _ID, values, direction="lower", said=said, source=_SOURCE, bounded=True)]


def copies(model: Any) -> tuple[Any, Any]:
    """Two of a model: one stays as it is, the weights of the other are shuffled."""
    return copy.deepcopy(model), copy.deepcopy(model)


def _missing(info: ArtifactInfo) -> str:
    """Why there are no weights to shuffle; empty where there are."""
    if not RUNTIMES[info.runtime].tokens:
        return f"runtime '{info.runtime}' has no torch weights"
    return f"the answer is the mean of {info.members} models, so there is no one model to lend" if info.members > 1 else ""


def _explained(
    predictor: Predictor, items: Sequence[Item], evaluations: int, targets: Sequence[int | None] | None = None
) -> list[_Explained]:
    """|Shapley values| of each item, and whose score they are of; None where it cannot be explained.

    Args:
        predictor: is asked.
        items: of the audit.
        evaluations: most inputs of each.
        targets: whose scores; the answers' own by default.
    """

    async def one(item: Item, target: int | None) -> _Explained:
        row = await ready(predictor, item)
        if row is None:
            return None
        target = row.target if target is None else target
        return np.abs((await by_shapley(row.game, target, evaluations=evaluations)).weights), target

    return predictor.gather(one(item, target) for item, target in zip(items, targets or [None] * len(items), strict=True))


def _correlations(one: Sequence[_Explained], other: Sequence[_Explained]) -> list[float]:
    pairs = ((a[0], b[0]) for a, b in zip(one, other, strict=True) if a is not None and b is not None)
    found = (rank_correlation(a, b) for a, b in pairs)
    return [value for value in found if value is not None]
