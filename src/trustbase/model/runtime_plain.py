"""A plain model behind the Predictor's face: it reads texts and cells as they are, has no tokens, and needs numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase.data.cells import text_and_cells
from trustbase.errors import ModelError
from trustbase.model.plain.readers import read_all
from trustbase.model.plain.store import Readable, read_plain


@dataclass(frozen=True, eq=False)
class ReadRows:
    """Inputs as the model's numbers; each counts as one token of a batch."""

    matrix: sparse.csr_matrix

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.ones(self.matrix.shape[0], np.int64)


class PlainRuntime:
    """Runs `plain.json` with its numbers on the CPU."""

    name = "plain"
    precision = "fp32"
    precision_reason = "computed in float64, answered in float32"
    path = "numpy"
    outputs: tuple[str, ...] = ("logits",)

    def __init__(self, readable: Readable) -> None:
        self._readable = readable

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        tokenizer: Any = None,
        max_length: int = 0,
        precision: str = "fp32",
        device: str | None = None,
        threads: int | None = None,
        classes: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> PlainRuntime:
        """Open the numbers of an artefact; device and threads change nothing.

        Args:
            folder: holds `plain.json` with its numbers.
            precision: its own alone.
            classes: how many labels the artefact names, where it does.
            columns: whose cells it is asked with, where the artefact says so.

        Raises:
            ModelError: there is no plain model, or one of other classes and columns, or another precision than its own was asked for.
        """
        if precision != cls.precision:
            raise ModelError(
                f"{folder}: a plain model has one precision, {cls.precision}, and {precision} was asked for",
                hint=f"open it as {cls.precision}; where artifact.json says otherwise it was changed: train it again",
            )
        readable = read_plain(folder)
        found = (readable.model.classes, readable.columns)
        wanted = (found[0] if classes is None else classes, found[1] if columns is None else tuple(columns))
        if wanted != found:
            raise ModelError(
                f"{folder}: artifact.json names {wanted[0]} labels and the columns {list(wanted[1])}, "
                f"and plain.json {found[0]} and {list(found[1])}",
                hint="both were changed apart, or belong to different models: train it again",
            )
        return cls(readable)

    def prepare(self, inputs: Sequence[Any]) -> ReadRows:
        """Raises ValueError where an input does not hold the cells that the model reads."""
        readable = self._readable
        columns = readable.columns
        if not columns:
            return ReadRows(read_all(readable.readers, readable.model.view, inputs, {}))
        apart = [text_and_cells(value, len(columns)) for value in inputs]
        cells = dict(zip(columns, zip(*(cells for _, cells in apart), strict=True), strict=True))
        return ReadRows(read_all(readable.readers, readable.model.view, [text for text, _ in apart], cells))

    def computed_tokens(self, lengths: NDArray[np.integer]) -> int:
        return int(lengths.sum())

    def forward(self, output: str, encodings: ReadRows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._readable.model.logits(encodings.matrix[rows]).astype(np.float32)
