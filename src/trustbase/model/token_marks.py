"""Token ids of texts with two marked entities: marks become signs that any tokenizer reads, and a long text keeps both entities.

The signs are the typed entity markers of punctuation, `@ * person * Bill @ was born in # ^ city ^ Seattle #`, without the type where none
is told: no token is added, so that any base and any runtime can take them.

Source: Zhou & Chen (2022), "An Improved Baseline for Sentence-level Relation Extraction", section 2.2 (typed entity marker, punct).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.data.marked import Marked, parts
from trustbase.errors import ModelError
from trustbase.model.encoded import Encoded, offsets_of

SIGNS = (("@", "*"), ("#", "^"))  # of head and tail: around the entity, around its type

Places = tuple[tuple[int, int], tuple[int, int]]


def spoken(text: str) -> tuple[str, Places | None]:
    """A marked text as it is tokenized, and which of its characters are the first and the second marked entity; any other text as it is."""
    marked = parts(text)
    if marked is None:
        return text, None
    head, tail = _signed(marked, 0), _signed(marked, 1)
    one, two = (head, tail) if marked.head_first else (tail, head)
    begin = len(marked.before)
    second = begin + len(one) + len(marked.between)
    return f"{marked.before}{one}{marked.between}{two}{marked.after}", ((begin, begin + len(one)), (second, second + len(two)))


def check_signs(tokenizer: Any, base: str) -> None:
    """A model cannot tell entities apart whose signs are unknown tokens.

    Raises:
        ModelError: the tokenizer does not know a sign.
    """
    unknown = tokenizer.unk_token_id
    missing = [sign for sign, _ in SIGNS if unknown is not None and unknown in tokenizer.backend_tokenizer.encode(sign).ids]
    if missing:
        raise ModelError(
            f"base '{base}': its tokenizer does not know {' '.join(missing)}, which are put around entities",
            hint="take another base model, or add these signs to its vocabulary",
        )


def encode_marked(
    tokenizer: Any, texts: Sequence[str], start: int, *, max_length: int, refused: Callable[[Sequence[Any], int, Exception], Exception]
) -> Encoded:
    """Token ids of texts among which there are marked ones, cut at `max_length`.

    Of a marked text that is longer, a window is read: both entities, and as much of the text on either side of them. Where the entities
    stand too far apart for that, the words between them are left out (`too_far`). Other texts lose what the tokenizer's own truncation
    would take.

    Args:
        tokenizer: from `load_tokenizer`.
        texts: `(rows,)`.
        start: number of the first, for messages.
        max_length: most tokens of a row, special tokens included.
        refused: makes the error of texts that are none.
    """
    try:
        told = [spoken(text) for text in texts]
        encodings = tokenizer.backend_tokenizer.encode_batch([text for text, _ in told], add_special_tokens=True)
    except (AttributeError, TypeError, UnicodeEncodeError, ValueError) as error:
        raise refused(texts, start, error) from error
    from_left = tokenizer.truncation_side != "right"
    rows = []
    for encoding, (_, places) in zip(encodings, told, strict=True):
        ids = np.array(encoding.ids, np.int32)
        rows.append(ids if len(ids) <= max_length else ids[_kept(encoding, places, max_length, from_left)])
    lengths = np.array([len(ids) for ids in rows], dtype=np.int64)
    return Encoded(np.concatenate(rows), offsets_of(lengths), np.array([len(encoding) for encoding in encodings], dtype=np.int64))


def too_far(tokenizer: Any, texts: Sequence[str], max_length: int) -> NDArray[np.bool_]:
    """Marked texts whose two entities, with what stands between them, have more tokens than a model reads, bool `(rows,)`."""
    found = np.zeros(len(texts), dtype=bool)
    for row, text in enumerate(texts):
        told, places = spoken(text)
        if places is not None and len(told) > max_length - 2:  # a token has a character at least
            encoding = tokenizer.backend_tokenizer.encode(told, add_special_tokens=True)
            inner = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
            (first, _), (_, last) = _token_places(encoding, inner, places)
            found[row] = last - first > max_length - (len(encoding) - len(inner))
    return found


def _signed(marked: Marked, which: int) -> str:
    sign, of_type = SIGNS[which]
    kind = marked.types[which].replace("_", " ").lower()
    words = marked.tail if which else marked.head
    return f"{sign} {of_type} {kind} {of_type} {words} {sign}" if kind else f"{sign} {words} {sign}"


def _kept(encoding: Any, places: Places | None, max_length: int, from_left: bool) -> NDArray[np.int64]:
    """Positions of the tokens that are read, in order."""
    special = np.array(encoding.special_tokens_mask, dtype=bool)
    inner = np.flatnonzero(~special)
    room = max_length - int(special.sum())
    if places is None:
        chosen = inner[len(inner) - room :] if from_left else inner[:room]
    else:
        (first, _), (_, last) = _token_places(encoding, inner, places)
        spare = room - (last - first)
        if spare < 0:
            chosen = np.concatenate([inner[first : first + room // 2], inner[last - (room - room // 2) : last]])
        else:
            begin = min(max(first - spare // 2, 0), len(inner) - room)
            chosen = inner[begin : begin + room]
    return np.sort(np.concatenate([np.flatnonzero(special), chosen]))


def _token_places(encoding: Any, inner: NDArray[np.int64], places: Places) -> Places:
    """Tokens of the first and the second entity, signs included, among those that are not special: from, to (exclusive)."""
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)[inner]
    found = []
    for begin, end in places:
        covered = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > begin))
        found.append((int(covered[0]), int(covered[-1]) + 1) if len(covered) else (0, 0))
    return found[0], found[1]
