"""Which row belongs to which part: by what the data says, by a hash of the text (equal texts stay together) or of the entity that a row
is of (its rows stay together), or by time (what is trained on comes before what is tested on).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trustbase.data.coded import Coded, coded

SPLITS = ("train", "validation", "test")
CALIBRATION = "calibration"  # a part of its own that thresholds of the audit are fitted on; there may be none
PARTS = (*SPLITS, CALIBRATION)
_SALT = b"trustbase/split/1\0"  # no seed: a row keeps its part in every run, and when other rows join or leave
_ENTITY_SALT = b"trustbase/split/entity/1\0"  # its own, so that a column split by its entity is no copy of one split by its text
_AT_ONCE = 1 << 20  # keys that are turned into places at once
_BUCKET_BITS = 5
_WORDS = {
    **{"train": "train", "training": "train"},
    **{"validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"},
    **{"test": "test", "testing": "test"},
    **{"calibration": CALIBRATION, "calib": CALIBRATION},
}


def keys(texts: Sequence[str], salt: bytes = _SALT) -> NDArray[np.uint64]:
    """The first 64 bits of each text's SHA-256, `(rows,)`: they place a text, and know it again without keeping it.

    Among n distinct texts any two share a key with a probability below n² / 2^65: 3e-6 for ten million.
    """
    first = b"".join([hashlib.sha256(salt + text.encode("utf-8")).digest()[:8] for text in texts])
    return np.frombuffer(first, np.dtype(">u8")).astype(np.uint64)


def _places(found: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) that follow from keys alone, evenly spread."""
    return np.asarray((found >> np.uint64(11)) / 2.0**53, dtype=np.float64)  # 53 bits: every number is exact


def positions(texts: Sequence[str], salt: bytes = _SALT) -> NDArray[np.float64]:
    """A number in [0, 1) that follows from each text alone, evenly spread, `(rows,)`."""
    return _places(keys(texts, salt))


def by_keys(found: NDArray[np.uint64], *, test: float, validation: float) -> dict[str, NDArray[np.bool_]]:
    """Which rows each part has, by the keys of texts or entities; equal keys are always in the same one. A mask `(rows,)` of each."""
    masks = {name: np.empty(len(found), bool) for name in SPLITS}
    for start in range(0, len(found), _AT_ONCE):
        place = _places(found[start : start + _AT_ONCE])
        masks["test"][start : start + _AT_ONCE] = place < test
        masks["validation"][start : start + _AT_ONCE] = (place >= test) & (place < test + validation)
        masks["train"][start : start + _AT_ONCE] = place >= test + validation
    return masks


def for_calibration(found: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Which rows are for calibration, by the keys of texts or entities, `(rows,)`; equal keys are always on one side.

    Keys are mixed first: the training rows of a split by content are those whose keys place them high, and of these a share is meant.

    Source: Steele, Lea & Flood (2014), OOPSLA, figure 17 (the mixing function of SplitMix64).
    """
    taken = np.empty(len(found), bool)
    for start in range(0, len(found), _AT_ONCE):
        taken[start : start + _AT_ONCE] = _places(_mixed(found[start : start + _AT_ONCE])) < share
    return taken


def _mixed(found: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Keys that follow from others, and look unlike them."""
    mixed = found + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def by_content(texts: Sequence[str], *, test: float, validation: float) -> dict[str, NDArray[np.int64]]:
    """Row indices of each part; equal texts are always in the same one.

    Args:
        texts: what the model reads.
        test: share of the texts that go to test; 0 for none.
        validation: share of the texts that go to validation; 0 for none.
    """
    return _indices(by_keys(keys(texts), test=test, validation=validation))


def by_entity(entities: Sequence[str], *, test: float, validation: float) -> dict[str, NDArray[np.int64]]:
    """Row indices of each part; all rows of an entity are in the same one, in every run, whatever other rows there are.

    Equal texts of different entities may be in two parts. The shares are of entities: where few entities have most of the rows,
    those of the rows may be far from them.

    Args:
        entities: whose row each is.
        test: share of the entities that go to test; 0 for none.
        validation: share of the entities that go to validation; 0 for none.
    """
    return _indices(by_keys(entity_keys(coded(pa.array(entities, pa.string()))), test=test, validation=validation))


def entity_keys(entities: Coded) -> NDArray[np.uint64]:
    """A key for each row's entity, `(rows,)`; 0 where a row has none, or an empty one."""
    found = keys(entities.words, _ENTITY_SALT)
    found[[not word for word in entities.words]] = 0
    return np.asarray(np.append(found, np.uint64(0))[entities.codes])


def _indices(masks: dict[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.int64]]:
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}


def by_time(ranks: NDArray[np.int64], *, test: float, validation: float) -> dict[str, NDArray[np.int64]]:
    """Row indices of each part: the earliest rows train, the latest test; rows of one time are never parted.

    Each border is the one between two times that leaves the shares nearest to what is asked. A row's part depends on the other rows:
    where later ones join, borders move.

    Args:
        ranks: place of each row's time in the order of times, `(rows,)`.
        test: share of the rows, at the end; 0 for none.
        validation: share of the rows, before those of test; 0 for none.
    """
    times, counts = np.unique(ranks, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])  # rows before each border; border i is before the i-th time
    wanted = [name for name, share in (("validation", validation), ("test", test)) if share]
    borders = dict.fromkeys(("validation", "test"), len(times))
    last = len(times)
    for name, share in (("test", test), ("validation", validation + test)):
        if name in wanted:
            # a time for each part that is before this border, and one for this part itself, as far as there are so many
            least = min(len(wanted) if name == "test" else 1, max(last - 1, 0))
            allowed = np.arange(least, max(last, least + 1))
            goal = len(ranks) * (1 - share)
            last = int(allowed[np.argmin(np.abs(before[allowed] - goal))])
        borders[name] = last
    place = np.searchsorted(times, ranks)
    masks = {"test": place >= borders["test"], "validation": (place >= borders["validation"]) & (place < borders["test"])}
    masks["train"] = place < borders["validation"]
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}


def by_column(values: Coded) -> tuple[dict[str, NDArray[np.int64]], dict[int, str]]:
    """Row indices of each part that a split column names, and the rows whose value names none.

    Returns:
        part → row indices, and row index → the value that is no part's name ("" for an empty cell).
    """
    words, codes = values.words, values.codes
    meaning = [_WORDS.get(word.strip().lower()) for word in words]
    parts: dict[str, NDArray[np.int64]] = {}
    for name in PARTS:
        own = [code for code, part in enumerate(meaning) if part == name]
        rows = np.flatnonzero(np.isin(codes, own))
        if len(rows):
            parts[name] = rows
    unknown = [-1, *(code for code, part in enumerate(meaning) if part is None)]
    bad = {int(row): "" if codes[row] < 0 else words[codes[row]] for row in np.flatnonzero(np.isin(codes, unknown))}
    return parts, bad


def overlap_of_keys(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> int:
    """Rows of `other` whose key also stands in `one`."""
    return sum(int(np.isin(other[theirs], one[own]).sum()) for own, theirs in zip(buckets(one), buckets(other), strict=True))


def buckets(found: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Row indices by the first bits of their key: equal keys are in one bucket, so that what is counted in each can be added up.

    Sorting all keys at once would take several times the memory that they take.
    """
    first = (found >> np.uint64(64 - _BUCKET_BITS)).astype(np.uint8)
    for bucket in range(1 << _BUCKET_BITS):
        yield np.flatnonzero(first == bucket)


def overlap(one: pa.Array, other: pa.Array) -> int:
    """Rows of `other` whose text also stands in `one`."""
    return int(pc.sum(pc.is_in(other, value_set=one)).as_py() or 0)
