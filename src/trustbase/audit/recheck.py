"""Findings measured again, each beside the one on record: the same, different, or not to be measured here, and why.

What counts as the same is stated for each finding. From the scores that the audit left, counts are exact and other numbers agree to 1e-9.
From new answers, a probability may differ by what the bundle itself allows a machine to differ on its golden inputs; rows that lie as near
as that to their decision may be answered otherwise, and then what is counted from answers may move by so many rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy import special

from trustbase.audit.catalogue import SEEDS
from trustbase.audit.context import AuditContext
from trustbase.audit.efficiency import COUNTED, SAMPLE, audit_counted
from trustbase.audit.run import run_audit
from trustbase.records import Finding

EXACT = 1e-9  # of stored scores: the order of additions alone may differ
_RANKED = {"auroc", "auprc", "ks", "recall_at_fpr", "expected_calibration_error"}  # step where two rows change places
_SCORED = {*_RANKED, "log_loss", "brier", "calibration_gap"}
_NUMBERS = {
    "rmse",
    "mae",
    "r2",
    "mean_error",
    "mean_prediction",
    "interval_width",
    "interval_coverage",
    "slice_mae",
    "worst_slice_mae",
}  # their gaps too, named `…_difference`
_COUNTS = {"artifact_bytes", "parameters"}
_OF_BATCHES = ("batch_invariance", "batch_label_flips")
_EXACT = {"unknown_tokens", *COUNTED}

ASKED_ANEW = ("explanation", "robustness", "safety")  # dimensions that put questions of their own, thousands of them

Outcome = Literal["same", "different", "not recomputable"]


@dataclass(frozen=True)
class Tolerance:
    """How far a number may lie from the one on record.

    Attributes:
        scores: largest difference of a probability; 0 where the scores are those of the audit.
        unsure: rows that lie so near to their decision that such a difference turns their answer.
        smallest: rows of the smallest cell that a summed number or a gap may rest on.
        cost: of the dearest error, for the expected cost.
        scale: of a number, what a score of 1 stands for.
        numbers: whether the model answers with numbers, which move with every score; other answers turn or stay.
        of_members: of an ensemble, the largest share of its members' own answers that lie so near to their decision: of rows, or of
            entities.
    """

    scores: float = 0.0
    unsure: int = 0
    smallest: int = 30
    cost: float = 1.0
    scale: float = 1.0
    numbers: bool = False
    of_members: float = 0.0

    def of(self, finding: Finding) -> float:
        """Largest difference of value and bounds that counts as the same, in the finding's own unit."""
        parts = finding.parts
        if parts.metric in _COUNTS:
            return 0.0
        size = max((abs(x) for x in (finding.value, finding.low, finding.high) if x is not None), default=0.0)
        exact = EXACT * max(1.0, size)
        if not self.scores or parts.metric in _EXACT:
            return exact
        if parts.variant == SEEDS:
            turned = self.of_members * (2 if parts.metric.endswith("_f1") else 1)  # as of one model, below
            moved = 2 * self.scores * max(1.0, self.scale, size) if parts.metric in _NUMBERS else turned
            return exact + moved * (1 + _spread(finding))
        rows = max(finding.n or self.smallest, 1)
        if parts.metric in _SCORED:
            return exact + self.scores * max(1.0, size) + (2 / rows if parts.metric in _RANKED else 0.0)
        gain = self.numbers and parts.metric.startswith("gain_over_")
        if gain or parts.metric.removesuffix("_difference") in _NUMBERS:
            # every answer moves by so much, and rows near an interval's end may cross it
            return exact + 2 * self.scores * max(1.0, self.scale, size) + (2 / rows if "coverage" in parts.metric else 0.0)
        # one answer turned moves a rate by 1 / rows, an F1 by up to twice that; a gap rests on cells smaller than all its rows
        gap = any(group is None for _, group in parts.slice) or parts.metric in ("macro_f1", "weighted_f1")
        cell = min(self.smallest, rows) if gap else rows
        return exact + 2 * self.unsure / cell * (self.cost if parts.metric == "expected_cost" else 1.0)


def _spread(finding: Finding) -> float:
    """By how much the half-width of a t interval over members may move, where each member's value moves by 1 at most."""
    others = max((finding.n or 2) - 1, 1)
    return float(special.stdtrit(others, 0.5 + finding.confidence / 2)) / math.sqrt(others)


@dataclass(frozen=True)
class Rechecked:
    """One finding, on record and measured again.

    Attributes:
        tolerance: largest difference that counts as the same; None where nothing was compared.
        difference: largest difference of value and bounds that was found; None where there are no two numbers.
        reason: why it is different, or cannot be measured here; empty for the same.
    """

    id: str
    outcome: Outcome
    recorded: Finding | None
    again: Finding | None
    tolerance: float | None = None
    difference: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON: of both findings what was compared."""
        keys = ("value", "low", "high", "n", "status")
        both = {
            name: None if finding is None else {key: getattr(finding, key) for key in keys}
            for name, finding in (("recorded", self.recorded), ("again", self.again))
        }
        return {
            "id": self.id,
            "outcome": self.outcome,
            **both,
            "tolerance": self.tolerance,
            "difference": self.difference,
            "reason": self.reason,
        }


def measure_again(context: AuditContext, dimensions: Sequence[str]) -> list[Finding]:
    """The findings that do not depend on how busy a machine is; an audit that breaks is a `failed` finding, as in any audit."""
    untimed = [name for name in dimensions if name not in ("efficiency", *ASKED_ANEW)]
    found = list(run_audit(context, untimed, policy_digest=None, emit=context.emit).findings) if untimed else []
    return found + (audit_counted(context) if "efficiency" in dimensions else [])


def recheck_findings(
    recorded: Iterable[Finding], again: Iterable[Finding], tolerance: Tolerance, why_not: Callable[[Finding], str]
) -> list[Rechecked]:
    """Every finding on record, and every one that is measured now and is not on record.

    Args:
        recorded: what the audit left.
        again: what was measured now.
        tolerance: what counts as the same.
        why_not: why a finding cannot be measured here; empty where it can.
    """
    new = {finding.id: finding for finding in again}
    rows = []
    for finding in recorded:
        reason = why_not(finding) or _elsewhere(finding)
        found = new.pop(finding.id, None)
        if reason:
            rows.append(Rechecked(finding.id, "not recomputable", finding, None, reason=reason))
        elif found is None:
            rows.append(_unfound(finding, tolerance))
        else:
            row = _compared(finding, found, tolerance)
            unsettled = _unsettled(finding, tolerance) if row.outcome == "different" else ""
            rows.append(Rechecked(finding.id, "not recomputable", finding, None, reason=unsettled) if unsettled else row)
    for id, found in new.items():
        if not why_not(found):
            unsettled = _other_slices(found, tolerance)
            reason = unsettled or "it is measured now, and is not on record"
            rows.append(Rechecked(id, "not recomputable" if unsettled else "different", None, found, reason=reason))
    return rows


def _elsewhere(finding: Finding) -> str:
    """Why a finding about another set than the test rows is not measured again."""
    return f"it was measured on a set of its own (@{finding.parts.dataset}), which a recheck does not read" if finding.parts.dataset else ""


def _unsettled(finding: Finding, tolerance: Tolerance) -> str:
    """Why a number of slices may be another here; empty where it may not."""
    if finding.parts.metric == "weak_slices" and tolerance.unsure:
        return f"{tolerance.unsure} rows lie so near to their decision that more or fewer slices may be weak here"
    return ""


def _other_slices(finding: Finding, tolerance: Tolerance) -> str:
    """Why other slices may be the weakest here, of which alone there are findings; empty where they may not."""
    if finding.parts.metric == "slice_accuracy" and tolerance.unsure:
        return f"{tolerance.unsure} rows lie so near to their decision that other slices may be the weakest here"
    if finding.parts.metric == "slice_mae" and tolerance.scores:
        return "errors of numbers move with every answer, so that other slices may be the weakest here"
    return ""


def _unfound(finding: Finding, tolerance: Tolerance) -> Rechecked:
    if reason := _other_slices(finding, tolerance):
        return Rechecked(finding.id, "not recomputable", finding, None, reason=reason)
    return Rechecked(finding.id, "different", finding, None, reason="it is on record, and is not found when it is measured again")


def _compared(recorded: Finding, again: Finding, tolerance: Tolerance) -> Rechecked:
    allowed = tolerance.of(recorded)
    numbers = [(getattr(recorded, name), getattr(again, name)) for name in ("value", "low", "high")]
    apart = [abs(old - new) for old, new in numbers if old is not None and new is not None]
    difference = max(apart, default=None)
    reason = ""
    if recorded.status != again.status:
        reason = f"its status is {again.status}, on record is {recorded.status}" + (f": {again.reason}" if again.reason else "")
    elif any((old is None) != (new is None) for old, new in numbers):
        reason = "a value or bound is there in one of both alone"
    elif difference is not None and not difference <= allowed:
        reason = f"differs by {difference:.3g}, over {allowed:.3g}"
    elif not _same_rows(recorded.n, again.n, tolerance.unsure):
        reason = f"rests on {again.n} rows, on record are {recorded.n}"
    elif not tolerance.scores and recorded.reason != again.reason:
        reason = f"its reason is now: {again.reason or 'none'}"
    elif recorded.confidence != again.confidence or recorded.direction != again.direction:
        reason = "its confidence or its direction is another"
    return Rechecked(recorded.id, "different" if reason else "same", recorded, again, allowed if apart else None, difference, reason)


def _same_rows(old: int | None, new: int | None, unsure: int) -> bool:
    return old == new or (old is not None and new is not None and abs(old - new) <= unsure)


def why_not_here(
    context: AuditContext, *, in_order: bool = True, libraries: Mapping[str, Any], here: Mapping[str, Any]
) -> Callable[[Finding], str]:
    """Why a finding cannot be measured with what there is.

    Args:
        context: what will be measured on.
        in_order: whether the rows stand in the order in which they were audited.
        libraries: versions of the libraries that measured, by name.
        here: those of this machine.
    """
    trained = "scikit-learn"

    def why(finding: Finding) -> str:
        parts = finding.parts
        if parts.dimension in ASKED_ANEW:
            return "it rests on many questions that the audit put to the model: trustbase audit puts them again"
        if parts.dimension == "efficiency" and parts.metric.startswith("parity_"):
            return "compares with the fp32 model, which is not shipped; the export measured it"
        if parts.dimension == "efficiency" and parts.metric in _OF_BATCHES:
            return "how far an answer depends on its batch is a matter of processor and kernels: the audit's timing run asked it, once"
        if parts.dimension == "efficiency" and parts.metric not in COUNTED:
            return "a time, or made from times and loads: it holds for the machine and the moment that measured it"
        if parts.variant == SEEDS and context.askers is None:
            return "what each member answers by itself is not among the stored scores: recheck the bundle with its rows (--data)"
        if parts.metric.startswith("gain_over_") and finding.status != "not_applicable":
            if context.train is None:
                return "the rival's training rows are not here"
            if libraries.get(trained) != here.get(trained):
                return f"the rival is trained anew, with {trained} {here.get(trained)}; on record is {libraries.get(trained)}"
        if not in_order and finding.seed is not None:
            return "it was drawn by the order of the rows, and here they stand in another"
        if not in_order and parts.metric == "flops_per_input" and len(set(context.test.texts)) > SAMPLE:
            return "it was measured on a sample drawn by the order of the rows, and here they stand in another"
        return ""

    return why
