"""Which words of an input can be attacked: words of its text, and of a template those that its columns fill, never the template's own.

A word that replaces another in a cell of a table is mostly no value of that column: of a model whose text is a template over columns, the
attack tells how far its answers hang on wordings, and not what somebody could type into a form. The finding's method says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.explain.units import words
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.data.pair import CELL
from trustbase.data.template import TextTemplate, cell_text

Spans = list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that are attacked.

    Attributes:
        texts: as the model is asked, `(rows,)`.
        numbers: of the test rows, `(rows,)`.
        truth: index of the true label, `(rows,)`.
        right: which are answered rightly, `(rows,)`.
    """

    texts: list[str]
    numbers: NDArray[np.int64]
    truth: NDArray[np.int64]
    right: NDArray[np.bool_]

    @classmethod
    def drawn(cls, context: AuditContext) -> Rows:
        """At most as many rows as the budget says."""
        numbers = sampled_rows(context, context.options.robustness.texts, "attack")
        inputs = asked_inputs(context)
        truth = np.asarray(context.test.labels[numbers], dtype=np.int64)
        return cls([inputs[row] for row in numbers.tolist()], numbers, truth, context.answers.predicted[numbers] == truth)

    def __len__(self) -> int:
        return len(self.texts)


def word_spans(text: str, columns: Sequence[str] = (), *, characters: bool = False) -> Spans:
    """Where the words of an input's text stand; cells that are asked beside it have none."""
    return [span for span in words(text, characters=characters, columns=columns).spans if span is not None]


class Cells:
    """Where the columns of a template stand in the inputs that it makes."""

    def __init__(self, context: AuditContext) -> None:
        source = context.artifact.text if context.artifact is not None else None
        template = TextTemplate.parse(source, None) if source else None
        known = template is not None and not template.plain and not template.entities
        held = known and template is not None and set(template.columns) <= set(context.test.table.column_names)
        self._template = template if held else None
        self._table = context.test.table

    @property
    def known(self) -> bool:
        """Whether inputs are made of columns, and which characters are theirs can be told."""
        return self._template is not None

    def spans(self, row: int, text: str) -> Spans | None:
        """Characters that columns fill in the input of a row; None where that is not known, and all of it may be attacked."""
        if self._template is None:
            return None
        cells: Mapping[str, Any] = {name: self._table[name][row].as_py() for name in self._template.columns}
        found, place = [], 0
        for part in self._template.parts:
            words = part if isinstance(part, str) else cell_text(cells[part.column]) or part.missing
            if not text.startswith(words, place):
                return None
            if not isinstance(part, str) and cell_text(cells[part.column]):
                found.append((place, place + len(words)))
            place += len(words)
        return found if place == len(text.split(CELL, 1)[0]) else None


def open_places(spans: Spans, cells: Spans | None) -> list[int]:
    """Places of the words that may be attacked."""
    if cells is None:
        return list(range(len(spans)))
    return [place for place, (start, end) in enumerate(spans) if any(first <= start and end <= last for first, last in cells)]
