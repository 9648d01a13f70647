"""Token ids of pairs of texts: both in one row, with the tokenizer's own tokens between them, the longer one cut first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.pair import halves
from trustbase.errors import ModelError
from trustbase.model.encoded import Encoded, offsets_of
from trustbase.model.windows import window_rows, windows_of


@dataclass(frozen=True)
class PairLayout:
    """How many special tokens a tokenizer puts before, between and after two texts."""

    before: int
    between: int
    after: int
    told: bool  # whether its models are told which text a token belongs to

    @property
    def special(self) -> int:
        return self.before + self.between + self.after


def pair_layout(tokenizer: Any) -> PairLayout:
    """What a tokenizer does with two texts.

    Raises:
        ModelError: it puts nothing between them, so that no model could tell where the second begins.
    """
    whose = tokenizer.backend_tokenizer.encode("a", "a", add_special_tokens=True).sequence_ids
    if 0 not in whose or 1 not in whose:
        raise ModelError(
            "The tokenizer makes no token of the letter 'a'", hint="check tokenizer.json: its vocabulary or normaliser is not usable"
        )
    first, second = whose.index(0), whose.index(1)
    end = len(whose) - whose[::-1].index(1)
    between = whose[first:second].count(None)
    if not between:
        raise ModelError(
            "The tokenizer puts no token between two texts, so that a model cannot tell where the second begins",
            hint='take a base model that was made for pairs, or write both into one text: task: text-classification, text: "{a} … {b}"',
        )
    return PairLayout(first, between, len(whose) - end, "token_type_ids" in tokenizer.model_input_names)


def kept(first: int, second: int, room: int) -> tuple[int, int]:
    """Tokens of each of two texts that fit into `room`: the longer one is cut until both are as long, then both alike.

    As `tokenizers` does it ("longest first"), down to which of two equal ones gets an odd token.
    """
    short, long = sorted((first, second))
    if short + long <= room:
        return first, second
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short, long = room // 2, room - room // 2
    return (long, short) if first > second else (short, long)


def encode_pairs(
    tokenizer: Any,
    texts: Sequence[str],
    start: int,
    *,
    max_length: int,
    refused: Callable[[Sequence[Any], int, Exception], Exception],
    stride: int | None = None,
) -> Encoded:
    """Token ids of texts among which there are pairs, cut at `max_length` or read in windows of that length.

    Args:
        tokenizer: from `load_tokenizer`.
        texts: `(rows,)`.
        start: number of the first, for messages.
        max_length: most tokens of a row, special tokens included.
        refused: makes the error of texts that are none.
        stride: tokens by which windows over the longer text overlap, each with the shorter one beside it; None cuts the longer one.

    Raises:
        ModelError: see `pair_layout`.
        ValueError: `max_length` leaves no room for a token of each text.
    """
    layout = pair_layout(tokenizer)
    if max_length < layout.special + 2:
        raise ValueError(f"max_length {max_length} leaves no room for two texts beside {layout.special} special tokens")
    try:
        inputs = [parts if len(parts := halves(text)) == 2 else parts[0] for text in texts]
        encodings = tokenizer.backend_tokenizer.encode_batch(inputs, add_special_tokens=True)
    except (AttributeError, TypeError, UnicodeEncodeError, ValueError) as error:
        raise refused(texts, start, error) from error
    if stride is not None and any(len(encoding) > max_length for encoding in encodings):
        return window_rows([windows_of(encoding, max_length, stride) for encoding in encodings], told=layout.told)
    from_left = tokenizer.truncation_side != "right"
    rows = [_cut(encoding, max_length, from_left) for encoding in encodings]
    lengths = np.array([len(ids) for ids, _ in rows], dtype=np.int64)
    return Encoded(
        np.concatenate([ids for ids, _ in rows]),
        offsets_of(lengths),
        np.array([len(encoding) for encoding in encodings], dtype=np.int64),
        np.concatenate([kinds for _, kinds in rows]) if layout.told else None,
    )


def _cut(encoding: Any, max_length: int, from_left: bool) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Ids and segments of one row, each text cut at its own end (or beginning)."""
    ids, kinds = np.array(encoding.ids, np.int32), np.array(encoding.type_ids, np.uint8)
    if len(ids) <= max_length:
        return ids, kinds
    whose = np.array([-1 if owner is None else owner for owner in encoding.sequence_ids])
    first, second = int((whose == 0).sum()), int((whose == 1).sum())
    room = max_length - int((whose == -1).sum())
    keep = whose == -1
    for side, size in enumerate(kept(first, second, room) if second else (room, 0)):
        places = np.flatnonzero(whose == side)
        keep[places[len(places) - size :] if from_left else places[:size]] = True
    return ids[keep], kinds[keep]
