"""Token ids of many texts as ragged arrays, and batches cut from them.

Most texts are one sequence of tokens. A long text read in windows is several, and so is a question with its choices: then a row owns
several sequences, all of them go through the model, and what it says of them is put together (`model.pooling`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Encoded:
    """Token ids of many texts, end to end.

    Attributes:
        ids: int32 `(tokens,)`, special tokens included. Of `stored` rows this, `offsets`, `full_lengths` and `segments` are what is used
            of such arrays (`StoredNumbers`).
        offsets: int64 `(rows + 1,)`; row i is `ids[offsets[i]:offsets[i + 1]]`.
        full_lengths: tokens that each text has before truncation, int64 `(rows,)`.
        segments: 1 for tokens of the second text of a pair, uint8 `(tokens,)`; None where there are no pairs, or the tokenizer's
            models are not told.
        columns: places and codes of the row's table columns (`model.columns`), fp32 `(rows, columns)`; None for texts alone.
        unit_places: position in its sequence of each unit's first token (`data.units`), -1 where that was cut off or there is none, int64
            `(units,)`; None where no units were asked for.
        unit_bounds: sequence i answers for the units `unit_bounds[i]:unit_bounds[i + 1]`, int64 `(sequences + 1,)`; None where there are
            none. Each unit is answered for once, and those of a row stand in order.
        sequences: row i owns the sequences `sequences[i]:sequences[i + 1]`, int64 `(rows + 1,)`, and then it is a sequence, and no row,
            that `offsets` bounds; None where each row is one.
        together: how a model's words on the sequences of a row become one: "mean", or "choices" side by side.
        unread: tokens of each row that no sequence holds, int64 `(rows,)`; None: `full_lengths - lengths`.
        characters: first and one after the last character of each token in the text that is searched, int32 `(tokens, 2)`, -1 for
            tokens of anything else; None where nothing is searched.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    full_lengths: NDArray[np.int64]
    segments: NDArray[np.uint8] | None = None
    columns: NDArray[np.float32] | None = None
    unit_places: NDArray[np.int64] | None = None
    unit_bounds: NDArray[np.int64] | None = None
    sequences: NDArray[np.int64] | None = None
    together: str = "mean"
    unread: NDArray[np.int64] | None = None
    characters: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.full_lengths)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row after truncation, of all its sequences together, `(rows,)`."""
        return np.diff(self.offsets if self.sequences is None else self.offsets[self.sequences])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Tokens that each row takes in a padded batch of its like: its sequences × the longest of them, `(rows,)`."""
        if self.sequences is None:
            return self.lengths
        counts = np.diff(self.sequences)
        return np.asarray(counts * np.maximum.reduceat(np.diff(self.offsets), self.sequences[:-1]), dtype=np.int64)

    @property
    def row_units(self) -> NDArray[np.int64]:
        """Row i has the units `row_units[i]:row_units[i + 1]`, of all its sequences, `(rows + 1,)`."""
        assert self.unit_bounds is not None
        return self.unit_bounds if self.sequences is None else self.unit_bounds[self.sequences]

    @property
    def lost(self) -> NDArray[np.int64]:
        """Tokens of each row that the model does not read, `(rows,)`."""
        return self.full_lengths - self.lengths if self.unread is None else self.unread

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Whether a row lost tokens, `(rows,)`."""
        return self.lost > 0

    @property
    def flat(self) -> Encoded:
        """The same with a row for each sequence."""
        if self.sequences is None:
            return self
        columns = None if self.columns is None else np.repeat(self.columns, np.diff(self.sequences), axis=0)
        return replace(self, full_lengths=np.diff(self.offsets), columns=columns, sequences=None, unread=None)

    def of_rows(self, rows: NDArray[np.integer] | Sequence[int]) -> NDArray[np.int64]:
        """The sequences of these rows, in that order."""
        picked = np.asarray(rows, dtype=np.int64)
        return picked if self.sequences is None else within(self.sequences[picked], np.diff(self.sequences)[picked])

    def take(self, rows: NDArray[np.integer] | Sequence[int]) -> Encoded:
        """The named rows, in that order."""
        picked = np.asarray(rows, dtype=np.int64)
        if self.sequences is not None:
            part = replace(self.flat, columns=None).take(self.of_rows(picked))
            return replace(
                part,
                full_lengths=self.full_lengths[picked],
                sequences=offsets_of(np.diff(self.sequences)[picked]),
                together=self.together,
                unread=None if self.unread is None else self.unread[picked],
                columns=None if self.columns is None else self.columns[picked],
            )
        starts = self.offsets[picked]
        lengths = self.offsets[picked + 1] - starts
        offsets = offsets_of(lengths)
        where = within(starts, lengths)
        segments = None if self.segments is None else self.segments[where]
        characters = None if self.characters is None else self.characters[where]
        columns = None if self.columns is None else self.columns[picked]
        taken = Encoded(self.ids[where], offsets, self.full_lengths[picked], segments, columns, characters=characters)
        if self.unit_places is None or self.unit_bounds is None:
            return taken
        counts = np.diff(self.unit_bounds)[picked]
        return replace(taken, unit_places=self.unit_places[within(self.unit_bounds[picked], counts)], unit_bounds=offsets_of(counts))


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where rows of these lengths begin and end, one after another, `(rows + 1,)`."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def within(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of pieces that lie end to end somewhere, one piece after another, `(sum of lengths,)`."""
    offsets = offsets_of(lengths)
    return np.asarray(np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1]), dtype=np.int64)


def joined(parts: Sequence[Encoded]) -> Encoded:
    """All rows of several, in order."""
    if not parts:
        return Encoded(np.empty(0, np.int32), offsets_of(np.empty(0, np.int64)), np.empty(0, np.int64))
    told = any(part.segments is not None for part in parts)
    kinds = [np.zeros(len(part.ids), np.uint8) if part.segments is None else part.segments for part in parts] if told else None
    whole = Encoded(
        np.concatenate([part.ids for part in parts]),
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.full_lengths for part in parts]),
        None if kinds is None else np.concatenate(kinds),
    )
    places = [part.unit_places for part in parts if part.unit_places is not None]
    bounds = [np.diff(part.unit_bounds) for part in parts if part.unit_bounds is not None]
    if len(places) == len(parts):
        whole = replace(whole, unit_places=np.concatenate(places), unit_bounds=offsets_of(np.concatenate(bounds)))
    several = [part for part in parts if part.sequences is not None]
    if not several:
        return whole
    counts = [np.ones(len(part), np.int64) if part.sequences is None else np.diff(part.sequences) for part in parts]
    found = [part.characters for part in parts if part.characters is not None]
    return replace(
        whole,
        sequences=offsets_of(np.concatenate(counts)),
        together=several[0].together,
        unread=np.concatenate([part.lost for part in parts]),
        characters=np.concatenate(found) if len(found) == len(parts) else None,
    )


class StoredNumbers:
    """Numbers in a file, read where they are asked for: what is used of an array, without its memory.

    The file is read and not mapped: a mapped one counts as memory of the process as far as its pages, up to megabytes each, were touched.
    """

    def __init__(self, path: Path, dtype: Any) -> None:
        self._file = path.open("rb", buffering=0)
        self._dtype = np.dtype(dtype)
        self.size: int = path.stat().st_size // int(self._dtype.itemsize)

    def __len__(self) -> int:
        return self.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them, in memory."""
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def __getitem__(self, places: slice | NDArray[np.integer]) -> NDArray[Any]:
        """The numbers at a slice of step 1, or at an array of places from 0; neighbouring places are read at once."""
        if isinstance(places, slice):
            first, last, step = places.indices(self.size)
            if step != 1:
                raise ValueError(f"stored numbers are read in order, got step {step}")
            return self._run(first, max(last - first, 0))
        asked = np.asarray(places, dtype=np.int64)
        flat = asked.ravel()
        starts = np.flatnonzero(np.diff(flat, prepend=-2) != 1)
        lengths = np.diff(np.append(starts, flat.size))
        runs = [self._run(first, count) for first, count in zip(flat[starts].tolist(), lengths.tolist(), strict=True)]
        return np.concatenate([np.zeros(0, self._dtype), *runs]).reshape(asked.shape)

    def _run(self, first: int, count: int) -> NDArray[Any]:
        if not 0 <= first <= first + count <= self.size:
            raise IndexError(f"numbers {first} to {first + count} of {self.size}")
        size = self._dtype.itemsize
        return np.frombuffer(os.pread(self._file.fileno(), count * size, first * size), self._dtype, count)


_KEPT = {"ids": np.int32, "segments": np.uint8, "offsets": np.int64, "full_lengths": np.int64, "sequences": np.int64, "unread": np.int64}


def stored(parts: Iterable[Encoded], folder: Path) -> Encoded:
    """All rows of several, in order, in files of `folder`; nothing that is as long as the rows stands in memory, but of rows in windows."""
    told, together, tokens = False, "", 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in _KEPT}

        def write(name: str, numbers: NDArray[Any]) -> None:
            files[name].write(numbers.astype(_KEPT[name], copy=False).tobytes())

        write("offsets", np.zeros(1))
        for part in parts:
            several = part.sequences is not None
            write("ids", part.ids)
            write("segments", np.zeros(len(part.ids)) if part.segments is None else part.segments)
            write("offsets", part.offsets[1:] + tokens)
            write("full_lengths", part.full_lengths)
            write("sequences", np.ones(len(part)) if part.sequences is None else np.diff(part.sequences))
            write("unread", part.lost)
            tokens += len(part.ids)
            told, together = told or part.segments is not None, part.together if several else together
    if not tokens:
        return joined([])
    kept: dict[str, Any] = {name: StoredNumbers(folder / f"{name}.bin", dtype) for name, dtype in _KEPT.items()}
    whole = Encoded(kept["ids"], kept["offsets"], kept["full_lengths"], kept["segments"] if told else None)
    if not together:
        return whole
    return replace(whole, sequences=offsets_of(np.asarray(kept["sequences"])), together=together, unread=np.asarray(kept["unread"]))


def pad(encoded: Encoded, rows: NDArray[np.integer] | Sequence[int], pad_id: int) -> dict[str, NDArray[Any]]:
    """One batch, padded on the right to its longest row; rows of several sequences give a line for each of these.

    Returns:
        `input_ids` and `attention_mask`, int64 `(batch, longest)`; of pairs also `token_type_ids`, and `columns`
        `(batch, columns)` where there are any. Nothing else is needed: models take position 0… and segment 0 by default.
    """
    part = encoded.take(rows).flat
    lengths = part.lengths
    mask = np.arange(int(lengths.max(initial=0)))[None, :] < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = part.ids
    batch: dict[str, NDArray[Any]] = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
    if part.segments is not None:
        kinds = np.zeros(mask.shape, dtype=np.int64)
        kinds[mask] = part.segments
        batch["token_type_ids"] = kinds
    if part.columns is not None:
        batch["columns"] = part.columns
    return batch
