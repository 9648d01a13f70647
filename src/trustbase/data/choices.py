"""Questions with choices: what each choice is called, and which one a label cell says is right.

A choice is called by its column (of a template, by the first column in it). The label cell of a row names the right one: by that name,
by its letter (`A` is the first), or by its number (`0` is the first). Numbers that count from 1 are bad rows as soon as the last choice
is the right one: what they mean is never guessed.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import pyarrow as pa

from trustbase.data.template import TextTemplate


def choice_names(template: TextTemplate) -> tuple[str, ...]:
    """What the choices of a template are called, in its order; none where it has no choices."""
    return tuple(side.columns[0] if side.columns else side.source for side in template.sides[1:]) if len(template.sides) > 2 else ()


def known(template: TextTemplate, otherwise: str) -> str:
    """Whose the labels of a template's rows are, for messages (`Truth.read`): those of its choices; `otherwise` where it has none."""
    count = len(choice_names(template))
    if not count:
        return otherwise
    return f"of the {count} choices (numbers 0 to {count - 1}, letters A to {string.ascii_uppercase[:count][-1]}, or their columns' names)"


def named(column: pa.ChunkedArray, names: Sequence[str]) -> pa.ChunkedArray:
    """Label cells as names of choices; a cell that says none of them stays as it is."""
    numbers = {str(number): name for number, name in enumerate(names)}
    letters = dict(zip(string.ascii_uppercase, names, strict=False))
    meant = {**numbers, **letters, **{name: name for name in names}}  # what is written out counts before what stands for it
    cells = [None if cell is None else meant.get(cell.strip(), cell) for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, column.type)])
