"""One limit on one finding: `quality.accuracy >= 0.75`, how it is written, compared and judged."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from trustbase import finding_id
from trustbase.audit.catalogue import metric_names
from trustbase.errors import Problem
from trustbase.finding_id import FindingId

Judge = Literal["interval", "value"]
_LIMIT = re.compile(r"\s*(?P<operator>>=|<=|>|<|≥|≤)\s*(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?P<factor>[kMG]?)\s*")
_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_SIGNS = {"≥": ">=", "≤": "<="}
_FORM = "write an operator (>=, <=, >, <) and a plain number, such as '>= 0.75'"

Entry = tuple[str, Any, str]  # finding id as written, limit as written, where it stands
Never = Callable[[FindingId], tuple[str, str] | None]  # why a finding can never be measured, and what to write instead


@dataclass(frozen=True)
class Gate:
    """A limit on a finding.

    Attributes:
        id: the finding, in canonical form.
        operator: `>=`, `<=`, `>` or `<`.
        limit: the number.
        written: the number as its author wrote it ("0.10"), for every output.
        judge: whether the whole interval must lie inside the limit, or only the point value.
    """

    id: str
    operator: str
    limit: float
    written: str
    judge: Judge = "interval"

    def __str__(self) -> str:
        return f"{self.id} {self.operator} {self.written}"

    @property
    def lower(self) -> bool:
        """Whether the limit is a least value (else it is a greatest one)."""
        return self.operator in (">=", ">")

    @property
    def key(self) -> tuple[str, bool]:
        """What makes two gates speak of the same limit: the finding and the side."""
        return self.id, self.lower

    def holds(self, value: float) -> bool:
        """Whether a number meets the limit; NaN never does."""
        if self.operator == ">=":
            return value >= self.limit
        if self.operator == ">":
            return value > self.limit
        if self.operator == "<=":
            return value <= self.limit
        return value < self.limit

    def loosens(self, other: Gate) -> str:
        """Why this gate would let through what `other` does not; "" where it would not."""
        if self.judge == "value" and other.judge == "interval":
            return "it judges the point value instead of the whole interval"
        if self.limit == other.limit:
            return "it admits the limit itself" if "=" in self.operator and "=" not in other.operator else ""
        looser = self.limit < other.limit if self.lower else self.limit > other.limit
        return f"{self.written} is {'lower' if self.lower else 'higher'} than {other.written}" if looser else ""

    def to_json(self) -> dict[str, Any]:
        return {"finding": self.id, "operator": self.operator, "limit": self.limit, "written": self.written, "judge": self.judge}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Gate:
        """Inverse of `to_json`.

        Raises:
            ValueError: the fields do not make a gate, or contradict each other.
        """
        entry = {"limit": f"{data['operator']} {data['written']}", "judge": data["judge"]}
        gates, problems = parse_gates([(data["finding"], entry, "policy.json")], None)
        if problems:
            raise ValueError(str(problems[0]))
        if len(gates) != 1 or gates[0].to_json() != dict(data):
            raise ValueError(f"policy.json: a gate contradicts itself: {dict(data)}")
        return gates[0]


def parse_gates(entries: Iterable[Entry], never: Never | None) -> tuple[tuple[Gate, ...], list[Problem]]:
    """Gates out of what was written, and everything that is wrong with it.

    A limit is a string, `{limit: …, judge: value}`, or a list of these (a band needs two).
    """
    gates: dict[tuple[str, bool], Gate] = {}
    problems: list[Problem] = []
    for text, value, where in entries:
        id, problem = _parse_id(text, where, never)
        if problem is not None:
            problems.append(_named(problem, text))
        for item in value if isinstance(value, list) and value else [value]:
            made = _parse_limit(id, item, where)
            if isinstance(made, Problem):
                problems.append(_named(made, text))
            elif made.key in gates:
                problems.append(Problem(where, f"limits the same side twice: '{gates[made.key]}' and '{made}'", "keep the tighter one"))
            else:
                gates[made.key] = made
    return tuple(gates.values()), problems


def read_gate(text: str) -> Gate | None:
    """The gate that `str(gate)` wrote out, whatever its id is like; None where it is no such text."""
    parts = text.rsplit(" ", 2)
    made = _parse_limit(parts[0], " ".join(parts[1:]), "") if len(parts) == 3 else None
    return made if isinstance(made, Gate) else None


def _named(problem: Problem, id: str) -> Problem:
    """Several limits may stand on one line, so the message says which is meant."""
    return problem if id in problem.message else replace(problem, message=f"'{id}': {problem.message}")


def _parse_id(text: str, where: str, never: Never | None) -> tuple[str, Problem | None]:
    try:
        parts = finding_id.parse(text)
    except ValueError as error:
        near = difflib.get_close_matches(text, metric_names(), n=1)
        return text, Problem(where, str(error), f"did you mean '{near[0]}'?" if near else "")
    why = never(parts) if never is not None else None
    return str(parts), None if why is None else Problem(where, *why)


def _parse_limit(id: str, value: Any, where: str) -> Gate | Problem:
    judge: Any = "interval"
    if isinstance(value, Mapping):
        unknown = [str(key) for key in value if key not in ("limit", "judge")]
        if unknown or "limit" not in value:
            return Problem(where, f"must be a limit or {{limit, judge}}, got the keys {[str(key) for key in value]}", _FORM)
        judge, value = value.get("judge", "interval"), value["limit"]
    if judge not in ("interval", "value"):
        return Problem(where, f"judge must be 'interval' or 'value', got {judge!r}", "interval is the default, and the safer one")
    if not isinstance(value, str):
        return Problem(where, f"must be a limit, got {value!r}: whether it is a least or a greatest value is not said", _FORM)
    match = _LIMIT.fullmatch(value)
    number = float(match["number"]) * _FACTORS[match["factor"]] if match else math.nan
    if match is None or not math.isfinite(number):
        return Problem(where, f"'{value}' is not a limit", _advice(value))
    operator = _SIGNS.get(match["operator"], match["operator"])
    return Gate(id, operator, number, f"{match['number']}{match['factor']}", cast(Judge, judge))


def _advice(value: str) -> str:
    if "%" in value:
        return "findings have no percent: write 0.10 for 10 %"
    if value.lstrip().startswith(("==", "!=")):
        return "an interval is never equal to a number: write >= or <="
    if value.lstrip().startswith(("=>", "=<")):
        return "the operator is written >= or <="
    return _FORM
