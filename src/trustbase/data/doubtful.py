"""Labels that may be slips, such as 9999 among numbers from 1 to 20: asked about in the log, where values may stand, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trustbase.data.gather import Source
from trustbase.data.truth.base import Truth
from trustbase.data.truth.number import FAR

_MOST_NAMED = 5


def far_labels(truth: Truth, sources: Mapping[str, Source], column: str, of: str = "train") -> list[str]:
    """A warning for each file with labels that are far from all others; they are used, as nobody but the user knows better.

    Args:
        truth: how labels are read.
        sources: what was read; the bad rows are in no part any more.
        column: the label column.
        of: the part whose labels the others are held against.
    """
    known, rows = sources["train"].truth, sources["train"].parts.get(of, ())
    if known is None or not len(rows) or not len(known.values):  # labels of streamed rows are names, and read later
        return []
    told = []
    for source in sources.values():
        assert source.truth is not None
        used = source.used()
        far = [row for row in truth.doubtful(source.truth.values, known.values[rows]) if used[row]]
        places = [f"{source.raw.as_bad(row, '').where(source.reference)} ({source.truth.values[row]:.15g})" for row in far[:_MOST_NAMED]]
        if far:
            more = f" and {len(far) - len(places):,} more" if len(far) > len(places) else ""
            what = f"{len(far):,} of {int(np.sum(used)):,} labels (column '{column}')"
            beyond = f"more than {FAR} interquartile ranges beyond the quartiles of {of if of == 'all' else f'the {of}'} rows"
            told.append(f"{what} lie {beyond}: {', '.join(places)}{more}; are they slips? they weigh heavily in a mean and in errors")
    return told
