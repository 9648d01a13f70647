"""What a raw column holds, seen from its values: numbers, categories, or texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

_LEAST_TEXTS = 20  # values of a column, from which it can be seen that nearly all differ
_TEXT_SHARE = 0.9  # distinct of given values, above which a column that is not numeric is free text


def kind_of_column(values: Sequence[str | None]) -> Literal["numbers", "categories", "texts"]:
    """Numbers where every given value is one; texts where nearly every value is one of its own; else categories."""
    given = {value for value in values if value}
    if given and all(number_of(value) is not None for value in given):
        return "numbers"
    return "texts" if is_free_text(values) else "categories"


def is_free_text(values: Sequence[str | None]) -> bool:
    """Whether nearly every value differs and not all are numbers: as a category, each would be noise."""
    given = [value for value in values if value]
    distinct = set(given)
    return len(given) >= _LEAST_TEXTS and len(distinct) > _TEXT_SHARE * len(given) and any(number_of(value) is None for value in distinct)


def number_of(value: str | None) -> float | None:
    """A finite number as people write it, or None."""
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
