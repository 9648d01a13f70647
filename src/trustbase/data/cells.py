"""What a model is asked with where it reads columns too: the text and the cells of these columns, as one string.

So a row is hashed, kept, handed to other processes and asked about as any other text is, and only what puts both together and the
runtime that reads columns know. Nothing is read back out of the words of a template: there "3, 4" may be one cell or two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trustbase.data.pair import CELL
from trustbase.data.template import TextTemplate, cell_text

if TYPE_CHECKING:
    import pyarrow as pa

    from trustbase.records import ArtifactInfo, Split


@dataclass(frozen=True)
class Reading:
    """How a row of columns becomes what a model is asked: its text, and the cells that it is asked with.

    Attributes:
        template: what makes the text.
        columns: whose cells are asked too, in this order.
        numeric: those of them whose cells must be numbers where they are not empty.
    """

    template: TextTemplate
    columns: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()

    @classmethod
    def of(cls, info: ArtifactInfo) -> Reading:
        """What an artefact says that it reads."""
        return cls(TextTemplate.parse(info.text or "text", None), info.columns, (*info.features.get("numeric", ()), *info.numbers))

    @property
    def needed(self) -> tuple[str, ...]:
        """Every column that a row must have, each once."""
        return tuple(dict.fromkeys((*self.template.columns, *self.columns)))

    def render(self, row: Mapping[str, Any]) -> str:
        """The input of one row; a column that is not in `row` counts as an empty cell."""
        return CELL.join((self.template.render(row), *(cell_text(row.get(name)) for name in self.columns)))

    def render_table(self, table: pa.Table) -> Sequence[str]:
        """The inputs of all rows of a string table, equal to `render` row by row."""
        return with_cells(self.template.render_table(table), table, self.columns)


def inputs_of(split: Split, columns: Sequence[str]) -> Sequence[str]:
    """What a model that reads these columns beside the text is asked for each row of a split, `(rows,)`."""
    return with_cells(split.texts, split.table, columns)


def with_cells(texts: Sequence[str], table: pa.Table, columns: Sequence[str]) -> Sequence[str]:
    """Each text with the cells of its row, in the order of `columns`; the texts themselves where there are none.

    Args:
        texts: what the template makes of each row, `(rows,)`.
        table: string columns of the same rows; null is an empty cell.
        columns: which of them are carried.
    """
    if not columns:
        return texts
    cells = [table[name].to_pylist() for name in columns]
    return [CELL.join((text, *(cell or "" for cell in row))) for text, *row in zip(texts, *cells, strict=True)]


def text_and_cells(value: str, columns: int) -> tuple[str, list[str]]:
    """The text and its cells again; an empty cell is "".

    Raises:
        ValueError: not so many cells.
    """
    text, *cells = value.split(CELL)
    if len(cells) != columns:
        raise ValueError(f"expected a text and {columns} cells after it, got {len(cells)}: ask with data.cells.with_cells")
    return text, cells
