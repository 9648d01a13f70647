"""Texts to token ids with the place of each unit: a unit is answered by its first token, whatever the tokenizer makes of it.

The tokenizer reads texts in a way in which no token belongs to two units (`unit_tokenizer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.units import Bounds
from trustbase.events import Emit, ignore
from trustbase.model.encoded import Encoded, joined, offsets_of
from trustbase.model.questions import UNREAD
from trustbase.model.tokenizer import cut_rows, not_text, special_affixes
from trustbase.model.unit_tokenizer import unit_tokenizer
from trustbase.model.windows import cut_windows

_CHUNK = 2048
_BLANKS = ("\u2581", "Ġ")  # tokens that stand for a blank, of sentencepiece and of byte-level tokenizers


def encode_units(tokenizer: Any, texts: Sequence[str], *, max_length: int, stride: int | None = None, emit: Emit = ignore) -> Encoded:
    """Token ids of texts, special tokens added, cut at `max_length` or read in windows of that length, with each unit's first token.

    Args:
        tokenizer: from `load_tokenizer`.
        texts: `(rows,)`.
        max_length: most tokens of a sequence, special tokens included.
        stride: tokens by which the windows of a longer text overlap, each unit in one of them; None cuts it off.
        emit: takes `progress` events.

    Raises:
        DataError: some texts are no text; names all such rows.
        ValueError: `max_length` leaves no room for a token of text.
    """
    prefix, suffix = special_affixes(tokenizer)
    if max_length - prefix - suffix < 1:
        raise ValueError(f"max_length {max_length} leaves no room for text beside {prefix + suffix} special tokens")
    pieces = []
    for start in range(0, len(texts), _CHUNK):
        emit("progress", what="tokenising", done=start, total=len(texts))
        whole = _encode_chunk(tokenizer, list(texts[start : start + _CHUNK]), start)
        if (whole.full_lengths > max_length).any():
            right = tokenizer.truncation_side == "right"
            whole = (
                _cut(whole, max_length, prefix, suffix, right=right)
                if stride is None
                else cut_windows(whole, max_length, stride, prefix, suffix)
            )
        pieces.append(whole)
    emit("progress", what="tokenising", done=len(texts), total=len(texts))
    return joined(pieces) if pieces else replace(joined([]), unit_places=np.empty(0, np.int64), unit_bounds=np.zeros(1, np.int64))


def unread(encoded: Encoded) -> NDArray[np.int64]:
    """Units of each row that the model does not read, `(rows,)`."""
    assert encoded.unit_places is not None
    before = np.concatenate([[0], np.cumsum(encoded.unit_places < 0)])
    return np.asarray(np.diff(before[encoded.row_units]), dtype=np.int64)


def read_places(part: Encoded) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sequence and position of each unit that the model reads, in order, `(read,)` each."""
    assert part.unit_places is not None and part.unit_bounds is not None
    sequences = np.repeat(np.arange(len(part.unit_bounds) - 1), np.diff(part.unit_bounds))
    read = part.unit_places >= 0
    return sequences[read], part.unit_places[read]


def by_row(part: Encoded, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What a model gives for the units that it read, `(read, width)`, as one table for each row, `(units, width)`.

    Other units have `UNREAD` in every place.
    """
    assert part.unit_places is not None
    whole = np.full((len(part.unit_places), values.shape[1]), UNREAD, dtype=np.float32)
    whole[part.unit_places >= 0] = values
    return [whole[start:end].copy() for start, end in pairwise(part.row_units.tolist())]


def _encode_chunk(tokenizer: Any, chunk: list[str], start: int) -> Encoded:
    try:
        found, units_of = unit_tokenizer(tokenizer.backend_tokenizer).encoded(chunk)
    except (AttributeError, TypeError, UnicodeEncodeError, ValueError) as error:
        raise not_text(chunk, start, error) from error
    lists = [encoding.ids for encoding in found]
    offsets = [encoding.offsets for encoding in found]
    if not all(lists):  # a tokenizer without special tokens makes nothing of a text of unreadable signs, and a model needs one token
        filler = next(x for x in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) if x is not None)
        offsets = [spans or [(0, 0)] for spans in offsets]
        lists = [ids or [filler] for ids in lists]
    lengths = np.fromiter(map(len, lists), np.int64, count=len(lists))
    ids = np.fromiter(chain.from_iterable(lists), np.int32, count=int(lengths.sum()))
    spans = np.fromiter(chain.from_iterable(chain.from_iterable(offsets)), np.int64, count=2 * len(ids)).reshape(-1, 2)
    blanks = [each for sign in _BLANKS if (each := tokenizer.backend_tokenizer.token_to_id(sign)) is not None]
    spans[np.isin(ids, blanks)] = 0  # a sign for the blank before a word is no part of it, though some say so
    places, bounds = _first_tokens(units_of, spans, lengths)
    return Encoded(ids, offsets_of(lengths), lengths, unit_places=places, unit_bounds=bounds)


def _first_tokens(
    bounds: Sequence[Bounds], spans: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Position of the first token that holds a unit's first character, or -1; and where the units of each row begin and end.

    A byte-level token may begin at the blank before a word, so what counts is where a token ends.
    """
    counts = np.array([len(each) for each in bounds], dtype=np.int64)
    unit_bounds = offsets_of(counts)
    flat = np.concatenate(bounds) if len(bounds) else np.zeros((0, 2), np.int64)
    real = np.flatnonzero(spans[:, 1] > spans[:, 0])  # special tokens stand nowhere in the text
    if not len(real):
        return np.full(len(flat), -1, dtype=np.int64), unit_bounds
    far = int(max(spans.max(initial=0), flat.max(initial=0))) + 2  # longer than any text, so that rows do not meet
    token_rows, unit_rows = np.repeat(np.arange(len(lengths)), lengths)[real], np.repeat(np.arange(len(counts)), counts)
    found = np.searchsorted(token_rows * far + spans[real, 1], unit_rows * far + flat[:, 0], side="right")
    token = real[np.minimum(found, len(real) - 1)]
    held = (found < len(real)) & (token_rows[np.minimum(found, len(real) - 1)] == unit_rows) & (spans[token, 0] < flat[:, 1])
    starts = offsets_of(lengths)[:-1]
    return np.where(held, token - starts[unit_rows], -1).astype(np.int64), unit_bounds


def _cut(whole: Encoded, max_length: int, prefix: int, suffix: int, *, right: bool) -> Encoded:
    """Drop tokens between the special ones, and the units whose first token goes with them."""
    assert whole.unit_places is not None and whole.unit_bounds is not None
    shorter = cut_rows(whole, max_length, suffix if right else None, prefix)
    counts = np.diff(whole.unit_bounds)
    if right:
        last = np.repeat(shorter.lengths - suffix, counts)
        places = np.where(whole.unit_places < last, whole.unit_places, -1)
    else:
        moved = whole.unit_places - np.repeat(whole.full_lengths - shorter.lengths, counts)
        places = np.where((whole.unit_places >= 0) & (moved >= prefix), moved, -1)
    return replace(shorter, unit_places=places, unit_bounds=whole.unit_bounds)
