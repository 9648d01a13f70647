"""One way of writing the same text: composed, of one width, without invisible marks and stray blanks. Meaning and script stay."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from trustbase.data.corpus import characters as chars
from trustbase.data.corpus.block import Block, Mask, Points
from trustbase.data.corpus.options import NormaliseOptions

_SPACE, _NEWLINE = np.uint32(0x20), np.uint32(0x0A)
_WIDE_STOP, _STOP = np.uint32(0xFF0E), np.uint32(0x2E)  # ．


def normalise(texts: Sequence[str], options: NormaliseOptions) -> Block:
    """The documents as a block, each in its normal form; one that had nothing to read is left empty.

    Args:
        texts: documents without NUL.
        options: which differences are removed.
    """
    block = Block.of(_composed(texts) if options.unicode else texts)
    points = block.points
    if options.width:
        points = _one_width(points)
    if options.controls:
        points = _without_controls(points)
    if options.spaces:
        points = _tidy_spaces(points)
    return Block(points)


def _composed(texts: Sequence[str]) -> Sequence[str]:
    """Canonical composition, only where something is not composed already.

    Source: Unicode Standard Annex 15, Unicode Normalization Forms (NFC and its quick check).
    """
    if unicodedata.is_normalized("NFC", "\0".join(texts)):
        return texts
    return [unicodedata.normalize("NFC", text) for text in texts]


def _one_width(points: Points) -> Points:
    """Full-width letters, digits and signs as half-width ones; a full-width full stop only between digits (１．５)."""
    found = chars.widths().take(points)
    stops = np.flatnonzero(found == _WIDE_STOP)
    stops = stops[(stops > 0) & (stops < len(found) - 1)]
    if len(stops):
        digit = (found >= 0x30) & (found <= 0x39)
        found[stops[digit[stops - 1] & digit[stops + 1]]] = _STOP
    return found


def _without_controls(points: Points) -> Points:
    """No control characters, tabs as blanks, line ends of one kind."""
    kinds = chars.classes().take(points)
    newline = kinds == chars.NEWLINE
    drop = kinds == chars.GONE
    other = newline & (points != _NEWLINE)
    if other.any():
        drop[1:] |= (points[1:] == _NEWLINE) & (points[:-1] == 0x0D)
        points = np.where(newline, _NEWLINE, points)
    return points[~drop] if drop.any() else points


def _tidy_spaces(points: Points) -> Points:
    """Blanks: one in a row, none at the ends of a line; one empty line in a row, none at the ends of a document."""
    space = chars.classes().take(points) == chars.SPACE
    if space.any():
        if (space & (points != _SPACE)).any():
            points = np.where(space, _SPACE, points)
        again = space & _shifted(space, 1)
        if again.any():
            points = points[~again]
            space = points == _SPACE
        edge = (points == _NEWLINE) | (points == 0)
        drop = space & (_shifted(edge, 1, start=True) | _shifted(edge, -1))
        points = points[~drop] if drop.any() else points
    return _tidy_lines(points)


def _tidy_lines(points: Points) -> Points:
    newline = points == _NEWLINE
    if not newline.any():
        return points
    end = points == 0
    before = _shifted(newline, 1)
    drop = newline & (before & _shifted(newline, 2))  # the third in a row, and all after it
    drop |= newline & (_shifted(end, 1, start=True) | (before & _shifted(end, 2, start=True)))
    if drop.any():
        points = points[~drop]
        newline, end = points == _NEWLINE, points == 0
    after = _shifted(newline, -1)
    drop = newline & (_shifted(end, -1) | (after & _shifted(end, -2)))
    return points[~drop] if drop.any() else points


def _shifted(mask: Mask, by: int, *, start: bool = False) -> Mask:
    """For each place, what the mask says `by` places before it (after it, where negative); `start` stands just before the first."""
    found = np.zeros(len(mask), bool)
    if by > 0:
        found[by:] = mask[:-by]
        if start and len(found) >= by:
            found[by - 1] = True
    else:
        found[:by] = mask[-by:]
    return found
