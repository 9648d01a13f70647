"""The words that a tokenizer has as one piece each."""

from __future__ import annotations

from typing import Any

from trustbase.audit.pieces import word_pieces


def vocabulary(tokenizer: Any) -> list[str]:
    """Pieces that are words by themselves (`pieces.word_pieces`), in order; pieces of bytes that are no text, and marks, are left out."""
    words = {word for word, _ in word_pieces(tokenizer)}
    return sorted(word for word in words if word.isprintable() and not word.isspace() and any(sign.isalnum() for sign in word))
