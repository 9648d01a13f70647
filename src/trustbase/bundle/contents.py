"""What the files of a bundle say, read after their bytes were found to be signed: policy, audit, verdict and model must agree."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import yaml

from trustbase.bundle.environment import ENVIRONMENT_SCHEMA
from trustbase.bundle.golden_base import base_golden_problem
from trustbase.bundle.layout import BASE_MODEL, GOLDEN_SCHEMA, LABELS_SCHEMA, REJECTED
from trustbase.errors import Problem, VerificationError
from trustbase.gate.decide import decide
from trustbase.gate.policy import POLICY_SCHEMA, Policy
from trustbase.records import AUDIT_SCHEMA, VERDICT_SCHEMA, AuditReport, Verdict

ARTIFACT_SCHEMA = "trustbase/artifact/1"
REQUIRED = (
    "policy.json",
    "audit.json",
    "verdict.json",
    "labels.json",
    "recipe.resolved.yaml",
    "environment.json",
    "golden.json",
    "README.md",
)


def check_contents(contents: Mapping[str, bytes], artifact: bytes | None, model_digest: str) -> tuple[Policy, AuditReport, Verdict]:
    """Read policy, audit and verdict, and decide again.

    Args:
        contents: path → bytes of the files outside `model/`, each already known to be signed.
        artifact: bytes of `model/artifact.json`.
        model_digest: digest of the artefact, computed from the files.

    Raises:
        VerificationError: a part is missing or of an unknown form, the parts contradict each other, or a gate does not pass.
    """
    missing = [name for name in REQUIRED if name not in contents] + ([] if artifact is not None else ["model/artifact.json"])
    if missing or artifact is None:
        raise VerificationError(f"the bundle lacks {', '.join(missing)}", hint="its signer must pack it again")
    _check_shapes(contents, read_strict(artifact, "model/artifact.json", ARTIFACT_SCHEMA))
    try:
        policy = Policy.from_json(read_strict(contents["policy.json"], "policy.json", POLICY_SCHEMA))
        report = AuditReport.from_json(read_strict(contents["audit.json"], "audit.json", AUDIT_SCHEMA))
        verdict = Verdict.from_json(read_strict(contents["verdict.json"], "verdict.json", VERDICT_SCHEMA))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(f"policy, audit or verdict cannot be read: {error!r}", hint="its signer must pack it again") from error
    problems = disagreements(policy, report, verdict, model_digest)
    if REJECTED in contents:
        problems.append(Problem(REJECTED, "stands here, so this was not released"))
    if problems:
        raise VerificationError(
            "the evidence in the bundle does not support its release", problems=problems, hint="it must not be used; ask its signer"
        )
    return policy, report, verdict


def _check_shapes(contents: Mapping[str, bytes], artifact: Mapping[str, Any]) -> None:
    """The parts that are read later, when the bundle is used, must be what they are called: signed nonsense is no release.

    Raises:
        VerificationError: one of them is not; every one of them.
    """
    problems = []
    labels = read_strict(contents["labels.json"], "labels.json", LABELS_SCHEMA)
    if {key: value for key, value in labels.items() if key != "schema"} != artifact.get("labels"):
        problems.append(Problem("labels.json", "names other labels than model/artifact.json"))
    read_strict(contents["environment.json"], "environment.json", ENVIRONMENT_SCHEMA)
    base = artifact.get("answer_kind") == BASE_MODEL
    if base and labels.get("names"):
        problems.append(Problem("labels.json", "names labels, and a base model has none"))
    golden = read_strict(contents["golden.json"], "golden.json", GOLDEN_SCHEMA)
    wrong = _golden_problem(golden, labels, kind=str(artifact.get("answer_kind")))
    if wrong:
        problems.append(Problem("golden.json", wrong))
    try:
        recipe = yaml.safe_load(contents["recipe.resolved.yaml"].decode("utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        recipe = None
        problems.append(Problem("recipe.resolved.yaml", f"cannot be read: {str(error).splitlines()[0]}"))
    else:
        if not isinstance(recipe, dict) or not isinstance(recipe.get("data", {}), dict):
            problems.append(Problem("recipe.resolved.yaml", "is no recipe"))
    if problems:
        raise VerificationError("parts of the bundle are not what they are called", problems=problems, hint="its signer must pack it again")


def _golden_problem(golden: Mapping[str, Any], labels: Mapping[str, Any], *, kind: str = "classes") -> str:
    """Why the golden outputs cannot be repeated anywhere; "" where they can."""
    inputs, tolerance, names = golden.get("inputs"), golden.get("tolerance"), labels.get("names")
    base, bounded = kind == BASE_MODEL, kind not in ("number", "span")
    if not isinstance(golden.get("template"), str) or not isinstance(inputs, list) or not inputs or not isinstance(names, list):
        return "must hold a template and inputs"
    if not _is_number(tolerance) or not 0 < tolerance < 1:
        return f"must allow a difference between 0 and 1, got {str(tolerance)[:40]}"
    if not base and golden.get("answers", "classes") != kind:
        return f"is of a model that answers '{golden.get('answers', 'classes')}', and this one answers '{kind}'"
    unit = golden.get("unit", 1.0)
    if not _is_number(unit) or not unit > 0:
        return f"must count differences in a unit above 0, got {str(unit)[:40]}"
    asked = "probabilities" if kind == "classes" else "scores"
    for item in inputs:
        row, text, scores = (item.get(key) for key in ("row", "text", asked)) if isinstance(item, dict) else (None,) * 3
        if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()) or not isinstance(text, str):
            return "has an input without a row or a text"
        if base:
            continue
        if kind == "tokens":
            if not isinstance(scores, list) or not scores or not all(_is_unit(line, len(names)) for line in scores):
                return f"has an input without the bounds of each unit and a probability for each of the {len(names)} tags"
            continue
        if not isinstance(scores, list) or len(scores) != len(names) or not all(_is_score(score, bounded) for score in scores):
            return f"has an input without one {'probability' if bounded else 'number'} for each of the {len(names)} labels"
    if base:
        return base_golden_problem(golden)
    return "" if "asks" not in golden else "is that of a base model, and this is none"


def _is_score(value: Any, bounded: bool) -> bool:
    return _is_number(value) and math.isfinite(value) and (not bounded or 0 <= value <= 1)


def _is_unit(line: Any, tags: int) -> bool:
    """Whether a line of a table is that of a unit: where it begins and ends, then the probability of each tag."""
    if not isinstance(line, list) or len(line) != 2 + tags or not all(_is_score(value, True) for value in line[2:]):
        return False
    return all(_is_number(value) and math.isfinite(value) and value >= 0 for value in line[:2]) and line[0] < line[1]


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def disagreements(policy: Policy, report: AuditReport, verdict: Verdict, model_digest: str) -> list[Problem]:
    """Every way in which policy, audit, verdict and model contradict each other, or do not amount to a release."""
    problems = []
    if report.policy_digest != policy.digest:
        problems.append(Problem("audit.json", "was measured under another policy than policy.json"))
    if report.model.get("digest") != model_digest:
        problems.append(Problem("audit.json", f"is about another model: {report.model.get('digest')}, but model/ is {model_digest}"))
    again = decide(policy, report, test_looks=verdict.test_looks, model_digest=model_digest)
    if again.gates != verdict.gates or again.released != verdict.released:
        problems.append(Problem("verdict.json", "says something else than the gates do when they are computed again"))
    if type(verdict.test_looks) is not int or verdict.test_looks < 1:
        problems.append(Problem("verdict.json", f"must count at least this look at the test set, got {verdict.test_looks!r}"))
    if again.reason:
        problems.append(Problem("verdict.json", again.reason))
    problems += [Problem(gate.gate, f"{gate.verdict}: {gate.reason}") for gate in again.gates if gate.verdict != "pass"]
    return problems


def read_strict(data: bytes, name: str, schema: str) -> dict[str, Any]:
    """A JSON object of the expected schema: UTF-8, no key twice, no NaN.

    Raises:
        VerificationError: anything else; a newer schema is named as such.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{name} cannot be read: {error}", hint="its signer must pack it again") from error
    if not isinstance(value, dict) or value.get("schema") != schema:
        got = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise VerificationError(
            f"{name}: this version reads {schema}, got {got!r}", hint="use the version of Trustbase that made the bundle"
        )
    return value


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number that JSON has")
