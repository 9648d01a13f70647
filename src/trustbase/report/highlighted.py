"""A text whose words are marked by what each adds to a score: the darker the more, and those that speak against it marked otherwise."""

from __future__ import annotations

from collections.abc import Sequence

_TONES = 4  # how many shades a word can have
_LEAST = 0.02  # of the largest weight, under which a word has none

Pieces = list[tuple[str, str]]  # of the text, each with its shade; "" has none


def pieces_of(text: str, spans: Sequence[Sequence[int] | None], weights: Sequence[float], errors: Sequence[float | None]) -> Pieces:
    """The text in pieces; nothing where units do not stand in a text, and no shade within two errors of 0."""
    seen = [weight if abs(weight) >= 2 * (error or 0.0) else 0.0 for weight, error in zip(weights, errors, strict=True)]
    placed = [(span[0], span[1], weight) for span, weight in zip(spans, seen, strict=True) if span is not None]
    if not placed:
        return []
    most = max(abs(weight) for _, _, weight in placed) or 1.0
    found, place = Pieces(), 0
    for start, end, weight in placed:
        found += [(text[place:start], ""), (text[start:end], _tone(weight / most))]
        place = end
    return [*found, (text[place:], "")]


def _tone(share: float) -> str:
    if abs(share) < _LEAST:
        return ""
    return f"{'for' if share > 0 else 'against'}{min(_TONES, 1 + int(abs(share) * _TONES))}"
