"""What the columns of a data file look like: enough to propose a recipe, from counts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trustbase.data.columns import fit_but_for_slips, number_of
from trustbase.errors import DataError, Problem

_MOST_ROWS = 20_000  # evenly spaced; a share is then known to half a point
_LETTERS, _DENSE_LETTERS = 20, 8  # of a cell, on average, from which a column reads like texts; the second of scripts such as Han
_MOST_LABELS, _ROWS_A_LABEL = 50, 5
_CHARACTERS_A_TOKEN = 4.0  # of Latin script, about; a Han character is a token of its own


@dataclass(frozen=True)
class Column:
    """One column, by counts."""

    name: str
    filled: int  # cells that are not empty
    values: Counter[str]
    numeric: bool  # cells that are not empty are numbers, but for slips
    tokens: tuple[float, ...]  # about so many in each cell
    han: float  # share of Han characters among its letters

    @property
    def distinct(self) -> int:
        return len(self.values)

    @property
    def reads_like_text(self) -> bool:
        """Whether people wrote it: words that hardly repeat, rather than names, numbers or codes."""
        if self.numeric or not self.filled or self.distinct < 0.3 * self.filled:
            return False
        if sum(self.tokens) / len(self.tokens) < (_DENSE_LETTERS if self.han > 0.3 else _LETTERS / _CHARACTERS_A_TOKEN):
            return False
        return self.han > 0.3 or sum(" " in value.strip() for value in self.values) > 0.5 * self.distinct

    @property
    def one_each(self) -> bool:
        """Whether every row has a value of its own."""
        return self.distinct == self.filled and self.filled > 1

    def unfit(self, read: Callable[[str], object]) -> Counter[str]:
        """Cells that `read` makes nothing of: it gives None of them."""
        return Counter({cell: rows for cell, rows in self.values.items() if read(cell) is None})

    def without(self, cells: Mapping[str, int]) -> Column:
        """The column less these cells."""
        left = Counter({cell: rows for cell, rows in self.values.items() if cell not in cells})
        return replace(self, filled=left.total(), values=left)

    def can_be_label(self, rows: int) -> bool:
        most = min(_MOST_LABELS, max(2, rows // _ROWS_A_LABEL))
        return fit_but_for_slips(self.filled, rows) and 2 <= self.distinct <= most and not self.reads_like_text


@dataclass(frozen=True)
class Look:
    """A file, as far as was looked."""

    reference: str
    rows: int
    looked_at: int
    columns: tuple[Column, ...]
    bad: int = 0  # rows that are none, and were not looked at

    def column(self, name: str) -> Column:
        """The column of this name.

        Raises:
            DataError: there is none.
        """
        from trustbase.data.template import unknown_column

        for column in self.columns:
            if column.name == name:
                return column
        names = [column.name for column in self.columns]
        raise DataError(f"{self.reference} has no column '{name}'", problems=[unknown_column("", name, names)])


def look_at(reference: str, *, root: Path) -> Look:
    """Read a file and count.

    Raises:
        DataError: it cannot be read, or holds no rows.
    """
    from trustbase.data.source import read_columns, read_table

    raw = read_table(reference, root=root, nested=read_columns(reference, root=root))  # any column may be the one of labels
    if not len(raw):
        problems = [Problem(f"{reference}:{bad.line}", bad.reason) for bad in raw.bad_rows]
        raise DataError(f"{reference} holds no rows that can be read", problems=problems, hint="name a file with a header and rows")
    step = max(1.0, len(raw) / _MOST_ROWS)
    chosen = [int(number * step) for number in range(min(len(raw), _MOST_ROWS))]
    table = raw.table.take(chosen) if len(chosen) < len(raw) else raw.table
    columns = tuple(_column(name, table[name].to_pylist()) for name in table.column_names)
    return Look(reference, len(raw), len(chosen), columns, len(raw.bad_rows))


def _column(name: str, cells: Sequence[str | None]) -> Column:
    filled = [cell for cell in cells if cell and cell.strip()]
    letters = [letter for cell in filled[:2000] for letter in cell[:500] if letter.isalpha()]
    han = sum("\u3400" <= letter <= "\u9fff" for letter in letters) / len(letters) if letters else 0.0
    values = Counter(filled)
    numbers = sum(rows for value, rows in values.items() if number_of(value) is not None)
    return Column(name, len(filled), values, fit_but_for_slips(numbers, len(filled)), tuple(_tokens(filled)), han)


def _tokens(cells: Sequence[str]) -> Iterator[float]:
    """About how many tokens a cell has, whatever the tokenizer."""
    for cell in cells:
        dense = sum("\u2e80" <= letter <= "\uffef" for letter in cell)
        yield dense + (len(cell) - dense) / _CHARACTERS_A_TOKEN
