"""What a report is made from: the files that lie in a run folder, an audit's output folder, or a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from trustbase import files
from trustbase.bundle.course import read_course
from trustbase.bundle.layout import BASE_MODEL, ORIGIN
from trustbase.errors import UsageError
from trustbase.records import AuditReport, Finding, GateResult, Verdict

Form = Literal["run", "audit", "bundle"]
_FINDING_FIELDS = {field.name for field in fields(Finding)}
_MOST_BYTES = 64_000_000  # a part larger than this is no aggregate, and is not read


@dataclass(frozen=True)
class Material:
    """The parts of a report. Each but the audit may be missing; a part that cannot be read is named in `unreadable`."""

    folder: Path
    form: Form
    audit: AuditReport
    verdict: Verdict | None
    policy: Mapping[str, Any]
    recipe: Mapping[str, Any]
    evidence: Mapping[str, Any]  # by name: an object, or a list of rows
    data_card: Mapping[str, Any]
    artifact: Mapping[str, Any]
    manifest_digest: str | None
    unreadable: tuple[str, ...] = ()
    estimate: Mapping[str, Any] = field(default_factory=dict)  # of a pretraining: what it was expected to take
    origin: Mapping[str, Any] = field(default_factory=dict)  # what the checkpoint says that it came from
    explained: Sequence[Mapping[str, Any]] = ()  # some rows with what their words add; never those of a bundle, which holds no rows

    @property
    def pretrained(self) -> bool:
        """Whether this is about a base model, which was pretrained and knows no task."""
        return self.artifact.get("answer_kind") == BASE_MODEL or self.recipe.get("stage") == "pretrain"

    @property
    def decides(self) -> bool:
        """Whether a release hangs on the verdict (a run or a bundle), or only limits were compared (an audit)."""
        return self.form != "audit"

    def find(self, id: str) -> Finding | None:
        """The finding with this id, or None."""
        return self.audit.find(id)

    def of(self, dimension: str) -> list[Finding]:
        """The findings of one dimension, in their order."""
        return [finding for finding in self.audit.findings if finding.parts.dimension == dimension]


def read_material(folder: Path) -> Material:
    """Read the parts of a report from a folder.

    Raises:
        UsageError: the folder has no `audit.json`, or it is none.
    """
    home = evidence_home(folder)
    reader = _Reader()
    audit = _read_audit(home / "audit.json")
    raw_verdict = reader.json(home / "verdict.json")
    verdict = reader.convert("verdict.json", _verdict, raw_verdict) if raw_verdict else None
    evidence = {path.stem: reader.evidence(path) for path in sorted((home / "evidence").glob("*.json"))}
    places = [folder, home, *(folder / name for name in ("bundle", "rejected"))]
    card = reader.first([place / "data_card.json" for place in places])
    names = ("artifact.json", "model/artifact.json", "artifact/artifact.json")
    artifact = reader.first([place / name for place in places for name in names])
    recipe = reader.yaml(
        next((p for p in (place / "recipe.resolved.yaml" for place in places) if p.is_file()), home / "recipe.resolved.yaml")
    )
    policy = reader.first([place / "policy.json" for place in places])
    manifest = folder / "manifest.json"
    # A run writes its report before its bundle is packed, so a manifest in there may be that of an earlier one.
    digest = f"sha256:{files.sha256_file(manifest)}" if manifest.is_file() else None
    form: Form = "bundle" if manifest.is_file() else "run" if recipe else "audit"
    origin = reader.first([place / part / ORIGIN for place in places for part in ("model", "artifact")])
    estimate = reader.first([place / "estimate.json" for place in places])
    found = Material(folder, form, audit, verdict, policy, recipe, evidence, card, artifact, digest, (), estimate, origin)
    if found.pretrained and "course" not in evidence and (course := reader.course(folder / "log.jsonl")):
        found = replace(found, evidence={**evidence, "course": course})
    if form != "bundle" and home == folder:
        found = replace(found, explained=tuple(reader.json(folder / "explained_rows.json").get("rows", ())))
    return replace(found, unreadable=tuple(reader.unreadable))


def evidence_home(folder: Path) -> Path:
    """The folder that holds `audit.json`: the one given, or the bundle inside a run."""
    for place in (folder, folder / "bundle", folder / "rejected"):
        if (place / "audit.json").is_file():
            return place
    raise UsageError(
        f"a report needs an audit.json, and '{folder}' has none",
        hint="name a run folder, the --out folder of `trustbase audit`, or a bundle; if the run was interrupted, the same command goes on",
    )


def _read_audit(path: Path) -> AuditReport:
    try:
        data = files.read_json(path)
        findings = tuple(Finding(**{k: v for k, v in item.items() if k in _FINDING_FIELDS}) for item in data["findings"])
        policy = data.get("policy") or {}
        model, rows, machine = (data.get(key) or {} for key in ("model", "data", "machine"))
        if not all(isinstance(part, dict) for part in (model, rows, machine)):
            raise ValueError("model, data and machine must be objects")
        for finding in findings:
            _plain(finding, texts=("id", "unit", "method", "source", "status", "reason"), numbers=("confidence",))
        return AuditReport(model, rows, policy.get("digest"), machine, findings, policy.get("set_before_measuring"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise UsageError(f"'{path}' is not an audit of Trustbase: {error}", hint="run the audit again") from error


def _verdict(data: Mapping[str, Any]) -> Verdict:
    """A verdict whose parts are of their kinds, and whose word is not contradicted by its own gates."""
    verdict = Verdict.from_json(data)
    if type(verdict.released) is not bool or type(verdict.test_looks) is not int or not isinstance(verdict.reason, str):
        raise ValueError("released, test_looks or reason is of another kind than a verdict has")
    for gate in verdict.gates:
        _plain(gate, texts=("gate", "verdict", "reason", "judge"))
    if verdict.released and (not verdict.gates or any(gate.verdict != "pass" for gate in verdict.gates)):
        raise ValueError("it says released, but not every gate passed")
    return verdict


def _plain(record: Finding | GateResult, *, texts: Sequence[str], numbers: Sequence[str] = ()) -> None:
    """Refuse a record whose texts are no texts or whose numbers are no numbers: nothing of it could be shown."""
    wrong = [name for name in texts if not isinstance(getattr(record, name), str)]
    for name in ("value", "low", "high", "n", *numbers):
        value = getattr(record, name)
        kinds = int if name == "n" else int | float
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or abs(value) > sys.float_info.max):
            wrong.append(name)
    if wrong:
        raise ValueError(f"{', '.join(wrong)} of {getattr(record, texts[0])!r} is of the wrong kind")


class _Reader:
    """Reads optional parts; remembers the names of those that are there but cannot be read."""

    def __init__(self) -> None:
        self.unreadable: list[str] = []

    def json(self, path: Path) -> dict[str, Any]:
        return dict(self._read(path, json.loads))

    def evidence(self, path: Path) -> Any:
        """An object, or a list of them; empty where it cannot be read."""
        return self._read(path, json.loads, (dict, list))

    def yaml(self, path: Path) -> dict[str, Any]:
        return dict(self._read(path, yaml.safe_load))

    def first(self, paths: list[Path]) -> dict[str, Any]:
        """The first of the files that exists; empty where none does."""
        path = next((path for path in paths if path.is_file()), None)
        return self.json(path) if path else {}

    def course(self, log: Path) -> dict[str, Any]:
        """The course of a training, as its log has it; a bundle holds it ready."""
        try:
            return read_course(log)
        except OSError as error:
            self.unreadable.append(f"{log.name}: {error.strerror}")
            return {}

    def convert(self, name: str, build: Any, data: Mapping[str, Any]) -> Any:
        try:
            return build(data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.unreadable.append(f"{name}: {error!r}")
            return None

    def _read(self, path: Path, parse: Any, kinds: tuple[type, ...] = (dict,)) -> Any:
        if not path.is_file():
            return {}
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError(f"{path.stat().st_size} bytes are more than {_MOST_BYTES}")
            data = parse(path.read_text(encoding="utf-8"))
            if not isinstance(data, kinds):
                raise ValueError(f"expected an object, got {type(data).__name__}")
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            self.unreadable.append(f"{path.name}: {str(error).splitlines()[0]}")
            return {}
        return data
