"""Audits one artefact on test rows: the one way that a run and `trustbase audit` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from trustbase.audit.askers.asking import Askers
from trustbase.audit.askers.spread import open_askers
from trustbase.audit.context import Answers, AuditContext, fresh_evidence
from trustbase.audit.options import AuditOptions
from trustbase.audit.rivals import rival_answers
from trustbase.audit.run import run_audit, write_scores
from trustbase.data.cells import inputs_of
from trustbase.events import Emit, ignore
from trustbase.outputs.answers.base import answering, decided
from trustbase.recipe.lookup import ANSWER_KINDS, audited_dimensions
from trustbase.records import ArtifactInfo, AuditReport, LabelSchema, Split
from trustbase.train.cluster import ClusterOptions


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
    emit: Emit = ignore,
) -> AuditReport:
    """Ask the artefact itself about the test rows, and measure; leaves `evidence/` and `scores.parquet` in `folder`.

    Args:
        artifact: what is shipped.
        dataset: needs a `test` split; with a `train` split the rivals are trained on it.
        options: of the audit.
        folder: where evidence and scores go.
        seed: of everything that is sampled.
        policy_digest: digest of the limits, which must be fixed by now; None where there are none.
        cluster: the processes that ask; this one alone where not given.
        emit: takes events.

    Raises:
        PredictionError: a test row could not be answered, or processes that ask were lost.
    """
    test, train = dataset.splits["test"], dataset.splits.get("train")
    with open_askers(artifact, cluster, emit) as askers, fresh_evidence(folder) as evidence:
        scores = score_rows(askers, inputs_of(test, artifact.columns), emit)
        answers = Answers(scores, decided(scores, dataset.labels, artifact.decision, artifact.answer_kind))
        write_scores(folder / "scores.parquet", test, dataset.labels, answers, artifact.answer_kind)
        rivals = rival_answers(train, test, dataset.labels, seed, emit, artifact.answer_kind) if train is not None else {}
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
            rivals=rivals,
            options=options,
            emit=emit,
            confidence=options.confidence,
            minimum_cell=options.minimum_cell,
        )
        return run_audit(context, options.dimensions or audited_dimensions(artifact.answer_kind), policy_digest=policy_digest, emit=emit)


def score_rows(askers: Askers, texts: Sequence[str], emit: Emit = ignore) -> NDArray[Any]:
    """Scores of many texts, as `Predictor.scores` gives them, with signs of life between parts."""
    info = askers.predictor.info
    values = askers.ask(ANSWER_KINDS[info.answer_kind].question, texts, what="scoring the test rows", emit=emit)
    return answering(info.answer_kind).together(values, info.labels)
