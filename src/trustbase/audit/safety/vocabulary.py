"""The words that a tokenizer has as one piece each."""

from __future__ import annotations

from typing import Any

_CONTINUED = "##"  # WordPiece: goes on with the word before it
_BEGINNINGS = ("▁", "Ġ")  # SentencePiece and byte-level pieces: a new word


def vocabulary(tokenizer: Any) -> list[str]:
    """Pieces that are words by themselves, in order; none where there is no tokenizer.

    Pieces of bytes that are no text, and those that only go on with a word, are left out.
    """
    if tokenizer is None or not hasattr(tokenizer, "get_vocab"):
        return []
    pieces = [str(piece) for piece in tokenizer.get_vocab()]
    special = {str(name) for name in getattr(tokenizer, "all_special_tokens", ())}
    mark = next((mark for mark in _BEGINNINGS if sum(piece.startswith(mark) for piece in pieces) > len(pieces) / 10), None)
    found = set()
    for piece in pieces:
        if piece in special or (piece.startswith("[unused") and piece.endswith("]")) or piece.startswith(_CONTINUED):
            continue
        word = piece.removeprefix(mark) if mark is not None and piece.startswith(mark) else None if mark is not None else piece
        if word and word.isprintable() and not word.isspace() and any(sign.isalnum() for sign in word):
            found.add(word)
    return sorted(found)
