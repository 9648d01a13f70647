"""What a proposed recipe says beside its lines: columns that nothing reads, others that could be the label, rows that are refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from trustbase.data.rows import in_quotes
from trustbase.recipe.look import Column, Look
from trustbase.recipe.propose_answers import able
from trustbase.recipe.written import can_be_named, in_comment

_MOST_NAMED = 20  # columns in one comment
_MOST_SHOWN = 3  # cells that do not fit


def about_unfit(cells: Mapping[str, int]) -> str:
    """Cells of the label column that tell no label, behind what the others tell; empty where there are none."""
    if not cells:
        return ""
    shown = ", ".join(in_quotes(cell, 20) for cell in list(cells)[:_MOST_SHOWN])
    count = sum(cells.values())
    return f"; {count:,} {'cell tells' if count == 1 else 'cells tell'} none: {shown}{', …' if len(cells) > _MOST_SHOWN else ''}"


def other_labels(columns: Sequence[Column], label: Column, look: Look, taken: set[str]) -> Iterator[str]:
    """Columns that could be the label as well, with the task that predicts numbers.

    Args:
        columns: those that could.
        label: the one that is proposed.
        look: at the file.
        taken: what the recipe reads otherwise.
    """
    free = [column for column in columns if column.name != label.name and column.name not in taken]
    names = [column.name for column in able(free, None, look)]
    numbers = [column.name for column in able(free, "number", look) if column.name not in names]
    told = [_named(names)] if names else []
    told += [f"as numbers (task: regression) {_named(sorted(numbers))}"] if numbers else []
    if told:
        yield f"  # could be the label too, with --label: {'; '.join(told)}"


def left_out(look: Look, taken: set[str]) -> Iterator[str]:
    """Columns that nothing in the recipe reads."""
    names = [column.name for column in look.columns if column.name not in taken]
    if names:
        more = f", and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
        yield f"  # left out: {_named(names)}{more}"
    if odd := [name for name in names if not can_be_named(name)]:
        yield f"  # of these, data.text cannot name {_named(odd)}: rename what has braces or control characters in its name"


def tolerance(look: Look, found: Mapping[str, int]) -> Iterator[str]:
    """A line that lets the run pass over the rows that it would refuse, where there are some; it stands as a comment, as it is no guess.

    Args:
        look: at the file.
        found: why rows would be refused → how many of those that were looked at.
    """
    counts = Counter({reason: math.ceil(count * look.rows / look.looked_at) for reason, count in found.items() if count})
    counts += Counter({"that cannot be read": look.bad})
    if counts:
        told = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        yield f"  # tolerance: {counts.total()}    # bad rows stop a run unless so many may be left out: {told}"


def _named(names: Sequence[str]) -> str:
    return ", ".join(in_comment(name) for name in names[:_MOST_NAMED])
