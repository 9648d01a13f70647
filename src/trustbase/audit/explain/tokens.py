"""Which characters of an input each token stands for, exactly as the model reads it, and so which unit; or why that cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.explain.units import Units
from trustbase.data import marked
from trustbase.data.cells import Reading
from trustbase.data.pair import SEPARATOR
from trustbase.data.template import Cell, cell_text
from trustbase.model.encoded import Encoded
from trustbase.model.sequencer import Sequencer
from trustbase.model.token_marks import spoken
from trustbase.model.tokenizer import cut_rows, special_affixes

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Tokens:
    """One input as the model reads it.

    Attributes:
        ids: int64 `(tokens,)`, special tokens included.
        segments: 1 for tokens of the second text of a pair, float32 `(tokens,)`; None where models are not told.
        places: first character of each token in the input and the one after its last, `(tokens, 2)`; -1 for special tokens and for signs
            that stand around entities.
    """

    ids: NDArray[np.int64]
    segments: NDArray[np.float32] | None
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kinds(self) -> NDArray[np.float32]:
        """The segments, also where models are not told: all of the first text."""
        return np.zeros(len(self), dtype=np.float32) if self.segments is None else self.segments


def tokens_of(tokenizer: Any, sequencer: Sequencer, texts: Sequence[str]) -> list[Tokens | str]:
    """The tokens of each input, or why it cannot be told where they stand.

    Args:
        tokenizer: from `load_tokenizer`.
        sequencer: how the model reads.
        texts: what it is asked, without cells of columns.
    """
    encoded = sequencer.encode(tokenizer, texts)
    return [_placed(tokenizer, sequencer, text, encoded.take([row])) for row, text in enumerate(texts)]


def _placed(tokenizer: Any, sequencer: Sequencer, text: str, encoded: Encoded) -> Tokens | str:
    if len(encoded.flat) != 1:
        return "it is read in several windows, and this method follows one"
    told, characters = _as_told(text)
    encoding = tokenizer.backend_tokenizer.encode(*told, add_special_tokens=True)
    whose = np.array([-1 if owner is None else owner for owner in encoding.sequence_ids], dtype=np.int64)
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    places = np.full((len(whose), 2), -1, dtype=np.int64)
    for side, where in enumerate(characters):
        real = (whose == side) & (offsets[:, 1] > offsets[:, 0])
        first, last = where[offsets[real, 0]], where[offsets[real, 1] - 1]
        known = (first >= 0) & (last >= first)
        places[np.flatnonzero(real)[known]] = np.stack([first[known], last[known] + 1], axis=1)
    ids, kept = np.array(encoding.ids, dtype=np.int64), np.arange(len(whose))
    if len(encoded.ids) < len(ids):
        if len(told) > 1 or text != told[0]:
            return "it is longer than the model reads, and of two texts or marked entities it cannot be told which tokens are left"
        kept = _kept(tokenizer, sequencer, len(ids))
    if not np.array_equal(ids[kept], encoded.ids):
        return "the tokenizer does not say of all tokens which characters they are"
    segments = None if encoded.segments is None else encoded.segments.astype(np.float32)
    return Tokens(ids[kept], segments, places[kept])


def _kept(tokenizer: Any, sequencer: Sequencer, length: int) -> NDArray[np.int64]:
    """Which tokens of a text that is too long are read."""
    prefix, suffix = special_affixes(tokenizer)
    whole = Encoded(np.arange(length, dtype=np.int32), np.array([0, length]), np.array([length]))
    right = tokenizer.truncation_side == "right"
    return np.asarray(cut_rows(whole, sequencer.max_length, suffix if right else None, prefix).ids, dtype=np.int64)


def _as_told(text: str) -> tuple[tuple[str, ...], tuple[NDArray[np.int64], ...]]:
    """The texts that the tokenizer is given, and for each of their characters where it stands in the input; -1: nowhere."""
    if SEPARATOR in text:
        first, _, second = text.partition(SEPARATOR)
        return (first, second), (np.arange(len(first)), np.arange(len(second)) + len(first) + 1)
    if marked.parts(text) is None:
        return (text,), (np.arange(len(text)),)
    said, entities = spoken(text)
    assert entities is not None
    where = np.full(len(said), -1, dtype=np.int64)
    (one, one_end), (two, two_end) = entities
    where[:one] = np.arange(one)
    after = len(said) - two_end
    where[two_end:] = np.arange(len(text) - after, len(text))
    begin = text.index(said[one_end:two], _end_of_mark(text, one)) if two > one_end else 0
    where[one_end:two] = np.arange(begin, begin + two - one_end)
    return (said,), (where,)


def _end_of_mark(text: str, begin: int) -> int:
    """One after the sign that closes the entity whose sign stands at `begin`."""
    return text.index(text[begin], begin + 1) + 1


def places_of(units: Units, reading: Reading, row: Mapping[str, Any] | None) -> tuple[Spans, ...]:
    """Where each unit stands in the input: words at one place, fields wherever the template shows the column.

    Args:
        units: of the input.
        reading: how a row becomes it.
        row: its cells, where units are fields.

    Raises:
        ValueError: fields without a row.
    """
    if units.kind != "fields":
        return tuple(() if span is None else (span,) for span in units.spans)
    if row is None:
        raise ValueError("where a column stands in an input follows from its row alone")
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in units.names}
    place = 0
    for part in reading.template.parts:
        written = part if isinstance(part, str) else cell_text(row.get(part.column)) or part.missing
        if isinstance(part, Cell) and written:
            found[part.column].append((place, place + len(written)))
        place += len(written)
    return tuple(tuple(found[name]) for name in units.names)


def shares_of(tokens: Tokens, places: Sequence[Spans]) -> NDArray[np.float64]:
    """What share of each token belongs to each unit, by characters, `(tokens, units)`; rows of tokens that touch no unit are 0.

    A token that reaches beyond a unit into no other belongs to it whole.
    """
    length = max((end for spans in places for _, end in spans), default=0)
    owner = np.full(max(length, int(tokens.places.max(initial=0))), -1, dtype=np.int64)
    for unit, spans in enumerate(places):
        for start, end in spans:
            owner[start:end] = unit
    found = np.zeros((len(tokens), len(places)))
    for token, (start, end) in enumerate(tokens.places.tolist()):
        touched = owner[start:end] if start >= 0 else owner[:0]
        touched = touched[touched >= 0]
        if len(touched):
            found[token] = np.bincount(touched, minlength=len(places)) / len(touched)
    return found
