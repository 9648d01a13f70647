"""Simple rivals: what a model must beat to be worth its cost. Trained with scikit-learn on the same rows, in seconds.

A rival answers by its highest score. Imports scikit-learn when a rival is trained, and torch never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import Answers
from trustbase.data.columns import is_free_text, number_of
from trustbase.data.pair import sides
from trustbase.data.stored import StoredTexts, in_memory
from trustbase.data.terms import are_marked, are_pairs, finder, manner_of
from trustbase.errors import DataError, Interrupted
from trustbase.events import Emit, ignore
from trustbase.machine import usable_cores
from trustbase.recipe.lookup import load_named, rivals_of
from trustbase.records import LabelSchema, Split

Rival = Callable[[Split], Answers]

_MAX_THREADS = 8
_ONE_THREAD_ROWS = 100_000
_MAX_TERMS = 200_000
_MOST_STORED = 200_000  # training rows, of those that do not stand in memory
_MAX_CATEGORIES = 250  # histogram boosting takes 255 bins; one is kept for "other", one for "missing"


def rival_answers(
    train: Split, test: Split, labels: LabelSchema, seed: int, emit: Emit = ignore, kind: str = "classes"
) -> dict[str, Answers]:
    """Train every registered rival on `train` and let it answer `test`.

    A rival that does not apply (`why_not`) is left out with a note; one that breaks is left out with a warning, and the
    quality audit then reports its gain as `failed`. Of training rows that are stored on disk a seeded part is taken.
    """
    if isinstance(train.texts, StoredTexts) and len(train) > _MOST_STORED:
        rows = seeds.generator(seed, "rivals").choice(len(train), _MOST_STORED, replace=False)
        emit("note", text=f"rivals learn from {_MOST_STORED:,} of the {len(train):,} training rows, which do not all stand in memory")
        train = in_memory(train, np.sort(rows))
    answers: dict[str, Answers] = {}
    rivals = rivals_of(kind)
    for done, (name, target) in enumerate(rivals.items()):
        emit("progress", what="rivals", done=done, total=len(rivals))
        reason = why_not(name, train)
        if reason is not None:
            if name != "shared_words":  # of most tasks nobody would expect it
                emit("note", text=f"rival {name} does not apply: {reason}")
            continue
        try:
            with _bounded_threads(len(train)):
                answers[name] = load_named(target)(train, labels, seed)(test)
        except Interrupted:
            raise
        except Exception as error:  # seen as a warning here and as a failed finding in the audit
            emit("warning", text=f"rival {name} could not be trained: {type(error).__name__}: {error}", rival=name)
    emit("progress", what="rivals", done=len(rivals), total=len(rivals))
    return answers


def why_not(name: str, train: Split) -> str | None:
    """Why a rival does not apply to this data; None where it does."""
    if name == "boosting" and are_marked(train.texts):
        return "beside the text there are only the places of entities in it, so there are no raw columns to learn from"
    if name == "boosting" and plain_text(train):
        return "the text is one plain column, so there are no raw columns to learn from"
    if name == "shared_words" and train.labels.dtype != object and not _have_choices(train):
        return "there is no question with choices whose words could be compared"
    if name == "boosting" and not _learnable(train):
        return "nearly every value of the raw columns is a text of its own, so there are no categories or numbers to learn from"
    return None


def _have_choices(split: Split) -> bool:
    return bool(len(split)) and len(sides(split.texts[0])) > 2


def _learnable(train: Split) -> list[str]:
    """Raw columns that are numbers or categories; a column of texts, each its own, would be a category of noise."""
    return [name for name in train.table.column_names if not is_free_text(train.table.column(name).to_pylist())]


def plain_text(split: Split) -> bool:
    """Whether the text is one column as it stands, rather than made from columns."""
    if split.table.num_columns != 1:
        return bool(split.table.num_columns == 0)
    head = split.table.column(0).slice(0, 200).to_pylist()
    return bool(all(value == text for value, text in zip(head, split.texts[: len(head)], strict=True)))


def majority(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Always the most frequent training label; its scores are the training shares."""
    shares = np.bincount(train.labels, minlength=len(labels.names)) / max(len(train), 1)

    def answer(split: Split) -> Answers:
        scores = np.tile(shares, (len(split), 1))
        return Answers(scores, scores.argmax(axis=1).astype(np.int64))

    return answer


def bag_of_words(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Word and word-pair weights (tf-idf) with logistic regression; Chinese by segmented words, or by characters and pairs.

    Of a pair of texts: the words of each, those in both, and how much they share. Of a text with marked entities also their words, those
    between them, and which comes first. Of a question, so with each of its choices.
    """
    if _have_choices(train):
        from trustbase.audit.rivals_choices import bag_of_words as of_choices

        return of_choices(train, labels, seed)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    # C = 10: tf-idf rows have length one, so the default penalty (meant for columns of unit variance) is far too strong.
    model = make_pipeline(word_vectors(train), LogisticRegression(C=10.0, max_iter=300, random_state=rival_state(seed, "bag_of_words")))
    _fit(model, list(train.texts), train.labels, "bag_of_words")
    return lambda split: _answers(model, list(split.texts), labels)


def boosting(train: Split, labels: LabelSchema, seed: int) -> Rival:
    """Histogram gradient boosting on the raw columns: numbers as numbers, all else as categories, missing a state of its own.

    Columns of free text are left out.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    encode, categorical = column_matrix(train)
    model = HistGradientBoostingClassifier(categorical_features=categorical, random_state=rival_state(seed, "boosting"))
    _fit(model, encode(train), train.labels, "boosting")
    return lambda split: _answers(model, encode(split), labels)


def word_vectors(train: Split) -> Any:
    """An unfitted tf-idf vectorizer of words and word pairs for these texts; of pairs of texts also of what both share."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    least, pairs = 2 if len(train) >= 1000 else 1, are_pairs(train.texts)
    find = finder(manner_of(train.texts), longest=1 if pairs else 2, pairs=pairs)
    return TfidfVectorizer(analyzer=find, min_df=least, max_features=_MAX_TERMS, sublinear_tf=True, dtype=np.float32)


def column_matrix(train: Split) -> tuple[Callable[[Split], NDArray[np.float64]], list[bool]]:
    """What makes a matrix of the raw columns of any split, fitted on the training rows, and which of its columns are categories."""
    names = _learnable(train)
    encoders = [_column_encoder(train.table.column(name).to_pylist()) for name in names]

    def encode(split: Split) -> NDArray[np.float64]:
        return np.column_stack([encoder(split.table.column(name).to_pylist()) for encoder, name in zip(encoders, names, strict=True)])

    return encode, [encoder.categorical for encoder in encoders]


class _Numbers:
    """A column whose every given training value is a number; what is not becomes missing."""

    categorical = False

    def __call__(self, values: Sequence[str | None]) -> NDArray[np.float64]:
        return np.array([number if (number := number_of(value)) is not None else np.nan for value in values], dtype=np.float64)


class _Categories:
    """A column of names: the most frequent get a code each, the rest share one, missing has one; unseen names count as the rest."""

    categorical = True

    def __init__(self, values: Sequence[str | None]) -> None:
        names, counts = np.unique([value for value in values if value], return_counts=True)
        frequent = names[np.lexsort((names, -counts))][:_MAX_CATEGORIES]
        self._codes = {str(name): float(code + 2) for code, name in enumerate(frequent)}

    def __call__(self, values: Sequence[str | None]) -> NDArray[np.float64]:
        return np.array([self._codes.get(value, 1.0) if value else 0.0 for value in values], dtype=np.float64)


def _column_encoder(values: Sequence[str | None]) -> _Numbers | _Categories:
    given = {value for value in values if value}
    return _Numbers() if given and all(number_of(value) is not None for value in given) else _Categories(values)


def _fit(model: Any, inputs: Any, truth: NDArray[np.int64], name: str) -> None:
    if len(np.unique(truth)) < 2:
        raise DataError(f"rival {name} needs training rows of at least two labels", hint="check the training split")
    model.fit(inputs, truth)


def _answers(model: Any, inputs: Any, labels: LabelSchema) -> Answers:
    """Scores over all labels of the schema; a label that training never saw gets 0."""
    scores = np.zeros((len(inputs), len(labels.names)))
    scores[:, model.classes_] = model.predict_proba(inputs)
    return Answers(scores, scores.argmax(axis=1).astype(np.int64))


def rival_state(seed: int, name: str) -> int:
    """The random state of a rival."""
    return seeds.stream_seed(seed, "rival", name) % 2**31


@contextmanager
def _bounded_threads(rows: int) -> Iterator[None]:
    """One thread on few rows, where threads that wait for each other on a busy machine cost minutes (measured); else at most eight."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=min(usable_cores(), _MAX_THREADS) if rows > _ONE_THREAD_ROWS else 1):
        yield
