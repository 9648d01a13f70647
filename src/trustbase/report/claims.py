"""What a folder says of its own release, held against what was signed there: no report says "released" on a file's word alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.bundle.course import COURSE, read_course
from trustbase.bundle.layout import MODEL, ORIGIN, REJECTED, is_bundle
from trustbase.bundle.verify import VerifiedBundle, verify
from trustbase.errors import Problem, VerificationError
from trustbase.events import Emit, ignore
from trustbase.gate.decide import decide
from trustbase.gate.policy import Policy
from trustbase.report.material import evidence_home, read_material

_AGAIN = "do not use it; run it again, or get it again from whoever made it"


def check_claims(folder: Path, trust: str | Path | None, emit: Emit = ignore) -> None:
    """Check the bundle that stands in a folder, or is it; and that a release or limits met are said only where that holds.

    Raises:
        UsageError: the folder holds no audit.
        VerificationError: the bundle is not what somebody trusted released, or a verdict claims what nothing supports.
    """
    inner = folder / "bundle"
    place = folder if is_bundle(folder) else inner if inner.is_symlink() or inner.exists() else None
    checked = verify(place, trust=trust, emit=emit) if place is not None else None
    home = evidence_home(folder)
    if not _claims(home / "verdict.json"):
        return
    if checked is not None:
        if home != checked.folder:
            _same(home, checked)
    elif (home / REJECTED).exists() or read_material(folder).decides:
        raise VerificationError(f"{home} was never signed, but its verdict.json says that it was released", hint=_AGAIN)
    else:
        _decide_again(home)


def _claims(path: Path) -> bool:
    """Whether a verdict says anything else than a plain no; one that cannot be read says nothing, and the report says so."""
    try:
        said = files.read_json(path) if path.is_file() else {}
    except (ValueError, RecursionError, OSError):
        return False
    return isinstance(said, dict) and said.get("released", False) is not False


def _same(home: Path, checked: VerifiedBundle) -> None:
    """A released run shows what its bundle holds: the evidence around the bundle is not signed, so it must be equal."""
    names = [name for name in checked.entries if name.endswith(".json") and not name.startswith(f"{MODEL}/")]
    other = [name for name in names if (home / name).is_file() and _read(home / name) != json.loads(checked.read(name))]
    for name in ("artifact.json", ORIGIN):
        shipped, signed = home / "artifact" / name, f"{MODEL}/{name}"
        if shipped.is_file() and signed in checked.entries and _read(shipped) != json.loads(checked.read(signed)):
            other.append(f"artifact/{name}")
    log = home / "log.jsonl"
    if COURSE in checked.entries and log.is_file() and read_course(log) != json.loads(checked.read(COURSE)):
        other.append("log.jsonl")
    more = [path for path in sorted((home / "evidence").glob("*.json")) if f"evidence/{path.name}" not in checked.entries]
    if other or more:
        problems = [Problem(name, "is not what the signed bundle holds") for name in other]
        problems += [Problem(f"evidence/{path.name}", "is not in the signed bundle") for path in more]
        raise VerificationError(f"{home} says that it was released, but differs from its bundle", problems=problems, hint=_AGAIN)


def _read(path: Path) -> Any:
    try:
        return files.read_json(path)
    except (ValueError, RecursionError, OSError):
        return None  # equal to nothing that a bundle holds


def _decide_again(home: Path) -> None:
    """The limits of an audit that nobody signs, compared once more with its findings."""
    material = read_material(home)
    path = home / "policy.json"
    try:
        policy = Policy.from_json(files.read_json(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise VerificationError(
            f"{home / 'verdict.json'} says that all limits were met, but {path} cannot be read: {error}", hint="run the audit again"
        ) from error
    verdict = material.verdict
    again = decide(policy, material.audit, test_looks=verdict.test_looks if verdict is not None else 0)
    if verdict is None or not again.released or again.gates != verdict.gates:
        problems = [Problem(gate.gate, f"{gate.verdict}: {gate.reason}") for gate in again.gates if gate.verdict != "pass"]
        raise VerificationError(
            f"{home / 'verdict.json'} says that all limits were met, but that is not what audit.json and policy.json give",
            problems=problems,
            hint="do not use it; run the audit again",
        )
