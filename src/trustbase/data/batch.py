"""Which rows go through the model together: as many as a token budget holds, of similar length, so that little is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_POOL_BATCHES = 50  # rows of about this many batches are sorted among themselves; more would make batches alike in every epoch
_WALKED = 1 << 16  # lengths that stand as Python numbers at once


def plan_batches(
    lengths: NDArray[np.integer] | Sequence[int],
    *,
    batch_tokens: int,
    rng: np.random.Generator | None = None,
    max_rows: int | None = None,
) -> list[NDArray[np.int64]]:
    """Put every row into exactly one batch whose rows × longest row is at most `batch_tokens`.

    Without `rng` rows are sorted by length (scoring: least padding, always the same). With it they are shuffled, sorted by
    length inside pools of some 50 batches, and the batches are shuffled (training: rows meet new neighbours each epoch).

    Args:
        lengths: tokens of each row, `(rows,)`.
        batch_tokens: the most tokens of a batch, padding included; a single row that is longer is a batch of its own.
        rng: source of the shuffle, or None for sorted batches.
        max_rows: the most rows of a batch, or None.

    Returns:
        Row indices of each batch, `(rows of that batch,)` each.

    Raises:
        ValueError: a budget below one token, or fewer than one row a batch.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if batch_tokens < 1 or (max_rows is not None and max_rows < 1):
        raise ValueError(f"batch_tokens and max_rows must be at least 1, got {batch_tokens} and {max_rows}")
    if sizes.size == 0:
        return []
    if rng is None:
        return _cut(np.argsort(sizes, kind="stable"), sizes, batch_tokens, max_rows)
    batches = _cut(_pooled_order(sizes, batch_tokens, rng), sizes, batch_tokens, max_rows)
    return [batches[i] for i in rng.permutation(len(batches))]


def padding_share(lengths: NDArray[np.integer], batches: Sequence[NDArray[np.int64]]) -> float:
    """Share of the tokens of these batches that is padding."""
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1.0 - sum(int(lengths[batch].sum()) for batch in batches) / padded if padded else 0.0


def _pooled_order(sizes: NDArray[np.int64], batch_tokens: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Shuffled rows, sorted by length inside pools; every second pool runs backwards, so no batch breaks at a pool's edge."""
    order = rng.permutation(sizes.size)
    pool = max(1, int(_POOL_BATCHES * batch_tokens / max(1.0, float(sizes.mean()))))
    pieces = []
    for number, start in enumerate(range(0, sizes.size, pool)):
        part = order[start : start + pool]
        part = part[np.argsort(sizes[part], kind="stable")]
        pieces.append(part[::-1] if number % 2 else part)
    return np.concatenate(pieces)


def _cut(order: NDArray[np.int64], sizes: NDArray[np.int64], batch_tokens: int, max_rows: int | None) -> list[NDArray[np.int64]]:
    """Cut an order of rows greedily wherever one more row would break the budget."""
    cuts: list[int] = []
    start, longest = 0, 0
    for first in range(0, len(order), _WALKED):
        for position, size in enumerate(sizes[order[first : first + _WALKED]].tolist(), first):
            longest = max(longest, size)
            rows = position - start + 1
            if rows > 1 and (rows * longest > batch_tokens or (max_rows is not None and rows > max_rows)):
                cuts.append(position)
                start, longest = position, size
    return np.split(order.astype(np.int64), cuts)
