"""What of an input may be changed: what columns say, never the words of a template, marked entities, or what parts texts and cells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trustbase import seeds
from trustbase.data import marked
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.data.perturb.signs import FIXED
from trustbase.data.template import Cell, TextTemplate, cell_text
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import PERTURBATIONS

_ENTITY = re.compile(f"([{marked.HEAD}{marked.TAIL}]).*?\\1", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A part of an input, and whether it may be changed."""

    text: str
    free: bool


def pieces(asked: str, template: TextTemplate | None = None, row: Mapping[str, Any] | None = None) -> tuple[Piece, ...]:
    """The parts of an input, which put together are the input again.

    Args:
        asked: what the model is asked: texts with what parts them, and cells behind them.
        template: what made the text of columns. Where it is known, only what the columns say may be changed.
        row: these columns.
    """
    body, cell, rest = asked.partition(CELL)
    behind = (Piece(f"{cell}{rest}", False),) if cell else ()
    if template is not None and row is not None and not template.plain and not template.entities:
        made = tuple(_of_template(template, row))
        if "".join(piece.text for piece in made) == body:
            return made + behind
    return tuple(_of_text(body)) + behind


def _of_template(template: TextTemplate, row: Mapping[str, Any]) -> Iterator[Piece]:
    for part in template.parts:
        if isinstance(part, Cell):
            said = cell_text(row.get(part.column))
            yield Piece(said or part.missing, bool(said))
        else:
            yield Piece(part, False)


def _of_text(body: str) -> Iterator[Piece]:
    for number, side in enumerate(body.split(SEPARATOR)):
        if number:
            yield Piece(SEPARATOR, False)
        place = 0
        for found in _ENTITY.finditer(side):
            yield Piece(side[place : found.start()], True)
            yield Piece(found[0], False)
            place = found.end()
        yield Piece(side[place:], True)


def perturbed(kind: str, parts: Sequence[Piece], *, seed: int, rate: float | None = None) -> str | None:
    """An input with one kind of change; None where it cannot be made of this one.

    What is drawn depends on the seed, the kind, the rate and the input, and on nothing else.

    Args:
        kind: a key of `PERTURBATIONS`.
        parts: of the input, from `pieces`.
        seed: of the audit.
        rate: share of the places that are changed, where the kind has one; its own by default.

    Raises:
        ValueError: the change touched what it may not.
    """
    entry = PERTURBATIONS[kind]
    used = entry.rate if rate is None else rate
    whole, free = "".join(part.text for part in parts), [part.text for part in parts if part.free and part.text]
    if not free or FIXED in whole:
        return None
    joined = FIXED.join(free)
    changed = load(entry)(joined, seeds.generator(seed, "perturb", kind, f"{used:g}", whole), used)
    if changed is None or changed == joined or not changed.replace(FIXED, "").strip():
        return None
    made = iter(changed.split(FIXED))
    if changed.count(FIXED) != len(free) - 1:
        raise ValueError(f"the change '{kind}' touched what it may not")
    return "".join(next(made) if part.free and part.text else part.text for part in parts)
