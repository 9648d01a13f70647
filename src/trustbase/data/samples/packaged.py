"""Samples that lie in other packages: read where they are, never copied."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trustbase.data.template import unknown_column
from trustbase.errors import DataError

if TYPE_CHECKING:
    from trustbase.data.rows import RawTable
    from trustbase.data.samples import Sample

_LABELS = ("positive", "negative")  # in the order of the files
_ENDS = frozenset("。！？…；：”’」』）)!?;:.")  # a line that ends so is a paragraph, not a headline
_LONGEST_HEADLINE = 40  # characters
_ENTITIES = {"nr": "PER", "ns": "LOC", "nt": "ORG"}
_STOPS, _CLOSING = frozenset("。！？；"), frozenset("”’」』）")
_LONGEST_SURNAME = 2  # characters; of a compound name such as 欧阳


def reviews_table(sample: Sample, *, columns: Sequence[str] | None = None) -> RawTable:
    """The reviews as rows of `text` and `label`, one a line, positive ones first; a line of blanks alone is no review.

    Raises:
        DataError: another column is asked for.
    """
    texts: list[str] = []
    labels: list[str] = []
    for path, label in zip(sample.paths, _LABELS, strict=True):
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        texts += lines
        labels += [label] * len(lines)
    return _table(sample, {"text": texts, "label": labels}, np.arange(1, len(texts) + 1, dtype=np.int64), columns)


def entities_table(sample: Sample, *, columns: Sequence[str] | None = None) -> RawTable:
    """The tagged sentences as rows of `text` and `entities`; persons PER (nr), places LOC (ns), organisations ORG (nt).

    A paragraph is cut after 。！？； and the closing sign that follows.

    A family name and the given name after it are two words in the file (江/nr 泽民/nr), and one person here. Names of several words
    that the file tags word by word (中央/n 电视台/n) stay unmarked, as they are there.

    Raises:
        DataError: another column is asked for.
    """
    (path,) = sample.paths
    lines = path.read_text(encoding="utf-8").split("\n")
    found = [(number, *entities_in(part)) for number, line in enumerate(lines, 1) for part in sentences(line)]
    cells = {"text": [text for _, text, _ in found], "entities": [json.dumps(spans) for *_, spans in found]}
    return _table(sample, cells, np.array([number for number, *_ in found], dtype=np.int64), columns)


def sentences(line: str) -> Iterator[str]:
    """A tagged line in parts that end with a sentence; empty ones are left out."""
    part: list[str] = []
    words = line.split()
    for word, after in zip(words, [*words[1:], ""], strict=False):
        part.append(word)
        if (word[:1] in _STOPS and after[:1] not in _CLOSING) or (word[:1] in _CLOSING and len(part) > 1 and part[-2][:1] in _STOPS):
            yield " ".join(part)
            part = []
    if part:
        yield " ".join(part)


def entities_in(line: str) -> tuple[str, list[tuple[int, int, str]]]:
    """A tagged line as text and its entities, `(start, end, type)` in characters."""
    at, text = 0, []
    found: list[tuple[int, int, str]] = []
    surname = False  # whether the word before is a family name that waits for a given name
    for word, _, tag in (part.rpartition("/") for part in line.split()):
        kind = _ENTITIES.get(tag, "")
        if kind == "PER" and surname:
            found[-1] = (found[-1][0], at + len(word), kind)
        elif kind:
            found.append((at, at + len(word), kind))
        surname = kind == "PER" and not surname and len(word) <= _LONGEST_SURNAME
        text.append(word)
        at += len(word)
    return "".join(text), found


def _table(sample: Sample, cells: Mapping[str, Sequence[str]], lines: NDArray[np.int64], columns: Sequence[str] | None) -> RawTable:
    """The rows of a packaged sample, as any file's.

    Raises:
        DataError: another column is asked for.
    """
    import pyarrow as pa

    from trustbase.data.rows import RawTable
    from trustbase.data.samples import PREFIX, sample_digest

    source = f"{PREFIX}{sample.name}"
    wanted = list(sample.columns) if columns is None else list(columns)
    missing = [unknown_column(source, name, sample.columns) for name in wanted if name not in sample.columns]
    if missing:
        raise DataError(f"{source} does not hold the columns that are asked for", problems=missing)
    table = pa.table({name: pa.array(cells[name], pa.string()) for name in wanted})
    rows = np.arange(1, len(table) + 1, dtype=np.int64)
    size = sum(path.stat().st_size for path in sample.paths)
    return RawTable(table, rows, lines, (), len(table), source, sample_digest(sample), size)


def articles(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The tagged lines as running text: articles of paragraphs, each paragraph a line.

    The file marks no articles. A headline is a short line without a final sign; an article begins at the first headline after a
    paragraph. That is a reading of the layout, good enough to keep neighbouring sentences together.

    Args:
        lines: `word/tag  word/tag …`.

    Yields:
        1-based line on which the article begins, and its text.
    """
    held: list[str] = []
    begin, after_headline = 1, True
    for number, line in enumerate(lines, 1):
        text = untagged(line)
        if not text:
            continue
        headline = len(text) <= _LONGEST_HEADLINE and text[-1] not in _ENDS
        if held and headline and not after_headline:
            yield begin, "\n".join(held)
            held = []
        if not held:
            begin = number
        held.append(text)
        after_headline = headline
    if held:
        yield begin, "\n".join(held)


def untagged(line: str) -> str:
    """A tagged line as text: `迈向/v  充满/v` → `迈向充满`."""
    return "".join([word.rpartition("/")[0] for word in line.split()])
