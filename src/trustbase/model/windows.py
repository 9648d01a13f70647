"""Long texts in windows: pieces of as many tokens as a model reads, each of which begins with the last tokens of the one before.

The windows of one text are those of `tokenizer(text, truncation=True, stride=…, return_overflowing_tokens=True)` in transformers (a test
holds it). Of two texts one is windowed and the other stands beside every window, cut to half of the room where it is longer than that.
Where units of a text are answered, each is by one window: that in which its first token stands farthest from where the text was cut, so
that as much as can be of what surrounds it is read with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.model.encoded import Encoded, offsets_of

Numbers = NDArray[np.int64]


def window_counts(lengths: Numbers, room: int, stride: int) -> Numbers:
    """Windows of `room` tokens that cover texts of these lengths, neighbours sharing `stride` tokens, `(rows,)`.

    Raises:
        ValueError: neighbours would share all they hold.
    """
    if not 0 <= stride < room:
        raise ValueError(f"windows that hold {room} tokens of text cannot overlap by {stride}")
    return np.asarray(1 + np.maximum(0, -(-(lengths - room) // (room - stride))), dtype=np.int64)


def cut_windows(whole: Encoded, max_length: int, stride: int, prefix: int, suffix: int) -> Encoded:
    """Whole texts in windows of at most `max_length` tokens, each between the special tokens that stand around a text.

    Args:
        whole: one sequence a row, of any length; its units, where it has any, are each answered for by one window.
        max_length: most tokens of a window.
        stride: tokens that neighbours share; half of a window at most.
        prefix: special tokens before a text.
        suffix: special tokens after a text.
    """
    room = max_length - prefix - suffix
    step = room - min(stride, room // 2)
    inner = whole.full_lengths - prefix - suffix
    counts = window_counts(inner, room, room - step)
    bounds = offsets_of(counts)
    row = np.repeat(np.arange(len(whole)), counts)
    begins = (np.arange(bounds[-1]) - bounds[row]) * step
    held = np.minimum(room, inner[row] - begins)  # tokens of the text in each window
    lengths = held + prefix + suffix
    offsets = offsets_of(lengths)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    window = np.repeat(np.arange(len(row)), lengths)
    inside = place + np.where(place < prefix, 0, begins[window])
    after = place - prefix - held[window]  # of special tokens behind the text: which
    source = np.where(after >= 0, whole.full_lengths[row][window] - suffix + after, inside)
    ids = whole.ids[whole.offsets[:-1][row][window] + source]
    windows = Encoded(ids, offsets, whole.full_lengths, sequences=bounds, unread=np.zeros(len(whole), np.int64))
    if whole.unit_places is None or whole.unit_bounds is None:
        return windows
    units = np.diff(whole.unit_bounds)
    first, last = np.repeat(bounds[:-1], units), np.repeat(bounds[1:] - 1, units)
    chosen = np.clip(first + (whole.unit_places - prefix - (room - step) // 2) // step, first, last)
    chosen = np.maximum.accumulate(chosen)  # a unit without a token goes with the one before it
    places = np.where(whole.unit_places < 0, -1, whole.unit_places - (chosen - first) * step)
    return replace(windows, unit_places=places, unit_bounds=np.searchsorted(chosen, np.arange(bounds[-1] + 1)))


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of one pair of texts.

    Attributes:
        ids, kinds: tokens of each window and which text they belong to for the model, `(length,)` each.
        spans: characters of each token in the windowed text, -1 for others, `(length, 2)` each.
        full: tokens of the pair.
        unread: tokens that no window holds.
    """

    ids: Sequence[NDArray[np.int32]]
    kinds: Sequence[NDArray[np.uint8]]
    spans: Sequence[NDArray[np.int32]]
    full: int
    unread: int


def windows_of(encoding: Any, max_length: int, stride: int | None, *, over: int | None = None) -> Windows:
    """The windows of a pair that `tokenizers` encoded whole; of a single text, its own.

    Args:
        encoding: a `tokenizers.Encoding`.
        max_length: most tokens of a window.
        stride: tokens that neighbours share; half of what a window holds of the text at most. None: the first window alone.
        over: which text is windowed, 0 or 1; None: the longer one.
    """
    ids, kinds = np.array(encoding.ids, np.int32), np.array(encoding.type_ids, np.uint8)
    whose = np.array([-1 if owner is None else owner for owner in encoding.sequence_ids])
    sides = [np.flatnonzero(whose == side) for side in (0, 1)]
    long = int(len(sides[1]) > len(sides[0])) if over is None else over
    room = max_length - int((whose == -1).sum())
    beside = sides[1 - long][: max(room // 2, room - len(sides[long]))]
    room -= len(beside)
    step = room - min(stride or 0, room // 2)
    count = 1 if stride is None else int(window_counts(np.array([len(sides[long])]), room, room - step)[0])
    always = (whose == -1) | np.isin(np.arange(len(ids)), beside)
    offsets = np.where((whose == long)[:, None], np.array(encoding.offsets, np.int32).reshape(-1, 2), np.int32(-1))
    kept = []
    for number in range(count):
        keep = always.copy()
        keep[sides[long][number * step : number * step + room]] = True
        kept.append(keep)
    return Windows(
        [ids[keep] for keep in kept],
        [kinds[keep] for keep in kept],
        [offsets[keep] for keep in kept],
        full=len(ids),
        unread=len(sides[1 - long]) - len(beside) + (max(0, len(sides[long]) - room) if stride is None else 0),
    )


def window_rows(rows: Sequence[Windows], *, told: bool, searched: bool = False) -> Encoded:
    """The windows of several pairs end to end.

    Args:
        rows: windows of each pair.
        told: whether models of the tokenizer are told which text a token belongs to.
        searched: whether the characters of tokens are wanted.
    """
    flat = [ids for row in rows for ids in row.ids]
    return Encoded(
        np.concatenate(flat) if flat else np.empty(0, np.int32),
        offsets_of(np.array([len(ids) for ids in flat], dtype=np.int64)),
        np.array([row.full for row in rows], dtype=np.int64),
        np.concatenate([kinds for row in rows for kinds in row.kinds]) if told and flat else None,
        sequences=offsets_of(np.array([len(row.ids) for row in rows], dtype=np.int64)),
        unread=np.array([row.unread for row in rows], dtype=np.int64),
        characters=np.concatenate([spans for row in rows for spans in row.spans]) if searched and flat else None,
    )
