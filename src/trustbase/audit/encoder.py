"""A base model as something that can be asked for embeddings: who judges meaning, and what a student reads who copies a model."""

from __future__ import annotations

from trustbase.records import ArtifactInfo


def as_encoder(reference: str) -> ArtifactInfo:
    """A base model as something that can be asked for embeddings.

    Raises:
        TrustbaseError: there is none, or it is no encoder of this kind.
    """
    from transformers import AutoConfig

    from trustbase.compress.base import ANSWER_KIND, NO_LABELS, TASK
    from trustbase.model.load import resolve_base
    from trustbase.model.options import portable_reference
    from trustbase.model.tokenizer import load_tokenizer, model_max_length

    base = resolve_base(reference)
    config = AutoConfig.from_pretrained(base.folder, local_files_only=True)
    return ArtifactInfo(
        folder=base.folder,
        digest=base.digest,
        task=TASK,
        answer_kind=ANSWER_KIND,
        labels=NO_LABELS,
        runtime="language",
        precision="fp32",
        max_length=model_max_length(config, load_tokenizer(base.folder)),
        base=portable_reference(reference),
        revision=base.revision,
    )
