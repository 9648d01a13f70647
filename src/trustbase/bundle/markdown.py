"""Pieces of a Markdown page: tables, numbers, and somebody's own words, which never become markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence


def show(number: float | int) -> str:
    """A number as the card writes it: counts whole, others to four significant digits."""
    if isinstance(number, int) or float(number).is_integer() or abs(number) >= 10_000:
        return str(round(number))
    return f"{number:.4g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, and an empty one after it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def code(text: str) -> str:
    """A name, as it is written."""
    return "`" + re.sub(r"\s+", " ", text).replace("`", "'") + "`"


def plain(text: str) -> str:
    """Somebody's own words, unable to become markup."""
    return re.sub(r"([\\`*_\[\]#])", r"\\\1", re.sub(r"\s+", " ", text).strip()).replace("<", "&lt;").replace(">", "&gt;")


def maybe(number: float | int | None) -> str:
    """A number, or nothing where there is none."""
    return "" if number is None else show(number)


def interval(low: float | None, high: float | None) -> str:
    """`[low, high]`; equal bounds are none, whether the number was counted, measured once, or is the largest of a sample."""
    if low is None or high is None:
        return ""
    return "no interval" if low == high else f"[{show(low)}, {show(high)}]"
