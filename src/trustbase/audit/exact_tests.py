"""Exact tests of many parts of the same rows at once, and what their number does to p-values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_HARDLY = 1.0  # standard deviations above its share of the errors


def fisher(errors: Counts, n: Counts, total: Counts, rows: Counts) -> Floats:
    """Chance that a part of `n` of the `rows` holds so many of the `total` errors or more, where errors lie anywhere, `(parts,)`.

    A part that holds hardly more than its share of the errors is told 1, as nothing speaks for its weakness.
    """
    k, size, bad, whole = (values.astype(np.float64) for values in (errors, n, total, rows))
    spread = np.sqrt(np.maximum(size * bad * (whole - bad) * (whole - size), 0) / (whole**2 * np.maximum(whole - 1, 1)))
    places = np.flatnonzero(k - size * bad / whole > np.maximum(_HARDLY * spread, 1e-9))
    p = np.ones(len(n))
    if places.size:
        p[places] = np.minimum(_upper_tail(k[places], size[places], bad[places], whole[places]), 1.0)
    return p


def _upper_tail(k: Floats, size: Floats, bad: Floats, whole: Floats) -> Floats:
    """Sum of hypergeometric probabilities from `k` on; above its mean each is less than the one before."""
    term = np.exp(_choose(bad, k) + _choose(whole - bad, size - k) - _choose(whole, size))
    found, going = term.copy(), np.arange(len(k))
    while going.size:
        at, n, errors = k[going], size[going], bad[going]
        with np.errstate(invalid="ignore", divide="ignore"):
            step = (errors - at) * (n - at) / ((at + 1) * (whole[going] - errors - n + at + 1))
        term[going] *= np.where(at < np.minimum(errors, n), step, 0.0)
        found[going] += term[going]
        k[going] += 1
        going = going[term[going] > 1e-15 * found[going]]
    return found


def _choose(n: Floats, k: Floats) -> Floats:
    """Logarithm of the binomial coefficient."""
    return np.asarray(special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1))


def holm(p: Sequence[float] | Floats) -> Floats:
    """P-values corrected for their number, `(tests,)`: one under 0.05 where nothing holds occurs in at most 5 % of all families.

    Source: Holm (1979), Scand. J. Statist. 6.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    found = np.empty_like(values)
    found[order] = np.minimum(stepped, 1.0)
    return found
