"""Small changes of an input that a reader takes for the same input, whether the model sees them at all, and which units both share."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.explain.subject import Item
from trustbase.audit.explain.units import Units
from trustbase.data.cells import Reading
from trustbase.data.columns import number_of
from trustbase.data.perturb.inputs import Piece, perturbed, pieces
from trustbase.model.encoded import Encoded

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

OF_TEXTS = ("case", "punctuation", "whitespace", "filler", "width", "contractions")  # keys of `PERTURBATIONS`
OF_CELLS = ("case", "punctuation", "whitespace", "width")


def edited_items(item: Item, reading: Reading, seed: int) -> list[Item]:
    """An item under each edit that changes it.

    Args:
        item: of the audit.
        reading: how a row becomes an input; numbers stay, and so do cells that are read beside a text.
        seed: of what is drawn.
    """
    found: list[Item] = []
    for kind in OF_TEXTS if item["row"] is None else OF_CELLS:
        if item["row"] is None:
            text = perturbed(kind, pieces(item["text"]), seed=seed)
            found += [] if text is None else [{"text": text, "row": None}]
        else:
            row = {name: cell if name in reading.columns else _cell(kind, cell, seed) for name, cell in item["row"].items()}
            found.append({"text": reading.render(row), "row": row})
    distinct = {each["text"]: each for each in found if each["text"] != item["text"]}
    return list(distinct.values())


def _cell(kind: str, cell: Any, seed: int) -> Any:
    if not isinstance(cell, str) or number_of(cell) is not None:
        return cell
    return perturbed(kind, (Piece(cell, True),), seed=seed) or cell


def read_as(predictor: Predictor, texts: Sequence[str]) -> list[bytes] | None:
    """What the model reads of each input, to tell equal from different; None of a model without tokens.

    A tokenizer that knows no capitals gives the same tokens for a text in capitals, and any explanation of both is the same.
    """
    found = predictor.runtime.prepare(list(texts)) if texts else None
    if not isinstance(found, Encoded):
        return None
    bounds: NDArray[np.int64] = found.offsets if found.sequences is None else found.offsets[found.sequences]
    parts: list[NDArray[Any]] = [found.ids, *(() if found.segments is None else (found.segments,))]
    cells = [b""] * len(texts) if found.columns is None else [row.tobytes() for row in found.columns]
    rows = zip(bounds[:-1].tolist(), bounds[1:].tolist(), cells, strict=True)
    return [b"".join([*(part[start:end].tobytes() for part in parts), cell]) for start, end, cell in rows]


def same_units(one: Units, other: Units) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the units that two inputs share, in the order in which they stand; capitals and width do not count."""
    first, second = ([unicodedata.normalize("NFKC", name).casefold() for name in units.names] for units in (one, other))
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    pairs = [(block.a + step, block.b + step) for block in blocks for step in range(block.size)]
    return np.array([a for a, _ in pairs], dtype=np.int64), np.array([b for _, b in pairs], dtype=np.int64)
