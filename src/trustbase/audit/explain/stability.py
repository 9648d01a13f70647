"""Whether an explanation stays as it is: under another seed, and under edits that a reader does not see and that leave the answer alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.agreement import first_overlap, rank_correlation
from trustbase.audit.explain.edits import edited_items, same_units
from trustbase.audit.explain.findings import mean_finding, too_few
from trustbase.audit.explain.local import by_lime, by_shapley
from trustbase.audit.explain.one_row import Explained, ready
from trustbase.audit.explain.subject import Item, items_of
from trustbase.data.cells import Reading
from trustbase.records import Finding

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

_SOURCE = "Alvarez-Melis & Jaakkola (2018), On the robustness of interpretability methods, section 3; Spearman (1904)"
_ID = "explanation.stability"
METRICS = (_ID, f"{_ID}#seed", f"{_ID}#paraphrase", f"{_ID}#top5")


def stability_findings(context: AuditContext) -> list[Finding]:
    """How far explanations of the same rows agree with themselves; writes `evidence/explanation.stability.json`."""
    assert context.askers is not None
    options, items = context.options.explanation, items_of(context, context.options.explanation.stability)
    arguments = {"samples": options.samples, "evaluations": options.evaluations, "seed": context.seed}
    told = context.askers.run(
        explain_again, items, arguments, what="explaining rows again", emit=context.emit, cost=lambda item: len(item["text"])
    )
    rows = [row for row in told if row is not None]
    tried, kept = sum(row["tried"] for row in rows), sum(len(row["edited"]) for row in rows)
    context.evidence.write("explanation.stability", {"rows": len(rows), "edits": tried, "edits_with_the_same_answer": kept})
    by_seed, by_edit = [_known(row["seed"][:1]) for row in rows], [_known([pair[0] for pair in row["edited"]]) for row in rows]
    first = [_known([pair[1] for pair in (row["seed"], *row["edited"])]) for row in rows]
    seed = _finding(context, f"{_ID}#seed", by_seed, "LIME under two seeds: rank correlation")
    edit = _finding(context, f"{_ID}#paraphrase", by_edit, "Shapley values under edits that leave the answer: rank correlation")
    top = _finding(context, f"{_ID}#top5", first, "share of the first units that stay, under another seed and under edits", 0.0, "share")
    return [_worse(context, seed, edit), seed, edit, top]


def _known(values: Sequence[float | None]) -> float | None:
    """The mean of one row's values; None where it has none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _finding(context: AuditContext, id: str, values: Sequence[float | None], said: str, least: float = -1.0, unit: str = "") -> Finding:
    known = [value for value in values if value is not None]
    return mean_finding(context, id, known, direction="higher", said=said, source=_SOURCE, least=least, bounded=True, unit=unit)


def _worse(context: AuditContext, seed: Finding, edit: Finding) -> Finding:
    """The lower of both; where one of them is not known, neither is the lower."""
    missing = next((finding for finding in (seed, edit) if finding.value is None), None)
    if missing is not None:
        return too_few(context, _ID, missing.n or 0, "higher")
    lower = min((seed, edit), key=lambda finding: finding.value or 0.0)
    return replace(lower, id=_ID, method=f"the lower of two; {lower.method}")


def explain_again(predictor: Predictor, *, samples: int, evaluations: int, seed: int) -> Callable[[Item], Awaitable[dict[str, Any] | None]]:
    """The asker of one row's explanations: by LIME twice, by Shapley values of the row and of its edits; pairs of both measures each."""

    async def again(item: Item) -> dict[str, Any] | None:
        row = await ready(predictor, item)
        if row is None:
            return None
        digest = files.digest_json(item)
        drawn = (seeds.generator(seed, "explanation", name, digest) for name in ("lime", "lime again"))
        (one, other), own, edited = await asyncio.gather(
            asyncio.gather(*(by_lime(row.game, row.target, samples=samples, rng=rng) for rng in drawn)),
            by_shapley(row.game, row.target, evaluations=evaluations),
            asyncio.gather(*(ready(predictor, each) for each in edited_items(item, Reading.of(predictor.info), seed))),
        )
        same = [each for each in edited if each is not None and not row.flips(each.whole)]
        found = await asyncio.gather(*(by_shapley(each.game, row.target, evaluations=evaluations) for each in same))
        pairs = [_over_shared(row, own.weights, each, new.weights) for each, new in zip(same, found, strict=True)]
        return {"seed": _both(one.weights, other.weights), "edited": pairs, "tried": len(edited)}

    return again


def _both(one: NDArray[np.float64], other: NDArray[np.float64]) -> list[float | None]:
    return [rank_correlation(one, other), first_overlap(one, other)]


def _over_shared(row: Explained, weights: NDArray[np.float64], edited: Explained, found: NDArray[np.float64]) -> list[float | None]:
    """Agreement over the units that both inputs have."""
    one, other = same_units(row.units, edited.units)
    return _both(weights[one], found[other])
