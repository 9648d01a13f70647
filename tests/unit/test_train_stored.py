"""Tokens that are in files: what stands in memory for each row, and that everything is read as it is from memory."""

import tracemalloc
from dataclasses import fields

import numpy as np
import pytest

from trustbase.model.encoded import Encoded, joined, offsets_of, stored
from trustbase.train import labelled
from trustbase.train.labelled import TokenRows


def pieces(rows, *, each=1_000, windows=False, segments=False):
    """Rows as a tokenizer gives them, each piece made when it is asked for."""
    rng = np.random.default_rng(0)
    for _ in range(0, rows, each):
        counts = rng.integers(1, 4, each) if windows else np.ones(each, np.int64)
        lengths = rng.integers(3, 12, int(counts.sum()))
        ids = rng.integers(5, 900, int(lengths.sum())).astype(np.int32)
        yield Encoded(
            ids,
            offsets_of(lengths),
            rng.integers(12, 30, each),
            (ids % 2).astype(np.uint8) if segments else None,
            sequences=offsets_of(counts) if windows else None,
            unread=rng.integers(0, 3, each) if windows else None,
        )


def test_a_row_whose_tokens_are_in_a_file_takes_a_few_bytes_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled, "_COUNTED", 1 << 12)
    monkeypatch.setattr("trustbase.data.batch._WALKED", 1 << 10)
    rows = 300_000
    (tmp_path / "first").mkdir()
    stored(pieces(50), tmp_path / "first")  # what is imported on the way is no row's
    tracemalloc.start()
    try:
        kept = stored(pieces(rows), tmp_path)
        of_tokens = tracemalloc.get_traced_memory()[1]
        material = TokenRows(kept.ids, kept.offsets, np.zeros(rows, np.int8), 0)
        plan = material.plan(batch_tokens=64, seed=0, epoch=0)
        tokens = sum(material.take(plan[i], "cpu").tokens for i in range(0, len(plan), 500))
        in_all = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(kept) == rows and sum(map(len, plan)) == rows and tokens > 0
    assert of_tokens < 2 * rows  # a piece, and no row's own number
    assert in_all < (4 + 4 + 1 + 6) * rows  # its length, its place in the plan, a label of one byte here, its share of a batch's bounds


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("segments", [False, True])
def test_rows_in_files_are_those_in_memory(tmp_path, windows, segments):
    kind = {"each": 50, "windows": windows, "segments": segments}
    plain, kept = joined(list(pieces(200, **kind))), stored(pieces(200, **kind), tmp_path)
    rows = np.array([199, 0, 7, 8, 120])
    for whole, other in ((plain, kept), (plain.take(rows), kept.take(rows))):
        for item in fields(Encoded):
            one, same = getattr(whole, item.name), getattr(other, item.name)
            assert (one is None) == (same is None) and (one is None or np.array_equal(one, same)), item.name
    assert np.array_equal(plain.lost, kept.lost) and np.array_equal(plain.sizes, kept.sizes)
    labels = np.arange(200)
    first, second = (
        TokenRows(found.ids, found.offsets, labels, 0, found.segments, sequences=found.sequences, together=found.together)
        for found in (plain, kept)
    )
    plans = [found.plan(batch_tokens=128, seed=3, epoch=1) for found in (first, second)]
    assert [one.tolist() for one in plans[0]] == [one.tolist() for one in plans[1]]
    for chosen in plans[0][:5]:
        one, other = first.take(chosen, "cpu"), second.take(chosen, "cpu")
        assert set(one.inputs) == set(other.inputs) and all((one.inputs[name] == other.inputs[name]).all() for name in one.inputs)


def test_no_rows_leave_no_tokens(tmp_path):
    assert len(stored(iter(()), tmp_path)) == 0
