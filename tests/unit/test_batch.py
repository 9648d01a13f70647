"""Batches by token budget: every row once, the budget held, little padding, the same again for the same stream."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbase import seeds
from trustbase.data.batch import padding_share, plan_batches

LENGTHS = st.lists(st.integers(1, 80), max_size=200)


@given(LENGTHS, st.integers(1, 300), st.one_of(st.none(), st.integers(0, 5)), st.one_of(st.none(), st.integers(1, 9)))
def test_every_row_is_in_one_batch_within_the_budget(lengths, budget, seed, max_rows):
    rng = None if seed is None else seeds.generator(seed, "batches")
    sizes = np.array(lengths, dtype=np.int64)
    batches = plan_batches(sizes, batch_tokens=budget, rng=rng, max_rows=max_rows)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * sizes[batch].max() <= budget
        assert max_rows is None or len(batch) <= max_rows


def test_scoring_batches_are_sorted_and_training_batches_are_not():
    sizes = np.random.default_rng(0).integers(5, 120, 3000)
    scoring = plan_batches(sizes, batch_tokens=1024)
    assert np.array_equal(sizes[np.concatenate(scoring)], np.sort(sizes))
    longest = [sizes[batch].max() for batch in plan_batches(sizes, batch_tokens=1024, rng=seeds.generator(0, "x"))]
    assert longest != sorted(longest)


def test_training_batches_hold_little_padding_and_new_neighbours_each_epoch():
    sizes = np.round(np.random.default_rng(0).lognormal(3.6, 0.8, 5000)).astype(np.int64) + 2
    sizes = np.minimum(sizes, 256)
    first, again, second = (plan_batches(sizes, batch_tokens=1024, rng=seeds.generator(0, "batches", epoch)) for epoch in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert padding_share(sizes, first) < 0.08
    neighbours = [{frozenset(batch.tolist()) for batch in plan} for plan in (first, second)]
    assert len(neighbours[0] & neighbours[1]) < 0.05 * len(first)


def test_a_budget_below_one_token_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        plan_batches(np.array([3]), batch_tokens=0)
