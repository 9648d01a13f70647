"""Heads that a model can have: which class of transformers it is, for each architecture. Imports transformers only when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trustbase.errors import ModelError

SEQUENCE, TOKENS, SPAN = "sequence", "tokens", "span"


@dataclass(frozen=True)
class Head:
    """One sort of head.

    Attributes:
        suffix: how the classes of transformers that have it end.
        mapping: name of transformers' table from model type to class name.
        about: in words, for messages.
    """

    suffix: str
    mapping: str
    about: str


HEADS: Mapping[str, Head] = {
    SEQUENCE: Head("ForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES", "sequence classification"),
    TOKENS: Head("ForTokenClassification", "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES", "token classification"),
    SPAN: Head("ForQuestionAnswering", "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES", "question answering"),
}


def head_of(architectures: Any) -> str:
    """The head that a configuration's `architectures` names; that of sequences where it names none of these."""
    named = str((architectures or ["?"])[0])
    return next((name for name, head in HEADS.items() if named.endswith(head.suffix)), SEQUENCE)


def check_architecture(model_type: str, head: str = SEQUENCE) -> None:
    """Refuse an architecture without such a head.

    Raises:
        ModelError: transformers has none for it, or does not know it.
    """
    if model_type not in _table(head):
        raise ModelError(
            f"Models of type '{model_type}' have no head for {HEADS[head].about} in transformers",
            hint="choose an encoder such as bert, roberta, deberta-v2, distilbert or modernbert, or a decoder such as gpt2, llama or qwen2",
        )


def class_of(model_type: str, head: str) -> Any:
    """The class of transformers for an architecture that `check_architecture` let pass."""
    import transformers

    return getattr(transformers, _table(head)[model_type])


def _table(head: str) -> Mapping[str, str]:
    from transformers.models.auto import modeling_auto

    table: Mapping[str, str] = getattr(modeling_auto, HEADS[head].mapping)
    return table


def outputs_of(result: Any) -> Any:
    """What a model of transformers gives before any softmax: `logits`, or of a head for spans `(rows, length, 2)`."""
    if getattr(result, "start_logits", None) is None:
        return result.logits
    import torch

    return torch.stack([result.start_logits, result.end_logits], dim=-1)
