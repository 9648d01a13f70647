"""Golden outputs of a base model, which has no classes to give: how likely it finds made-up texts, or where it puts them.

A model with a word head is asked for log-likelihoods; one without (a discriminator, a sentence encoder) for embeddings, of which
the norm and the first numbers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trustbase.errors import ModelError
from trustbase.model.shape import WORD_OBJECTIVES
from trustbase.records import ArtifactInfo

Ask = Callable[[Sequence[str]], NDArray[np.float64]]

_KEPT = 8  # numbers of an embedding, beside its norm
_AT_LEAST = 1.0  # a difference from a smaller number is not taken as a share of it


class LanguageScorer(Protocol):
    """What a base model is asked through: a `Predictor`, or a stand-in."""

    def log_likelihoods(self, texts: Sequence[str]) -> NDArray[np.float64]: ...

    def embeddings(self, texts: Sequence[str]) -> NDArray[np.float64]: ...


def base_outputs(artifact: ArtifactInfo, texts: Sequence[str], ask: Ask | None) -> tuple[str, list[dict[str, Any]]]:
    """What the artefact is asked, and what it answers to each text: `{log_likelihood, tokens}` or `{embedding: [norm, first numbers]}`.

    Args:
        artifact: the base model, as it is packed.
        texts: made-up ones.
        ask: texts → `(rows, 2)` (total log-likelihood in nats, tokens) or, without a word head, embeddings `(rows, width)`;
            by default a Predictor is opened on the artefact.

    Raises:
        ModelError: the artefact answers with something else.
    """
    question, found = (_question_of(artifact), ask(texts)) if ask is not None else _ask(artifact, texts)
    answers = np.asarray(found, dtype=np.float64)
    wide = answers.ndim == 2 and len(answers) == len(texts) and (answers.shape[1] == 2 or question == "embedding")
    if not wide or not np.isfinite(answers).all():
        wanted = "(texts, 2): log-likelihood and tokens" if question == "log_likelihood" else "(texts, width): embeddings"
        raise ModelError(f"{artifact.folder}: the golden inputs need {wanted}, got {answers.shape}", hint="check the artefact")
    if question == "embedding":
        return question, [{"embedding": [float(x) for x in row]} for row in _summary(answers)]
    if (answers > [0, np.inf]).any() or (answers[:, 1] < 0).any():
        raise ModelError(f"{artifact.folder}: a log-likelihood above 0, or fewer than no tokens", hint="check the artefact")
    return question, [{"log_likelihood": float(total), "tokens": int(tokens)} for total, tokens in answers]


def base_difference(record: Mapping[str, Any], predictor: LanguageScorer, texts: Sequence[str]) -> float:
    """Largest difference from the golden outputs, as a share of them; infinite where a text has other tokens, or no number comes.

    Raises:
        ModelError: the model answers in another shape.
    """
    inputs = record["inputs"]
    if record["asks"] == "embedding":
        expected = np.array([item["embedding"] for item in inputs], dtype=np.float64)
        found = _summary(np.asarray(predictor.embeddings(texts), dtype=np.float64))
        scale = expected[:, :1]  # the norm: single numbers of an embedding may be near zero
    else:
        expected = np.array([[item["log_likelihood"], item["tokens"]] for item in inputs], dtype=np.float64)
        found = np.asarray(predictor.log_likelihoods(texts), dtype=np.float64)
        scale = np.abs(expected[:, :1])
    if found.shape != expected.shape:
        raise ModelError(f"the golden outputs are {expected.shape}, the model answers {found.shape}", hint="is this the bundle's model?")
    if not np.isfinite(found).all() or (record["asks"] == "log_likelihood" and (found[:, 1] != expected[:, 1]).any()):
        return float("inf")
    return float((np.abs(found - expected) / np.maximum(scale, _AT_LEAST)).max())


def base_golden_problem(golden: Mapping[str, Any]) -> str:
    """Why the golden outputs of a base model cannot be repeated anywhere; "" where they can. Row and text are checked before."""
    asks = golden.get("asks")
    if asks not in ("log_likelihood", "embedding"):
        return f"must say what a base model was asked, got {str(asks)[:40]!r}"
    widths = set()
    for item in golden["inputs"]:
        if asks == "embedding":
            numbers = item.get("embedding")
            right = isinstance(numbers, list) and bool(numbers) and all(_is_number(x) for x in numbers)
            widths.add(len(numbers) if right else 0)
        else:
            tokens = item.get("tokens")
            total = item.get("log_likelihood")
            right = _is_number(total) and total <= 0 and isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0
        if not right:
            return f"has an input without a usable {asks.replace('_', '-')}"
    return "has embeddings of different widths" if len(widths) > 1 else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _summary(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Norm and first numbers of each embedding, `(rows, 1 + at most 8)`."""
    return np.hstack([np.linalg.norm(embeddings, axis=1, keepdims=True), embeddings[:, :_KEPT]])


def _question_of(artifact: ArtifactInfo) -> str:
    """`log_likelihood` where the objectives leave a head for words, else `embedding`."""
    return "log_likelihood" if WORD_OBJECTIVES & set(artifact.facts.get("objectives") or ()) else "embedding"


def _ask(artifact: ArtifactInfo, texts: Sequence[str]) -> tuple[str, NDArray[np.float64]]:
    """The question that the model itself can answer, and its answers."""
    from trustbase.model.predict import Predictor

    with Predictor.open(artifact) as predictor:
        if "log_likelihood" in predictor.runtime.outputs:
            return "log_likelihood", predictor.log_likelihoods(texts)
        return "embedding", predictor.embeddings(texts)
