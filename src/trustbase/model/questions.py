"""What can be asked of a model: the open table of question kinds, and what comes back. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from trustbase.data.tags import OUTSIDE
from trustbase.data.units import units
from trustbase.errors import PredictionError, Problem
from trustbase.model.runtime import MEMBER_OUTPUT
from trustbase.records import LabelSchema

UNREAD = np.float32(-1e30)  # every logit of a unit that the model did not read: cut off, or nothing to the tokenizer
_LISTED = 20  # questions without an answer that an error names

#: What a runtime gives for one input: logits `(classes,)`, an embedding `(width,)`; of a ragged kind a table `(units, width)`.
Row = NDArray[np.float32]
Rows = NDArray[np.float64] | Sequence[NDArray[np.float64]]  # of several inputs: one array `(rows, width)`, or the table of each


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask: a kind, an input (never a tensor), and the kind's own parameters."""

    kind: str
    input: Any
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """A value that the model gave (`cached`: taken from an earlier answer or from an equal question)."""

    value: Any
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that could not be answered. It is never a score: reading `value` raises.

    `code` is one of `bad_input`, `bad_question`, `not_finite`, `runtime`, `engine`, `closed`.
    """

    code: str
    reason: str

    @property
    def value(self) -> NoReturn:
        raise PredictionError(f"a question failed ({self.code}): {self.reason}", hint="look at Failure.code before using a value")


Result = Answer | Failure


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a base model finds a text: the sum of log-probabilities in nats, over so many tokens."""

    total: float
    tokens: int


@dataclass(frozen=True)
class Modality:
    """What one sort of input is to the scheduler.

    Attributes:
        canonical: input → the bytes that identify it; raises ValueError or TypeError for what cannot be asked about.
    """

    name: str
    canonical: Callable[[Any], bytes]


@dataclass(frozen=True)
class Kind:
    """One row of the table of question kinds.

    Kinds that share an `output` share the model's work: the loss and the class scores of a text are one forward pass.

    Attributes:
        name: "class_scores".
        answers: answer kinds of artefacts that can be asked this, or ("*",).
        output: what the runtime must compute: "logits", "embedding", …
        check: refuses wrong parameters with ValueError, before anything runs.
        finish: runtime rows and their questions → one value each; rows are one array `(rows, width)`, of a ragged kind a list of tables
            `(units, width)`.
        modality: how inputs are identified.
        forward_parameters: names of parameters that change the runtime's work, hence the cache key.
        sampled: drawn at random, so neither deduplicated nor cached.
        ragged: the runtime gives a table for each input, as long as that input.
    """

    name: str
    about: str
    answers: tuple[str, ...]
    output: str
    check: Callable[[Question, LabelSchema], None]
    finish: Callable[[Any, Sequence[Question], LabelSchema], Sequence[Any]]
    modality: Modality
    forward_parameters: tuple[str, ...] = ()
    sampled: bool = False
    ragged: bool = False

    def rows(self, given: Sequence[Row]) -> Rows:
        """What the runtime gave for some inputs, as `finish` takes it."""
        return [row.astype(np.float64) for row in given] if self.ragged else np.stack(given).astype(np.float64)


def canonical_text(value: Any) -> bytes:
    """UTF-8 of a text.

    Raises:
        TypeError: not a str.
        ValueError: a lone surrogate, which no tokenizer and no JSON can carry.
    """
    if not isinstance(value, str):
        raise TypeError(f"a text must be a str, got {type(value).__name__}")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"a text must be valid Unicode; character {error.start} is a lone surrogate (U+{ord(value[error.start]):04X})"
        ) from error


TEXT = Modality("text", canonical_text)


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row-wise log-softmax in float64, `(rows, classes)`."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float64)


def label_index(label: Any, labels: LabelSchema) -> int:
    """Index of a label given by name or index.

    Raises:
        ValueError: no such label.
    """
    if isinstance(label, str) and label in labels.names:
        return labels.index(label)
    if isinstance(label, int | np.integer) and not isinstance(label, bool) and 0 <= int(label) < len(labels.names):
        return int(label)
    raise ValueError(f"label must be one of {list(labels.names)} or an index below {len(labels.names)}, got {label!r}")


def _no_parameters(question: Question, labels: LabelSchema) -> None:
    if question.parameters:
        raise ValueError(f"{question.kind} takes no parameters, got {sorted(question.parameters)}")


def _one_label(question: Question, labels: LabelSchema) -> None:
    if set(question.parameters) != {"label"}:
        raise ValueError(f"loss takes the parameter 'label', got {sorted(question.parameters)}")
    label_index(question.parameters["label"], labels)


def _scores(rows: NDArray[np.float64], questions: Sequence[Question], labels: LabelSchema) -> Sequence[Any]:
    return _frozen_rows(np.exp(log_softmax(rows)))


def _label_scores(rows: NDArray[np.float64], questions: Sequence[Question], labels: LabelSchema) -> Sequence[Any]:
    return _frozen_rows(0.5 * (1.0 + np.tanh(0.5 * rows)))  # the logistic function, which overflows nowhere in this form


def _numbers(rows: NDArray[np.float64], questions: Sequence[Question], labels: LabelSchema) -> Sequence[Any]:
    return _frozen_rows(labels.center + labels.scale * rows)


def _token_scores(rows: Sequence[NDArray[np.float64]], questions: Sequence[Question], labels: LabelSchema) -> Sequence[Any]:
    outside = np.eye(len(labels.names))[labels.index(OUTSIDE) if OUTSIDE in labels.names else 0]
    found = []
    for logits, question in zip(rows, questions, strict=True):
        chances = np.exp(log_softmax(logits)) if len(logits) else logits
        chances[(logits <= UNREAD).all(axis=1)] = outside  # the model did not see them, so they are in no entity that it knows of
        table = np.concatenate([units(question.input), chances], axis=1)
        found.append(_frozen(table))
    return found


def _losses(rows: NDArray[np.float64], questions: Sequence[Question], labels: LabelSchema) -> Sequence[Any]:
    columns = [label_index(question.parameters["label"], labels) for question in questions]
    values = -log_softmax(rows)[np.arange(len(rows)), columns]
    return [float(value) for value in values]


def _embeddings(rows: NDArray[np.float64], questions: Sequence[Question], labels: LabelSchema) -> Sequence[Any]:
    return _frozen_rows(rows)


def _likelihoods(rows: NDArray[np.float64], questions: Sequence[Question], labels: LabelSchema) -> Sequence[Any]:
    return [Likelihood(float(total), round(tokens)) for total, tokens in rows.tolist()]


def _frozen_rows(rows: NDArray[np.float64]) -> Sequence[Any]:
    return list(_frozen(rows))


def _frozen(value: NDArray[np.float64]) -> NDArray[np.float64]:
    value.setflags(write=False)  # equal questions share one answer
    return value


CLASS_SCORES = Kind("class_scores", "probability of each class, float64 (classes,)", ("classes",), "logits", _no_parameters, _scores, TEXT)
CLASS_LOGITS = Kind(
    "class_logits",
    "what the class probabilities are the softmax of, float64 (classes,)",
    ("classes",),
    "logits",
    _no_parameters,
    _embeddings,
    TEXT,
)
LABEL_SCORES = Kind(
    "label_scores", "probability of each label by itself, float64 (labels,)", ("labels",), "logits", _no_parameters, _label_scores, TEXT
)
NUMBER = Kind(
    "number", "the number, in the units of the training rows, float64 (1,)", ("number",), "logits", _no_parameters, _numbers, TEXT
)
TOKEN_SCORES = Kind(
    "token_scores",
    "bounds of each unit of the text (`data.units`) and the probability of each tag, float64 (units, 2 + tags)",
    ("tokens",),
    "unit_logits",
    _no_parameters,
    _token_scores,
    TEXT,
    ragged=True,
)
SPAN_SCORES = Kind(
    "span_scores",
    "the best answer that a text holds: its characters, its share, that of the best other one, and whether there is one, float64 (5,)",
    ("span",),
    "span",
    _no_parameters,
    _embeddings,
    TEXT,
)
LOSS = Kind("loss", "cross-entropy of a given label, in nats", ("classes",), "logits", _one_label, _losses, TEXT)
EMBEDDING = Kind(
    "embedding",
    "mean of the last hidden states over the real tokens, float64 (width,)",
    ("*",),
    "embedding",
    _no_parameters,
    _embeddings,
    TEXT,
)
LOG_LIKELIHOOD = Kind(
    "log_likelihood",
    "how likely a text is: `Likelihood`; a base model without a head that predicts words cannot be asked",
    ("language",),
    "log_likelihood",
    _no_parameters,
    _likelihoods,
    TEXT,
)


def of_members(kind: Kind) -> Kind:
    """The same question put to each member of an ensemble: values float64 `(members, width)`, of a ragged kind `(members, units, …)`."""

    def finish(rows: Any, questions: Sequence[Question], labels: LabelSchema) -> Sequence[Any]:
        width = len(labels.names)
        starts = range(0, rows[0].shape[-1] if len(rows) else 0, width)
        each = [kind.finish(kind.rows([row[..., start : start + width] for row in rows]), questions, labels) for start in starts]
        return [_frozen(np.stack(values)) for values in zip(*each, strict=True)]

    about = "the same of each member of an ensemble, float64 (members, …)"
    return Kind(f"{kind.name}_of_members", about, kind.answers, MEMBER_OUTPUT, _no_parameters, finish, kind.modality, ragged=kind.ragged)


#: The table that a Predictor opens with; pass `kinds={**KINDS, "mine": …}` to ask more.
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            *(CLASS_SCORES, CLASS_LOGITS, LABEL_SCORES, NUMBER, TOKEN_SCORES, SPAN_SCORES, LOSS, EMBEDDING, LOG_LIKELIHOOD),
            *(of_members(kind) for kind in (CLASS_SCORES, LABEL_SCORES, NUMBER, TOKEN_SCORES, SPAN_SCORES)),
        )
    }
)


def values_of(results: Sequence[Result]) -> list[Any]:
    """The values, or one error that names every question without one.

    Raises:
        PredictionError: some questions have no answer.
    """
    failed = [(position, result) for position, result in enumerate(results) if isinstance(result, Failure)]
    if failed:
        problems = [Problem(f"row {position}", f"{failure.code}: {failure.reason}") for position, failure in failed[:_LISTED]]
        more = f" (the first {_LISTED} are listed)" if len(failed) > _LISTED else ""
        raise PredictionError(
            f"{len(failed)} of {len(results)} questions to the model failed{more}",
            problems=problems,
            hint="mend or leave out these rows, or use ask_all, which answers the others",
        )
    return [result.value for result in results]
