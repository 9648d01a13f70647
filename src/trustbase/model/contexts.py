"""A question and the text that may answer it: the question beside each window of the text, whose tokens know their characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.pair import sides
from trustbase.errors import DataError, Problem
from trustbase.events import Emit, ignore
from trustbase.model.encoded import Encoded, joined
from trustbase.model.token_pairs import pair_layout
from trustbase.model.tokenizer import not_text
from trustbase.model.windows import window_rows, windows_of

_CHUNK = 1024


def encode_contexts(tokenizer: Any, inputs: Sequence[str], *, max_length: int, stride: int | None = None, emit: Emit = ignore) -> Encoded:
    """Token ids of questions and texts, a sequence for each window of the text.

    A question that would take more than half of the room is cut at its end.

    Args:
        tokenizer: from `load_tokenizer`.
        inputs: question and text as `data.pair.join` joins them, `(rows,)`.
        max_length: most tokens of a window.
        stride: tokens of the text that neighbouring windows share; None reads the first window alone.
        emit: takes `progress` events.

    Raises:
        ModelError: the tokenizer puts nothing between two texts.
        DataError: some inputs are no text, or no question with a text; names all such rows.
    """
    parts = [sides(text) if isinstance(text, str) else (text,) for text in inputs]
    bad = [
        Problem(f"row {row}", "expected a question and a text with U+001F between them")
        for row, found in enumerate(parts)
        if len(found) != 2
    ]
    if bad:
        raise DataError("Some inputs are no questions about a text", problems=bad, hint="ask with data.pair.join(question, text)")
    layout = pair_layout(tokenizer)
    pieces = []
    for start in range(0, len(parts), _CHUNK):
        emit("progress", what="tokenising", done=start, total=len(parts))
        chunk = parts[start : start + _CHUNK]
        try:
            encodings = tokenizer.backend_tokenizer.encode_batch(chunk, add_special_tokens=True)
        except (TypeError, UnicodeEncodeError, ValueError) as error:
            raise not_text(list(inputs[start : start + _CHUNK]), start, error) from error
        made = window_rows([windows_of(each, max_length, stride, over=1) for each in encodings], told=layout.told, searched=True)
        pieces.append(_without_blanks(made, [context for _, context in chunk]))
    emit("progress", what="tokenising", done=len(parts), total=len(parts))
    if pieces:
        return joined(pieces)
    return replace(joined([]), sequences=np.zeros(1, np.int64), characters=np.empty((0, 2), np.int32))


def _without_blanks(encoded: Encoded, contexts: Sequence[str]) -> Encoded:
    """Tokens of byte-level tokenizers begin at the blank before a word: such blanks are no part of an answer."""
    assert encoded.characters is not None and encoded.sequences is not None
    characters = encoded.characters.copy()
    rows = np.repeat(np.arange(len(encoded)), encoded.lengths)
    starts = np.cumsum([0, *map(len, contexts)])[:-1]
    blank = np.array([char.isspace() for context in contexts for char in context] or [False])
    inside = np.flatnonzero(characters[:, 0] >= 0)
    for _ in range(2):  # one blank is usual; a token of nothing else keeps its last
        at, last = characters[inside, 0], characters[inside, 1]
        moved = (at + 1 < last) & blank[np.minimum(starts[rows[inside]] + at, len(blank) - 1)]
        characters[inside[moved], 0] += 1
    return replace(encoded, characters=characters)


def positions(encoded: Encoded, truth: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where answers begin and end in each sequence, and how many rows have an answer that no window holds to the character.

    Args:
        encoded: from `encode_contexts`.
        truth: spans of characters of each row, `(rows,)`.

    Returns:
        First and last token of the first answer that a window holds whole, `(sequences, 2)`, the first token of the sequence where it
        holds none; and of each row 0 where an answer is found to the character (or there is none), 1 where tokens reach beyond it, 2 where
        no window holds it, `(rows,)`.
    """
    assert encoded.characters is not None and encoded.sequences is not None
    found = np.zeros((len(encoded.offsets) - 1, 2), dtype=np.int64)
    fates = np.zeros(len(encoded), dtype=np.int64)
    for row, spans in enumerate(truth):
        exact = held = False
        for sequence in range(int(encoded.sequences[row]), int(encoded.sequences[row + 1])):
            characters = encoded.characters[encoded.offsets[sequence] : encoded.offsets[sequence + 1]]
            for start, end in spans:
                first, last = _tokens(characters, start, end)
                if first is None or last is None:
                    continue
                if not found[sequence].any():
                    found[sequence] = first, last
                held = True
                exact |= bool(characters[first, 0] == start and characters[last, 1] == end)
        fates[row] = 0 if not spans or exact else 1 if held else 2
    return found, fates


def _tokens(characters: NDArray[np.int32], start: int, end: int) -> tuple[int, int] | tuple[None, None]:
    """The first and last token that share a character with `[start, end)`; None where the window does not hold it whole."""
    inside = np.flatnonzero((characters[:, 0] >= 0) & (characters[:, 0] < end) & (characters[:, 1] > start))
    if not len(inside):
        return None, None
    first, last = int(inside[0]), int(inside[-1])
    real = np.flatnonzero(characters[:, 0] >= 0)
    begins = characters[first, 0] <= start or first > real[0]  # what stands before it in the text stands in the window too
    ends = characters[last, 1] >= end or last < real[-1]
    return (first, last) if begins and ends else (None, None)
