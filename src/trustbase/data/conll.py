"""CoNLL files: one token a line, its columns apart by blanks or a tab, an empty line between sentences; each sentence is a row.

The first column is the token, the last one its tag (`B-PER`, `I-PER`, `O`; BIO1, BIO2, BIOES, BILOU and BMES are told apart). As a table a
file has the columns `text`, the tokens as one text, and `entities`, the spans that the tags spell; and `entities-N` where the N-th column
holds tags too. Lines whose token is `-DOCSTART-`, and remarks between sentences, are passed over; within a sentence every line is a token.

Source: Tjong Kim Sang & De Meulder (2003), "Introduction to the CoNLL-2003 shared task".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from trustbase.data.delimited import Parsed
from trustbase.data.encodings import not_utf8
from trustbase.data.rows import BadRow, in_quotes
from trustbase.data.sentences import joined, single_characters, spans_json
from trustbase.data.tags import is_tag, scheme_of

TEXT, ENTITIES = "text", "entities"
_DOCUMENT = "-DOCSTART-"
_NEARLY_TAG = re.compile(r"[A-Z]-\S+")  # a prefix that no scheme has
_NUMBERED = re.compile(rf"{ENTITIES}-(\d+)")


@dataclass
class _Sentence:
    line: int
    tokens: list[list[str]] = field(default_factory=list)
    fault: tuple[str, str] | None = None


def columns_of(data: bytes) -> list[str]:
    """The columns that a file has as a table; those of tags beside the last are named by their number, from 2."""
    return [TEXT, ENTITIES, *(f"{ENTITIES}-{number}" for number in range(2, _width(data)))]


def parse(data: bytes, columns: Sequence[str]) -> tuple[Parsed, tuple[str, ...]]:
    """All sentences of a file; and the scheme of each column of tags, with how many tags had to be repaired.

    A sentence whose lines cannot be read is one bad row.

    Args:
        data: the file, without a byte order mark.
        columns: which of `columns_of` are wanted.
    """
    sentences = _sentences(data)
    good = [sentence for sentence in sentences if sentence.fault is None]
    blank = not single_characters([cells[0] for cells in sentence.tokens] for sentence in good)
    texts = [joined([cells[0] for cells in sentence.tokens], blank=blank) for sentence in good]
    made: dict[str, list[str]] = {TEXT: [text for text, _ in texts]}
    notes: list[str] = []
    for name in columns:
        if name == TEXT:
            continue
        place = -1 if name == ENTITIES else int(_NUMBERED.fullmatch(name)[1]) - 1  # type: ignore[index]
        tags = [[cells[place] for cells in sentence.tokens] for sentence in good]
        wrong = {
            row: word for row, words in enumerate(tags) if (word := next((word for word in words if not is_tag(word)), None)) is not None
        }
        for row, word in wrong.items():
            good[row].fault = good[row].fault or (f"column '{name}' holds what is no tag", f"got {in_quotes(word)}")
        right = [words for row, words in enumerate(tags) if row not in wrong]
        scheme = scheme_of(right)
        spelt = [([], 0) if row in wrong else spans_json(words, texts[row][1], scheme) for row, words in enumerate(tags)]
        made[name] = [json.dumps(entities, ensure_ascii=False) for entities, _ in spelt]
        notes += _notes(scheme, sum(mended for _, mended in spelt), sum(mended > 0 for _, mended in spelt))
    rows = {id(sentence): row for row, sentence in enumerate(sentences, 1)}
    bad = [BadRow(rows[id(item)], item.line, *item.fault) for item in sentences if item.fault is not None]
    kept = [place for place, sentence in enumerate(good) if sentence.fault is None]
    table = pa.table({name: pa.array([made[name][place] for place in kept], pa.string()) for name in columns})
    numbers = np.array([rows[id(good[place])] for place in kept], np.int64)
    lines = np.array([good[place].line for place in kept], np.int64)
    return Parsed(table, numbers, lines, bad, exact=True), tuple(notes)


def _notes(scheme: str, repaired: int, rows: int) -> list[str]:
    mended = (
        f"; {repaired:,} tags in {rows:,} sentences do not fit the ones before them, and were read as conlleval does" if repaired else ""
    )
    return [f"tags are written in {scheme}{mended}"]


def _sentences(data: bytes) -> list[_Sentence]:
    found: list[_Sentence] = []
    current: _Sentence | None = None
    width = _width(data)
    for number, raw in enumerate(data.split(b"\n"), 1):
        line, fault = _decoded(raw)
        cells = _cells(line)
        if fault is None and (not cells or cells[0] == _DOCUMENT):
            current = None
            continue
        if current is None and _remark(line, cells, width):
            continue
        if current is None:
            current = _Sentence(number)
            found.append(current)
        if fault is None and (len(cells) < 2 or len(cells) != width):
            fault = ("a line has another number of columns", f"line {number} has {len(cells)}, the first one {width}")
        if fault is None and any(char.isspace() for char in cells[0]):
            fault = ("a token holds a blank", f"line {number}")
        current.fault = current.fault or fault
        current.tokens.append(cells)
    return found


def _decoded(raw: bytes) -> tuple[str, tuple[str, str] | None]:
    if b"\0" in raw:
        return raw.decode("utf-8", "replace"), ("NUL byte", "")
    try:
        return raw.decode("utf-8").rstrip("\r"), None
    except UnicodeDecodeError as error:
        return raw.decode("utf-8", "replace"), (not_utf8(raw), f"byte 0x{raw[error.start]:02x}")


def _cells(line: str) -> list[str]:
    """The columns of a line: at tabs where it has any, else at blanks."""
    if "\t" in line:
        return [cell.strip() for cell in line.split("\t")] if line.strip() else []
    return line.split()


def _width(data: bytes) -> int:
    """Columns of the first line that is a token whatever stands before it; 0 where there is none."""
    known = 0  # of a line that begins with #, and may be a remark
    for raw in data.split(b"\n"):
        line = _decoded(raw)[0]
        cells = _cells(line)
        if cells and cells[0] != _DOCUMENT and not line.startswith("#"):
            return len(cells)
        if cells and is_tag(cells[-1]):
            known = known or len(cells)
    return known


def _remark(line: str, cells: Sequence[str], width: int) -> bool:
    """Whether a line before a sentence is a remark: it begins with #, and is not the line of a token that does, rightly tagged or not.

    Args:
        line: it.
        cells: its columns.
        width: columns of a token's line.
    """
    if not line.startswith("#") or is_tag(cells[-1]):
        return False
    return len(cells) != width or not ("\t" in line or _NEARLY_TAG.fullmatch(cells[-1]))
