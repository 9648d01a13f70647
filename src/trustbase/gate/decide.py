"""Findings against limits: pass, fail or insufficient, and released only if every gate passes.

A gate passes where the whole interval lies inside its limit, fails where it lies wholly outside, and is insufficient in
every other case: the interval straddles the limit, or the number is missing, was not measured, is not finite, or is not
known to be of this model under this policy. Every comparison is written so that NaN never passes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from trustbase.gate.limits import Gate
from trustbase.gate.policy import Policy
from trustbase.records import AuditReport, Finding, GateResult, Verdict, VerdictWord

NO_GATES = "no gates were set: nothing was promised, so there is nothing to release against"
SET_AFTER = "the limits were set after the measurements that they judge; run again without --reuse, so that they come first"


def decide(policy: Policy, report: AuditReport, *, test_looks: int, model_digest: str | None = None) -> Verdict:
    """The verdict on a report.

    Args:
        policy: the limits; their digest must be the one that the report was made under.
        report: the findings.
        test_looks: how often this test set was looked at, this look included.
        model_digest: digest of the artefact that the findings must be about; None where the caller has no artefact.

    Returns:
        Released only if there is at least one gate, every gate passes, and the limits came before the measurements.
    """
    doubt = _doubt(policy, report, model_digest)
    gates = tuple(judge(gate, report.findings, doubt=doubt) for gate in policy.gates)
    reason = ""
    if not gates:
        reason = NO_GATES
    passed = all(gate.verdict == "pass" for gate in gates)
    if gates and passed and report.policy_set_before is False:
        reason = SET_AFTER  # the only thing against it; where a gate does not pass, that is the reason to read first
    released = passed and not reason
    return Verdict(released, test_looks, gates, reason)


def judge(gate: Gate, findings: Sequence[Finding], *, doubt: str = "") -> GateResult:
    """What becomes of one gate; `doubt` is a reason why no finding of the report can be used."""
    matches = [finding for finding in findings if finding.id == gate.id]
    finding = matches[0] if len(matches) == 1 else None
    why = doubt or _missing(gate, findings, len(matches)) or _unusable(finding)
    if why or finding is None or finding.value is None or finding.low is None or finding.high is None:
        return _result(gate, finding, "insufficient", why or "it has no value")
    low, high = (finding.value, finding.value) if gate.judge == "value" else (finding.low, finding.high)
    inside, also_inside = gate.holds(low), gate.holds(high)
    judged = f"judged by the point value {finding.value:.6g}, not by its interval" if gate.judge == "value" else ""
    if inside and also_inside:
        return _result(gate, finding, "pass", judged)
    if not inside and not also_inside:
        what = (
            f"the value {finding.value:.6g} is"
            if gate.judge == "value" or low == high
            else f"the whole interval [{low:.6g}, {high:.6g}] lies"
        )
        return _result(gate, finding, "fail", f"{what} outside the limit" + (f" ({judged})" if judged else ""))
    return _result(gate, finding, "insufficient", f"the interval [{low:.6g}, {high:.6g}] straddles the limit")


def _doubt(policy: Policy, report: AuditReport, model_digest: str | None) -> str:
    if report.policy_digest != policy.digest:
        return f"the report was made under another policy ({report.policy_digest or 'none'}) than this one ({policy.digest})"
    if model_digest is not None and report.model.get("digest") != model_digest:
        return f"the report is about another model ({report.model.get('digest')}) than this one ({model_digest})"
    return ""


def _missing(gate: Gate, findings: Sequence[Finding], count: int) -> str:
    if count == 1:
        return ""
    if count > 1:
        return f"the report has {count} findings of this name, so which one counts is unknown"
    whole = [finding for finding in findings if finding.id == f"{gate.id.partition('.')[0]}.audit" and finding.status != "ok"]
    if whole:
        return f"not measured: {whole[0].reason}"
    near = difflib.get_close_matches(gate.id, [finding.id for finding in findings], n=1)
    return "the report has no such finding" + (f"; the nearest is '{near[0]}'" if near else "")


def _unusable(finding: Finding | None) -> str:
    """Why a finding cannot be judged; "" where it can."""
    if finding is None:
        return ""
    if finding.status != "ok":
        return f"{finding.status.replace('_', ' ')}: {finding.reason or 'no reason was given'}"
    numbers = (finding.low, finding.value, finding.high)
    if any(number is None or not math.isfinite(number) for number in numbers):
        return f"value and interval must be finite numbers, got {numbers}"
    low, value, high = (float(number) for number in numbers if number is not None)
    if not low <= value <= high:
        return f"the interval [{low}, {high}] does not hold its own value {value}"
    return ""


def _result(gate: Gate, finding: Finding | None, verdict: VerdictWord, reason: str) -> GateResult:
    value, low, high = (None, None, None) if finding is None else (_finite(finding.value), _finite(finding.low), _finite(finding.high))
    return GateResult(str(gate), verdict, value, low, high, finding.n if finding is not None else None, reason, gate.judge)


def _finite(number: float | None) -> float | None:
    """JSON carries no NaN; the reason says what was found."""
    return number if number is not None and math.isfinite(number) else None
