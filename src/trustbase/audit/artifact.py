"""Audits one artefact on test rows: the one way that a run and `trustbase audit` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from numpy.typing import NDArray

from trustbase.audit.askers.asking import Askers
from trustbase.audit.askers.spread import open_askers
from trustbase.audit.calibrated import held_out_rows
from trustbase.audit.catalogue import BESIDE
from trustbase.audit.context import Answers, AuditContext, EvidenceBeside, fresh_evidence
from trustbase.audit.options import AuditOptions
from trustbase.audit.rivals import rival_answers
from trustbase.audit.run import run_audit, write_scores
from trustbase.audit.wanted import Wanted
from trustbase.data.cells import inputs_of
from trustbase.events import Emit, ignore
from trustbase.outputs.answers.base import answering, decided
from trustbase.recipe.lookup import ANSWER_KINDS, audited_dimensions
from trustbase.records import ArtifactInfo, AuditReport, Finding, LabelSchema, Split
from trustbase.train.cluster import ClusterOptions

Further = Callable[[AuditContext], Sequence[Finding]]


class Parts(Protocol):
    """What is needed of a data set."""

    @property
    def splits(self) -> Mapping[str, Split]: ...

    @property
    def labels(self) -> LabelSchema: ...


def audit_artifact(
    artifact: ArtifactInfo,
    dataset: Parts,
    *,
    options: AuditOptions,
    folder: Path,
    seed: int,
    policy_digest: str | None,
    cluster: ClusterOptions | None = None,
    beside: Mapping[str, Split] = MappingProxyType({}),
    hold_out: float = 0.0,
    shift: tuple[str, ...] | None = None,
    further: Further | None = None,
    purpose: Mapping[str, Any] | None = None,
    wanted: Wanted | None = None,
    emit: Emit = ignore,
) -> AuditReport:
    """Ask the artefact itself about the test rows, and measure.

    Leaves `evidence/`, `scores.parquet`, `marked_rows.json` and `explained_rows.json` in `folder`.

    Args:
        artifact: what is shipped.
        dataset: needs a `test` split; with a `train` split the rivals are trained on it.
        options: of the audit.
        folder: where evidence and scores go.
        seed: of everything that is sampled.
        policy_digest: digest of the limits, which must be fixed by now; None where there are none.
        cluster: the processes that ask; this one alone where not given.
        hold_out: share of the test rows that thresholds are fitted on, where the data set has no calibration part; no such finding is
            then measured on them.
        shift: inputs of another kind, for what tells them apart.
        beside: further sets, by the name that ids have for them, on which quality and fairness are measured too.
        further: measures more on the same test rows.
        purpose: what the recipe says that the model is for; None where there is no recipe.
        wanted: what a user wants asked beyond what every audit asks.
        emit: takes events.

    Raises:
        PredictionError: a test row could not be answered, or processes that ask were lost.
    """
    test, train = dataset.splits["test"], dataset.splits.get("train")
    with open_askers(artifact, cluster, emit) as askers, fresh_evidence(folder) as evidence:
        scores = score_rows(askers, inputs_of(test, artifact.columns), emit)
        answers = Answers(scores, decided(scores, dataset.labels, artifact.decision, artifact.answer_kind))
        dimensions = options.dimensions or audited_dimensions(artifact.answer_kind)
        compared = train is not None and "quality" in dimensions
        rivals = rival_answers(train, test, dataset.labels, seed, emit, artifact.answer_kind) if compared and train is not None else {}
        kept = dataset.splits.get("calibration")
        context = AuditContext(
            test=test,
            labels=dataset.labels,
            decision=artifact.decision,
            answers=answers,
            evidence=evidence,
            seed=seed,
            predictor=askers.predictor,
            askers=askers,
            artifact=artifact,
            train=train,
            validation=dataset.splits.get("validation"),
            calibration=kept,
            held_out=held_out_rows(test, artifact.columns, hold_out, seed) if hold_out and kept is None else None,
            shift=shift,
            rivals=rivals,
            options=options,
            emit=emit,
            purpose=purpose,
            forbidden=wanted.forbidden if wanted is not None else None,
            expectations=wanted.expectations if wanted is not None else None,
            confidence=options.confidence,
            minimum_cell=options.minimum_cell,
        )
        report = run_audit(context, dimensions, policy_digest=policy_digest, emit=emit)
        if further is not None:
            report = replace(report, findings=(*report.findings, *further(context)))
        for name, part in beside.items():
            report = _with(report, name, _beside(context, name, part, dimensions))
        # last, as the evidence: an audit that is cut short leaves those of an earlier one, and not one of each
        write_scores(folder / "scores.parquet", test, dataset.labels, answers, artifact.answer_kind)
        context.marked.write(folder)
        context.shown.write(folder)
        return report


def _beside(context: AuditContext, name: str, part: Split, dimensions: Sequence[str]) -> AuditReport:
    """Quality and fairness on another set of rows; rivals, which were trained for the test rows, are left out."""
    assert context.askers is not None
    info = context.askers.predictor.info
    scores = score_rows(context.askers, inputs_of(part, info.columns), context.emit)
    answers = Answers(scores, decided(scores, context.labels, context.decision, info.answer_kind))
    evidence = EvidenceBeside(context.evidence.folder, name)
    other = replace(context, test=part, answers=answers, evidence=evidence, predictor=None, train=None, rivals={}, held_out=None)
    measured = [dimension for dimension in dimensions if dimension in BESIDE]
    return run_audit(other, measured, policy_digest=None, emit=context.emit)


def _with(report: AuditReport, name: str, other: AuditReport) -> AuditReport:
    """A report with the findings of another set, under ids that name it; what does not apply there is not said twice."""
    found = tuple(
        replace(finding, id=str(replace(finding.parts, dataset=name))) for finding in other.findings if finding.status != "not_applicable"
    )
    return replace(report, data={**report.data, name: dict(other.data)}, findings=(*report.findings, *found))


def score_rows(askers: Askers, texts: Sequence[str], emit: Emit = ignore) -> NDArray[Any]:
    """Scores of many texts, as `Predictor.scores` gives them, with signs of life between parts."""
    info = askers.predictor.info
    values = askers.ask(ANSWER_KINDS[info.answer_kind].question, texts, what="scoring the test rows", emit=emit)
    return answering(info.answer_kind).together(values, info.labels)
