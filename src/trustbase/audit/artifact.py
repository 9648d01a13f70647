"""Audits one artefact on test rows: the one way that a run and `trustbase audit` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import Answers, AuditContext, fresh_evidence
from trustbase.audit.options import AuditOptions
from trustbase.audit.rivals import rival_answers
from trustbase.audit.run import run_audit, write_scores
from trustbase.events import Emit, ignore
from trustbase.outputs.decision import decide_labels
from trustbase.recipe.lookup import audited_dimensions
from trustbase.records import ArtifactInfo, AuditReport, LabelSchema, Split

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

_PART = 4096  # rows between two signs of life


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
        emit: takes events.

    Raises:
        PredictionError: a test row could not be answered.
    """
    from trustbase.model.predict import Predictor

    test, train = dataset.splits["test"], dataset.splits.get("train")
    with Predictor.open(artifact) as predictor, fresh_evidence(folder) as evidence:
        scores = score_rows(predictor, test.texts, emit)
        answers = Answers(scores, decide_labels(scores, dataset.labels, artifact.decision))
        write_scores(folder / "scores.parquet", test, dataset.labels, answers)
        rivals = rival_answers(train, test, dataset.labels, seed, emit) if train is not None else {}
        context = AuditContext(
            test=test,
            labels=dataset.labels,
            decision=artifact.decision,
            answers=answers,
            evidence=evidence,
            seed=seed,
            predictor=predictor,
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


def score_rows(predictor: Predictor, texts: Sequence[str], emit: Emit = ignore) -> NDArray[np.float64]:
    """Class scores of many texts `(rows, classes)`, with signs of life between parts."""
    parts = []
    for start in range(0, len(texts), _PART):
        emit("progress", what="scoring the test rows", done=start, total=len(texts))
        parts.append(predictor.class_scores(texts[start : start + _PART]))
    emit("progress", what="scoring the test rows", done=len(texts), total=len(texts))
    return np.concatenate(parts)
