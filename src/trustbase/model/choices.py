"""A question and its choices as sequences: the question with each choice beside it, so that each gets one score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trustbase.data.pair import join, sides
from trustbase.errors import DataError, Problem
from trustbase.events import Emit, ignore
from trustbase.model.encoded import Encoded
from trustbase.model.tokenizer import encode


def encode_choices(tokenizer: Any, inputs: Sequence[str], *, max_length: int, emit: Emit = ignore) -> Encoded:
    """Token ids of questions and their choices, one pair for each choice, the longer text of a pair cut first.

    Args:
        tokenizer: from `load_tokenizer`.
        inputs: question and choices as `data.pair.join` joins them, `(rows,)`.
        max_length: most tokens of a pair.
        emit: takes `progress` events.

    Raises:
        ModelError: the tokenizer puts nothing between two texts.
        DataError: some inputs are no text, or a question without two choices; names all such rows.
    """
    parts = [sides(text) if isinstance(text, str) else (text,) for text in inputs]
    bad = [
        Problem(f"row {row}", f"expected a question and at least two choices with U+001F between them, got {len(found) - 1} choices")
        for row, found in enumerate(parts)
        if len(found) < 3
    ]
    if bad:
        raise DataError("Some inputs are no questions with choices", problems=bad, hint="ask with data.pair.join(question, *choices)")
    counts = np.array([len(found) - 1 for found in parts], dtype=np.int64)
    pairs = [join(question, choice) for question, *choices in parts for choice in choices]
    flat = encode(tokenizer, pairs, max_length=max_length, emit=emit)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    full, lost = (np.add.reduceat(values, bounds[:-1]) if len(values) else values for values in (flat.full_lengths, flat.lost))
    return replace(flat, full_lengths=full, sequences=bounds, together="choices", unread=lost)
