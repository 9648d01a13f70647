"""Whether an edited text reads as well as the text it was made from, as a masked language model sees it.

What is compared is the pseudo-log-likelihood per token: each token is hidden, and the model is asked how likely it is with all others
before its eyes. Of an edit only the tokens that it changed and their neighbours are asked about: the others say nearly the same of both
texts, and a mean over all would hide one bad word in a long text. Words that are left out are counted on neither side, since a rare word
less makes any text likelier. With a piece of a word its later pieces are hidden, which would give it away.

Source: Salazar et al. (2020), "Masked Language Model Scoring", ACL, section 2; pieces of one word: Kauf & Ivanova (2023), "A Better Way to
Do Masked Language Model Scoring", ACL, section 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

import numpy as np

from trustbase.audit.masked_words import Masked, Read, Row
from trustbase.data.units import ALONE

SOURCE = "Salazar et al. (2020), Masked Language Model Scoring, ACL, section 2; pieces of a word: Kauf & Ivanova (2023), ACL"
REACH = 2  # neighbours on each side of what was changed that are asked about
UNREADABLE = float("-inf")  # of an edit with a word that the model does not know, or of which nothing is left
_HAN = re.compile(f"[{ALONE}]")
_DIGITS = 4  # as far as a difference does not hang on how many threads computed it

Asked = tuple[Row, int]  # what the model reads, and the piece that stood in the hidden place


def differences(masked: Masked, text: str, edited: Sequence[str]) -> list[float]:
    """By how much each edited text is likelier than the text, in nats per token around what was changed; 0 where they read the same.

    Args:
        masked: the model.
        text: as it was.
        edited: the texts that were made of it.
    """
    first, unknown = masked.read(text), masked.tokenizer.unk_token_id
    pairs: list[tuple[list[Asked], list[Asked]] | float] = []
    for other in map(masked.read, edited):
        was, now, new = _around(first.ids, other.ids)
        before, behind = _asked(masked, first, was), _asked(masked, other, now)
        if first.ids == other.ids:
            pairs.append(0.0)
        elif not before or not behind or any(other.ids[place] == unknown for place in new):
            pairs.append(UNREADABLE)
        else:
            pairs.append((before, behind))
    scores = _scores(masked, (each for pair in pairs if isinstance(pair, tuple) for side in pair for each in side))

    def mean(asked: Sequence[Asked]) -> float:
        return sum(scores[each] for each in asked) / len(asked)

    return [pair if isinstance(pair, float) else round(mean(pair[1]) - mean(pair[0]), _DIGITS) for pair in pairs]


def per_token(masked: Masked, texts: Sequence[str], *, most: int) -> list[float | None]:
    """Pseudo-log-likelihood per token of each text, in nats, over at most so many of its tokens; None where none is known."""
    asked = []
    for read in map(masked.read, texts):
        places = np.unique(np.linspace(0, len(read.ids) - 1, min(most, len(read.ids))).round().astype(int)).tolist()
        asked.append(_asked(masked, read, places))
    scores = _scores(masked, (each for row in asked for each in row))
    return [sum(scores[each] for each in row) / len(row) if row else None for row in asked]


def _around(ids: Sequence[int], others: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Places that two rows of tokens differ in and those beside them, in the first and in the second; and the second's new ones alone."""
    was, now, new = set[int](), set[int](), set[int]()
    for kind, start, end, first, last in SequenceMatcher(None, ids, others, autojunk=False).get_opcodes():
        if kind != "equal":
            kept = range(start, end) if kind == "delete" else ()  # what is left out is counted on neither side
            was.update(place for place in range(max(0, start - REACH), min(len(ids), end + REACH)) if place not in kept)
            now.update(range(max(0, first - REACH), min(len(others), last + REACH)))
            new.update(range(first, last))
    return sorted(was), sorted(now), sorted(new)


def _asked(masked: Masked, read: Read, places: Iterable[int]) -> list[Asked]:
    """What is asked about the known ones of these tokens."""
    mask, unknown = masked.tokenizer.mask_token_id, masked.tokenizer.unk_token_id
    found = []
    for place in places:
        if read.ids[place] == unknown:
            continue
        ids, last = list(read.ids), place + 1
        while last < len(ids) and read.words[last] is not None and read.words[last] == read.words[place] and not _chinese(read, last):
            last += 1
        ids[place:last] = [mask] * (last - place)
        found.append((masked.row(read, ids, place), read.ids[place]))
    return found


def _chinese(read: Read, place: int) -> bool:
    """Whether a piece is Chinese: some tokenizers take a whole sentence of it for one word."""
    return _HAN.search(read.text[slice(*read.offsets[place])]) is not None


def _scores(masked: Masked, asked: Iterable[Asked]) -> dict[Asked, float]:
    """Log-likelihood of each piece in its hidden place; what is read alike is read once."""
    distinct = list(dict.fromkeys(asked))
    rows = list(dict.fromkeys(row for row, _ in distinct))
    place, likely = {row: number for number, row in enumerate(rows)}, masked.likely(rows)
    return {(row, piece): float(likely[place[row], piece]) for row, piece in distinct}
