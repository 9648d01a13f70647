"""The gate policy: limits on findings, fixed and hashed before anything is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.errors import Problem, RecipeError
from trustbase.gate.limits import Gate, Never, parse_gates
from trustbase.gate.options import FROM, GateOptions
from trustbase.gate.policy_file import read_file

POLICY_SCHEMA = "trustbase/policy/1"

__all__ = ["POLICY_SCHEMA", "Gate", "Policy", "read_policy"]


@dataclass(frozen=True)
class Policy:
    """The limits that a release must meet.

    Attributes:
        gates: one for each limit, in the order of the file and then of the recipe.
        owner: name and digest of the risk owner's file that the recipe names, or None.
    """

    gates: tuple[Gate, ...]
    owner: Mapping[str, str] | None = None

    @property
    def digest(self) -> str:
        """`sha256:…` over the canonical form: any change of a limit changes it."""
        return files.digest_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Content of `policy.json`."""
        owner = dict(self.owner) if self.owner is not None else None
        return {"schema": POLICY_SCHEMA, "gates": [gate.to_json() for gate in self.gates], "owner": owner}

    def to_text(self) -> str:
        """Text of `policy.json`."""
        return json.dumps(self.to_json(), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Policy:
        """Inverse of `to_json`.

        Raises:
            ValueError: not a policy of a form that this version knows.
        """
        if data.get("schema") != POLICY_SCHEMA:
            raise ValueError(f"policy schema must be {POLICY_SCHEMA}, got {data.get('schema')!r}")
        return cls(tuple(Gate.from_json(item) for item in data["gates"]), data["owner"])


def read_policy(
    options: GateOptions | Mapping[str, Any] | str | Path | None, *, root: Path | None = None, never: Never | None = None
) -> Policy:
    """Read limits from a recipe's `gates:`, or from a policy file.

    Args:
        options: the recipe's section, a mapping of the same form, or the path of a policy file.
        root: folder that relative paths start from.
        never: why a finding can never be measured here; a gate on such a one is refused.

    Raises:
        RecipeError: everything that is wrong with the limits, each problem with where it stands.
    """
    wanted = options.root if isinstance(options, GateOptions) else {FROM: str(options)} if isinstance(options, (str, Path)) else options
    given = dict(wanted or {})
    problems: list[Problem] = []
    base: tuple[Gate, ...] = ()
    owner = None
    if FROM in given:
        base, owner, found = _owner_file(given.pop(FROM), root or Path(), never)
        problems += found
    own, found = parse_gates([(id, value, f"gates.{id}") for id, value in given.items()], never)
    problems += found
    gates, found = _tighten(base, own, owner)
    problems += found
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise RecipeError(f"the gates cannot be used: {count}", problems=problems, hint="mend these limits; nothing was measured")
    return Policy(gates, owner)


def _owner_file(name: Any, root: Path, never: Never | None) -> tuple[tuple[Gate, ...], Mapping[str, str] | None, list[Problem]]:
    if not isinstance(name, str) or not name.strip():
        return (), None, [Problem(f"gates.{FROM}", f"must be the path of a policy file, got {name!r}")]
    try:
        path = root / Path(name).expanduser()
    except RuntimeError as error:
        return (), None, [Problem(f"gates.{FROM}", f"'{name}' cannot be read: {error}", "check the path")]
    entries, digest, problems = read_file(path)
    gates, found = parse_gates(entries, never)
    return gates, {"file": path.name, "digest": digest}, problems + found


def _tighten(base: tuple[Gate, ...], own: tuple[Gate, ...], owner: Mapping[str, str] | None) -> tuple[tuple[Gate, ...], list[Problem]]:
    """The file's gates, each replaced by the recipe's where that is at least as tight, then the recipe's further ones."""
    problems: list[Problem] = []
    merged = {gate.key: gate for gate in base}
    name = owner["file"] if owner else "the policy"
    for gate in own:
        before = merged.get(gate.key)
        loosened = gate.loosens(before) if before is not None else ""
        if before is not None and loosened:
            message = f"loosens the limit of {name}: it says '{before}', the recipe says '{gate}' ({loosened})"
            problems.append(Problem(f"gates.{gate.id}", message, "a recipe may only tighten a policy; ask its owner, or remove this line"))
        merged[gate.key] = gate
    return tuple(merged.values()), problems
