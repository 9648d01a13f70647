"""Invariance: what becomes of answers when a text is changed in a way that leaves what it says, or that puts one small thing for another.

`robustness.accuracy_under_typos` and the drop against the same rows as they are; `robustness.prediction_flips#KIND`, the share of answers
that each kind of change turns. A blank at the end says nothing, so what it turns is noise of model and tokenizer; other kinds are told
beside it; other numbers and names say something else, which the finding's method tells. `evidence/robustness.flips.json` holds all of them.

Source: Ribeiro et al. (2020), "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", ACL, section 2.2 (invariance tests).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.robustness.sample import Sample, answers_to, picked, sample_of, turned
from trustbase.audit.stats import Interval, paired_difference, proportion
from trustbase.recipe.lookup import PERTURBATIONS
from trustbase.records import Direction, Finding, Status

KINDS = tuple(PERTURBATIONS)
FLOOR = "blank"
TYPO_RATES = {"": 0.05, "0.10": 0.10}  # variant of a finding → share of letters
TYPO_METRICS = tuple(
    f"robustness.{name}{variant and '#'}{variant}"
    for variant in TYPO_RATES
    for name in ("accuracy_under_typos", "accuracy_drop_under_typos")
)
FLIP_METRICS = tuple(f"robustness.prediction_flips#{kind}" for kind in KINDS)
_SOURCE = "Ribeiro et al. (2020), ACL, section 2.2"


def typo_findings(context: AuditContext) -> list[Finding]:
    """Accuracy on mistyped rows at each rate, and by how much it is lower than on the same rows as they are."""
    sample, found = sample_of(context), []
    right = _right(context, sample, sample.told)
    for variant, rate in TYPO_RATES.items():
        made = sample.made("typos", context.seed, rate)
        count = sum(text is not None for text in made)
        ids = [f"robustness.{name}{variant and '#'}{variant}" for name in ("accuracy_under_typos", "accuracy_drop_under_typos")]
        if few := _too_few(context, count, len(sample), "typos"):
            found += [_without(context, id, *few, direction) for id, direction in zip(ids, _TYPO_DIRECTIONS, strict=True)]
            continue
        still = _right(context, sample, answers_to(context, [text or asked for text, asked in zip(made, sample.asked, strict=True)]))
        what = (
            f"{rate:.0%} of the letters in words of two letters or more mistyped, at least one; {sample.changed}; {_drawn(sample, count)}"
        )
        intervals = (proportion(int(still.sum()), len(still), confidence=context.confidence), _drop(context, right, still))
        for id, interval, direction in zip(ids, intervals, _TYPO_DIRECTIONS, strict=True):
            found.append(_finding(context, id, _worded(interval, what), direction, unit="share"))
    return found


_TYPO_DIRECTIONS: tuple[Direction, Direction] = ("higher", "lower")


def _right(context: AuditContext, sample: Sample, told: Answers) -> NDArray[np.bool_]:
    return ~turned(context, told, Answers(None, sample.truth))


def _drop(context: AuditContext, right: NDArray[np.bool_], still: NDArray[np.bool_]) -> Interval:
    return paired_difference(right, still, confidence=context.confidence)


def _drawn(sample: Sample, count: int) -> str:
    same = f"; {len(sample) - count} of them as they are, which hold no such words" if count < len(sample) else ""
    return f"one draw for each of {len(sample)} rows{same}"


def flip_findings(context: AuditContext) -> list[Finding]:
    """The share of answers that each kind of change turns; of numbers, that it moves by more than a tenth of a standard deviation."""
    sample = sample_of(context)
    made = {kind: [] if entry.missing() else sample.made(kind, context.seed) for kind, entry in PERTURBATIONS.items()}
    places = {kind: [row for row, text in enumerate(texts) if text is not None] for kind, texts in made.items()}
    asked = [made[kind][row] or "" for kind in KINDS for row in places[kind]]
    rows = [row for kind in KINDS for row in places[kind]]
    blind = why_blind(context, sample)
    moved = turned(context, picked(sample.told, rows), answers_to(context, asked))
    starts = np.cumsum([0, *(len(places[kind]) for kind in KINDS)])
    values = {kind: moved[starts[number] : starts[number + 1]] for number, kind in enumerate(KINDS)}
    found = [_of_kind(context, sample, kind, values, blind) for kind in KINDS]
    context.evidence.write("robustness.flips", {"rows": len(sample), "control": blind or "found", "kinds": _rows(found)})
    return found


def why_blind(context: AuditContext, sample: Sample) -> str:
    """The positive control: why a turned answer would not be seen here; "" where it is.

    Each row is asked as another row that is answered otherwise, by the way that changed rows are asked: each must be seen to turn.
    """
    pairs = [(row, other) for row in range(len(sample)) if (other := _answered_otherwise(context, sample.told, row)) is not None]
    if not pairs:
        return f"the model answers all {len(sample)} rows alike, so whether a change turns answers cannot be told"
    again = answers_to(context, [sample.asked[other] for _, other in pairs])
    lost = len(pairs) - int(turned(context, picked(sample.told, [row for row, _ in pairs]), again).sum())
    return f"{lost} of {len(pairs)} rows that were replaced by others did not turn, as they must" if lost else ""


def _answered_otherwise(context: AuditContext, told: Answers, row: int) -> int | None:
    """The next row that has another answer."""
    order = np.r_[row + 1 : len(told.predicted), 0:row]
    other = np.flatnonzero(turned(context, picked(told, [row] * len(order)), picked(told, order)))
    return int(order[other[0]]) if other.size else None


def _of_kind(context: AuditContext, sample: Sample, kind: str, values: Mapping[str, NDArray[np.bool_]], blind: str) -> Finding:
    entry, id, own = PERTURBATIONS[kind], f"robustness.prediction_flips#{kind}", values[kind]
    if missing := entry.missing():
        return _without(context, id, "not_applicable", missing)
    if few := _too_few(context, len(own), len(sample), kind) or _blind(blind):
        return _without(context, id, *few)
    share = f"; at {entry.rate:.0%} of the places where it can be made, at least one" if entry.rate < 1 else ""
    said = [f"{entry.about}{share}; {sample.changed}; one draw for each of {len(own)} rows"]
    said += [] if entry.keeps else ["the changed text says something else, so an answer may rightly hang on it"]
    said += [f"a blank at the end alone turns {values[FLOOR].mean():.1%}"] if kind != FLOOR and values[FLOOR].size else []
    interval = proportion(int(own.sum()), len(own), confidence=context.confidence)
    return _finding(context, id, _worded(interval, "; ".join(said)), "lower", unit="share")


def _too_few(context: AuditContext, count: int, rows: int, kind: str) -> tuple[Status, str, int | None] | None:
    """Status, reason and rows where a change can be made of no row, or of too few."""
    of = PERTURBATIONS[kind].of
    if not count:
        return "not_applicable", f"none of the {rows} sampled rows holds {of}", None
    if count < context.minimum_cell:
        return "insufficient", f"only {count} of {rows} sampled rows hold {of}, fewer than {context.minimum_cell}", count
    return None


def _blind(reason: str) -> tuple[Status, str, int | None] | None:
    return ("insufficient", reason, None) if reason else None


def _rows(found: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "kind": item.parts.variant,
            "rate": PERTURBATIONS[str(item.parts.variant)].rate,
            "keeps": PERTURBATIONS[str(item.parts.variant)].keeps,
        }
        | {"n": item.n, "value": item.value, "low": item.low, "high": item.high, "status": item.status}
        for item in found
    ]


def _worded(interval: Interval, what: str) -> Interval:
    return replace(interval, method=f"{what}; {interval.method}", source=f"{_SOURCE}; {interval.source}")


def _finding(context: AuditContext, id: str, interval: Interval, direction: Direction, **fields: Any) -> Finding:
    return interval.finding(id, direction=direction, confidence=context.confidence, seed=context.seed, **fields)


def _without(context: AuditContext, id: str, status: Status, reason: str, n: int | None = None, direction: Direction = "lower") -> Finding:
    return Finding.without_value(id, status, reason, n=n, direction=direction, confidence=context.confidence)
