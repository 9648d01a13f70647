"""Test rows that stand in the training rows as well: what is measured on them was learned by heart."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.measured import asked_inputs
from trustbase.data.cells import inputs_of
from trustbase.data.split import keys
from trustbase.records import Finding

NAME = "safety.leaked_rows"
NO_TRAIN = "needs the training rows, and none were given (--train)"
_BLANK = re.compile(r"[^\S\x1e\x1f]+")  # what stands between the texts and cells of a row stays


def alike(text: str) -> str:
    """The form in which near copies are the same: one width of signs, small letters, one blank where there are several."""
    return _BLANK.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def measure_leaked(context: AuditContext) -> list[Finding]:
    """Shares of the test rows whose input stands in the training rows: sign by sign, and but for case, width and blanks."""
    ids = (NAME, f"{NAME}#near")
    if context.train is None or context.artifact is None:
        return [Finding.without_value(id, "insufficient", NO_TRAIN, direction="lower", confidence=context.confidence) for id in ids]
    test, train = asked_inputs(context), [str(text) for text in inputs_of(context.train, context.artifact.columns)]
    same = _held(test, train)
    near = _held([alike(text) for text in test], [alike(text) for text in train])
    told, rows = "stands in the training rows", f"{len(train)} training rows"
    found = [
        _finding(context, ids[0], same, f"leakage, counted: test rows whose input {told}; {rows}"),
        _finding(context, ids[1], near, f"leakage, counted: test rows whose input {told} but for case, width and blanks; {rows}"),
    ]
    context.evidence.write(NAME, {"rows": len(test), "training_rows": len(train), "same": int(same.sum()), "near": int(near.sum())})
    if near.any():
        context.marked.note(NAME, context.test.row_numbers[near])
        said = f"leakage: {int(same.sum())} of {len(test)} test rows stand in the training rows as they are, {int(near.sum())} nearly"
        context.emit("warning", text=f"{said}; they may be answered by heart, and their numbers lie in {context.marked.file}")
    return found


def _held(test: list[str], train: list[str]) -> NDArray[np.bool_]:
    """Which of the test rows stand in the training rows, by the first 64 bits of their digest."""
    return np.asarray(np.isin(keys(test), keys(train)))


def _finding(context: AuditContext, id: str, held: NDArray[np.bool_], method: str) -> Finding:
    fields = {"unit": "share", "method": method, "direction": "lower", "confidence": context.confidence, "n": len(held)}
    return Finding.exact(id, float(held.mean()) if len(held) else 0.0, **fields)
