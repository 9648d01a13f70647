"""The header of a safetensors file, read before the library is: of a name given twice, two readers could make two models."""

from __future__ import annotations

import json
from pathlib import Path

LONGEST = 10_000_000  # bytes; 100,000 weights take about as many, and what would be built of a ten times longer one fills a GB


def header_problem(path: Path) -> str:
    """Why no reader should be shown this header, or ""; whether offsets, sizes and types are right the library says itself.

    Source: the README of safetensors (a header of at most 100 MB; keys given twice are for each reader to decide).

    Raises:
        OSError: the file cannot be read.
        ValueError: the header is no JSON in UTF-8.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > LONGEST:
            return f"its header is said to have {length:,} bytes, and the longest that is read has {LONGEST:,}"
        header = stream.read(length)
    if len(header) < length:
        return f"its header has {len(header):,} bytes, and is said to have {length:,}"
    twice: list[str] = []
    try:
        json.loads(header.decode("utf-8"), object_pairs_hook=lambda pairs: _note_repeats(pairs, twice))
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    return f"its header gives {twice[0][:200]!r} twice" if twice else ""


def _note_repeats(pairs: list[tuple[str, object]], twice: list[str]) -> None:
    """Note the names that an object gives more than once; nothing of it is kept."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            twice.append(name)
        seen.add(name)
