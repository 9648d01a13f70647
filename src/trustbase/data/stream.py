"""Sources that are larger than memory: gone through some rows at a time, of which numbers alone are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trustbase.data import labels, split
from trustbase.data.coded import Coded, Coder, coded
from trustbase.data.columnar import parquet_bytes, parquet_pieces
from trustbase.data.gather import Source, asked_of, checks_of, with_choices
from trustbase.data.many import Listed
from trustbase.data.options import DataOptions
from trustbase.data.rows import BadRow, RawTable, blank_to_null, check_rows, first_place, in_quotes
from trustbase.data.source import parquet_parts, read_table, source_digest
from trustbase.data.template import TextTemplate
from trustbase.data.truth.base import Read, Truth
from trustbase.errors import DataError, Problem
from trustbase.records import LabelSchema

LARGE = 1 << 27  # bytes of text, unpacked, from which rows are streamed: read as a whole they would take some six times that
_MOST_BAD = 500_000  # bad rows of one source: more are not gathered, since they would fill the memory that streaming saves


class Pieces:
    """The rows of one reference, some at a time, checked; they can be gone through again."""

    def __init__(self, options: DataOptions, template: TextTemplate, reference: str, root: Path, *, first: bool) -> None:
        """Args:
        options: the recipe's `data` section.
        template: how columns become text.
        reference: what is read; anything but Parquet is read as a whole, and is one piece.
        root: where relative paths start.
        first: whether a split column may stand in it.
        """
        self.reference = reference
        self._options, self._template, self._root = options, template, root
        self._asked = asked_of(options, template, first=first)
        self._parts = parquet_parts(reference, root=root, format=options.format)
        named: dict[str, Any] = {"format": options.format, "quoted": options.quoted, "query": options.query}
        self._whole = None if self._parts else read_table(reference, root=root, **named, **self._asked)
        self._starts = np.cumsum([0, *(pq.read_metadata(part.path).num_rows for part in self._parts)]).tolist()
        self.about = self._whole or self._described()
        self._repeats = self._find_repeats() if options.id is not None and self._parts else {}

    @property
    def parquet(self) -> bool:
        """Whether rows are read from Parquet files, where a row's line is its row."""
        return bool(self._parts)

    def __iter__(self) -> Iterator[RawTable]:
        options, template = self._options, self._template
        for piece in self._raw():
            named: dict[str, Any] = {"unique": options.id, "repeats": self._repeats}
            yield with_choices(check_rows(piece, **named, **checks_of(options, template)), options.label, template)

    def refuse_changed(self) -> None:
        """Refuse files that are no longer those of the first pass; to be asked after the last one.

        Raises:
            DataError: they changed, or are gone.
        """
        if not self._parts:
            return  # read once, as a whole
        try:
            now = source_digest(self.reference, self._root)
        except DataError as error:
            raise self._changed() from error
        if now != self.about.digest:
            raise self._changed()

    def refuse_other_rows(self, piece: RawTable, expected: NDArray[np.integer[Any]]) -> None:
        """Refuse a piece whose usable rows are not those of the first pass, which labels and parts are known of.

        Raises:
            DataError: they are others.
        """
        if not np.array_equal(piece.row_numbers, expected):
            raise self._changed()

    def _changed(self) -> DataError:
        problem = Problem(self.reference, "changed while it was read", "run it again when nothing writes to it")
        return DataError(f"{self.reference} changed while it was read", hint=problem.hint, problems=[problem])

    def _described(self) -> RawTable:
        """Digest, size and files of a source whose rows stay where they are."""
        none = np.zeros(0, np.int64)
        size = sum(part.path.stat().st_size for part in self._parts)
        digest = source_digest(self.reference, self._root)
        return RawTable(pa.table({}), none, none, (), self._starts[-1], self.reference, digest, size, files=self._files())

    def _files(self) -> tuple[tuple[int, str], ...]:
        several = [part.name for part in self._parts] != [self.reference]
        return tuple((start + 1, part.name) for start, part in zip(self._starts, self._parts, strict=False)) if several else ()

    def _raw(self) -> Iterator[RawTable]:
        if self._whole is not None:
            yield self._whole
            return
        files = self._files()
        for start, end, part in zip(self._starts, self._starts[1:], self._parts, strict=False):
            for piece in self._pieces_of(part, end - start):
                bad = tuple(replace(row, row=row.row + start, file=part.name if files else "") for row in piece.bad_rows)
                yield replace(piece, row_numbers=piece.row_numbers + start, bad_rows=bad, source=self.reference, files=files)

    def _pieces_of(self, part: Listed, rows: int) -> Iterator[RawTable]:
        """The pieces of one file, which must be as many rows as its head said at first."""
        done = 0
        try:
            for piece in parquet_pieces(part.path, self._asked["columns"], part.name, self._asked["whole"]):
                done += piece.total
                if done > rows:
                    raise self._changed()
                yield piece
        except DataError:
            self.refuse_changed()  # what a file that was replaced lacks is not what to say of it
            raise
        if done != rows:
            raise self._changed()

    def _find_repeats(self) -> dict[int, str]:
        """Row number of each row whose id stood in an earlier one → where that is. Keys first; then the few values that share one."""
        found = [split.keys([value for value in self._ids(piece).to_pylist() if value is not None]) for piece in self._raw()]
        distinct, counts = np.unique(np.concatenate(found), return_counts=True) if found else (np.zeros(0, np.uint64), np.zeros(0))
        again = distinct[counts > 1]
        repeats: dict[int, str] = {}
        places: dict[str, str] = {}
        for piece in self._raw() if len(again) else ():
            values = self._ids(piece).to_pylist()
            known = np.isin(split.keys([value or "" for value in values]), again)
            for index in np.flatnonzero(known).tolist():
                value = values[index]
                if value is not None and value in places:
                    repeats[int(piece.row_numbers[index])] = places[value]
                elif value is not None:
                    places[value] = first_place(piece, index)
        return repeats

    def _ids(self, piece: RawTable) -> pa.ChunkedArray:
        return blank_to_null(piece.table.select([self._options.id]), keep=self._template.whole)[self._options.id]


@dataclass
class StreamedSource(Source):
    """A source whose rows stay on disk: what divides, counts and knows them is kept, some twenty bytes a row in all."""

    pieces: Pieces | None = None
    columns: Mapping[str, Coded] = field(default_factory=dict)
    text_keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    owners: NDArray[np.uint64] | None = None

    def rows(self) -> NDArray[np.int64]:
        return np.arange(len(self.raw), dtype=self.raw.row_numbers.dtype)

    def coded(self, column: str, *, trimmed: bool = True) -> Coded:
        return self.columns[column]

    def entity_keys(self, column: str) -> NDArray[np.uint64]:
        assert self.owners is not None
        return self.owners

    def label_cells(self, column: str, rows: NDArray[np.int64]) -> pa.ChunkedArray:
        """The labels that occur, each once: of classes that is all that is asked."""
        found = self.columns[column]
        counts = np.bincount(found.codes[rows], minlength=len(found.words))
        return pa.chunked_array([[word for word, count in zip(found.words, counts.tolist(), strict=True) if count]], pa.string())

    def read_truth(self, truth: Truth, column: str, schema: LabelSchema, *, whose: str) -> Read:
        """Bad rows alone; the labels of the others are read again where rows are written."""
        found = self.columns[column]
        known = np.array([word in schema.names for word in found.words], dtype=bool)
        unknown = [] if known.all() else np.flatnonzero(~known[found.codes]).tolist()
        bad = {row: (f"(label) is none {whose}", f"got {in_quotes(found.words[found.codes[row]])}") for row in unknown}
        return Read(np.zeros(0, np.int64), bad)

    def needed(
        self, truth: Truth, column: str, schema: LabelSchema, rows: NDArray[np.int64], taken: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        return truth.needed(labels.codes_of(self.columns[column], schema)[rows], taken, schema)

    def keys(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        return self.text_keys if len(rows) == len(self.text_keys) else self.text_keys[rows]


def is_large(options: DataOptions, root: Path) -> bool:
    """Whether a recipe's rows are better streamed: as it says, else where its Parquet files hold much text."""
    if options.memory != "auto":
        return options.memory == "stream"
    named = {options.label, *options.groups, *([options.id] if options.id else []), *([options.split.key] if options.split.key else [])}
    for reference in (options.train, options.validation, options.test, options.calibration):
        if reference is None:
            continue
        parts = parquet_parts(reference, root=root, format=options.format)
        size = sum(_bytes_used(part, options, named) for part in parts)
        if size > LARGE:
            return True
    return False


def _bytes_used(part: Listed, options: DataOptions, named: set[str]) -> int:
    columns = pq.read_schema(part.path).names
    shown = TextTemplate.parse(options.reading, columns, missing=options.missing, names=tuple(options.read_together)).columns
    return parquet_bytes(part.path, {*named, *shown}, part.name)


def survey(options: DataOptions, template: TextTemplate, reference: str, root: Path, *, first: bool) -> StreamedSource:
    """Go through a source once.

    Raises:
        DataError: it cannot be read, or hardly a row of it can be used.
    """
    pieces = Pieces(options, template, reference, root, first=first)
    by = options.split.by
    entity = None if isinstance(by, str) else by.entity
    trimmed = {options.label: True}
    trimmed |= {name: False for name in (options.split.column if first else None, None if entity else options.split.key) if name}
    total = pieces.about.total
    small = np.int32 if total < 1 << 31 else np.int64
    coders = {name: Coder(total) for name in trimmed}
    numbers = np.empty(total, small)
    lines = np.empty(total, small) if pieces.about.files or not pieces.parquet else numbers
    keys = np.empty(total, np.uint64)
    owners = np.empty(total if entity is not None else 0, np.uint64)
    done = 0
    bad: list[BadRow] = []
    for piece in pieces:
        own = slice(done, done + len(piece))
        numbers[own] = piece.row_numbers
        if lines is not numbers:
            lines[own] = piece.lines
        bad += piece.bad_rows
        if len(bad) > _MOST_BAD:
            message = f"over {_MOST_BAD:,} rows cannot be used, of which these are the first"
            found = [Problem(reference, message, "is it the right file?"), *(Problem(row.where(reference), row.reason) for row in bad[:50])]
            raise DataError(f"{reference}: {message}", problems=found)
        keys[own] = split.keys(template.column_of(piece.table).to_pylist())
        for name, coder in coders.items():
            coder.add(pc.utf8_trim_whitespace(piece.table[name]) if trimmed[name] else piece.table[name])
        if entity is not None:
            owners[own] = split.entity_keys(coded(pc.utf8_trim_whitespace(piece.table[entity])))
        done = own.stop
    kept: dict[str, Any] = {"row_numbers": numbers[:done], "lines": lines[:done]}
    raw = replace(pieces.about, table=pa.table({}), bad_rows=tuple(bad), **kept)
    return StreamedSource(
        reference,
        raw,
        pieces=pieces,
        columns={name: coder.done() for name, coder in coders.items()},
        text_keys=keys[:done],
        owners=owners[:done] if entity is not None else None,
    )
