"""Group columns: what is audited, kept apart from what the model reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trustbase.data.template import TextTemplate
from trustbase.records import UNKNOWN_GROUP

MOST_NAMED = 50  # groups of one column (or intersection) that anybody can read
LEAST_NAMED = 30  # rows of a group from which it is named where a column has more groups than that


def read_groups(table: pa.Table, names: Sequence[str]) -> dict[str, NDArray[np.object_]]:
    """Group of each row, column by column; an empty cell is the group "unknown", never a dropped row, `(rows,)`."""
    found = {}
    for name in names:
        filled = pc.fill_null(pc.utf8_trim_whitespace(table[name]), UNKNOWN_GROUP)
        found[name] = np.array(filled.to_pylist(), dtype=object)
    return found


def count_groups(groups: Mapping[str, NDArray[np.object_]]) -> dict[str, dict[str, int]]:
    """Rows of each group of each column."""
    counted = {}
    for name, values in groups.items():
        counted[name] = dict(sorted(Counter(values.tolist()).items()))
    return counted


def named_groups(rows: NDArray[np.int64], *, least: int = LEAST_NAMED, most: int = MOST_NAMED) -> NDArray[np.int64]:
    """Which groups are named wherever something may ship, as indices in their order; the others are counted together.

    All of them where a column has at most `most`: a small group that is not named cannot be seen to be missing from a gap. Of a column
    with more values (a postcode), which nobody can read and which may point at people, the `most` largest of at least `least` rows.

    Args:
        rows: rows of each group `(groups,)`.
    """
    if rows.size <= most:
        return np.arange(rows.size)
    large = np.flatnonzero(rows >= least)
    return np.sort(large[np.argsort(-rows[large], kind="stable")][:most])


def shown_to_model(template: TextTemplate, names: Sequence[str], features: Sequence[str] = ()) -> list[str]:
    """Group columns that the model sees, because the text or the features name them."""
    return [name for name in names if name in template.columns or name in features]
