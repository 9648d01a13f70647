"""Text of somebody else's, such as a cell or the name of a file, on its way to a terminal, a log or a comment."""

from __future__ import annotations

import unicodedata


def escaped(text: str, *, lines: bool = False, spaces: bool = False) -> str:
    """The text, with the escape of every character that could be taken for more than text, or that nobody would see.

    Args:
        text: any, halves of surrogate pairs among it.
        lines: whether line ends stay.
        spaces: whether spaces of other widths stay, such as the ideographic one.
    """
    return "".join(char if _stays(char, lines, spaces) else char.encode("unicode_escape", "surrogatepass").decode() for char in text)


def _stays(char: str, lines: bool, spaces: bool) -> bool:
    return char.isprintable() or (lines and char == "\n") or (spaces and unicodedata.category(char) == "Zs")
