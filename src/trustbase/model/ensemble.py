"""Several trainings of one recipe as one model: each member's folder, and a runtime that answers with the mean of their scores.

An artefact of members has a folder for each, complete in itself (`member-0/`, `member-1/`, …). The mean is taken of what the answers
are made of, of probabilities and of numbers, and told as the logits that stand for it, so that every question of one model can be
asked of several. Imports no torch.
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
from trustbase.model.runtime import Runtime

MEMBER_OUTPUT = "member_logits"  # what each member says, one after another
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
    """

    outputs: tuple[str, ...] = ("logits", MEMBER_OUTPUT)

    def __init__(self, members: Sequence[Runtime], mean: Mean) -> None:
        self.members = tuple(members)
        self.name, self.precision = members[0].name, members[0].precision
        self.precision_reason = str(getattr(members[0], "precision_reason", ""))
        self.path = f"{len(members)} x {getattr(members[0], 'path', '')}"
        self._mean = mean

    def prepare(self, inputs: Sequence[Any]) -> Any:
        return self.members[0].prepare(inputs)

    def computed_tokens(self, lengths: NDArray[np.integer]) -> int:
        """Of one member: padding is then the share that it is of any."""
        return self.members[0].computed_tokens(lengths)

    def forward(self, output: str, encodings: Any, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The mean's logits `(rows, width)`; of `member_logits` each member's beside the other's, `(rows, members * width)`."""
        each = [np.asarray(member.forward("logits", encodings, rows), dtype=np.float64) for member in self.members]
        found = np.concatenate(each, axis=1) if output == MEMBER_OUTPUT else self._mean(np.stack(each))
        return found.astype(np.float32)


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
