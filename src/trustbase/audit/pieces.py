"""The pieces of a tokenizer's vocabulary that are words by themselves."""

from __future__ import annotations

import re
from typing import Any

from trustbase.data.units import ALONE

_CONTINUED = "##"  # WordPiece: goes on with the word before it
_BEGINNINGS = ("▁", "Ġ")  # SentencePiece and byte-level pieces: a new word
_SHARE = 0.1  # of the pieces begin so, in a vocabulary that marks beginnings
_ALONE = re.compile(f"[{ALONE}]")


def word_pieces(tokenizer: Any) -> list[tuple[str, int]]:
    """Words as they are written, each with the number of its piece, in the order of these; none where there is no tokenizer.

    Left out are special pieces and those that only go on with a word. In vocabularies that mark where words begin, characters of scripts
    without blanks count without the mark too.
    """
    if tokenizer is None or not hasattr(tokenizer, "get_vocab"):
        return []
    pieces = {str(piece): int(number) for piece, number in tokenizer.get_vocab().items()}
    special = {str(name) for name in getattr(tokenizer, "all_special_tokens", ())}
    mark = next((mark for mark in _BEGINNINGS if sum(piece.startswith(mark) for piece in pieces) > _SHARE * len(pieces)), None)
    found = []
    for piece, number in sorted(pieces.items(), key=lambda item: (item[1], item[0])):
        if piece in special or piece.startswith(_CONTINUED) or (piece.startswith("[unused") and piece.endswith("]")):
            continue
        if mark is None or _ALONE.match(piece):
            found.append((piece, number))
        elif piece.startswith(mark) and len(piece) > len(mark):
            found.append((piece.removeprefix(mark), number))
    return found
