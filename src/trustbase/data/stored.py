"""Rows of a split in a Parquet file of the run: written some at a time, and read again as they are asked for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trustbase.errors import DataError
from trustbase.records import LabelSchema, Split

TEXT, LABEL, ROW, ENTITY = "text", "label", "row", "entity"
GROUP, COLUMN = "group:", "column:"
_GROUP_BYTES = 8 << 20  # of a row group: what is read at once when one row is asked for
_READ_ROWS = 16_384


class RowWriter:
    """Writes the rows of one split, as pieces come; nothing is kept but the last few MB."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """The next rows."""
        self._waiting.append(table)
        if sum(waiting.nbytes for waiting in self._waiting) >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left; a split without rows leaves no file."""
        if self._waiting:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        table = pa.concat_tables(self._waiting)
        self._waiting = []
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)


class StoredTexts(Sequence[str]):
    """The texts of a stored split. One after the other they are read in order; a single one costs its row group."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = pq.ParquetFile(path, pre_buffer=False)
        meta = self._file.metadata
        self._starts = np.cumsum([0, *(meta.row_group(i).num_rows for i in range(meta.num_row_groups))])
        self._held: tuple[int, pa.ChunkedArray] | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            if step != 1:
                return [self[row] for row in range(first, last, step)]
            return [text for part in self._parts(first, last) for text in part.to_pylist()]
        row = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        return str(self._group(group)[row - int(self._starts[group])].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _READ_ROWS):
            yield from self[start : start + _READ_ROWS]

    def _parts(self, first: int, last: int) -> Iterator[pa.ChunkedArray]:
        group = int(np.searchsorted(self._starts, first, side="right")) - 1
        while first < last:
            end = min(last, int(self._starts[group + 1]))
            yield self._group(group).slice(first - int(self._starts[group]), end - first)
            first, group = end, group + 1

    def _group(self, group: int) -> pa.ChunkedArray:
        if self._held is None or self._held[0] != group:
            self._held = None  # two are never held
            self._held = group, self._file.read_row_group(group, columns=[TEXT], use_threads=False)[TEXT]
        return self._held[1]


class StoredColumns:
    """The raw columns of a stored split: what is used of a table, with one column read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        meta = pq.read_metadata(path)
        self.num_rows = meta.num_rows
        names = [name.removeprefix(COLUMN) for name in meta.schema.to_arrow_schema().names if name.startswith(COLUMN)]
        self.column_names: list[str] = names
        self.num_columns = len(names)

    def __len__(self) -> int:
        return int(self.num_rows)

    def column(self, name: int | str) -> pa.ChunkedArray:
        """All rows of one column, in memory."""
        named = COLUMN + (self.column_names[name] if isinstance(name, int) else name)
        return pq.ParquetFile(self._path, pre_buffer=False).read(columns=[named])[named]

    __getitem__ = column


class StoredColumn:
    """One column of a stored split, read anew whenever it is asked for: what is used of an array that hardly anybody looks at."""

    def __init__(self, path: Path, column: str, rows: int) -> None:
        self._read: Callable[[], NDArray[Any]] = partial(_numbers, path, column, rows)
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._read() if dtype is None else self._read().astype(dtype, copy=False)

    def __getitem__(self, places: Any) -> Any:
        return self._read()[places]


class StoredGroups(Mapping[str, NDArray[np.object_]]):
    """The groups of a stored split, each column read when it is asked for."""

    def __init__(self, path: Path, names: Sequence[str], rows: int) -> None:
        self._path, self._names, self._rows = path, tuple(names), rows

    def __getitem__(self, name: str) -> NDArray[np.object_]:
        if name not in self._names:
            raise KeyError(name)
        return _objects(self._path, GROUP + name, self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def count_stored(path: Path, group: str) -> dict[str, int]:
    """Rows of each group of a stored split's column, by name."""
    counts: Counter[str] = Counter()
    for piece in _pieces(path, GROUP + group):
        counts.update({found["values"]: found["counts"] for found in piece.value_counts().to_pylist()})
    return dict(sorted(counts.items()))


def open_split(path: Path, name: str, groups: Sequence[str], schema: LabelSchema, source: str) -> Split:
    """A stored split: labels are read; texts, columns, groups and row numbers stay on disk.

    Raises:
        DataError: the file is not what was stored.
    """
    try:
        file = pq.ParquetFile(path, pre_buffer=False)
        rows = file.metadata.num_rows
        numbers: Any = StoredColumn(path, ROW, rows)
        digest = _digest(path, schema, groups)
        grouped = StoredGroups(path, groups, rows)
        owned = ENTITY in file.schema_arrow.names
        entities: Any = StoredColumn(path, ENTITY, rows) if owned else None
        return Split(
            name, StoredTexts(path), _numbers(path, LABEL, rows), grouped, StoredColumns(path), numbers, source, digest, entities=entities
        )
    except (OSError, pa.ArrowException, IndexError) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="run again with --force") from error


def in_memory(split: Split, rows: NDArray[np.int64]) -> Split:
    """Some rows of a split, in their order, with their texts in memory.

    Args:
        split: stored or not.
        rows: indices, rising.
    """
    columns = {name: split.table.column(name).take(pa.array(rows)) for name in split.table.column_names}
    grouped = {name: values[rows] for name, values in split.groups.items()}
    texts = [split.texts[row] for row in rows.tolist()]
    return Split(split.name, texts, split.labels[rows], grouped, pa.table(columns), split.row_numbers[rows], split.source, split.digest)


def _pieces(path: Path, column: str) -> Iterator[pa.Array]:
    for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(_READ_ROWS, columns=[column], use_threads=False):
        yield batch.column(0)


def _numbers(path: Path, column: str, rows: int) -> NDArray[np.int64]:
    found, done = np.empty(rows, np.int64), 0
    for piece in _pieces(path, column):
        found[done : done + len(piece)] = piece.to_numpy()
        done += len(piece)
    return found


def _objects(path: Path, column: str, rows: int) -> NDArray[np.object_]:
    """A column of few distinct words, each of which stands in memory once."""
    found, done = np.empty(rows, object), 0
    known: dict[str, str] = {}
    for piece in _pieces(path, column):
        encoded = piece.dictionary_encode()
        words = [known.setdefault(word, word) for word in encoded.dictionary.to_pylist()]
        found[done : done + len(piece)] = np.array(words, dtype=object)[encoded.indices.to_numpy()]
        done += len(piece)
    return found


def _digest(path: Path, schema: LabelSchema, groups: Iterable[str]) -> str:
    """`data.digest.digest_rows` of a stored split: lengths and bytes go into it piece by piece."""
    names = pa.array(schema.names, pa.string())
    columns: dict[str, Callable[[], Iterator[pa.Array]]] = {
        "text": lambda: _pieces(path, TEXT),
        "label": lambda: (names.take(piece) for piece in _pieces(path, LABEL)),
    }
    columns |= {f"group:{group}": lambda group=group: _pieces(path, GROUP + group) for group in sorted(groups)}  # type: ignore[misc]
    return digest_pieces(columns, pq.read_metadata(path).num_rows)


def digest_pieces(columns: Mapping[str, Callable[[], Iterator[pa.Array]]], rows: int) -> str:
    """`sha256:…` that `digest_rows` gives the same columns; each is gone through twice, for its lengths and for its bytes.

    Args:
        columns: name → a call that begins the column, as string arrays without nulls.
        rows: of every column.
    """
    total = hashlib.sha256(b"trustbase/rows/1\0")
    for name, begin in columns.items():
        total.update(f"{len(name.encode())}:{name}:{rows}\0".encode())
        for piece in begin():
            total.update(np.diff(_offsets(piece)).astype("<i8").tobytes())
        for piece in begin():
            offsets = _offsets(piece)
            data: Any = piece.cast(pa.large_string()).buffers()[2]
            if data is not None:
                total.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])
    return "sha256:" + total.hexdigest()


def _offsets(piece: pa.Array) -> NDArray[np.int64]:
    large = piece.cast(pa.large_string())
    buffer = large.buffers()[1]
    return np.frombuffer(buffer, np.int64)[large.offset : large.offset + len(large) + 1] if len(large) else np.zeros(1, np.int64)
