"""The documents of a shard, in batches of a size that whole-block work likes, with the line on which each begins."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from trustbase.data import jsonl, split
from trustbase.data.archive import opened
from trustbase.data.corpus.faults import Fault
from trustbase.data.corpus.sources import SourceFile
from trustbase.data.corpus.survey import SHARD, Piece, Survey, fault_of, survey_parquet
from trustbase.data.encodings import not_utf8

READ = 1 << 20  # bytes read at once
BATCH = 1 << 18  # characters in a batch, about: what is looked up at once stays in the processor's cache
_AT_ONCE = 64  # documents whose part of a split is told by one call
_BOM = b"\xef\xbb\xbf"
_BLANK = re.compile(r"\n(?:[^\S\n]*\n)+")
_LEADING = re.compile(r"(?:[^\S\n]*\n)+")
_BLANK_BYTES = re.compile(rb"\n(?:[ \t\r\f\v]|\xe3\x80\x80|\xc2\xa0)*\n")
Report = Callable[[Fault], None]


@dataclass
class Batch:
    """Documents read together: texts, the line (in Parquet the row) on which each begins, and the file it is from."""

    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, text: str, line: int, file: int) -> None:
        self.texts.append(text)
        self.lines.append(line)
        self.files.append(file)
        self.size += len(text) + 1


def read_batches(files: Sequence[SourceFile], pieces: Sequence[Piece], *, longest: int, spool: Path, report: Report) -> Iterator[Batch]:
    """The documents of these pieces, in order.

    Args:
        files: all files, which pieces name by number.
        pieces: what to read.
        longest: bytes of the longest document; longer ones are faults.
        spool: folder for unpacked Parquet.
        report: told each fault.
    """
    batch = Batch()
    for piece in pieces:
        file = files[piece.file]
        documents = _READERS[file.kind](file, piece, longest, spool, report)
        for text, line in _of_part(file, documents) if file.part else documents:
            batch.add(text, line, piece.file)
            if batch.size >= BATCH:
                yield batch
                batch = Batch()
    if batch.texts:
        yield batch


Documents = Iterator[tuple[str, int]]


def _of_part(file: SourceFile, documents: Documents) -> Documents:
    """Those documents that a fine-tuning recipe would put into this part: by a hash of the text, as `data.split` does."""
    name, test, validation = str(file.part[0]), float(file.part[1]), float(file.part[2])
    told = (document for document in documents if document[0])
    while some := list(islice(told, _AT_ONCE)):
        places = split.by_content([text for text, _ in some], test=test, validation=validation)[name]
        yield from (some[place] for place in places)


def _read_text(file: SourceFile, piece: Piece, longest: int, spool: Path, report: Report) -> Documents:
    """Documents between blank lines."""
    line = piece.line
    with opened(Path(file.path), file.compression) as stream:
        for chunk, state in _chunks(stream, piece, longest, _BLANKS):
            if state == LONG:
                report(Fault(file.name, line, f"a document longer than {longest:,} bytes", "blank lines separate documents in a text file"))
            elif state == WHOLE and chunk.strip():
                yield from _documents(chunk, line, file.name, report)
            line += chunk.count(b"\n")


def _documents(chunk: bytes, line: int, name: str, report: Report) -> Documents:
    try:
        text = chunk.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        yield from _good_documents(chunk, line, name, report)
        return
    position = 0
    for match in _BLANK.finditer(text):
        yield from _bare(text[position : match.start()], line)
        line += text.count("\n", position, match.end())
        position = match.end()
    yield from _bare(text[position:], line)


def _bare(text: str, line: int) -> Documents:
    """A document without blank lines around it, and the line on which it then begins; nothing where it is blank."""
    if text and not text.isspace():
        blank = _LEADING.match(text)
        skipped = blank.group() if blank else ""
        yield text[len(skipped) :].rstrip(), line + skipped.count("\n")


def _good_documents(chunk: bytes, line: int, name: str, report: Report) -> Documents:
    """The documents of a chunk that has lines which are no text; a document with such a line is left out, and each line named."""
    position = 0
    for end, after in [*((match.start(), match.end()) for match in _BLANK_BYTES.finditer(chunk)), (len(chunk), len(chunk))]:
        if end < position:  # blank lines in a row overlap
            continue
        found = chunk[position:end]
        bad = [(offset, kind, detail) for offset, row in enumerate(found.split(b"\n")) for kind, detail in _bad_line(row)]
        for offset, kind, detail in bad:
            report(Fault(name, line + offset, kind, detail))
        if not bad:
            yield from _bare(found.decode("utf-8"), line)
        line += chunk.count(b"\n", position, after)
        position = after


def _bad_line(row: bytes) -> Iterator[tuple[str, str]]:
    try:
        row.decode("utf-8")
    except UnicodeDecodeError as error:
        yield not_utf8(row), f"byte 0x{row[error.start]:02x} at byte {error.start + 1} of the line"
    if b"\0" in row:
        yield "NUL byte", f"at byte {row.index(0) + 1} of the line"


def _read_jsonl(file: SourceFile, piece: Piece, longest: int, spool: Path, report: Report) -> Documents:
    """One JSON object a line."""
    line = piece.line
    with opened(Path(file.path), file.compression) as stream:
        for chunk, state in _chunks(stream, piece, longest, _LINES):
            if state == LONG:
                report(Fault(file.name, line, f"a document longer than {longest:,} bytes"))
            elif state == WHOLE:
                yield from _rows(chunk, line, file, report)
            line += chunk.count(b"\n")


def _rows(chunk: bytes, line: int, file: SourceFile, report: Report) -> Documents:
    parsed = jsonl.parse(chunk, [file.column])
    faults = [Fault(file.name, line + bad.line - 1, bad.kind, bad.detail) for bad in parsed.bad]
    rows = [(text or "", line + row - 1) for text, row in zip(parsed.table[file.column].to_pylist(), parsed.lines.tolist(), strict=True)]
    if b"\\u0000" in chunk:
        faults += [Fault(file.name, row, "NUL character") for text, row in rows if "\0" in text]
        rows = [(text, row) for text, row in rows if "\0" not in text]
    for fault in sorted(faults, key=lambda fault: fault.line):
        report(fault)
    yield from rows


def _read_parquet(file: SourceFile, piece: Piece, longest: int, spool: Path, report: Report) -> Documents:
    """One row each."""
    path, groups = Path(file.path), range(piece.start, piece.end)
    if file.compression:
        path = spool / "unpacked.parquet"
        with opened(Path(file.path), file.compression) as stream, path.open("wb") as target:
            shutil.copyfileobj(stream, target, READ)
        found = Survey("", 0, 0)
        survey_parquet(file, path, found, SHARD)  # only now there is something to look at
        if fault := fault_of(file, found):
            report(fault)
            path.unlink()
            return
        groups = range(found.unpacked)
    row = piece.line - 1
    try:
        for batch in pq.ParquetFile(path, pre_buffer=False).iter_batches(1024, row_groups=list(groups), columns=[file.column]):
            for value in _texts(batch.column(0)):
                row += 1
                if isinstance(value, bytes):
                    report(Fault(file.name, row, "not UTF-8"))
                elif "\0" in value:
                    report(Fault(file.name, row, "NUL character"))
                elif len(value) > longest:
                    report(Fault(file.name, row, f"a document longer than {longest:,} bytes"))
                else:
                    yield value, row
    except (pa.ArrowException, OSError) as error:
        report(Fault(file.name, row + 1, "damaged Parquet", str(error)))
    if file.compression:
        path.unlink()


def _texts(column: pa.Array) -> list[str | bytes]:
    """The column's texts, "" for null, and bytes where they are no UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return [value or "" for value in column.to_pylist()]
    except UnicodeDecodeError:
        return [_decoded(value) for value in column.cast(pa.large_binary()).to_pylist()]


def _decoded(value: bytes | None) -> str | bytes:
    try:
        return (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        return value or b""


def _read_table(file: SourceFile, piece: Piece, longest: int, spool: Path, report: Report) -> Documents:
    """A labelled table (a test set), whole."""
    from trustbase.data.source import read_table

    raw = read_table(file.path, root=Path(), columns=[file.column])
    for bad in raw.bad_rows:
        report(Fault(file.name, bad.line, bad.kind, bad.detail))
    for text, line in zip(raw.table[file.column].to_pylist(), raw.lines.tolist(), strict=True):
        yield text or "", line


def _read_articles(file: SourceFile, piece: Piece, longest: int, spool: Path, report: Report) -> Documents:
    from trustbase.data.samples.packaged import articles

    for line, text in articles(Path(file.path).read_text(encoding="utf-8").split("\n")):
        yield text, line


def _read_reviews(file: SourceFile, piece: Piece, longest: int, spool: Path, report: Report) -> Documents:
    from trustbase.data.samples import read_sample

    raw = read_sample(file.name, columns=["text"])
    yield from zip(raw.table["text"].to_pylist(), raw.lines.tolist(), strict=True)


_READERS: dict[str, Callable[[SourceFile, Piece, int, Path, Report], Documents]] = {
    "text": _read_text,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "table": _read_table,
    "articles": _read_articles,
    "reviews": _read_reviews,
}


@dataclass(frozen=True)
class Ends:
    """Where documents end within bytes: after the first end and after the last, 0 where there is none."""

    first: Callable[[bytes], int]
    last: Callable[[bytes], int]


def _first_blank(data: bytes) -> int:
    match = _BLANK_BYTES.search(data)
    return match.end() if match else 0


def _last_blank(data: bytes) -> int:
    """After the last blank line; looked for from the end, where it nearly always is."""
    window = 1 << 14
    while True:
        begin = max(0, len(data) - window)
        found = [match.end() for match in _BLANK_BYTES.finditer(data, begin)]
        if found or not begin:
            return found[-1] if found else 0
        window *= 16


_BLANKS = Ends(_first_blank, _last_blank)
_LINES = Ends(lambda data: data.find(b"\n") + 1, lambda data: data.rfind(b"\n") + 1)
WHOLE, LONG, REST = "whole", "long", "rest"


def _chunks(stream: IO[bytes], piece: Piece, longest: int, ends: Ends) -> Iterator[tuple[bytes, str]]:
    """Pieces of a stream that end where a document ends.

    Args:
        stream: the file.
        piece: from which byte to which.
        longest: bytes without an end that are still waited for.
        ends: where a document ends.

    Yields:
        Bytes, and what they are: `WHOLE` documents, the beginning of a document that is too `LONG`, or the `REST` of one.
    """
    if piece.start:
        stream.seek(piece.start)
    left, held, over = piece.end - piece.start, b"", False
    while left > 0 and (data := stream.read(min(READ, left))):
        held += data.removeprefix(_BOM) if left == piece.end else data
        left -= len(data)
        if over and (end := ends.first(held)):
            yield held[:end], REST
            held, over = held[end:], False
        if over:
            yield held, REST
            held = b""
        elif end := ends.last(held):
            yield held[:end], WHOLE
            held = held[end:]
        elif len(held) > longest:
            yield held, LONG
            held, over = b"", True
    if held:
        yield held, REST if over else WHOLE
