"""Several trainings of one recipe as one model: each member's folder, and a runtime that answers with the mean of their scores.

An artefact of members has a folder for each, complete in itself (`member-0/`, `member-1/`, …). The mean is taken of what the answers
are made of, of probabilities and of numbers, and told as the logits that stand for it, so that every question of one model can be
asked of several. Where a row's scores are a table, it is that row's tables that are averaged. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trustbase import files
from trustbase.errors import ModelError
from trustbase.model.folder import COLUMNS_FILE
from trustbase.model.questions import UNREAD
from trustbase.model.runtime import MEMBER_OUTPUT, Output, Runtime
from trustbase.model.searching import SPAN, TABLES, best_spans, window_tables

_SHARED = ("tokenizer.json", "tokenizer_config.json", COLUMNS_FILE)  # what makes inputs ready; the same in all members
Mean = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def mean_of_classes(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits `(members, rows, classes)` → those of the mean of the members' probabilities, `(rows, classes)`.

    Source: Lakshminarayanan et al. (2017), "Simple and scalable predictive uncertainty estimation using deep ensembles", section 2.4.
    """
    return np.asarray(_log_mean(special.log_softmax(logits, axis=-1)))


def mean_of_labels(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits `(members, rows, labels)` → those of the mean of each label's probability, `(rows, labels)`."""
    return np.asarray(_log_mean(special.log_expit(logits)) - _log_mean(special.log_expit(-logits)))


def mean_of_tags(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits `(members, units, tags)` of one row → those of the mean of the probabilities of each unit's tags, `(units, tags)`.

    Units that no member has read stay such (`UNREAD`). Tags that fit together are looked for afterwards, in the mean.

    Source: as of classes, which the tags of a unit are.
    """
    found = mean_of_classes(logits)
    found[(logits <= UNREAD).all(axis=(0, 2))] = UNREAD
    return found


def mean_of_spans(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores `(members, tokens, 2)` of one row (`searching.row_tables`) → those of the mean of probabilities, `(tokens, 2)`.

    Two distributions are averaged, each by itself: where the answer begins, and where it ends. Both are over all tokens of the row that can
    be that, in all its windows together, with the first token of each window, which stands for no answer: the softmax that the share of
    an answer is made of (`searching.best_spans`). The best answer, and whether there is one, are then found in both means as in one
    model's scores; the members' own answers have no part in it.

    Source: as of classes; that a span's probability is a product of two softmaxes: Devlin et al. (2019), BERT, section 4.2.
    """
    return np.asarray(_log_mean(special.log_softmax(scores, axis=1)))


def mean_of_numbers(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores `(members, rows, 1)` → their mean, `(rows, 1)`: the mean of the numbers, as these are linear in the scores."""
    return np.asarray(scores.mean(axis=0))


def _log_mean(logs: NDArray[np.float64]) -> Any:
    return special.logsumexp(logs, axis=0) - np.log(len(logs))


class Ensemble:
    """Runs every member on the same inputs, one after the other.

    Args:
        members: opened runtimes of one kind, which make inputs ready in the same way.
        mean: `mean_of_…` of the answer kind.
        output: what the answers are made of: "logits", "unit_logits", "span".
        answer_tokens: of the longest answer, where a text is searched for one.
    """

    def __init__(self, members: Sequence[Runtime], mean: Mean, *, output: str, answer_tokens: int) -> None:
        self.members = tuple(members)
        self.outputs: tuple[str, ...] = (output, MEMBER_OUTPUT)
        self.name, self.precision = members[0].name, members[0].precision
        self.precision_reason = str(getattr(members[0], "precision_reason", ""))
        self.path = f"{len(members)} x {getattr(members[0], 'path', '')}"
        self._mean, self._output, self._answer_tokens = mean, output, answer_tokens

    def prepare(self, inputs: Sequence[Any]) -> Any:
        return self.members[0].prepare(inputs)

    def computed_tokens(self, lengths: NDArray[np.integer]) -> int:
        """Of one member: padding is then the share that it is of any."""
        return self.members[0].computed_tokens(lengths)

    def forward(self, output: str, encodings: Any, rows: NDArray[np.int64]) -> Output:
        """What one model would give, of the mean; of `member_logits` what each member gives beside the other's, `(…, members * width)`."""
        if output == MEMBER_OUTPUT:
            return _of_each(self._asked(self._output, encodings, rows), lambda each: np.concatenate(each, axis=-1))
        if self._output != SPAN:
            return _of_each(self._asked(self._output, encodings, rows), self._mean)
        part = encodings.take(rows)
        tables = [self._mean(_stack(each)) for each in zip(*self._asked(TABLES, encodings, rows), strict=True)]
        return best_spans(window_tables(tables, part), part, self._answer_tokens)

    def _asked(self, output: str, encodings: Any, rows: NDArray[np.int64]) -> list[Output]:
        return [member.forward(output, encodings, rows) for member in self.members]


def _of_each(given: Sequence[Output], put_together: Mean) -> Output:
    """What becomes of all members' arrays, `(members, rows, width)`; or of all their tables of each row, `(members, units, width)`."""
    if isinstance(given[0], list):
        return [put_together(_stack(tables)).astype(np.float32) for tables in zip(*given, strict=True)]
    return put_together(_stack(given)).astype(np.float32)


def _stack(given: Sequence[Any]) -> NDArray[np.float64]:
    return np.stack(given).astype(np.float64)


def member_folder(folder: Path, place: int) -> Path:
    """Where a member of a training or an artefact lies."""
    return folder / f"member-{place}"


def parts_of(folder: Path) -> list[Path]:
    """The folders of an artefact that hold weights: those of its members in their order, or itself."""
    found: list[Path] = []
    while member_folder(folder, len(found)).is_dir():
        found.append(member_folder(folder, len(found)))
    return found or [folder]


def first_part(folder: Path) -> Path:
    """Where tokenizer and configuration of an artefact lie: its first member, or itself."""
    return parts_of(folder)[0]


def members_of(folder: Path, count: int) -> list[Path]:
    """The folders of so many members.

    Raises:
        ModelError: there are fewer or more, or they do not read inputs in the same way.
    """
    found = parts_of(folder)
    if len(found) != count or found == [folder]:
        there = 0 if found == [folder] else len(found)
        raise ModelError(f"{folder}: artifact.json says {count} members, and {there} are there", hint="make the artefact again")
    for name in _SHARED:
        known = {files.sha256_file(place / name) if (place / name).is_file() else None for place in found}
        if len(known) > 1:
            raise ModelError(
                f"{folder}: its members have different {name}, so they would not read the same inputs", hint="make the artefact again"
            )
    return found
