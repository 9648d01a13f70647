"""Times of rows, read strictly: ISO dates, ISO timestamps or numbers, all of one kind; whatever is none of them is named, never guessed.

Timestamps have a `T` or a blank after the day, minutes at least, and a zone (`Z`, `+08:00`, `+0800`, `+08`) in all rows or in none; zones
may differ, and instants are compared. Numbers are compared as numbers, whether they are years, seconds or anything else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data.coded import Coded, coded

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_STAMP = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(?:(?<=:\d{2}:\d{2})[.,](\d{1,9}))?(Z|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)
_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?", re.ASCII)
_DAY, _NAIVE, _ZONED, _PLAIN = "a date", "a timestamp without a time zone", "a timestamp with a time zone", "a number"
Key = Decimal | int  # nanoseconds of a timestamp, days of a date


@dataclass(frozen=True)
class Moments:
    """When the rows of one source happened.

    Attributes:
        ranks: place of each row's time among all distinct times of the recipe's files, int64 `(rows,)`; -1 where it has none.
        names: the distinct times in order, as the files write them.
        faults: row → what is wrong with its time, as kind and detail.
    """

    ranks: NDArray[np.int64]
    names: tuple[str, ...]
    faults: dict[int, tuple[str, str]]


def read_moments(columns: Sequence[pa.ChunkedArray]) -> list[Moments]:
    """The times of all sources on one scale; where a few rows are of another kind than most, those few are the faults.

    Args:
        columns: the time column of each source, as text.
    """
    return moments_of([coded(column) for column in columns])


def moments_of(columns: Sequence[Coded], like: str | None = None) -> list[Moments]:
    """The same, of columns whose distinct values are known.

    Args:
        columns: of each source.
        like: a time of the kind that all must be of; that of most rows where there is none.
    """
    texts = [[word.strip() for word in column.words] for column in columns]
    read = {text: _read(text) for own in texts for text in own if text}
    found: Counter[str] = Counter()
    for column, own in zip(columns, texts, strict=True):
        for text, rows in zip(own, np.bincount(column.codes[column.codes >= 0], minlength=len(own)).tolist(), strict=True):
            if text and read[text][0]:
                found[read[text][0]] += rows
    kind = max(sorted(found), key=lambda name: found[name]) if found else ""
    rule = f"where most rows have {kind}"
    if like is not None:
        kind = _read(like)[0]
        rule = f"where the training rows have {kind}"
    ranks: dict[str, int] = {}
    names: list[str] = []
    last: Key | None = None
    for key, text in sorted((key, text) for text, (own, key) in read.items() if own == kind and key is not None):
        if key != last:  # of several spellings of one time the first by its letters is shown, whatever order the rows have
            names.append(text)
            last = key
        ranks[text] = len(names) - 1
    return [_moments(column, own, ranks, read, tuple(names), rule) for column, own in zip(columns, texts, strict=True)]


def _moments(
    column: Coded,
    texts: Sequence[str],
    ranks: dict[str, int],
    read: dict[str, tuple[str, Key | None]],
    names: tuple[str, ...],
    rule: str,
) -> Moments:
    own_ranks = column.translated([ranks.get(text, -1) for text in texts])
    faults: dict[int, tuple[str, str]] = {}
    for row in np.flatnonzero(own_ranks < 0).tolist():
        code = int(column.codes[row])
        text = texts[code] if code >= 0 else ""
        if not text:
            faults[row] = ("is empty", "")
            continue
        own = read[text][0]
        faults[row] = (f"is {own} {rule}" if own else "is no ISO date, ISO timestamp or number", text)
    return Moments(own_ranks, names, faults)


def _read(text: str) -> tuple[str, Key | None]:
    """The kind of a time and what sorts it; `("", None)` where it is none."""
    if _NUMBER.fullmatch(text):
        return _PLAIN, Decimal(text)
    try:
        if _DATE.fullmatch(text):
            return _DAY, date.fromisoformat(text).toordinal()
        stamp = _STAMP.fullmatch(text)
        if stamp is None:
            return "", None
        day, clock, fraction, zone = stamp.groups()
        moment = datetime.fromisoformat(f"{day}T{clock}{zone or ''}")
        moment = moment.astimezone(UTC) if zone else moment
    except (ValueError, OverflowError):  # the 31st of June; or a zone that leads out of the years that there are
        return "", None
    seconds = moment.toordinal() * 86_400 + moment.hour * 3_600 + moment.minute * 60 + moment.second
    return (_ZONED if zone else _NAIVE), seconds * 10**9 + (int(fraction.ljust(9, "0")) if fraction else 0)
