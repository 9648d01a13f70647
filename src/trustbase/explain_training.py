"""Which training rows taught an answer: what `trustbase explain --train FILE` adds to an explanation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase.errors import Problem, UsageError
from trustbase.events import Emit
from trustbase.records import ArtifactInfo, Split

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

TOLD = 5  # rows for an answer, and rows against it
MOST = 5_000  # training rows that are followed
KINDS = ("classes", "number")


@dataclass(frozen=True)
class TrainingRow:
    """A training row: its number in the file (from 1), its label, and by how much the answer's score would fall without it."""

    row: int
    label: str
    falls: float


@dataclass(frozen=True)
class TaughtBy:
    """The training rows that speak most for an answer, and most against it, each relative to what it does to all answers.

    Attributes:
        speak_for, against: the foremost first.
        followed: how many rows were looked at, and `rows` how many the file has.
        of: what `falls` is of.
        note: what must be said beside it.
    """

    speak_for: tuple[TrainingRow, ...]
    against: tuple[TrainingRow, ...]
    followed: int
    rows: int
    of: str
    note: str


def read_training(info: ArtifactInfo, model: str, train: str | Path, label: str | None, *, trust: str | Path | None, emit: Emit) -> Split:
    """The training rows as the model reads them.

    Args:
        info: of the model.
        model: what the command calls it.
        train: the file.
        label: column of the true label; by default that of the recipe of a bundle or run.
        trust: a public key, or a folder of them, to trust.
        emit: told of labels that may be slips.

    Raises:
        UsageError: the label's column is not known, or nothing inside of the model can be followed.
        DataError: rows that cannot be used.
    """
    from trustbase.audit.explain.inside import no_inside
    from trustbase.bundle.subject import own_columns
    from trustbase.data.options import FeatureOptions
    from trustbase.data.single import load_single

    if (why_not := no_inside(info)) or info.answer_kind not in KINDS:
        reason = why_not or "this version tells it of one label of several, and of numbers"
        raise UsageError(f"which training rows taught this model cannot be told: {reason}", hint="leave out --train")
    own = own_columns(model, trust=trust) if label is None else None
    column = label if own is None else own.label
    if column is None:
        problem = Problem("--train-label", "this model does not say which column is its label", "name the column of the true label")
        raise UsageError("the training rows cannot be read", problems=[problem])
    features = FeatureOptions.model_validate(info.features)
    how: dict[str, Any] = {"labels": info.labels, "answers": info.answer_kind, "features": features, "numbers": info.numbers}
    return load_single(str(train), text=info.text or "text", label=column, name="train", emit=emit, **how)[0]


def taught_by(predictor: Predictor, asked: str, target: int, train: Split, *, seed: int, emit: Emit) -> TaughtBy:
    """The rows that taught an answer.

    Args:
        predictor: its model is borrowed.
        asked: the input.
        target: which score.
        train: the training rows.
        seed: of the projections, and of which rows are followed where there are more than `MOST`.
        emit: told the progress.

    Raises:
        UsageError: nothing inside of the model can be followed, or of no training row its tokens are told.
    """
    from trustbase import seeds
    from trustbase.audit.explain.gradient_features import gradient_features
    from trustbase.audit.explain.influence import Lessons, foremost, relative, taught
    from trustbase.audit.explain.inside import UNITS, opened
    from trustbase.audit.explain.tokens import Tokens

    info = predictor.info
    drawn = np.sort(seeds.generator(seed, "explain", "training rows").permutation(len(train))[:MOST])
    with opened(predictor) as (inside, note):
        (own,) = inside.tokens([asked])
        if isinstance(own, str):
            raise UsageError(f"which training rows taught this answer cannot be told: {own}", hint="leave out --train")
        told = inside.tokens([train.texts[row] for row in drawn])
        kept = [place for place, tokens in enumerate(told) if isinstance(tokens, Tokens)]
        rows, tokens = drawn[kept], [each for each in told if isinstance(each, Tokens)]
        if not tokens:
            raise UsageError("of no training row it can be told how the model reads it", hint="leave out --train")
        inside.check(own, target)
        emit("progress", what="following training rows", done=0, total=len(rows))
        targets = train.labels[rows].tolist() if info.answer_kind == "classes" else [0] * len(rows)
        lessons = gradient_features(inside, tokens, targets, seed=seed)
        answer = gradient_features(inside, [own], [target], seed=seed)
        emit("progress", what="following training rows", done=len(rows), total=len(rows))
    if info.answer_kind == "classes":
        known = Lessons.of_classes(lessons.gradients, lessons.scores)
    else:
        known = Lessons.of_numbers(lessons.gradients, lessons.scores, train.labels[rows] - info.labels.center)
    values = taught(known, answer.gradients)[0]
    note = f"{note}; an estimate: nothing was learned again"
    share = relative(known, answer.gradients)[0]
    first, last = (_told(train, rows, values, foremost(sign * share, TOLD), info) for sign in (1.0, -1.0))
    return TaughtBy(first, last, len(rows), len(train), UNITS[info.answer_kind], note)


def _told(
    train: Split, rows: NDArray[np.int64], values: NDArray[np.float64], places: NDArray[np.int64], info: ArtifactInfo
) -> tuple[TrainingRow, ...]:
    found = []
    for place in places.tolist():
        row = int(rows[place])
        label = info.labels.names[int(train.labels[row])] if info.answer_kind == "classes" else f"{float(train.labels[row]):g}"
        found.append(TrainingRow(int(train.row_numbers[row]), label, float(values[place])))
    return tuple(found)
