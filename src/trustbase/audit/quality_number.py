"""The quality audit of numbers: how far they are off, what they explain, whether their intervals hold, and what rivals reach.

Findings are `quality.rmse`, `.mae`, `.r2`, `.interval_coverage`, `.interval_width`, `.gain_over_…`, and the parts of the test rows
where errors are largest. `evidence/quality.json` holds the errors' quantiles, a table of told against true, slices and rivals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import Answers, AuditContext, Partition
from trustbase.audit.guard import LEAST_ROWS, NAMED_ROWS, guarded
from trustbase.audit.quality import slice_id
from trustbase.audit.rivals import no_gain
from trustbase.audit.seeds import over_seeds
from trustbase.audit.slices import AFTERWARDS, least_rows, partitions
from trustbase.audit.stats import Interval, normal_quantile, proportion
from trustbase.audit.tails import LEAST_ERRORS, LEAST_EXPLAINED, explained, farthest, mean_move, mean_size, root_mean_square
from trustbase.audit.unknown_tokens import unknown_tokens
from trustbase.recipe.lookup import rivals_of
from trustbase.records import Direction, Finding

_WORST_SLICES = 5
_BINS = 10
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def audit_number(context: AuditContext) -> list[Finding]:
    """All quality findings of numbers.

    Raises:
        ValueError: answers that are no finite numbers; nothing that was made from them would mean anything.
    """
    told = np.asarray(context.answers.predicted, dtype=np.float64)
    if not np.isfinite(told).all():
        raise ValueError(f"{int((~np.isfinite(told)).sum())} of {len(told)} answers are not finite")
    unit = context.labels.names[0]
    gains = {name: guarded(context, f"quality.gain_over_{name}", "higher", partial(_gain, context, name)) for name in rivals_of("number")}
    slices = _slices(context)
    context.evidence.write(
        "quality", {"number": _evidence(context), "slices": [row for _, row in slices], "rivals": _rival_rows(context, gains)}
    )
    return [
        guarded(context, "quality.rmse", "lower", lambda: _measured(context, "rmse", "lower", unit, _rmse)),
        *over_seeds(context, {"rmse": partial(_root, context)}, "lower", unit),
        guarded(context, "quality.mae", "lower", lambda: _measured(context, "mae", "lower", unit, _mae)),
        guarded(context, "quality.r2", "higher", lambda: _measured(context, "r2", "higher", "share of the variance", _r2)),
        *_intervals(context, unit),
        *gains.values(),
        guarded(context, "quality.unknown_tokens", "lower", lambda: unknown_tokens(context)),
        *_worst(context, slices, unit),
    ]


def _measured(
    context: AuditContext, metric: str, direction: Direction, unit: str, measure: Callable[[AuditContext, Answers], Interval]
) -> Finding:
    """A number of the model's errors with its interval; `insufficient` where too few rows show how large errors get."""
    id, n, least = f"quality.{metric}", len(context.test), LEAST_EXPLAINED if metric == "r2" else LEAST_ERRORS
    shared: dict[str, Any] = {"direction": direction, "confidence": context.confidence, "unit": unit}
    if n < least:
        return Finding.without_value(id, "insufficient", f"{n} rows, fewer than the minimum of {least}", n=n, **shared)
    return measure(context, context.answers).finding(id, **shared)


def _mae(context: AuditContext, answers: Answers) -> Interval:
    truth = context.test.labels
    return mean_size(np.abs(answers.predicted - truth), farthest(truth, answers.predicted), confidence=context.confidence)


def _rmse(context: AuditContext, answers: Answers) -> Interval:
    truth = context.test.labels
    return root_mean_square(answers.predicted - truth, farthest(truth, answers.predicted), confidence=context.confidence)


def _r2(context: AuditContext, answers: Answers) -> Interval:
    return explained(context.test.labels, answers.predicted, confidence=context.confidence)


def _intervals(context: AuditContext, unit: str) -> Iterable[Finding]:
    """How often the interval around an answer holds the truth, and how wide it is."""
    interval, n = context.decision.interval, len(context.test)
    if not interval:
        reason = "the model tells no intervals: its decision has none"
        for metric, of in (("interval_coverage", "share"), ("interval_width", unit)):
            yield Finding.without_value(f"quality.{metric}", "not_applicable", reason, confidence=context.confidence, unit=of)
        return
    held = int((np.abs(context.answers.predicted - context.test.labels) <= interval["half_width"]).sum())
    share = proportion(held, n, confidence=context.confidence)
    found = share.finding("quality.interval_coverage", direction="higher", confidence=context.confidence, unit="share")
    yield found
    method = f"twice the conformal quantile of {interval['rows']:.0f} validation errors, for {interval['coverage']:.0%} of rows"
    yield Finding.exact("quality.interval_width", 2 * interval["half_width"], n=n, unit=unit, direction="lower", method=method)


def _gain(context: AuditContext, name: str) -> Finding:
    """By how much less the model errs than a rival on the same rows (mean absolute error), paired; or why there is none."""
    id, rival, unit = f"quality.gain_over_{name}", context.rivals.get(name), context.labels.names[0]
    shared: dict[str, Any] = {"direction": "higher", "confidence": context.confidence, "unit": unit}
    if rival is not None:
        truth, ours, theirs = context.test.labels, context.answers.predicted, rival.predicted
        if len(truth) < LEAST_ERRORS:
            return Finding.without_value(id, "insufficient", f"{len(truth)} rows, fewer than the minimum of {LEAST_ERRORS}", **shared)
        saved = np.abs(theirs - truth) - np.abs(ours - truth)
        return mean_move(saved, farthest(truth, ours, theirs), confidence=context.confidence).finding(id, **shared)
    return no_gain(context, name, id, shared)


def _root(context: AuditContext, answers: Answers) -> float:
    return float(np.sqrt(((answers.predicted - context.test.labels) ** 2).mean()))


def _rival_rows(context: AuditContext, gains: dict[str, Finding]) -> list[dict[str, Any]]:
    rows = []
    for name, answers in (("model", context.answers), *context.rivals.items()):
        error, gain = _mae(context, answers), gains.get(name)
        row: dict[str, Any] = {"name": name, "mae": error.value, "low": error.low, "high": error.high, "rmse": _root(context, answers)}
        rows.append(row if gain is None else row | {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high})
    return rows


def _slices(context: AuditContext) -> list[tuple[tuple[tuple[str, str], ...], dict[str, Any]]]:
    """Mean absolute error of every part of the test rows that can be told beforehand, largest first, for all parts at once."""
    errors = np.abs(context.answers.predicted - context.test.labels)
    alike, least = farthest(context.test.labels, context.answers.predicted), least_rows(context)
    found = []
    for kind, columns, codes, names in _known(context):
        for code, values in enumerate(names):
            rows = np.flatnonzero(codes == code)
            if len(rows) >= least:
                found.append((kind, tuple(zip(columns, values, strict=True)), errors[rows]))
    level = 1 - (1 - context.confidence) / max(len(found), 1)
    told = [(name, _slice_row(kind, name, mean_size(values, alike, confidence=level))) for kind, name, values in found]
    return sorted(told, key=lambda item: (-item[1]["mae"], item[0]))


def _known(context: AuditContext) -> Iterable[Partition]:
    return (part for part in partitions(context) if part[0] not in AFTERWARDS)


def _slice_row(kind: str, name: tuple[tuple[str, str], ...], error: Interval) -> dict[str, Any]:
    return {
        "kind": kind,
        "slice": dict(name),
        "n": error.n,
        "mae": error.value,
        "low": error.low,
        "high": error.high,
        "method": error.method,
    }


def _worst(context: AuditContext, slices: Sequence[tuple[tuple[tuple[str, str], ...], dict[str, Any]]], unit: str) -> Iterable[Finding]:
    shared: dict[str, Any] = {"direction": "lower", "confidence": context.confidence, "unit": unit}
    if not slices:
        reason = f"no group, column or length slice has {max(NAMED_ROWS, context.minimum_cell)} rows"
        yield Finding.without_value("quality.worst_slice_mae", "insufficient", reason, **shared)
        return
    method = f"{slices[0][1]['method']}, for all {len(slices)} slices at once (Bonferroni)"
    source = "Dunn (1961), JASA 56"
    name, worst = slices[0]
    said = f"largest of {len(slices)} slices, at {', '.join(f'{column} = {value}' for column, value in name)}; {method}"
    high = max(row["high"] for _, row in slices)
    yield Interval(worst["low"], high, said, source, worst["mae"], worst["n"]).finding("quality.worst_slice_mae", **shared)
    for parts, row in slices if context.parts is not None else slices[:_WORST_SLICES]:
        id = slice_id("quality", "slice_mae", parts)
        if id is not None:
            yield Interval(row["low"], row["high"], method, source, row["mae"], row["n"]).finding(id, **shared)


def _evidence(context: AuditContext) -> dict[str, Any]:
    """Quantiles of the errors, and told against true in bins of rows; never a single row's number."""
    truth, told = context.test.labels, context.answers.predicted
    errors = told - truth
    found: dict[str, Any] = {"unit": context.labels.names[0], "rows": len(truth), "interval": dict(context.decision.interval)}
    found["error_quantiles"] = {f"{q:g}": float(np.quantile(errors, q)) for q in _QUANTILES} if len(errors) >= NAMED_ROWS else {}
    found["told_and_true"] = _bins(truth, told, max(context.minimum_cell, LEAST_ROWS), context.confidence)
    return found


def _bins(truth: NDArray[np.float64], told: NDArray[np.float64], least: int, confidence: float) -> list[dict[str, float]]:
    """Mean truth of rows in bins of equal size by what was told, where each has enough rows."""
    count = min(_BINS, len(told) // max(least, 1))
    rows = []
    for part in np.array_split(np.argsort(told, kind="stable"), count) if count >= 2 else []:
        half = normal_quantile(confidence) * float(truth[part].std(ddof=1)) / len(part) ** 0.5
        middle = float(truth[part].mean())
        rows.append({"told": float(told[part].mean()), "true": middle, "low": middle - half, "high": middle + half, "n": len(part)})
    return rows
