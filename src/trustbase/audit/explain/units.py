"""An input as units that can be left out: words or characters of its text, or the fields of a recipe's template and its columns.

What is asked with some units left out is again an input of the model, so that nothing but the Predictor is needed. Everything else stays as
it is: marks between words, the boundary between two texts, entities that a relation is asked of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import util
from itertools import compress
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trustbase.data import marked
from trustbase.data.cells import Reading
from trustbase.data.pair import CELL
from trustbase.data.units import ALONE, combining

Kind = Literal["words", "characters", "fields"]
Masks = NDArray[np.bool_]  # `(inputs, units)`: which units each input keeps
Edits = Mapping[int, str]  # unit → what stands in its place; "" leaves it out

_ALONE = re.compile(f"[{ALONE}]")
_SIGN = re.compile(r"\w")
_ENDS = ((re.compile(r"[.!?。！？…\n]"), 3), (re.compile(r"[;:；：—]"), 2), (re.compile(r"[,，、()（）\x1e\x1f]"), 1))


@dataclass(frozen=True, eq=False)
class Units:
    """The units of one input.

    Attributes:
        names: what each is called: the word, or the field.
        kind: what they are.
        texts: masks `(inputs, units)` → the inputs that keep these units.
        edited: edits → the inputs in which other words or cells stand.
        spans: first character of each in the text, and the one after its last; None for fields, and for columns beside a text.
        breaks: how strongly what stands between a unit and the next one parts them, `(units - 1,)`: 3 the end of a sentence, 0 a blank.
    """

    names: tuple[str, ...]
    kind: Kind
    texts: Callable[[Masks], list[str]]
    edited: Callable[[Sequence[Edits]], list[str]]
    spans: tuple[tuple[int, int] | None, ...]
    breaks: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.names)


def words(text: str, *, characters: bool = False, columns: Sequence[str] = ()) -> Units:
    """The words of a text, and the columns that a model is asked with beside it.

    Chinese is segmented by jieba, and read by characters where that is not installed or `characters` is set.

    Args:
        text: as the model is asked (`data.pair`, `data.marked`, `data.cells`).
        characters: whether each character is a unit.
        columns: names of the cells that stand behind the text; one that is left out is an empty cell.
    """
    body, *cells = text.split(CELL) if columns else (text,)
    spans, kind = _spans(body, characters)
    pieces: list[str] = []
    owner: list[int] = []
    place, breaks = 0, []
    for number, (start, end) in enumerate(spans):
        if number:
            breaks.append(_strength(body[place:start]))
        pieces += [body[place:start], body[start:end]]
        owner += [-1, number]
        place = end
        if place < len(body) and body[place] == " ":  # a word goes with the blank behind it
            pieces[-1] += " "
            place += 1
    pieces.append(body[place:])
    owner.append(-1)
    for number, cell in enumerate(cells, len(spans)):
        pieces += [CELL, cell]
        owner += [-1, number]
        breaks.append(3)
    names = (*(body[start:end] for start, end in spans), *columns)
    places = (*spans, *(None for _ in cells))
    parted = tuple(breaks[: max(len(names) - 1, 0)])
    return Units(names, kind, _joiner(pieces, owner), _editor(pieces, owner), places, parted)


def fields(row: Mapping[str, Any], reading: Reading) -> Units:
    """The columns that make an input; one that is left out is an empty cell, which the template has words for.

    Args:
        row: the cells by column.
        reading: how they become an input.
    """
    names = tuple(name for name in reading.needed if name in row)

    def texts(masks: Masks) -> list[str]:
        known: dict[bytes, str] = {}  # few fields have few combinations
        for mask in masks:
            if mask.tobytes() not in known:
                known[mask.tobytes()] = rendered(mask)
        return [known[mask.tobytes()] for mask in masks]

    def rendered(mask: NDArray[np.bool_]) -> str:
        return reading.render({name: row[name] for name in compress(names, mask.tolist())})

    def edited(edits: Sequence[Edits]) -> list[str]:
        return [reading.render({**row, **{names[unit]: cell for unit, cell in each.items()}}) for each in edits]

    return Units(names, "fields", texts, edited, (None,) * len(names), (0,) * max(len(names) - 1, 0))


def _joiner(pieces: Sequence[str], owner: Sequence[int]) -> Callable[[Masks], list[str]]:
    """What puts kept pieces together; pieces of no unit always are."""
    place = np.array(owner)

    def texts(masks: Masks) -> list[str]:
        kept = np.ones((len(masks), len(place)), dtype=bool)
        kept[:, place >= 0] = np.asarray(masks, dtype=bool)[:, place[place >= 0]]
        return ["".join(compress(pieces, row)) for row in kept.tolist()]

    return texts


def _editor(pieces: Sequence[str], owner: Sequence[int]) -> Callable[[Sequence[Edits]], list[str]]:
    """What puts others in the place of pieces; a blank behind a word stays where there is a word."""

    def piece(text: str, unit: int, edits: Edits) -> str:
        new = edits.get(unit)
        return text if new is None else new and new + (" " if text.endswith(" ") else "")

    return lambda edits: ["".join(piece(text, unit, each) for text, unit in zip(pieces, owner, strict=True)) for each in edits]


def _spans(text: str, characters: bool) -> tuple[list[tuple[int, int]], Kind]:
    """Where words stand; never within an entity that is asked about."""
    chinese = _ALONE.search(text) is not None
    if characters or (chinese and util.find_spec("jieba") is None):
        found = [match.span() for match in _patterns()[1].finditer(text)]
    elif chinese:
        found = _segmented(text)
    else:
        found = [match.span() for match in _patterns()[0].finditer(text)]
    if marked.parts(text) is not None:
        closed = [(match.start(), match.end()) for match in re.finditer(f"([{marked.HEAD}{marked.TAIL}]).*?\\1", text, re.DOTALL)]
        found = [(a, b) for a, b in found if not any(start < b and a < end for start, end in closed)]
    return found, "characters" if characters or (chinese and util.find_spec("jieba") is None) else "words"


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A word, and a character, with the marks that combine with its letters (of Hindi and Thai the vowels, of Arabic the points)."""
    more = combining()
    return re.compile(f"\\w[\\w{more}]*(?:['’-][\\w{more}]+|[.,]\\d+)*"), re.compile(f"\\w[{more}]*")


def _segmented(text: str) -> list[tuple[int, int]]:
    import jieba

    jieba.setLogLevel(60)  # it reports its dictionary on standard error otherwise
    return [(start, end) for word, start, end in jieba.tokenize(text) if _SIGN.search(word)]


def _strength(gap: str) -> int:
    return next((strength for sign, strength in _ENDS if sign.search(gap)), 0)
