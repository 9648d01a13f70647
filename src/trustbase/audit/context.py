"""What an audit dimension is given, and the little folder where it leaves its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files
from trustbase.audit.options import AuditOptions
from trustbase.events import Emit, ignore
from trustbase.leftovers import held_folder
from trustbase.records import ArtifactInfo, Decision, LabelSchema, Split

if TYPE_CHECKING:
    from trustbase.audit.askers.asking import Askers
    from trustbase.audit.robustness.expectations import Expectations
    from trustbase.audit.safety.policy import OutputPolicy
    from trustbase.model.predict import Predictor


Partition = tuple[str, tuple[str, ...], NDArray[np.int64], list[tuple[str, ...]]]  # kind, columns, code of each row, values of each code


@dataclass(frozen=True)
class Evidence:
    """Writes `evidence/NAME.json`: aggregates only, never a row of user data."""

    folder: Path

    def write(self, name: str, value: Mapping[str, Any] | Sequence[Any]) -> None:
        """Write one dimension's evidence; the folder is made afresh by every audit."""
        files.write_json(self.folder / f"{name}.json", value)


@dataclass(frozen=True)
class EvidenceBeside(Evidence):
    """Evidence about another set than the test rows, under names of its own: `evidence/NAME-SET.json`."""

    dataset: str = ""

    def write(self, name: str, value: Mapping[str, Any] | Sequence[Any]) -> None:
        super().write(f"{name}-{self.dataset}", value)


@dataclass(frozen=True)
class Marked:
    """Numbers of rows that a person should look at, by the finding that they belong to.

    They stay where scores stay, in the folder of the run or audit: row numbers speak of single rows, so no bundle ships them.
    """

    file: str = "marked_rows.json"
    rows: dict[str, Any] = field(default_factory=dict)

    def note(self, name: str, numbers: Iterable[int], **more: Any) -> None:
        """Keep the row numbers of one finding; `more` is what else a person needs to know who opens the file."""
        self.rows[name] = {"rows": [int(number) for number in numbers], **more}

    def write(self, folder: Path) -> None:
        """Leave `folder/marked_rows.json`, also where nothing was marked."""
        files.write_json(folder / self.file, self.rows)


@dataclass(frozen=True)
class Shown:
    """A few rows of the user with what was found of each, for the report in the folder of the run or audit alone: no bundle ships them."""

    file: str = "explained_rows.json"
    rows: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Leave `folder/explained_rows.json`, also where none were kept."""
        files.write_json(folder / self.file, {"rows": self.rows})


@contextmanager
def fresh_evidence(folder: Path) -> Iterator[Evidence]:
    """Evidence that takes the place of all that `folder/evidence` held, once the audit is through.

    Evidence of an earlier audit would otherwise stand beside findings that it does not belong to, and be signed with them. An audit
    that is cut short leaves the earlier folder as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held_folder("evidence", folder) as place:
        yield Evidence(place)
        files.replace_folder(folder / "evidence", lambda target: _copy_json(place, target))


def _copy_json(source: Path, target: Path) -> None:
    for path in sorted(source.glob("*.json")):
        files.write_bytes(target / path.name, path.read_bytes())


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model (or rival) answered on the test rows.

    Attributes:
        scores: float64 `(rows, len(labels.names))`, of classes their probabilities, or `(rows,)` of tables; None where only labels were
            given.
        predicted: answers of the form that `Split.labels` has: of classes the label index, int64 `(rows,)`.
    """

    scores: NDArray[Any] | None
    predicted: NDArray[Any]


@dataclass(frozen=True, eq=False)
class AuditContext:
    """Everything a dimension may ask about.

    `predictor`, `artifact`, `train` and `validation` are None where somebody else's answers are audited; a dimension
    that needs one of them returns `not_applicable` findings with the reason.
    """

    test: Split
    labels: LabelSchema
    decision: Decision
    answers: Answers
    evidence: Evidence
    seed: int
    predictor: Predictor | None = None
    askers: Askers | None = None  # ask many things of it, in several processes where there are some
    artifact: ArtifactInfo | None = None
    train: Split | None = None
    validation: Split | None = None
    calibration: Split | None = None  # rows that were kept apart for thresholds
    held_out: NDArray[np.bool_] | None = None  # test rows that serve for that, where none were kept apart (`audit.calibrated`)
    shift: tuple[str, ...] | None = None  # inputs of another kind, where somebody named a file of them
    rivals: Mapping[str, Answers] = field(default_factory=dict)  # name → answers on the same test rows
    options: AuditOptions = field(default_factory=AuditOptions)
    emit: Emit = ignore
    marked: Marked = field(default_factory=Marked)
    shown: Shown = field(default_factory=Shown)
    purpose: Mapping[str, Any] | None = None  # what the recipe says that the model is for; None where nobody could say it
    forbidden: OutputPolicy | None = None  # what must never be answered
    expectations: Expectations | None = None  # what somebody wrote down that answers should do
    confidence: float = 0.95
    minimum_cell: int = 30
    whole: AuditContext | None = None  # what these rows are a part of: it says which groups are named and compared
    parts: tuple[Partition, ...] | None = None  # measured as slices, whatever their sizes; None where they are to be found in the rows
