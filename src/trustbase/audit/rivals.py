"""Simple rivals: what a model must beat to be worth its cost. Trained with scikit-learn on the same rows, in seconds.

Imports scikit-learn when a rival is trained, and torch never.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from trustbase import seeds
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.rival_inputs import have_choices, learnable
from trustbase.data.stored import StoredTexts, in_memory
from trustbase.data.terms import are_marked
from trustbase.errors import Interrupted
from trustbase.events import Emit, ignore
from trustbase.machine import usable_cores
from trustbase.recipe.entries import load_named
from trustbase.recipe.lookup import rivals_of
from trustbase.records import Finding, LabelSchema, Split

_MAX_THREADS = 8
_ONE_THREAD_ROWS = 100_000
_MOST_STORED = 200_000  # training rows, of those that do not stand in memory


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
    rivals = rivals_for(kind, train)
    for done, (name, target) in enumerate(rivals.items()):
        emit("progress", what="rivals", done=done, total=len(rivals))
        reason = why_not(name, train)
        if reason is not None:
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


def rivals_for(kind: str, split: Split) -> dict[str, str]:
    """The rivals of an answer kind, less the one that weighs choices where the texts are none: nobody would expect it there."""
    of_choices = kind != "classes" or have_choices(split)
    return {name: target for name, target in rivals_of(kind).items() if of_choices or name != "shared_words"}


def why_not(name: str, train: Split) -> str | None:
    """Why a rival does not apply to this data; None where it does."""
    if name == "boosting" and are_marked(train.texts):
        return "beside the text there are only the places of entities in it, so there are no raw columns to learn from"
    if name == "boosting" and plain_text(train):
        return "the text is one plain column, so there are no raw columns to learn from"
    if name == "boosting" and not learnable(train):
        return "nearly every value of the raw columns is a text of its own, so there are no categories or numbers to learn from"
    return None


def no_gain(context: AuditContext, name: str, id: str, fields: Mapping[str, Any]) -> Finding:
    """The finding of a gain over a rival that gave no answers: why it gave none.

    Args:
        context: of the audit.
        name: the rival's.
        id: the finding's.
        fields: what every finding of such a gain says.
    """
    if context.train is None:
        return Finding.without_value(id, "not_applicable", "no training rows were given, so no rival could be trained", **fields)
    reason = why_not(name, context.train)
    if reason is not None:
        return Finding.without_value(id, "not_applicable", reason, **fields)
    return Finding.without_value(id, "failed", "the rival could not be trained or gave no answers; the log says why", **fields)


def plain_text(split: Split) -> bool:
    """Whether the text is one column as it stands, rather than made from columns."""
    if split.table.num_columns != 1:
        return bool(split.table.num_columns == 0)
    head = split.table.column(0).slice(0, 200).to_pylist()
    return bool(all(value == text for value, text in zip(head, split.texts[: len(head)], strict=True)))


@contextmanager
def _bounded_threads(rows: int) -> Iterator[None]:
    """One thread on few rows, where threads that wait for each other on a busy machine cost minutes (measured); else at most eight."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=min(usable_cores(), _MAX_THREADS) if rows > _ONE_THREAD_ROWS else 1):
        yield
