"""Which rows go through the model together: as many as a token budget holds, of similar length, so that little is padding."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

_POOL_BATCHES = 50  # rows of about this many batches are sorted among themselves; more would make batches alike in every epoch
_WALKED = 1 << 16  # lengths that stand as Python numbers at once


class Batches(Sequence[NDArray[np.int64]]):
    """Row indices of each batch, `(rows of that batch,)` each, made when asked for: a plan of millions of rows takes 4 bytes a row."""

    def __init__(self, order: NDArray[np.integer], bounds: NDArray[np.int64], turns: NDArray[np.integer]) -> None:
        """Args:
        order: every row once, `(rows,)`.
        bounds: where stretches of it begin, and the end, `(batches + 1,)`.
        turns: which stretch is which batch, `(batches,)`.
        """
        self._order, self._bounds, self._turns = order, bounds, turns

    def __len__(self) -> int:
        return len(self._turns)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.int64]: ...
    @overload
    def __getitem__(self, index: slice) -> Batches: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.int64] | Batches:
        if isinstance(index, slice):
            return Batches(self._order, self._bounds, self._turns[index])
        stretch = self._turns[index]
        return self._order[self._bounds[stretch] : self._bounds[stretch + 1]].astype(np.int64)


def plan_batches(
    lengths: NDArray[np.integer] | Sequence[int],
    *,
    batch_tokens: int,
    rng: np.random.Generator | None = None,
    max_rows: int | None = None,
) -> Batches:
    """Put every row into exactly one batch whose rows × longest row is at most `batch_tokens`.

    Without `rng` rows are sorted by length (scoring: least padding, always the same). With it they are shuffled, sorted by
    length inside pools of some 50 batches, and the batches are shuffled (training: rows meet new neighbours each epoch).

    Args:
        lengths: tokens of each row, `(rows,)`.
        batch_tokens: the most tokens of a batch, padding included; a single row that is longer is a batch of its own.
        rng: source of the shuffle, or None for sorted batches.
        max_rows: the most rows of a batch, or None.

    Raises:
        ValueError: a budget below one token, or fewer than one row a batch.
    """
    sizes = np.asarray(lengths, dtype=None if len(lengths) else np.int64)
    if batch_tokens < 1 or (max_rows is not None and max_rows < 1):
        raise ValueError(f"batch_tokens and max_rows must be at least 1, got {batch_tokens} and {max_rows}")
    order = np.argsort(sizes, kind="stable") if rng is None else _pooled_order(sizes, batch_tokens, rng)
    bounds = _cut(order, sizes, batch_tokens, max_rows)
    count = len(bounds) - 1
    return Batches(order, bounds, np.arange(count) if rng is None else rng.permutation(count))


def padding_share(lengths: NDArray[np.integer], batches: Sequence[NDArray[np.int64]]) -> float:
    """Share of the tokens of these batches that is padding."""
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1.0 - sum(int(lengths[batch].sum()) for batch in batches) / padded if padded else 0.0


def _pooled_order(sizes: NDArray[np.integer], batch_tokens: int, rng: np.random.Generator) -> NDArray[np.integer]:
    """Shuffled rows, sorted by length inside pools; every second pool runs backwards, so no batch breaks at a pool's edge."""
    order: NDArray[np.integer] = np.arange(sizes.size, dtype=np.int32 if sizes.size < 2**31 else np.int64)
    rng.shuffle(order)
    pool = max(1, int(_POOL_BATCHES * batch_tokens / max(1.0, float(sizes.mean())))) if sizes.size else 1
    for number, start in enumerate(range(0, sizes.size, pool)):
        part = order[start : start + pool]
        part = part[np.argsort(sizes[part], kind="stable")]
        order[start : start + pool] = part[::-1] if number % 2 else part
    return order


def _cut(order: NDArray[np.integer], sizes: NDArray[np.integer], batch_tokens: int, max_rows: int | None) -> NDArray[np.int64]:
    """Where batches of an order of rows begin, and its end: greedily wherever one more row would break the budget."""
    cuts = array("q", [0] if len(order) else [])
    start, longest = 0, 0
    for first in range(0, len(order), _WALKED):
        for position, size in enumerate(sizes[order[first : first + _WALKED]].tolist(), first):
            longest = max(longest, size)
            rows = position - start + 1
            if rows > 1 and (rows * longest > batch_tokens or (max_rows is not None and rows > max_rows)):
                cuts.append(position)
                start, longest = position, size
    cuts.append(len(order))
    return np.array(cuts, dtype=np.int64)
