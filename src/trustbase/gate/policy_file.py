"""A policy file: YAML that a risk owner keeps, read with the line of each limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trustbase.errors import Problem
from trustbase.gate.limits import Entry
from trustbase.marked_yaml import Marked, read_yaml_file, written

_SCHEMA = "trustbase/policy/1"
_TOP = ("schema", "gates", "owner", "about")
_FORM = "write one limit a line, such as quality.accuracy: '>= 0.8'"


def read_file(path: Path) -> tuple[list[Entry], str, list[Problem]]:
    """Limits of a policy file, its digest, and what is wrong with its form.

    The file is `{finding id: limit, …}`, or `{schema, owner, about, gates: {finding id: limit}}`; the `policy.json` of
    a run can be used as well. Only plain YAML is read, and nothing is built from tags.
    """
    marked, name = read_yaml_file(path, what="policy", values=written), path.name
    if marked.broken:
        return [], "", marked.problems
    if not isinstance(marked.value, dict):
        return [], marked.digest, [Problem(name, "must be a mapping of finding ids to limits", _FORM)]
    top, problems = marked.value, list(marked.problems)
    if "schema" in top and top["schema"] != _SCHEMA:
        where = f"{name}:{marked.lines[('schema',)]}"
        problems.append(Problem(where, f"schema must be {_SCHEMA}, got {top['schema']!r}", "use the version that wrote it"))
    if "gates" not in top:
        entries = [(key, value, f"{name}:{marked.lines[(key,)]}") for key, value in top.items() if key not in _TOP]
    else:
        unknown = {key: f"{name}:{marked.lines[(key,)]}" for key in top if key not in _TOP}
        problems += [Problem(where, f"'{key}' is not a known key", f"known: {', '.join(_TOP)}") for key, where in unknown.items()]
        entries = list(_gates(top["gates"], marked, name, problems))
    if not entries and not problems:
        problems.append(Problem(name, "sets no limit", "a policy without limits would let everything through"))
    return entries, marked.digest, problems


def _gates(gates: Any, marked: Marked, name: str, problems: list[Problem]) -> Iterator[Entry]:
    """A mapping of limits, or the list that stands in a `policy.json`."""
    if isinstance(gates, dict):
        for key, value in gates.items():
            yield key, value, f"{name}:{marked.lines[('gates', key)]}"
        return
    if not isinstance(gates, list):
        problems.append(Problem(name, "must be a mapping of finding ids to limits", _FORM))
        return
    for place, gate in enumerate(gates):
        where = f"{name}:{marked.lines[('gates', place)]}"
        if isinstance(gate, dict) and {"finding", "operator", "written", "judge"} <= gate.keys():
            yield gate["finding"], {"limit": f"{gate['operator']} {gate['written']}", "judge": gate["judge"]}, where
        else:
            problems.append(Problem(where, "is not a gate: expected finding, operator, written and judge"))
