"""What a raw column holds, seen from its values: numbers, categories, or texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal

Kind = Literal["numbers", "categories", "texts"]

OF_NUMBERS = "(a column of numbers)"  # in the reason of a row whose cell there is none
_LEAST_GIVEN, _FITTING = 100, 0.99  # given values, and the share of them, from which the others are taken for slips
_LEAST_TEXTS = 20  # values of a column, from which it can be seen that nearly all differ
_TEXT_SHARE = 0.9  # distinct of given values, above which a column that is not numeric is free text


def kind_of_column(values: Iterable[str | None]) -> Kind:
    """Numbers where given values are numbers but for slips; texts where nearly every value is one of its own; else categories."""
    counts = Counter(value for value in values if value)
    given = counts.total()
    if fit_but_for_slips(sum(count for value, count in counts.items() if number_of(value) is not None), given):
        return "numbers"
    return "texts" if given >= _LEAST_TEXTS and len(counts) > _TEXT_SHARE * given else "categories"


def fit_but_for_slips(fitting: int, given: int) -> bool:
    """Whether values are of one kind: all of them; or of a hundred and more all but one in a hundred, which are then wrong."""
    return fitting == given > 0 or (given >= _LEAST_GIVEN and fitting >= _FITTING * given)


def number_of(value: str | None) -> float | None:
    """A finite number as tables write it (`39`, `-2.5`, `1e3`); None for anything else, NaN and infinities among it."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in str(value) else None
