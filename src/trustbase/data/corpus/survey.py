"""What each file is before any of it is used: its digest, whether it can be read at all, and where it may be cut into shards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trustbase.data import jsonl
from trustbase.data.archive import HEAD, BrokenError, opened, refuse
from trustbase.data.corpus.faults import Fault
from trustbase.data.corpus.sources import SourceFile, sample_of
from trustbase.data.template import unknown_column

SHARD = 32 << 20  # bytes of text that one shard holds, about
_CHUNK = 4 << 20
_BLANK = re.compile(rb"\n(?:[ \t\r\f\v]|\xe3\x80\x80|\xc2\xa0)*\n")


@dataclass
class Survey:
    """One file, looked through once.

    Attributes:
        digest: `sha256:…` of the file as it lies there.
        size: bytes of it; `unpacked` bytes of what it holds.
        cuts: `[place, line]` where a shard may begin: byte and line of a text, row group and row of Parquet.
        stamp: size and time of the last change, so that a file that changes under our hands is noticed.
        fault: why none of it can be used, or none.
    """

    digest: str
    size: int
    unpacked: int
    cuts: list[list[int]] = field(default_factory=list)
    stamp: list[int] = field(default_factory=list)
    fault: list[Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Piece:
    """A part of a file that one shard reads: from `start` to before `end` (bytes, or row groups of Parquet), beginning at `line`."""

    file: int
    start: int
    end: int
    line: int
    size: int


def survey(file: SourceFile, *, shard: int = SHARD) -> Survey:
    """Look through a file.

    Args:
        file: what and where it is.
        shard: bytes from which a file is cut.
    """
    path = Path(file.path)
    try:
        found = Survey("", path.stat().st_size, 0, stamp=stamp(path))
        if file.kind in ("articles", "reviews"):
            return _sample(file, found)
        _read_through(file, path, found, shard)
        if not found.fault:
            _check_columns(file, path, found, shard)
    except OSError as error:
        found = Survey("", 0, 0, fault=[1, "cannot be read", error.strerror or str(error)])
    return found


def stamp(path: Path) -> list[int]:
    """Size and time of the last change of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def fault_of(file: SourceFile, found: Survey) -> Fault | None:
    return Fault(file.name, *found.fault) if found.fault else None


def _sample(file: SourceFile, found: Survey) -> Survey:
    from trustbase.data.samples import sample_digest

    sample = sample_of(file.name)
    sample.check()
    found.size = found.unpacked = sum(path.stat().st_size for path in sample.paths)
    found.digest, found.cuts = sample_digest(sample), [[0, 1]]
    return found


def _read_through(file: SourceFile, path: Path, found: Survey, shard: int) -> None:
    """Digest, size, places to cut, and whether it is text at all."""
    cutting = file.kind in ("text", "jsonl") and not file.compression
    total, line, empty = hashlib.sha256(), 1, True
    found.cuts = [[0, 1]]
    try:
        with opened(path, file.compression) as stream:
            while chunk := stream.read(_CHUNK):
                if not found.unpacked and file.kind != "parquet" and (what := refuse(chunk[:HEAD])):
                    found.fault = [1, "is no text", what]
                if not file.compression:
                    total.update(chunk)
                if cutting and found.unpacked + len(chunk) >= found.cuts[-1][0] + shard:
                    _cut(file.kind, chunk, found, line, shard)
                empty = empty and not chunk.strip()
                line += chunk.count(b"\n")
                found.unpacked += len(chunk)
    except BrokenError as error:
        found.fault = [line, "broken archive", str(error)]
    if empty and not found.fault:
        found.fault = [1, "the file is empty"]
    found.digest = "sha256:" + (_digest(path) if file.compression else total.hexdigest())


def _digest(path: Path) -> str:
    from trustbase import files

    return files.sha256_file(path)


def _cut(kind: str, chunk: bytes, found: Survey, line: int, shard: int) -> None:
    """The first place in a chunk that lies a shard behind the last cut, and at which a document begins."""
    begin = max(0, found.cuts[-1][0] + shard - found.unpacked)
    if kind == "jsonl":
        end = chunk.find(b"\n", begin) + 1
    else:
        match = _BLANK.search(chunk, begin)
        end = match.end() if match else 0
    if end:
        found.cuts.append([found.unpacked + end, line + chunk.count(b"\n", 0, end)])


def _check_columns(file: SourceFile, path: Path, found: Survey, shard: int) -> None:
    """Whether the column of the text is there; for Parquet, the row groups."""
    if file.kind == "jsonl":
        with opened(path, file.compression) as stream:
            head = stream.read(1 << 20)
        whole = head[: head.rfind(b"\n") + 1] or head
        known = jsonl.keys_of(whole, lines=100)
        if known and file.column not in known:
            found.fault = [1, "has no such column", str(unknown_column(file.name, file.column, known))]
    if file.kind == "parquet" and not file.compression:
        survey_parquet(file, path, found, shard)


def survey_parquet(file: SourceFile, path: Path, found: Survey, shard: int) -> None:
    """Whether a Parquet file has the column of texts, its row groups, and where it may be cut."""
    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        found.fault = [1, "is not a Parquet file", str(error)]
        return
    names = table.schema_arrow.names
    if file.column not in names:
        found.fault = [1, "has no such column", str(unknown_column(file.name, file.column, names))]
        return
    kind = table.schema_arrow.field(file.column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        found.fault = [1, "has no text in this column", f"'{file.column}' is of type {kind}"]
        return
    if not table.metadata.num_rows:
        found.fault = [1, "the file is empty"]
        return
    row, held = 1, 0
    for group in range(table.metadata.num_row_groups):
        about = table.metadata.row_group(group)
        held += about.total_byte_size
        row += about.num_rows
        if held >= shard and group + 1 < table.metadata.num_row_groups:
            found.cuts.append([group + 1, row])
            held = 0
    found.unpacked = table.metadata.num_row_groups


def plan_shards(files: Sequence[SourceFile], surveys: Sequence[Survey], *, shard: int = SHARD) -> list[list[Piece]]:
    """Which pieces each shard reads: large files in pieces, small ones together; files with a fault are left out."""
    shards: list[list[Piece]] = []
    room = 0
    for index, (file, found) in enumerate(zip(files, surveys, strict=True)):
        if found.fault:
            continue
        ends = [*(cut[0] for cut in found.cuts[1:]), found.unpacked]
        for (start, line), end in zip(found.cuts, ends, strict=True):
            part = found.size / len(ends) if file.kind == "parquet" else end - start
            piece = Piece(index, start, end, line, int(part))
            if not shards or piece.size > room:
                shards.append([])
                room = shard
            shards[-1].append(piece)
            room -= piece.size + 1024  # opening a file costs as well
    return shards


def still(file: SourceFile, found: Survey) -> bool:
    """Whether a file is as it was when it was surveyed, by size and time."""
    return Path(file.path).is_file() and stamp(Path(file.path)) == found.stamp
