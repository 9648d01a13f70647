"""Rows that thresholds are fitted on, and rows that they are measured on: never the same ones.

A run keeps training rows apart for it (`data.split.calibration`). `trustbase audit` has one file of rows: a seeded share of them serves for
that, and is left out of what is measured with these thresholds (of nothing else).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.data.cells import inputs_of
from trustbase.data.stored import in_memory
from trustbase.outputs.answers.base import answering
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Split

HOLD_OUT = 0.3  # share of the rows of `trustbase audit` that thresholds are fitted on
MOST = 5_000  # calibration rows that are asked: a quantile of so many is known to half a percent


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Two disjoint sets of rows.

    Attributes:
        inputs: what the model is asked for each calibration row, `(calibration rows,)`.
        labels: their truth, as `Split.labels`.
        measured: the test rows that may be measured, rising, `(measured rows,)`.
        note: where both come from, for the method of a finding.
        held: the test rows that are calibration rows, where they are such.
    """

    inputs: list[str]
    labels: NDArray[Any]
    measured: NDArray[np.int64]
    note: str
    held: NDArray[np.int64] | None = None


def calibrated(context: AuditContext) -> Calibrated | str:
    """Calibration rows and measured rows, or why there are none."""
    columns = () if context.artifact is None else context.artifact.columns
    asked = inputs_of(context.test, columns)
    every = np.arange(len(context.test), dtype=np.int64)
    if context.calibration is not None:
        rows = _some(np.arange(len(context.calibration), dtype=np.int64), context.seed)
        kept = in_memory(context.calibration, rows)
        note = f"thresholds fitted on {len(rows):,} rows kept apart from training"
        return Calibrated(_inputs(kept, columns), kept.labels, every, note)
    if context.held_out is None:
        return "no rows were kept apart for calibration (data.split.calibration), so no threshold can be fitted on any"
    held = every[context.held_out]
    measured = every[~context.held_out]
    note = f"thresholds fitted on a seeded {len(held):,} of the {len(every):,} rows, measured on the other {len(measured):,} alone"
    held = _some(held, context.seed)
    return Calibrated([str(asked[row]) for row in held], context.test.labels[held], measured, note, held)


def calibration_scores(context: AuditContext, rows: Calibrated) -> NDArray[Any]:
    """The model's scores of the calibration rows, as those of the test rows.

    Raises:
        PredictionError: a row could not be answered.
    """
    assert context.askers is not None and context.artifact is not None
    if rows.held is not None and context.answers.scores is not None:
        return np.asarray(context.answers.scores[rows.held])
    kind = context.artifact.answer_kind
    values = context.askers.ask(ANSWER_KINDS[kind].question, rows.inputs, what="scoring the calibration rows", emit=context.emit)
    return answering(kind).together(values, context.labels)


def held_out_rows(test: Split, columns: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Which test rows serve for calibration, by their content, so that their order means nothing, `(rows,)`.

    Rows of one entity stay together, and of equal inputs.
    """
    named = inputs_of(test, columns) if test.entities is None else [str(entity) for entity in np.asarray(test.entities).tolist()]
    salt = f"{seed}\x1fcalibration\x1f".encode()
    first = [hashlib.sha256(salt + name.encode("utf-8", "surrogatepass")).digest()[:8] for name in named]
    places = np.frombuffer(b"".join(first), np.dtype(">u8")).astype(np.float64) / 2.0**64
    return np.asarray(places < share)


def _some(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """These rows, or a seeded part of them where they are many, in their order."""
    if len(rows) <= MOST:
        return rows
    return np.sort(seeds.generator(seed, "calibration").choice(rows, MOST, replace=False))


def _inputs(part: Split, columns: Sequence[str]) -> list[str]:
    return [str(text) for text in inputs_of(part, columns)]
