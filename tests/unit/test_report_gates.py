"""A report reads gates with the parser that made them, so that no limit is shown raw and no reason is invented."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustbase.gate.decide import judge
from trustbase.gate.limits import read_gate
from trustbase.gate.policy import read_policy
from trustbase.records import AuditReport, Finding, Verdict
from trustbase.report.gates import GateRow, gate_rows
from trustbase.report.material import Material
from trustbase.report.words import words


def row(gate: str, limit: object, finding: Finding) -> GateRow:
    """The row of one gate, judged as a run judges it."""
    (made,) = read_policy({gate: limit}).gates
    verdict = Verdict(False, 1, (judge(made, [finding]),))
    audit = AuditReport({}, {}, None, {}, (finding,))
    (found,) = gate_rows(Material(Path(), "run", audit, verdict, {}, {}, {}, {}, {}, None), words("en"))
    return found


@pytest.mark.parametrize("limit", ["<= 20M", "<= 0.02G", "<= 20000k", "≤ 20000000", "<= 2e7"])
def test_limits_with_multiples_are_numbers_in_a_report(limit: str) -> None:
    found = row("efficiency.parameters", limit, Finding.exact("efficiency.parameters", 22_565_376))
    assert found.verdict == "fail" and found.limit.startswith("at most 20"), found.limit
    assert found.limit == row("efficiency.parameters", "<= 20000000", Finding.exact("efficiency.parameters", 22_565_376)).limit
    assert found.bar is not None and "misses the limit" in found.reason


def test_a_limit_inside_the_interval_is_said_to_be_inside_it() -> None:
    finding = Finding("efficiency.throughput", 2000.0, 1500.0, 2500.0, n=7)
    assert "inside the interval" in row("efficiency.throughput", ">= 2k", finding).reason


@pytest.mark.parametrize("id", ["quality.recall[label=>50K]", "quality.recall[label=a > 3]", "fairness.accuracy_difference[sex,race]"])
@pytest.mark.parametrize("limit", [">= 0.50", "< 1.5k", "> -.5"])
def test_a_written_gate_is_read_back_whole(id: str, limit: str) -> None:
    (gate,) = read_policy({id: limit}).gates
    assert read_gate(str(gate)) == gate


@pytest.mark.parametrize("text", ["", "quality.accuracy", "quality.accuracy == 1", "quality.accuracy >= much", ">= 1"])
def test_what_is_no_gate_is_none(text: str) -> None:
    assert read_gate(text) is None
