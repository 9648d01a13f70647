"""Whether an explanation stays as it is: under another seed, and under edits that mean the same and leave the answer alone.

Edits are near words in the place of some, and what a reader hardly sees: capitals, marks, blanks, fillers. Those that the model reads as
the row itself do not count, since any explanation of both is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.agreement import ZEROED, first_overlap, rank_correlation
from trustbase.audit.explain.edits import edited_items, read_as, same_units
from trustbase.audit.explain.findings import mean_finding
from trustbase.audit.explain.local import by_lime, by_shapley
from trustbase.audit.explain.near_words import Near, near_words, wordings
from trustbase.audit.explain.one_row import Explained, ready
from trustbase.audit.explain.subject import Item, items_of
from trustbase.audit.guard import LEAST_ROWS
from trustbase.data.cells import Reading
from trustbase.records import Finding

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

_SOURCE = "Alvarez-Melis & Jaakkola (2018), On the robustness of interpretability methods, section 3; Spearman (1904)"
_ID = "explanation.stability"
_SURFACE = "edits: capitals, marks, blanks, fillers, width, contractions"
METRICS = (_ID, f"{_ID}#seed", f"{_ID}#paraphrase", f"{_ID}#top5")


def stability_findings(context: AuditContext) -> list[Finding]:
    """How far explanations of the same rows agree with themselves; writes `evidence/explanation.stability.json`."""
    assert context.askers is not None
    options, items = context.options.explanation, items_of(context, context.options.explanation.stability)
    near = near_words(context, items)
    asked = [{**item, "near": own} for item, own in zip(items, near.near, strict=True)]
    arguments = {"samples": options.samples, "evaluations": options.evaluations, "seed": context.seed}
    told = context.askers.run(
        explain_again, asked, arguments, what="explaining rows again", emit=context.emit, cost=lambda item: len(item["text"])
    )
    rows = [row for row in told if row is not None]
    counts = _counted(rows, near.said)
    context.evidence.write("explanation.stability", counts)
    by_seed, by_edit = [_known(row["seed"][:1]) for row in rows], [_known([pair[0] for pair in row["edited"]]) for row in rows]
    first = [_known([pair[1] for pair in (row["seed"], *row["edited"])]) for row in rows]
    edits, ranked = f"{near.said}; {_SURFACE}", f"rank correlation; {ZEROED}"
    wide = replace(context, confidence=1 - (1 - context.confidence) / 2)
    of_seed = (f"{_ID}#seed", by_seed, f"LIME under two seeds: {ranked}")
    of_edit = (f"{_ID}#paraphrase", by_edit, f"Shapley values under edits that the model sees and that leave the answer: {ranked}; {edits}")
    seed, edit = _finding(context, *of_seed), _finding(context, *of_edit)
    highs = [each.high for each in (_finding(wide, *of_seed), _finding(wide, *of_edit)) if each.high is not None]
    if edit.value is None:
        edit = replace(edit, reason=_why_not(counts, edit.n or 0))
    top = _finding(
        context, f"{_ID}#top5", first, f"share of the first units that stay, under another seed and under edits; {edits}", 0.0, "share"
    )
    return [_worse(seed, edit, highs), seed, edit, top]


def _counted(rows: Sequence[Mapping[str, Any]], near: str) -> dict[str, Any]:
    """How many edits were tried, and what became of them."""
    return {
        "rows": len(rows),
        "edits": sum(row["tried"] for row in rows),
        "edits_read_as_the_row": sum(row["unseen"] for row in rows),
        "edits_with_the_same_answer": sum(len(row["edited"]) for row in rows),
        "of_them_near_words": sum(row["worded"] for row in rows),
        "near_words": near,
    }


def _why_not(counts: Mapping[str, Any], rows: int) -> str:
    """Why nothing can be said of edits."""
    edits, unseen = counts["edits"], counts["edits_read_as_the_row"]
    turned = edits - unseen - counts["edits_with_the_same_answer"]
    return (
        f"{rows} rows have edits that the model sees and that leave the answer, and {LEAST_ROWS} are the least: of {edits} edits it reads "
        f"{unseen} as the row itself, and {turned} change its answer or cannot be explained"
    )


def _known(values: Sequence[float | None]) -> float | None:
    """The mean of one row's values; None where it has none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _finding(context: AuditContext, id: str, values: Sequence[float | None], said: str, least: float = -1.0, unit: str = "") -> Finding:
    known = [value for value in values if value is not None]
    return mean_finding(context, id, known, direction="higher", said=said, source=_SOURCE, least=least, bounded=True, unit=unit)


def _worse(seed: Finding, edit: Finding, highs: Sequence[float]) -> Finding:
    """The lower of both, with an interval for the lower of what both stand for; one alone where the other is not known.

    The lower of two noisy means is too low on average, so the interval is not that of either: it reaches from the lower of both lower
    bounds to the lower of both upper bounds, these at half the error, so that it holds the lower mean as often as it claims.

    Args:
        seed, edit: both.
        highs: upper bounds of both at half the error.
    """
    known = [finding for finding in (seed, edit) if finding.value is not None]
    if not known:
        return replace(seed, id=_ID)
    if len(known) == 1:
        missing = edit if known[0] is seed else seed
        return replace(known[0], id=_ID, method=f"one of two, since '{missing.id}' has no number here; {known[0].method}")
    lower = min(known, key=lambda finding: finding.value or 0.0)
    method = "the lower of two, from the lower of their lower bounds to the lower of their upper bounds, these at half the error"
    low, n = min(finding.low or 0.0 for finding in known), min(finding.n or 0 for finding in known)
    return replace(lower, id=_ID, low=low, high=min(highs), n=n, method=f"{method}; {lower.method}")


def explain_again(predictor: Predictor, *, samples: int, evaluations: int, seed: int) -> Callable[[Item], Awaitable[dict[str, Any] | None]]:
    """The asker of one row's explanations: by LIME twice, by Shapley values of the row and of its edits; pairs of both measures each."""

    async def again(item: Item) -> dict[str, Any] | None:
        near, item = item["near"], {name: item[name] for name in ("text", "row")}
        row = await ready(predictor, item)
        if row is None:
            return None
        digest = files.digest_json(item)
        drawn = (seeds.generator(seed, "explanation", name, digest) for name in ("lime", "lime again"))
        (one, other), own, edits = await asyncio.gather(
            asyncio.gather(*(by_lime(row.game, row.target, samples=samples, rng=rng) for rng in drawn)),
            by_shapley(row.game, row.target, evaluations=evaluations),
            _edits(predictor, item, near, row, seed),
        )
        same = [each for each in edits.seen if not row.flips(each.whole)]
        found = await asyncio.gather(*(by_shapley(each.game, row.target, evaluations=evaluations) for each in same))
        pairs = [_over_shared(row, own.weights, each, new.weights) for each, new in zip(same, found, strict=True)]
        worded = sum(each in edits.worded for each in same)
        return {"seed": _both(one.weights, other.weights), "edited": pairs, "tried": edits.tried, "unseen": edits.unseen, "worded": worded}

    return again


@dataclass(frozen=True)
class _Edits:
    """Edits of one row: how many were tried, how many of them the model reads as the row itself, the others, and which have near words."""

    tried: int
    unseen: int
    seen: Sequence[Explained]
    worded: Sequence[Explained]


async def _edits(predictor: Predictor, item: Item, near: Near, row: Explained, seed: int) -> _Edits:
    """The edits of a row that the model sees; one without tokens does not see what leaves its scores to the last digit."""
    surface = edited_items(item, Reading.of(predictor.info), seed)
    worded: list[Item] = [{"text": text, "row": None} for text in wordings(row.units, near, item, seed)]
    edits = [*surface, *(each for each in worded if each["text"] not in {other["text"] for other in surface})]
    read = read_as(predictor, [item["text"], *(each["text"] for each in edits)])
    distinct = [True] * len(edits) if read is None else [one != read[0] for one in read[1:]]
    found = await asyncio.gather(*(ready(predictor, each) for each, seen in zip(edits, distinct, strict=True) if seen))
    left = [number for number, seen in enumerate(distinct) if seen]
    told = [(number, each) for number, each in zip(left, found, strict=True) if each is not None]
    if read is None:
        told = [(number, each) for number, each in told if number >= len(surface) or not np.array_equal(each.whole, row.whole)]
    unseen = len(edits) - sum(each is None for each in found) - len(told)
    return _Edits(len(edits), unseen, [each for _, each in told], [each for number, each in told if number >= len(surface)])


def _both(one: NDArray[np.float64], other: NDArray[np.float64]) -> list[float | None]:
    return [rank_correlation(one, other), first_overlap(one, other)]


def _over_shared(row: Explained, weights: NDArray[np.float64], edited: Explained, found: NDArray[np.float64]) -> list[float | None]:
    """Agreement over the units that both inputs have."""
    one, other = same_units(row.units, edited.units)
    return _both(weights[one], found[other])
