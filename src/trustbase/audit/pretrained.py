"""Audits one base model on held-out documents: as `artifact.py` does it for a model of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase.audit.askers.spread import open_askers
from trustbase.audit.context import fresh_evidence
from trustbase.audit.language_context import Documents, LanguageContext
from trustbase.audit.options import AuditOptions
from trustbase.audit.run import run_audit
from trustbase.events import Emit, ignore
from trustbase.recipe.lookup import audited_dimensions
from trustbase.records import ArtifactInfo, AuditReport
from trustbase.train.cluster import ClusterOptions
from trustbase.train.probes import ProbeSet

if TYPE_CHECKING:
    from trustbase.data.corpus.pack import TokenStore
    from trustbase.data.corpus.prepare import Corpus


def audit_pretrained(
    artifact: ArtifactInfo,
    corpus: Corpus,
    tokens: TokenStore,
    *,
    digest: str,
    training: Mapping[str, Any],
    contamination: Mapping[str, Mapping[str, int]],
    probes: Sequence[ProbeSet],
    canaries: Any,
    options: AuditOptions,
    folder: Path,
    seed: int,
    policy_digest: str | None,
    cluster: ClusterOptions | None = None,
    emit: Emit = ignore,
) -> AuditReport:
    """Ask the base model itself, and measure; leaves `evidence/` in `folder`.

    Args:
        artifact: what is shipped.
        corpus: its documents, as text.
        tokens: the same as tokens of the model's tokenizer.
        digest: of the held-out documents.
        training: what the training said of itself.
        contamination: for each named test set, how many texts it has and how many of them stand in the training documents.
        probes: labelled sets to fit a linear classifier on.
        canaries: what was planted in the training documents, or None.
        options: of the audit.
        folder: where evidence goes.
        seed: of everything that is sampled.
        policy_digest: digest of the limits, which must be fixed by now.
        cluster: the processes that ask; this one alone where not given.
        emit: takes events.
    """
    with open_askers(artifact, cluster, emit) as askers, fresh_evidence(folder) as evidence:
        context = LanguageContext(
            artifact=artifact,
            predictor=askers.predictor,
            askers=askers,
            test=Documents(digest, len(corpus.store.held_out)),
            corpus=corpus.store,
            tokens=tokens,
            card=corpus.card,
            training=training,
            evidence=evidence,
            seed=seed,
            options=options,
            probes={probe.name: probe for probe in probes},
            contamination=contamination,
            canaries=canaries,
            emit=emit,
            confidence=options.confidence,
            minimum_cell=options.minimum_cell,
        )
        return run_audit(context, options.dimensions or audited_dimensions(artifact.answer_kind), policy_digest=policy_digest, emit=emit)
