"""Texts that are read together: as one string, with a character between them that no row may hold.

Two are a pair; a question and its choices are more. So they are hashed, compared, kept and asked about as any other text is, and only what
renders them and what makes tokens of them know.
"""

from __future__ import annotations

from trustbase.data.marked import readable as marks_readable

CELL = "\x1e"  # "record separator": stands before each cell that a model is asked with (`data.cells`)
SEPARATOR = "\x1f"  # "unit separator": made for this, and in no text that people write
_READABLE = " ↔ "


def join(*texts: str) -> str:
    """All as one string."""
    return SEPARATOR.join(texts)


def sides(text: str) -> tuple[str, ...]:
    """The texts again."""
    return tuple(text.split(SEPARATOR))


def halves(text: str) -> tuple[str, ...]:
    """The two texts of a pair; of any other text itself alone."""
    return tuple(text.split(SEPARATOR, 1))


def readable(text: str) -> str:
    """The same for people to read; of a text with marked entities likewise (`data.marked`)."""
    return marks_readable(text.replace(SEPARATOR, _READABLE))
