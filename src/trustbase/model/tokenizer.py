"""Texts to token ids, fast: ragged arrays straight from the Rust tokenizer, padded only when a batch is cut.

The result equals `tokenizer(texts, truncation=True, max_length=…)` of transformers (a test holds it), and of a pair of texts
(`trustbase.data.pair`) that of `tokenizer(first, second, …)`, of which the longer text is cut first; of a text
with marked entities a window around both is kept (`model.token_marks`). Truncation is
done here and not by the tokenizer, so that nothing is set on a shared object, the settings that a `tokenizer.json`
carries (128 tokens for sentence-transformers) have no say, and the full length of each text is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.marked import HEAD
from trustbase.data.pair import SEPARATOR
from trustbase.errors import DataError, ModelError, Problem
from trustbase.events import Emit, ignore
from trustbase.model.encoded import Encoded, joined, offsets_of, stored
from trustbase.model.folder import check_tokenizer_files
from trustbase.model.shape import positions_of
from trustbase.model.token_marks import encode_marked, too_far
from trustbase.model.token_pairs import encode_pairs, pair_layout
from trustbase.model.windows import cut_windows

_CHUNK = 2048  # texts handed to Rust at once: enough to use its threads, few enough to keep its records small


@dataclass(frozen=True, eq=False)
class TokenStats:
    """What a tokenizer makes of some texts.

    Attributes:
        lengths: tokens of each text before truncation, special tokens included, int64 `(rows,)`.
        unknown_tokens: share of unknown tokens among the non-special tokens of the whole texts, in [0, 1].
        truncated: share of the texts that lose tokens at `max_length`, in [0, 1].
        tokens: non-special tokens, counted.
        unknown_count: unknown tokens, counted.
        truncated_rows: texts that lose tokens, counted.
        lost_tokens: share of all tokens that truncation cuts off, in [0, 1].
        max_length: the limit that `truncated` speaks of.
        parted_rows: texts whose two marked entities stand too far apart for one window, counted.
    """

    lengths: NDArray[np.int64]
    unknown_tokens: float
    truncated: float
    tokens: int
    unknown_count: int
    truncated_rows: int
    lost_tokens: float
    max_length: int
    parted_rows: int = 0


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a model folder, with its own truncation and padding switched off.

    A tokenizer without a padding token gets its end-of-text token for that, as GPT-like models need.

    Raises:
        ModelError: no tokenizer there, one that would run code of its own, or one without a fast (Rust) form.
    """
    check_tokenizer_files(folder)
    from transformers import AutoTokenizer

    from trustbase.model.quiet import quiet

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises whatever its parsers raise; the cause is kept
        raise ModelError(
            f"The tokenizer in '{folder.name}' cannot be read: {type(error).__name__}: {error}",
            hint="copy tokenizer.json and tokenizer_config.json of the base model into the folder",
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"The tokenizer in '{folder.name}' ({type(tokenizer).__name__}) has no fast form (tokenizer.json), which Trustbase needs",
            hint="save one with transformers: AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(folder)",
        )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    if tokenizer.pad_token_id is None:
        spare = tokenizer.eos_token or tokenizer.unk_token
        if spare is None:
            raise ModelError(
                f"The tokenizer in '{folder.name}' has no padding, end-of-text or unknown token",
                hint="set pad_token in tokenizer_config.json",
            )
        tokenizer.pad_token = spare
    return tokenizer


def encode(
    tokenizer: Any, texts: Sequence[str], *, max_length: int, stride: int | None = None, store: Path | None = None, emit: Emit = ignore
) -> Encoded:
    """Token ids of texts, special tokens added, cut at `max_length` or read in windows of that length.

    Args:
        tokenizer: from `load_tokenizer`.
        texts: what the model reads, `(rows,)`; pairs among them as `trustbase.data.pair` joins them, entities marked as `data.marked` does.
        max_length: most tokens of a sequence, special tokens included.
        stride: tokens by which the windows of a longer text overlap; None cuts it off.
        store: a folder that gets the tokens, so that they do not stand in memory; None where they may.
        emit: takes `progress` events.

    Raises:
        ModelError: there are pairs, and the tokenizer puts nothing between two texts.
        DataError: some texts are no text (not a str, or with lone surrogates); names all such rows.
        ValueError: `max_length` leaves no room for a token of text.
    """
    pieces = _encoded(tokenizer, texts, max_length, stride, emit)
    return joined(list(pieces)) if store is None else stored(pieces, store)


def _encoded(tokenizer: Any, texts: Sequence[str], max_length: int, stride: int | None, emit: Emit) -> Iterator[Encoded]:
    """What `encode` gives, some texts at a time."""
    prefix, suffix = special_affixes(tokenizer)
    room = max_length - prefix - suffix
    if room < 1:
        raise ValueError(f"max_length {max_length} leaves no room for text beside {prefix + suffix} special tokens")
    for start in range(0, len(texts), _CHUNK):
        emit("progress", what="tokenising", done=start, total=len(texts))
        chunk = list(texts[start : start + _CHUNK])
        if any(isinstance(text, str) and SEPARATOR in text for text in chunk):
            yield encode_pairs(tokenizer, chunk, start, max_length=max_length, stride=stride, refused=not_text)
            continue
        if any(isinstance(text, str) and HEAD in text for text in chunk):
            yield encode_marked(tokenizer, chunk, start, max_length=max_length, refused=not_text)
            continue
        ids, full = _encode_chunk(tokenizer, chunk, start)
        whole = Encoded(ids, offsets_of(full), full)
        if (full > max_length).any():
            right = tokenizer.truncation_side == "right"
            whole = (
                cut_rows(whole, max_length, suffix if right else None, prefix)
                if stride is None
                else cut_windows(whole, max_length, stride, prefix, suffix)
            )
        yield whole
    emit("progress", what="tokenising", done=len(texts), total=len(texts))


def token_stats(
    tokenizer: Any, texts: Sequence[str], max_length: int, *, whole: Encoded | None = None, windows: bool = False
) -> TokenStats:
    """Lengths, unknown tokens and truncation of texts, over the whole texts and not only what fits.

    Args:
        tokenizer: from `load_tokenizer`.
        texts: `(rows,)`.
        max_length: tokens of a sequence.
        whole: the texts uncut, where they are read in another way than `encode` does it.
        windows: whether longer texts are read in windows, so that nothing is cut off.
    """
    prefix, suffix = special_affixes(tokenizer)
    unknown_id = tokenizer.unk_token_id
    tokens = unknown = 0
    lengths, over = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for piece in _encoded(tokenizer, texts, 2**40, None, ignore) if whole is None else [whole]:
        inner = np.ones(len(piece.ids), dtype=bool)
        for k in range(prefix):
            inner[piece.offsets[:-1] + k] = False
        for k in range(1, suffix + 1):
            inner[piece.offsets[1:] - k] = False
        tokens += int(inner.sum())
        unknown += 0 if unknown_id is None else int(((piece.ids == unknown_id) & inner).sum())
        lengths.append(piece.full_lengths)
        over.append(np.zeros(len(piece), np.int64) if windows else _over(piece, max_length))
    pairs = len(whole.flat) if whole is not None and whole.sequences is not None else sum(SEPARATOR in text for text in texts)
    tokens -= pairs * pair_layout(tokenizer).between if pairs else 0
    parted = int(too_far(tokenizer, texts, max_length).sum())
    return _stats(np.concatenate(lengths), np.concatenate(over), tokens, unknown, max_length, parted)


def _stats(lengths: NDArray[np.int64], over: NDArray[np.int64], tokens: int, unknown: int, max_length: int, parted: int) -> TokenStats:
    rows = max(len(lengths), 1)
    return TokenStats(
        lengths=lengths,
        unknown_tokens=unknown / tokens if tokens else 0.0,
        truncated=int((over > 0).sum()) / rows,
        tokens=tokens,
        unknown_count=unknown,
        truncated_rows=int((over > 0).sum()),
        lost_tokens=float(over.sum()) / max(int(lengths.sum()), 1),
        max_length=max_length,
        parted_rows=parted,
    )


def _over(whole: Encoded, max_length: int) -> NDArray[np.int64]:
    """Tokens that each row loses where none of its sequences may be longer than `max_length`, `(rows,)`."""
    over = np.maximum(np.diff(whole.offsets) - max_length, 0)
    return over if whole.sequences is None else np.add.reduceat(over, whole.sequences[:-1])


def model_max_length(config: Any, tokenizer: Any, *, fallback: int = 512) -> int:
    """The most tokens a model can read: its positions, and what its tokenizer says; `fallback` where neither is bounded."""
    limits = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < 10**6 else []
    positions = positions_of(config.to_dict())
    if positions is not None:
        limits.append(positions)
    return min(limits) if limits else fallback


def _encode_chunk(tokenizer: Any, chunk: list[str], start: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    try:
        lists = [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(chunk, add_special_tokens=True)]
    except (TypeError, UnicodeEncodeError, ValueError) as error:
        raise not_text(chunk, start, error) from error
    if not all(lists):  # a tokenizer without special tokens makes nothing of an empty text, and a model needs one token
        filler = next(x for x in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) if x is not None)
        lists = [ids or [filler] for ids in lists]
    lengths = np.fromiter(map(len, lists), np.int64, count=len(lists))
    return np.fromiter(chain.from_iterable(lists), np.int32, count=int(lengths.sum())), lengths


def not_text(chunk: Sequence[Any], start: int, error: Exception) -> DataError:
    problems = []
    for row, text in enumerate(chunk, start):
        if not isinstance(text, str):
            problems.append(Problem(f"row {row}", f"expected a text, got {type(text).__name__}"))
        elif any("\ud800" <= letter <= "\udfff" for letter in text):
            problems.append(Problem(f"row {row}", "the text holds half a surrogate pair, which is no character"))
    if not problems:
        problems = [Problem(f"rows {start} to {start + len(chunk) - 1}", f"the tokenizer refused them: {error}")]
    return DataError("Some texts cannot be tokenized", problems=problems, hint="mend or leave out these rows")


def special_affixes(tokenizer: Any) -> tuple[int, int]:
    """How many special tokens stand before and after one text."""
    mask = tokenizer.backend_tokenizer.encode("a", add_special_tokens=True).special_tokens_mask
    if 0 not in mask:
        raise ModelError(
            "The tokenizer makes no token of the letter 'a'",
            hint="check tokenizer.json: its vocabulary or normaliser is not usable for text",
        )
    return mask.index(0), mask[::-1].index(0)


def cut_rows(whole: Encoded, max_length: int, suffix: int | None, prefix: int) -> Encoded:
    """Drop tokens between the special ones: before the suffix, or (`suffix` None: truncation on the left) after the prefix."""
    lengths = np.minimum(whole.full_lengths, max_length)
    offsets = offsets_of(lengths)
    position = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    excess = np.repeat(whole.full_lengths - lengths, lengths)
    late = position >= (prefix if suffix is None else np.repeat(lengths - suffix, lengths))
    where = np.repeat(whole.offsets[:-1], lengths) + position + np.where(late, excess, 0)
    return Encoded(whole.ids[where], offsets, whole.full_lengths)
