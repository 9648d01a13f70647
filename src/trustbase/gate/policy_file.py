"""A policy file: YAML that a risk owner keeps, read with the line of each limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trustbase import files
from trustbase.errors import Problem
from trustbase.gate.limits import Entry

_SCHEMA = "trustbase/policy/1"
_LARGEST = 1_000_000
_MOST_NODES = 100_000  # aliases can make far more of few bytes
_DEEPEST = 50
_TOP = ("schema", "gates", "owner", "about")


def read_file(path: Path) -> tuple[list[Entry], str, list[Problem]]:
    """Limits of a policy file, its digest, and what is wrong with its form.

    The file is `{finding id: limit, …}`, or `{schema, owner, about, gates: {finding id: limit}}`; the `policy.json` of
    a run can be used as well. Only plain YAML is read, and nothing is built from tags.
    """
    name = path.name
    try:
        data = files.read_at_most(path, _LARGEST + 1)
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        return [], "", [Problem("policy", f"the file '{str(path)[:200]}' cannot be read: {why}", "check the path")]
    if len(data) > _LARGEST:
        return [], "", [Problem(name, f"has {size} bytes; a policy has fewer than {_LARGEST}", "is this the policy?")]
    try:
        node = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except RecursionError:
        return [], "", [Problem(name, f"is not valid YAML for a policy: nested deeper than {_DEEPEST} levels", "is this the policy?")]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        began = getattr(error, "context_mark", None) if "stream" in what else None  # what was never closed began earlier
        mark = began or getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        return [], "", [Problem(where, f"is not valid YAML: {what}", "check indentation, quotes and colons at this line")]
    if node is not None and (why := _unreadable(node)):
        return [], "", [Problem(name, f"is not valid YAML for a policy: {why}", "a policy has one limit a line; write values out")]
    problems: list[Problem] = []
    top = list(_pairs(node, name, problems))
    known = {key: value for key, value, _ in top}
    if "schema" in known and _plain(known["schema"]) != _SCHEMA:
        where = f"{name}:{known['schema'].start_mark.line + 1}"
        problems.append(Problem(where, f"schema must be {_SCHEMA}, got {_plain(known['schema'])!r}", "use the version that wrote it"))
    if "gates" not in known:
        entries = [(key, _plain(value), where) for key, value, where in top if key not in _TOP]
    else:
        problems += [Problem(where, f"'{key}' is not a known key", f"known: {', '.join(_TOP)}") for key, _, where in top if key not in _TOP]
        entries = list(_gates(known["gates"], name, problems))
    if not entries and not problems:
        problems.append(Problem(name, "sets no limit", "a policy without limits would let everything through"))
    return entries, "sha256:" + files.sha256_bytes(data), problems


def _unreadable(node: yaml.Node) -> str:
    """Why a document is not walked: too many values once its aliases are followed, or too deep; empty where it can be."""
    count, left = 0, [(node, 0)]
    while left:
        here, depth = left.pop()
        count += 1
        if depth > _DEEPEST:
            return f"nested deeper than {_DEEPEST} levels"
        if count > _MOST_NODES:
            return f"it unfolds to more than {_MOST_NODES} values"
        if isinstance(here, yaml.MappingNode):
            left += [(part, depth + 1) for pair in here.value for part in pair]
        elif isinstance(here, yaml.SequenceNode):
            left += [(part, depth + 1) for part in here.value]
    return ""


def _gates(node: yaml.Node, name: str, problems: list[Problem]) -> Iterator[Entry]:
    """A mapping of limits, or the list that stands in a `policy.json`."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            gate = _plain(item)
            where = f"{name}:{item.start_mark.line + 1}"
            if isinstance(gate, dict) and {"finding", "operator", "written", "judge"} <= gate.keys():
                yield gate["finding"], {"limit": f"{gate['operator']} {gate['written']}", "judge": gate["judge"]}, where
            else:
                problems.append(Problem(where, "is not a gate: expected finding, operator, written and judge"))
        return
    for key, value, where in _pairs(node, name, problems):
        yield key, _plain(value), where


def _pairs(node: yaml.Node | None, name: str, problems: list[Problem]) -> Iterator[tuple[str, yaml.Node, str]]:
    """Keys and values of a mapping with their lines; a key that stands twice is a problem."""
    if not isinstance(node, yaml.MappingNode):
        problems.append(
            Problem(name, "must be a mapping of finding ids to limits", "write one limit a line, such as quality.accuracy: '>= 0.8'")
        )
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        text = str(key.value)
        if text in seen:
            problems.append(Problem(f"{name}:{line}", f"'{text}' stands twice (first at line {seen[text]})", "keep one of them"))
            continue
        seen[text] = line
        yield text, value, f"{name}:{line}"


def _plain(node: yaml.Node) -> Any:
    """Scalars as their own text, so that `0.10` stays what its author wrote; numbers without an operator stay numbers."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return str(node.value)
