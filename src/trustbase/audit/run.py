"""Runs the audit: registry × answer kind → findings, and nothing that went wrong becomes a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from trustbase.audit.clustered import DIMENSIONS as DIMENSIONS_CLUSTERED
from trustbase.audit.clustered import Entities, clustered
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.guard import of_the_disk
from trustbase.audit.machine import machine_facts
from trustbase.data.cells import inputs_of
from trustbase.data.digest import digest_set
from trustbase.data.truth.base import written
from trustbase.errors import Interrupted, UsageError
from trustbase.events import Emit, ignore
from trustbase.finding_id import DIMENSIONS
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import AUDITS
from trustbase.records import ArtifactInfo, AuditReport, Finding, LabelSchema, Split

AuditFunction = Callable[[Any], list[Finding]]


class Rows(Protocol):
    """What was measured on, by its digest."""

    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...


class Subject(Protocol):
    """What is audited: an `AuditContext`, or a `LanguageContext`. An audit knows the kind that it is registered for."""

    @property
    def artifact(self) -> ArtifactInfo | None: ...

    @property
    def test(self) -> Rows: ...


__all__ = ["machine_facts", "run_audit", "write_scores"]


def run_audit(
    context: Subject, dimensions: Sequence[str], *, policy_digest: str | None, emit: Emit = ignore, answer_kind: str | None = None
) -> AuditReport:
    """Measure the named dimensions and gather their findings.

    A dimension that has no audit for this answer kind yields one `not_applicable` finding; one that raises yields one
    `failed` finding that carries the reason, and the others go on: a gate on any number it owed is then insufficient.

    Args:
        context: what is audited.
        dimensions: names out of `finding_id.DIMENSIONS`, measured in the order given.
        policy_digest: digest of the policy that was fixed beforehand; None where there is none.
        emit: takes `progress`, `warning` and `note` events.
        answer_kind: by default the artefact's, else "classes".

    Raises:
        UsageError: a name that is no dimension.
    """
    kind = answer_kind or (context.artifact.answer_kind if context.artifact is not None else "classes")
    unknown = [name for name in dimensions if name not in DIMENSIONS]
    if unknown:
        raise UsageError(f"no such audit dimension: {', '.join(unknown)}", hint=f"dimensions are {', '.join(DIMENSIONS)}")
    findings: list[Finding] = []
    for done, dimension in enumerate(dimensions):
        emit("progress", what="audited dimensions", done=done, total=len(dimensions))
        findings.extend(_measure(dimension, kind, context, emit))
    emit("progress", what="audited dimensions", done=len(dimensions), total=len(dimensions))
    data = _data_facts(context)
    before = None if policy_digest is None else True  # a digest that is known now was fixed before any number
    return AuditReport(_model_facts(context), data, policy_digest, machine_facts(), tuple(findings), before)


def _data_facts(context: Subject) -> dict[str, Any]:
    """The `data` object of `audit.json`; labelled rows that a model was asked about are known in any order too (`set`)."""
    test = context.test
    facts = {"digest": test.digest, "rows": len(test)}
    if isinstance(context, AuditContext) and (entities := Entities.of(context.test)) is not None:
        facts["entities"] = entities.number
    if isinstance(context, AuditContext) and context.artifact is not None:
        labels = written(context.test, context.labels, context.artifact.answer_kind)
        groups = {name: values.tolist() for name, values in context.test.groups.items()}
        facts["set"] = digest_set(inputs_of(context.test, context.test.features), labels, groups)
    return facts


def find_audit(dimension: str, kind: str) -> AuditFunction | None:
    """The audit registered under dimension × answer kind, else under dimension × "*", else None."""
    entry = AUDITS.get((dimension, kind)) or AUDITS.get((dimension, "*"))
    return None if entry is None else cast(AuditFunction, load(entry))


def _measure(dimension: str, kind: str, context: Subject, emit: Emit) -> list[Finding]:
    """One dimension's findings, or the one finding that says why there are none."""
    audit = find_audit(dimension, kind)
    if audit is None:
        reason = f"this version has no {dimension} audit for answers of kind '{kind}'"
        return [Finding.without_value(f"{dimension}.audit", "not_applicable", reason)]
    try:
        findings = _checked(dimension, audit(context))
        if dimension in DIMENSIONS_CLUSTERED and isinstance(context, AuditContext):
            findings = clustered(context, audit, findings)
        return findings
    except Interrupted:
        raise
    except Exception as error:  # any fault of one dimension must leave the others standing, as a failure that is seen
        if of_the_disk(error):
            raise
        return [_failed(dimension, error, emit)]


def _failed(dimension: str, error: Exception, emit: Emit) -> Finding:
    reason = f"{type(error).__name__}: {error}"
    emit("warning", text=f"the {dimension} audit failed: {reason}", dimension=dimension)
    return Finding.without_value(f"{dimension}.audit", "failed", reason)


def _checked(dimension: str, findings: list[Finding]) -> list[Finding]:
    """The same findings, if they are this dimension's, each named once, and at least one.

    Raises:
        ValueError: an audit that returns nothing, speaks for another dimension, or names a number twice.
    """
    if not findings:
        raise ValueError("the audit returned no findings")
    foreign = [finding.id for finding in findings if finding.parts.dimension != dimension]
    if foreign:
        raise ValueError(f"the audit returned findings of another dimension: {', '.join(foreign[:3])}")
    seen: set[str] = set()
    twice = [finding.id for finding in findings if finding.id in seen or seen.add(finding.id)]  # type: ignore[func-returns-value]
    if twice:
        raise ValueError(f"the audit returned the same finding twice: {', '.join(twice[:3])}")
    return findings


def _model_facts(context: Subject) -> dict[str, Any]:
    """The `model` object of `audit.json`; given answers have no model, and say so."""
    if context.artifact is None:
        return {"digest": None, "runtime": "given answers", "precision": None, "base": None, "revision": None}
    info = context.artifact
    return {"digest": info.digest, "runtime": info.runtime, "precision": info.precision, "base": info.base, "revision": info.revision}


def write_scores(path: Path, split: Split, labels: LabelSchema, answers: Answers, kind: str = "classes") -> None:
    """Leave every row's answer in `scores.parquet`: row number, label, predicted, groups and scores; never a text.

    It stays in the run folder: groups and labels of single rows are user data.
    """
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    from trustbase import files
    from trustbase.outputs.answers.base import answering

    way = answering(kind)
    columns: dict[str, Any] = {
        "row": pa.array(split.row_numbers),
        "label": way.columns(split.labels, labels),
        "predicted": way.columns(answers.predicted, labels),
    }
    for column, values in split.groups.items():
        columns[f"group:{column}"] = pa.array(values, pa.string()).dictionary_encode()
    if answers.scores is not None:
        columns |= way.score_columns(answers.scores, labels)
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    files.write_bytes(path, buffer.getvalue())
