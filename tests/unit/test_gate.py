"""Verdicts against an independent oracle (R21), and what they say."""

from __future__ import annotations

import math
import operator
from collections import Counter
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from trustbase.gate.decide import NO_GATES, SET_AFTER, decide
from trustbase.gate.policy import Policy, read_policy
from trustbase.records import AuditReport, Finding, Verdict

COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
IDS = ("quality.accuracy", "fairness.demographic_parity_difference[sex]", "efficiency.latency_p95_ms")
MODEL = "sha256:model"


def unchecked(**values: Any) -> Finding:
    """A finding that no constructor has checked, as a forged or damaged file could hold it."""
    finding = object.__new__(Finding)
    for field in fields(Finding):
        object.__setattr__(finding, field.name, values.get(field.name, field.default))
    return finding


def report(policy: Policy, findings: list[Finding], **changes: Any) -> AuditReport:
    made = AuditReport({"digest": MODEL}, {"digest": "sha256:data", "rows": 1}, policy.digest, {}, tuple(findings), True)
    return replace(made, **changes)


def random_finding(rng: np.random.Generator, id: str) -> Finding:
    low, value, high = sorted(round(float(x), 2) for x in rng.uniform(0, 1, 3))
    numbers: list[Any] = [low, value, high]
    if rng.random() < 0.3:
        numbers[int(rng.integers(3))] = [math.nan, math.inf, -math.inf, None][int(rng.integers(4))]
    if rng.random() < 0.1:
        numbers.reverse()
    status = str(rng.choice(["ok", "failed", "not_applicable", "insufficient"], p=[0.79, 0.07, 0.07, 0.07]))
    return unchecked(
        id=id, low=numbers[0], value=numbers[1], high=numbers[2], n=9, status=status, reason="" if status == "ok" else "because"
    )


def oracle(policy: Policy, report: AuditReport) -> bool:
    """Whether a release is due, written as a person would check it by hand."""
    if (
        len(policy.gates) == 0
        or report.policy_digest != policy.digest
        or report.model["digest"] != MODEL
        or report.policy_set_before is False
    ):
        return False
    for gate in policy.gates:
        same = [finding for finding in report.findings if finding.id == gate.id]
        if len(same) != 1 or same[0].status != "ok":
            return False
        numbers = [same[0].low, same[0].value, same[0].high]
        if None in numbers or not all(math.isfinite(number) for number in numbers) or numbers != sorted(numbers):
            return False
        judged = [numbers[1]] if gate.judge == "value" else [*np.linspace(numbers[0], numbers[2], 5).tolist(), numbers[0], numbers[2]]
        if not all(COMPARE[gate.operator](number, gate.limit) for number in judged):
            return False
    return True


def test_released_only_if_the_oracle_says_so() -> None:
    rng = np.random.default_rng(7)
    seen: Counter[str] = Counter()
    for _ in range(2_000):
        wanted = {}
        for id in IDS[: int(rng.integers(0, 4))]:
            limit = f"{rng.choice(list(COMPARE))} {rng.choice([0.0, 0.05, 0.5, 0.95, 1.0])}"
            wanted[id] = {"limit": limit, "judge": "value"} if rng.random() < 0.3 else limit
        policy = read_policy(wanted)
        findings = [random_finding(rng, id) for id in IDS if rng.random() < 0.95]
        if rng.random() < 0.03 and findings:
            findings.append(findings[0])
        made = report(policy, findings)
        if rng.random() < 0.05:
            made = replace(made, policy_digest=[None, "sha256:stale"][int(rng.integers(2))])
        if rng.random() < 0.05:
            made = replace(made, model={"digest": "sha256:other"})
        made = replace(made, policy_set_before=[True, None, False][int(rng.choice(3, p=[0.6, 0.3, 0.1]))])
        verdict = decide(policy, made, test_looks=1, model_digest=MODEL)
        assert verdict.released is oracle(policy, made), (policy, made, verdict)
        seen.update(gate.verdict for gate in verdict.gates)
        seen["released" if verdict.released else "not released"] += 1
        assert all(gate.verdict == "pass" or gate.reason for gate in verdict.gates)
        assert all(x is None or math.isfinite(x) for gate in verdict.gates for x in (gate.low, gate.value, gate.high))
        assert Verdict.from_json(verdict.to_json()) == verdict
    assert seen["released"] > 100 and seen["not released"] > 1000
    assert min(seen["pass"], seen["fail"], seen["insufficient"]) > 200, seen


@pytest.mark.parametrize(
    ("limit", "low", "value", "high", "expected"),
    [
        (">= 0.5", 0.5, 0.6, 0.7, "pass"),
        ("> 0.5", 0.5, 0.6, 0.7, "insufficient"),
        (">= 0.5", 0.3, 0.4, 0.49, "fail"),
        (">= 0.5", 0.3, 0.4, 0.5, "insufficient"),
        ("> 0.5", 0.3, 0.4, 0.5, "fail"),
        ("<= 0.5", 0.3, 0.4, 0.5, "pass"),
        ("< 0.5", 0.5, 0.6, 0.7, "fail"),
        ("<= 0.5", 0.5, 0.6, 0.7, "insufficient"),
        ("<= 0.5", 0.5, 0.5, 0.5, "pass"),
        ("< 0.5", 0.5, 0.5, 0.5, "fail"),
    ],
)
def test_the_edges_of_an_interval(limit: str, low: float, value: float, high: float, expected: str) -> None:
    policy = read_policy({IDS[0]: limit})
    (gate,) = decide(policy, report(policy, [Finding(IDS[0], value, low, high, 10)]), test_looks=1).gates
    assert gate.verdict == expected


def test_a_gate_that_judges_the_value_says_so() -> None:
    policy = read_policy({IDS[0]: {"limit": ">= 0.5", "judge": "value"}})
    for value, expected in ((0.6, "pass"), (0.4, "fail")):
        (gate,) = decide(policy, report(policy, [Finding(IDS[0], value, 0.1, 0.9, 10)]), test_looks=1).gates
        assert (gate.verdict, gate.judge) == (expected, "value")
        assert "point value" in gate.reason


def test_no_gates_release_nothing() -> None:
    policy = read_policy({})
    verdict = decide(policy, report(policy, []), test_looks=3)
    assert (verdict.released, verdict.reason, verdict.test_looks) == (False, NO_GATES, 3)


def test_limits_that_came_after_the_measurements_release_nothing() -> None:
    policy = read_policy({IDS[0]: ">= 0.5"})
    made = report(policy, [Finding(IDS[0], 0.9, 0.8, 1.0, 10)])
    assert decide(policy, made, test_looks=1).released
    late = decide(policy, replace(made, policy_set_before=False), test_looks=1)
    assert not late.released and late.reason == SET_AFTER and late.gates[0].verdict == "pass"
    strict = read_policy({IDS[0]: ">= 0.95"})
    both = decide(strict, replace(report(strict, [Finding(IDS[0], 0.9, 0.8, 0.94, 10)]), policy_set_before=False), test_looks=1)
    assert not both.released and both.gates[0].verdict == "fail" and both.reason == ""  # the failed gate is the reason to read


def test_the_reason_names_what_is_missing() -> None:
    policy = read_policy({"quality.acuracy": ">= 0.5", "fairness.accuracy_difference[sex]": "<= 0.1", "quality.auroc": ">= 0.5"})
    found = [
        Finding("quality.accuracy", 0.9, 0.8, 1.0, 10),
        Finding.without_value("fairness.audit", "failed", "ValueError: no groups"),
        Finding.without_value("quality.auroc", "insufficient", "12 rows"),
    ]
    typo, fairness, auroc = decide(policy, report(policy, found), test_looks=1).gates
    assert {gate.verdict for gate in (typo, fairness, auroc)} == {"insufficient"}
    assert "nearest is 'quality.accuracy'" in typo.reason
    assert "ValueError: no groups" in fairness.reason and auroc.reason == "insufficient: 12 rows"
