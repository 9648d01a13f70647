"""A plain model on disk: `plain.json` says what it reads, `plain.safetensors` holds its numbers. Nothing in either can run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files
from trustbase.errors import ModelError
from trustbase.model.artifact import PLAIN_FILE
from trustbase.model.header import header_problem
from trustbase.model.plain.described import PLAIN_SCHEMA, described
from trustbase.model.plain.readers import Feature, Numbers, Reader, all_features, read_all
from trustbase.model.plain.shared import PlainModel, Told
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import PLAIN_MODELS
from trustbase.records import LabelSchema

NUMBERS_FILE = "plain.safetensors"
_MOST_BYTES = 64 * 2**20  # of the description: some of the most terms that there may be
_DTYPES = {"F64": "float64", "I32": "int32", "U8": "uint8"}  # as safetensors calls them


@dataclass(frozen=True)
class Readable:
    """A plain model with what it reads.

    Attributes:
        columns: whose cells it is asked with (`data.cells`), in this order; none where it reads the text alone.
        readers: what makes numbers of text and cells.
    """

    model: PlainModel
    columns: tuple[str, ...]
    readers: tuple[Reader, ...]

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns that it takes for numbers."""
        return tuple(reader.column for reader in self.readers if isinstance(reader, Numbers))

    @property
    def features(self) -> list[Feature]:
        return all_features(self.readers, self.model.view)

    def logits(self, texts: Sequence[str], cells: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Scores of rows, float64 `(rows, classes)`; `cells` holds those of each row in the order of `columns`."""
        by_column = dict(zip(self.columns, zip(*cells, strict=True), strict=True)) if self.columns and texts else {}
        return self.model.logits(read_all(self.readers, self.model.view, texts, by_column))

    def told(self, labels: LabelSchema) -> Told:
        """The model in words."""
        said = self.model.told(self.features, labels)
        if self.model.view != "flags":
            return said
        filled = [reader for reader in self.readers if isinstance(reader, Numbers) and any(reader.column in line for line in said.lines)]
        return replace(said, lines=(*said.lines, *(f"(an empty {reader.column} counts as {reader.fill:g})" for reader in filled)))


def write_plain(readable: Readable, folder: Path) -> None:
    """Write both files into a folder."""
    from safetensors.numpy import save

    model = readable.model
    said = {
        "schema": PLAIN_SCHEMA,
        "kind": model.kind,
        "classes": model.classes,
        "columns": list(readable.columns),
        "readers": [reader.to_json() for reader in readable.readers],
    }
    files.write_json(folder / PLAIN_FILE, said)
    files.write_bytes(folder / NUMBERS_FILE, save({name: np.ascontiguousarray(array) for name, array in model.arrays.items()}))


def read_plain(folder: Path) -> Readable:
    """Inverse of `write_plain`.

    Raises:
        ModelError: the files are not there, or hold no plain model.
    """
    from safetensors import SafetensorError

    try:
        size = (folder / PLAIN_FILE).stat().st_size
        if size > _MOST_BYTES:
            raise ValueError(f"{PLAIN_FILE} has {size:,} bytes where {_MOST_BYTES:,} are the most")
        said = described(files.read_at_most(folder / PLAIN_FILE, -1))
        readers = said.made()
        kind: type[PlainModel] = load(PLAIN_MODELS[said.kind])
        features = len(all_features(readers, kind.view))
        arrays = _arrays(folder / NUMBERS_FILE, kind, features, said.classes)
        return Readable(kind(arrays, features, said.classes), said.columns, readers)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no plain model that can be read: {error}", hint="train it again") from error


def _arrays(path: Path, kind: type[PlainModel], features: int, classes: int) -> dict[str, NDArray[Any]]:
    """What the file holds, where the head of it says that it holds what it should: nothing is read before."""
    from safetensors import safe_open

    files.read_at_most(path, 0)  # refuses what is no regular file
    if problem := header_problem(path):
        raise ValueError(f"{path.name}: {problem}")
    with safe_open(path, framework="numpy") as opened:
        parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
        kind.check_form(
            {name: (_DTYPES.get(part.get_dtype(), "?"), tuple(part.get_shape())) for name, part in parts.items()}, features, classes
        )
        return {name: opened.get_tensor(name) for name in parts}


def example_values(folder: Path) -> dict[str | None, list[str]]:
    """Values that each column (None: the text) may have, made from what ships with the model: for inputs of no real row."""
    return {reader.column: reader.examples() for reader in read_plain(folder).readers}
