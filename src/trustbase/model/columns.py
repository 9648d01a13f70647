"""Table columns as numbers that a model can read: where a value lies among those of the training rows, or which name it is.

A number becomes its place among borders that cut the training rows into bins: 2.25 is a quarter of the way through the third bin. So
its scale, its outliers and its repeated values (most people have no capital gain) are all told by one number, which the head takes
apart again into a piecewise-linear encoding and the bin as such. An empty cell is a state of its own, and so is a name that training
hardly showed. Borders and names speak of at least ten training rows each, since they ship with the model. Imports no torch.

Source: Gorishniy, Rubachev, Babenko (2022), On embeddings for numerical features in tabular deep learning, section 3.1 and 3.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.cells import text_and_cells
from trustbase.data.columns import number_of
from trustbase.errors import DataError, ModelError
from trustbase.model.encoded import Encoded
from trustbase.model.folder import COLUMNS_FILE, read_object
from trustbase.model.sequencer import Sequencer

if TYPE_CHECKING:
    import pyarrow as pa

    from trustbase.data.options import FeatureOptions

COLUMNS_SCHEMA = "trustbase/columns/1"
MISSING, UNKNOWN = 0, 1  # codes of an empty cell and of a name that is none of the known ones
ABSENT = -1.0  # place of an empty cell of numbers; every other place is at least 0
_BINS = 128
_LEAST = 10  # training rows of a bin, and of a name
_MOST_NAMES = 250


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers: `borders` of its bins, rising, one more than there are bins."""

    name: str
    borders: tuple[float, ...]

    @classmethod
    def of(cls, name: str, cells: Sequence[str | None]) -> NumericColumn:
        """Borders midway between values at quantiles of the rows and of the distinct values; a bin of too few rows joins the next."""
        given = np.array([number for cell in cells if cell and (number := number_of(cell)) is not None])
        values = np.unique(given)
        if len(values) < 2:
            return cls(name, (float(values[0]), float(values[0]) + 1.0) if len(values) else (0.0, 1.0))
        shares = np.linspace(0, 1, _BINS + 1)
        # of the distinct values too: where nine of ten rows have the same one, quantiles of the rows say nothing of the others
        chosen = np.unique(np.concatenate([np.quantile(given, shares), np.quantile(values, shares)]))
        place = np.unique(np.searchsorted(values, chosen).clip(0, len(values) - 2))
        inner = (values[place] + values[place + 1]) / 2
        least = min(_LEAST, len(given) // 2)
        ordered = np.sort(given)
        borders = [float(ordered[least - 1])]  # the ends too speak of as many rows
        taken = 0
        for border, below in zip(inner, np.searchsorted(ordered, inner), strict=True):
            if below - taken >= least and len(ordered) - below >= least and border > borders[-1]:
                borders.append(float(border))
                taken = int(below)
        end = float(ordered[-least])
        return cls(name, (*borders, end if end > borders[-1] else borders[-1] + 1.0))

    @property
    def bins(self) -> int:
        return len(self.borders) - 1

    def places(self, cells: Sequence[str | None]) -> NDArray[np.float32]:
        """Where each cell lies, in bins from 0, values beyond the ends at the ends; `ABSENT` where it is empty, `(rows,)`.

        Raises:
            ValueError: a cell is no number.
        """
        found = np.array([ABSENT if not cell else _number(cell, self.name) for cell in cells], dtype=np.float64)
        empty = np.array([not cell for cell in cells], dtype=bool)
        placed = np.interp(found, self.borders, np.arange(self.bins + 1, dtype=np.float64))
        placed = np.minimum(placed, np.nextafter(np.float32(self.bins), np.float32(0)))
        return np.where(empty, ABSENT, placed).astype(np.float32)


@dataclass(frozen=True)
class CategoricalColumn:
    """A column of names: those known, the most frequent first."""

    name: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, name: str, cells: Sequence[str | None]) -> CategoricalColumn:
        """The names of enough training rows; the others are learned together, as what is unknown."""
        counts = Counter(cell for cell in cells if cell)
        known = sorted((value for value, count in counts.items() if count >= _LEAST), key=lambda value: (-counts[value], value))
        return cls(name, tuple(known[:_MOST_NAMES]))

    @property
    def codes(self) -> int:
        """How many codes there are, the two for missing and unknown included."""
        return len(self.values) + 2

    def encode(self, cells: Sequence[str | None]) -> NDArray[np.float32]:
        """The code of each cell, `(rows,)`."""
        known = {value: code + 2 for code, value in enumerate(self.values)}
        return np.array([known.get(cell, UNKNOWN) if cell else MISSING for cell in cells], dtype=np.float32)


@dataclass(frozen=True)
class ColumnEncoder:
    """How the cells of a row become numbers; everything in it was found on training rows alone."""

    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]

    @classmethod
    def of(cls, table: pa.Table, options: FeatureOptions) -> ColumnEncoder:
        """From the training rows: string columns, null for an empty cell."""
        return cls(
            tuple(NumericColumn.of(name, table[name].to_pylist()) for name in options.numeric),
            tuple(CategoricalColumn.of(name, table[name].to_pylist()) for name in options.categorical),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order in which their cells are asked."""
        return (*(column.name for column in self.numeric), *(column.name for column in self.categorical))

    @property
    def features(self) -> dict[str, tuple[str, ...]]:
        """The columns by kind, as a recipe names them."""
        return {"numeric": tuple(each.name for each in self.numeric), "categorical": tuple(each.name for each in self.categorical)}

    def encode(self, rows: Sequence[Sequence[str | None]]) -> NDArray[np.float32]:
        """Places of numbers, then codes of names, `(rows, columns)`.

        Args:
            rows: cells of each row in the order of `names`; "" or None is an empty one.

        Raises:
            ValueError: a cell of a numeric column is no finite number.
        """
        if not rows:
            return np.zeros((0, len(self.names)), np.float32)
        columns = list(zip(*rows, strict=True))
        middle = len(self.numeric)
        places = [column.places(cells) for column, cells in zip(self.numeric, columns[:middle], strict=True)]
        codes = [column.encode(cells) for column, cells in zip(self.categorical, columns[middle:], strict=True)]
        return np.stack([*places, *codes], axis=1)

    def unknown(self, inputs: Sequence[str]) -> dict[str, int]:
        """How many inputs (text and cells) hold a name that is none of the known ones, by column; columns without any left out."""
        cells = list(zip(*(text_and_cells(value, len(self.names))[1] for value in inputs), strict=True))
        if not cells:
            return {}
        found = {each.name: int((each.encode(cells[self.names.index(each.name)]) == UNKNOWN).sum()) for each in self.categorical}
        return {name: count for name, count in found.items() if count}

    def to_json(self) -> dict[str, Any]:
        """As `columns.json` holds it."""
        return {
            "schema": COLUMNS_SCHEMA,
            "numeric": [{"column": each.name, "borders": list(each.borders)} for each in self.numeric],
            "categorical": [{"column": each.name, "values": list(each.values)} for each in self.categorical],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnEncoder:
        """Inverse of `to_json`.

        Raises:
            ModelError: it is of another form.
        """
        try:
            if data["schema"] != COLUMNS_SCHEMA:
                raise ValueError(f"expected {COLUMNS_SCHEMA}, got {data['schema']!r}")
            numeric = tuple(NumericColumn(str(each["column"]), tuple(map(float, each["borders"]))) for each in data["numeric"])
            categorical = tuple(CategoricalColumn(str(each["column"]), tuple(map(str, each["values"]))) for each in data["categorical"])
            if any(len(each.borders) < 2 or not np.all(np.diff(each.borders) > 0) for each in numeric):
                raise ValueError("borders must rise")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"columns.json cannot be used: {error!r}", hint="take the model from a sound copy") from error
        return cls(numeric, categorical)


def encoder_in(folder: Path) -> ColumnEncoder | None:
    """How the model in a folder reads columns; None where it reads texts alone.

    Raises:
        ModelError: `columns.json` cannot be used.
    """
    path = folder / COLUMNS_FILE
    return ColumnEncoder.from_json(read_object(path)) if path.is_file() else None


def encode_inputs(tokenizer: Any, encoder: ColumnEncoder | None, inputs: Sequence[Any], sequencer: Sequencer) -> Encoded:
    """Token ids of what a model is asked, and its columns where it reads any.

    Args:
        tokenizer: from `load_tokenizer`.
        encoder: of the model's columns; None where it reads texts alone.
        inputs: texts, with their cells behind them where there is an encoder (`data.cells`), `(rows,)`.
        sequencer: how a text becomes sequences of tokens.

    Raises:
        DataError: some inputs are no texts.
        ValueError: an input has not the cells that the model reads, or a number that is none.
    """
    columns = 0 if encoder is None else len(encoder.names)
    if any(not isinstance(value, str) for value in inputs):
        raise DataError("an input must be a text", hint="ask with a str")
    parts = [text_and_cells(value, columns) for value in inputs]
    encoded = sequencer.encode(tokenizer, [text for text, _ in parts])
    return encoded if encoder is None else replace(encoded, columns=encoder.encode([cells for _, cells in parts]))


def _number(cell: str, name: str) -> float:
    found = number_of(cell)
    if found is None:
        raise ValueError(f"column '{name}' must be a finite number or empty, got {cell[:40]!r}")
    return found
