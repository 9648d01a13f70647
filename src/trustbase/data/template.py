"""From columns to the text that the model reads: one column, or a template over several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from trustbase.data import marked
from trustbase.data.pair import SEPARATOR
from trustbase.errors import DataError, Problem

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_MISSING = "unknown"


@dataclass(frozen=True)
class Cell:
    """A place in a template that a column fills; `missing` is written where the cell is empty."""

    column: str
    missing: str


@dataclass(frozen=True)
class TextTemplate:
    """A text column, or literal text with `{column}` places; or several of these, whose texts are read together.

    `{column|words}` writes `words` where that cell is empty, `{{` and `}}` stand for braces. `source` carries all of it, so that a
    bundle needs nothing else to render its inputs as the training rows were rendered.

    Attributes:
        source: canonical text that `parse` turns into an equal template.
        parts: literal strings and cells, in order; a plain column is one cell.
        plain: whether the text is one column as it stands.
        sides: the templates of texts that are read together (`trustbase.data.pair`); none where there is one text.
        entities: columns of two spans in a plain text, head and tail, which are marked in it (`trustbase.data.marked`).
    """

    source: str
    parts: tuple[str | Cell, ...]
    plain: bool
    sides: tuple[TextTemplate, ...] = ()
    entities: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, columns: Sequence[str] | None, *, missing: str = DEFAULT_MISSING, names: Sequence[str] = ()) -> TextTemplate:
        """Read a column name or template.

        Args:
            text: what the recipe's `data.text` says; for a pair or a text with entities, what `DataOptions.reading` makes of all.
            columns: the columns there are, or None where they are not known (names are then taken as they stand).
            missing: what is written for an empty cell that does not say it itself.
            names: what the texts that are read together are called in messages.

        Raises:
            DataError: no such column, or braces that do not pair; every problem, with "did you mean".
        """
        if SEPARATOR in text:
            return cls._together(text, columns, missing, names)
        if (named := marked.three_columns(text)) is not None:
            return cls._marked(text, named, columns)
        braces = "{" in text or "}" in text
        if braces and columns is not None and text in columns:  # the bundle would take it for a template over other columns
            problem = Problem("data.text", f"column '{text}' has braces in its name, which stand around columns", "rename the column")
            raise DataError(f"data.text cannot name column '{text}'", problems=[problem])
        if (columns is not None and text in columns) or (columns is None and not braces):
            return cls(text, (Cell(text, ""),), plain=True)
        if not braces:
            raise DataError(f"data.text '{text}' is no column", problems=[unknown_column("data.text", text, columns or ())])
        parts, problems = _split(text, columns, missing)
        if not problems and not any(isinstance(part, Cell) for part in parts):
            problems = [Problem("data.text", f"the template names no column: '{text}'", "write column names in braces: {age}")]
        if problems:
            raise DataError("data.text is not a template over these columns", problems=problems)
        return cls(_canonical(parts), tuple(parts), plain=False)

    @classmethod
    def _together(cls, text: str, columns: Sequence[str] | None, missing: str, names: Sequence[str]) -> TextTemplate:
        sides: list[TextTemplate] = []
        problems: list[Problem] = []
        parts = text.split(SEPARATOR)
        known = names or ("data.text", "data.text_pair", *(f"data.choices.{number}" for number in range(1, len(parts))))
        for where, side in zip(known, parts, strict=False):
            try:
                sides.append(cls.parse(side, columns, missing=missing))
            except DataError as error:
                problems += [replace(problem, where=where) for problem in error.problems]
        if problems:
            told = " and ".join(dict.fromkeys(problem.where for problem in problems))
            raise DataError(f"{told} cannot be read as columns or templates over these columns", problems=problems)
        source = SEPARATOR.join(side.source for side in sides)
        joined = [part for side in sides for part in (SEPARATOR, *side.parts)][1:]
        return cls(source, tuple(joined), plain=False, sides=tuple(sides))

    @classmethod
    def _marked(cls, text: str, named: Sequence[str], columns: Sequence[str] | None) -> TextTemplate:
        keys = ("data.text", "data.head", "data.tail")
        problems = [
            unknown_column(key, name, columns) for key, name in zip(keys, named, strict=True) if columns is not None and name not in columns
        ]
        if problems:
            raise DataError("data.text, data.head and data.tail are not columns", problems=problems)
        return cls(text, tuple(Cell(name, "") for name in named), plain=False, entities=tuple(named[1:]))

    @property
    def whole(self) -> tuple[str, ...]:
        """Columns that are a text as they stand, so that none of their cells may be empty."""
        if self.entities:
            return self.columns[:1]
        return tuple(side.columns[0] for side in self.sides or (self,) if side.plain)

    @property
    def composed(self) -> tuple[tuple[str, ...], ...]:
        """The columns of each text that is made from several; not all of them may be empty in a row."""
        if self.entities:
            return ()
        return tuple(side.columns for side in self.sides or (self,) if not side.plain)

    @property
    def apart(self) -> tuple[str, ...]:
        """The columns that are read one by one, by a model that can; none where the text is one column as it stands, or a pair of texts."""
        return () if self.plain or self.sides else self.columns

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it shows to the model, each once, in order of appearance."""
        return tuple(dict.fromkeys(part.column for part in self.parts if isinstance(part, Cell)))

    def render(self, row: Mapping[str, Any]) -> str:
        """The text of one row; a column that is not in `row` counts as an empty cell.

        Raises:
            ValueError: entities that are none of the text (`marked.faults` finds such rows).
        """
        if self.entities:
            text, head, tail = (cell_text(row.get(name)) for name in self.columns)
            return marked.marked_cells(text, head, tail)
        return "".join(part if isinstance(part, str) else (cell_text(row.get(part.column)) or part.missing) for part in self.parts)

    def render_table(self, table: pa.Table) -> list[str]:
        """The texts of all rows of a string table (null: empty cell), equal to `render` row by row."""
        return list(self.column_of(table).to_pylist())

    def column_of(self, table: pa.Table) -> pa.ChunkedArray:
        """The same as a column of large strings."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.entities:
            rows = zip(*(table[name].to_pylist() for name in self.columns), strict=True)
            return pa.chunked_array([[marked.marked_cells(*cells) for cells in rows]], pa.large_string())
        empty = pa.scalar("", pa.large_string())
        if self.plain:
            return pc.fill_null(table[self.columns[0]].cast(pa.large_string()), empty)
        filled = [
            pa.scalar(part, pa.large_string())
            if isinstance(part, str)
            else pc.fill_null(table[part.column].cast(pa.large_string()), pa.scalar(part.missing, pa.large_string()))
            for part in self.parts
        ]
        return filled[0] if len(filled) == 1 else pc.binary_join_element_wise(*filled, empty)


def cell_text(value: Any) -> str:
    """A cell as text: nothing for None, NaN and blanks; booleans as JSON writes them."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if text.strip() else ""


def unknown_column(where: str, name: str, columns: Sequence[str]) -> Problem:
    """The problem of a column that is not there, with the nearest that is."""
    close = get_close_matches(name, columns, n=1) or [known for known in columns if known.lower() == name.strip().lower()][:1]
    hint = f"did you mean '{close[0]}'?" if close else f"columns: {', '.join(columns) or 'none'}"
    return Problem(where, f"there is no column '{name}'", hint)


def _split(text: str, columns: Sequence[str] | None, missing: str) -> tuple[list[str | Cell], list[Problem]]:
    """Cut a template into literals and cells, collecting every problem."""
    parts: list[str | Cell] = []
    problems: list[Problem] = []
    literal, position = "", 0
    while position < len(text):
        pair, char = text[position : position + 2], text[position]
        if pair in ("{{", "}}"):
            literal, position = literal + char, position + 2
        elif char == "{":
            end = text.find("}", position)
            name = text[position + 1 : end] if end > 0 else ""
            if end < 0 or "{" in name:
                problems.append(Problem("data.text", f"'{{' at character {position + 1} has no '}}'", "write {{ for a brace in the text"))
                break
            cell, found = _cell(name, columns, missing)
            problems += found
            parts += [literal, cell] if literal else [cell]
            literal, position = "", end + 1
        elif char == "}":
            problems.append(Problem("data.text", f"'}}' at character {position + 1} has no '{{'", "write }} for a brace in the text"))
            position += 1
        else:
            literal, position = literal + char, position + 1
    return [*parts, literal] if literal else parts, problems


def _cell(inside: str, columns: Sequence[str] | None, missing: str) -> tuple[Cell, list[Problem]]:
    if columns is not None and inside and inside in columns:
        return Cell(inside, missing), []
    name, bar, words = inside.rpartition("|") if "|" in inside else (inside, "", "")  # the last bar: a column's name may hold one
    cell = Cell(name, words if bar else missing)
    if not name:
        return cell, [Problem("data.text", "'{}' names no column", "write a column name between the braces")]
    if columns is None or name in columns:
        return cell, []
    return cell, [unknown_column("data.text", name, columns)]


def _canonical(parts: Sequence[str | Cell]) -> str:
    def write(part: str | Cell) -> str:
        if isinstance(part, str):
            return part.replace("{", "{{").replace("}", "}}")
        plain = part.missing == DEFAULT_MISSING and "|" not in part.column
        return "{" + part.column + ("" if plain else f"|{part.missing}") + "}"

    return "".join(map(write, parts))
