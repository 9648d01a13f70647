"""Sentences that are lists of tokens: as one text, and their tags as spans of its characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from trustbase.data.tags import entities_of
from trustbase.data.units import alone


def joined(tokens: Sequence[str], *, blank: bool = True) -> tuple[str, list[tuple[int, int]]]:
    """Tokens as one text, and where each stands in it.

    Args:
        tokens: none empty, without blanks in them.
        blank: whether one blank stands between two tokens; never where both sides are signs of Han or kana.
    """
    parts, spans, at = [], [], 0
    for place, token in enumerate(tokens):
        if place and blank and not (alone(tokens[place - 1][-1]) and alone(token[0])):
            parts.append(" ")
            at += 1
        parts.append(token)
        spans.append((at, at + len(token)))
        at += len(token)
    return "".join(parts), spans


def single_characters(sentences: Iterable[Sequence[str]]) -> bool:
    """Whether every token is one character, as where Chinese is tagged by characters: then nothing stands between them."""
    return all(len(token) == 1 for tokens in sentences for token in tokens)


def spans_json(tags: Sequence[str], spans: Sequence[tuple[int, int]], scheme: str) -> tuple[list[dict[str, Any]], int]:
    """The entities that tags spell, as spans of characters, and how many tags were repaired.

    Raises:
        ValueError: a word that is no tag.
    """
    found = entities_of(tags, scheme)
    entities = [{"start": spans[start][0], "end": spans[end - 1][1], "label": name} for start, end, name in found.entities]
    return entities, found.repaired
