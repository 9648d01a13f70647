"""What could not be read: named `file:line: reason`, counted, and judged by the recipe's tolerance. Nothing is passed over unsaid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trustbase.data.corpus.options import FaultOptions
from trustbase.errors import DataError, Problem
from trustbase.events import Emit

LISTED = 200  # faults that a message or card names; the others are counted


@dataclass(frozen=True)
class Fault:
    """A line, a document or a file that could not be read: `kind` holds nothing of the text, `detail` may."""

    name: str
    line: int
    kind: str
    detail: str = ""

    @property
    def where(self) -> str:
        return f"{self.name}:{self.line}"

    @property
    def reason(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


@dataclass
class Faults:
    """Faults as they are found: the first ones by name, all of them counted."""

    listed: list[Fault] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)

    def add(self, fault: Fault) -> None:
        self.kinds[fault.kind] = self.kinds.get(fault.kind, 0) + 1
        if len(self.listed) < LISTED:
            self.listed.append(fault)

    @property
    def count(self) -> int:
        return sum(self.kinds.values())

    def to_json(self) -> dict[str, Any]:
        return {"kinds": self.kinds, "listed": [[fault.name, fault.line, fault.kind, fault.detail] for fault in self.listed]}

    @classmethod
    def from_json(cls, values: Iterable[dict[str, Any]]) -> Faults:
        """Faults of several shards or files together, in their order."""
        found = cls()
        for value in values:
            found.listed += [Fault(*item) for item in value["listed"][: LISTED - len(found.listed)]]
            for kind, count in value["kinds"].items():
                found.kinds[kind] = found.kinds.get(kind, 0) + count
        return found


def judge(faults: Faults, documents: int, tolerance: FaultOptions, emit: Emit) -> None:
    """Stop on faults, or say that they are passed over where the recipe tolerates that many.

    Args:
        faults: all of them.
        documents: documents that were read.
        tolerance: the recipe's word.
        emit: told of those that are passed over.

    Raises:
        DataError: more faults than tolerated; each is named, up to a number that a reader can take in.
    """
    if not faults.count:
        return
    if not tolerance.allows(faults.count, documents):
        raise DataError(
            f"{faults.count:,} faults in the files of the corpus, beside {documents:,} documents that can be read",
            problems=_problems(faults.listed, faults.count),
            hint="mend these files; corpus.tolerance passes over up to that many (they are counted and listed in the card)",
        )
    emit(
        "warning", text=f"{faults.count:,} faults in the files of the corpus are passed over, as corpus.tolerance allows: {_kinds(faults)}"
    )


def _problems(listed: Sequence[Fault], count: int) -> list[Problem]:
    found = [Problem(fault.where, fault.reason) for fault in listed]
    return found if count == len(listed) else [*found, Problem("", f"and {count - len(listed):,} more")]


def _kinds(faults: Faults) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(faults.kinds.items(), key=lambda item: -item[1]))
