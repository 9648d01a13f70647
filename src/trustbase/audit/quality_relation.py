"""How well relations are found: precision, recall and F1 over all labels together but the one that says that nothing holds.

Most pairs of entities have no relation, so accuracy is high where nothing is found. Findings are `quality.relation_f1`,
`.relation_precision` and `.relation_recall`; there are none where the recipe names no such label (`data.no_relation`).

Source: Zhang et al. (2017), "Position-aware Attention and Supervised Data Improve Slot Filling" (TACRED), section 5: micro-averaged F1
over all relations but no_relation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.guard import LEAST_ROWS, guarded
from trustbase.audit.resampled import LEAST_UNITS, at_the_edge, of_sums
from trustbase.audit.stats import Floats, proportion
from trustbase.records import Finding

_F1 = "quality.relation_f1"


def relation_findings(context: AuditContext) -> list[Finding]:
    """The findings of relations; none where no label says that nothing holds."""
    if context.labels.neutral is None:
        return []
    sums = relation_sums(context.answers.predicted, context.test.labels, context.labels.index(context.labels.neutral))
    hits, answered, actual = (int(value) for value in sums.sum(axis=0))
    return [
        guarded(context, _F1, "higher", lambda: _f1(context, sums)),
        _share(context, "precision", hits, answered, "answered with a relation"),
        _share(context, "recall", hits, actual, "whose truth is a relation"),
    ]


def relation_sums(predicted: NDArray[np.int64], truth: NDArray[np.int64], neutral: int) -> Floats:
    """Whether a row's relation was found, whether it was answered with one, whether it has one, `(rows, 3)`."""
    some = truth != neutral
    return np.stack([some & (predicted == truth), predicted != neutral, some], axis=1).astype(np.float64)


def f1_of(sums: Floats) -> Floats:
    """F1 from hits, answered and true relations `(…, 3)`; NaN where there is neither a true nor an answered one."""
    hits, total = sums[..., 0], sums[..., 1] + sums[..., 2]
    return np.asarray(np.divide(2 * hits, total, out=np.full(np.shape(total), np.nan), where=total > 0))


def _f1(context: AuditContext, sums: Floats) -> Finding:
    shared: dict[str, Any] = {"direction": "higher", "confidence": context.confidence, "unit": "share"}
    rows, seen = len(sums), int((sums[:, 1:] > 0).any(axis=1).sum())
    if rows < LEAST_UNITS or seen < LEAST_ROWS:
        reason = f"{rows} rows, {seen} of them with a true or answered relation; it needs {LEAST_UNITS}, and {LEAST_ROWS} of these"
        return Finding.without_value(_F1, "insufficient", reason, n=rows, **shared)
    if int(sums[:, 0].sum()) in (0, seen):
        right = bool(sums[:, 0].any())
        found = at_the_edge(seen, right=right, harmonic=True, confidence=context.confidence, what="a relation")
        return found.finding(_F1, **shared)
    rng = seeds.generator(context.seed, "quality", "relation_f1")
    interval = of_sums(sums, f1_of, rng=rng, confidence=context.confidence, least=0.0, most=1.0)
    return interval.finding(_F1, seed=context.seed, **shared)


def _share(context: AuditContext, metric: str, hits: int, rows: int, which: str) -> Finding:
    id = f"quality.relation_{metric}"
    shared: dict[str, Any] = {"direction": "higher", "confidence": context.confidence, "unit": "share"}
    if rows < context.minimum_cell:
        reason = f"only {rows} rows {which}, fewer than {context.minimum_cell}"
        return Finding.without_value(id, "insufficient", reason, n=rows, **shared)
    return proportion(hits, rows, confidence=context.confidence).finding(id, **shared)
