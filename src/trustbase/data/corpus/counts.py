"""What came in and what stayed after every step, for each source: documents and characters; and a few examples of what fell to which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXAMPLES = 3  # of each reason
_EXCERPT = 400  # characters

#: In the order in which they act; a reason of quality is `quality:RULE`.
STEPS = ("empty", "language", "quality", "contaminated", "exact duplicate", "near duplicate")


@dataclass
class Counts:
    """Documents and characters by source, step and reason.

    Attributes:
        read: `{source: [documents, characters]}` as they came from the files, normalised.
        dropped: `{source: {reason: [documents, characters]}}`.
        languages: `{source: {language: documents}}`, before the filter.
        scrubbed: `{source: {kind: pieces}}`.
    """

    read: dict[str, list[int]] = field(default_factory=dict)
    dropped: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    languages: dict[str, dict[str, int]] = field(default_factory=dict)
    scrubbed: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def count_read(self, sources: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Documents of these sources and sizes were read, `(documents,)` each."""
        for source in np.unique(sources).tolist():
            own = sources == source
            _add(self.read.setdefault(str(source), [0, 0]), int(own.sum()), int(sizes[own].sum()))

    def count_dropped(self, reason: str, sources: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Documents of these sources and sizes fell to `reason`, `(documents,)` each."""
        for source in np.unique(sources).tolist():
            own = sources == source
            _add(self.dropped.setdefault(str(source), {}).setdefault(reason, [0, 0]), int(own.sum()), int(sizes[own].sum()))

    def count_languages(self, sources: NDArray[np.int64], languages: NDArray[np.int8], names: Sequence[str]) -> None:
        for source in np.unique(sources).tolist():
            entry = self.languages.setdefault(str(source), {})
            for code, count in zip(*np.unique(languages[sources == source], return_counts=True), strict=True):
                entry[names[code]] = entry.get(names[code], 0) + int(count)

    def count_scrubbed(self, source: int, counts: Mapping[str, int]) -> None:
        entry = self.scrubbed.setdefault(str(source), {})
        for kind, count in counts.items():
            entry[kind] = entry.get(kind, 0) + count

    def room(self, reason: str) -> int:
        """How many more examples of a reason are wanted."""
        return EXAMPLES - len(self.examples.get(reason, ()))

    def add_example(self, reason: str, where: str, text: str, **more: Any) -> None:
        cut = text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…"
        self.examples.setdefault(reason, []).append({"reason": reason, "where": where, "characters": len(text), "text": cut, **more})

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("read", "dropped", "languages", "scrubbed", "examples")}

    def join(self, value: Mapping[str, Any]) -> None:
        """Add the counts of a shard."""
        for source, pair in value["read"].items():
            _add(self.read.setdefault(source, [0, 0]), *pair)
        for source, reasons in value["dropped"].items():
            for reason, pair in reasons.items():
                _add(self.dropped.setdefault(source, {}).setdefault(reason, [0, 0]), *pair)
        for name in ("languages", "scrubbed"):
            for source, entries in value[name].items():
                mine = getattr(self, name).setdefault(source, {})
                for key, count in entries.items():
                    mine[key] = mine.get(key, 0) + count
        for reason, examples in value["examples"].items():
            mine = self.examples.setdefault(reason, [])
            mine += examples[: EXAMPLES - len(mine)]


def _add(pair: list[int], documents: int, characters: int) -> None:
    pair[0] += documents
    pair[1] += characters
