"""Certificates by random masking: their arithmetic, and that no change within the radius ever turns a certified answer."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from scipy import stats as oracle

from trustbase.audit.robustness.smoothing import CHOOSING, at_least, draws, kept_of, smoothed, stands, touched

WORDS = 3  # of the tiny language: each place of a text holds one of them


@pytest.mark.parametrize(("units", "kept", "radius"), [(5, 2, 1), (6, 2, 2), (7, 3, 1), (4, 4, 1), (3, 1, 3), (2, 1, 5)])
def test_a_change_touches_as_many_masks_as_counting_says(units: int, kept: int, radius: int) -> None:
    changed = set(range(min(radius, units)))
    masks = list(combinations(range(units), kept))
    assert touched(units, kept, radius) == pytest.approx(sum(bool(changed & set(mask)) for mask in masks) / len(masks))


def test_masks_keep_so_many_units_and_all_of_them_are_asked_where_they_are_few() -> None:
    rng = np.random.default_rng(0)
    masks, whole = draws(6, 2, 40, rng)
    assert whole and len(masks) == 15 == len(np.unique(masks, axis=0)) and (masks.sum(axis=1) == 2).all()
    masks, whole = draws(30, 5, 4000, rng)
    assert not whole and masks.shape == (4000, 30) and (masks.sum(axis=1) == 5).all()
    assert abs(masks.mean(axis=0) - 5 / 30).max() < 0.03  # each unit as often as any other
    assert [kept_of(units, 0.15) for units in (1, 5, 9, 20, 100)] == [1, 1, 1, 3, 15]


@pytest.mark.parametrize(("hits", "count", "error"), [(200, 200, 0.0005), (170, 200, 0.05), (1, 50, 0.01), (0, 50, 0.05)])
def test_the_lower_bound_is_that_of_clopper_and_pearson(hits: int, count: int, error: float) -> None:
    told = oracle.binomtest(hits, count, alternative="greater").proportion_ci(1 - error, method="exact").low
    assert at_least(hits, count, error) == pytest.approx(told, abs=1e-12)


def test_the_lower_bound_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    for share in (0.6, 0.8, 0.97):
        hits, times = np.unique(rng.binomial(200, share, 20_000), return_counts=True)
        wrong = sum(n for k, n in zip(hits.tolist(), times.tolist(), strict=True) if at_least(k, 200, 0.05) > share) / 20_000
        assert wrong <= 0.053, (share, wrong)


def test_one_sample_chooses_and_another_counts() -> None:
    answers = np.array([1] * CHOOSING + [0] * 150 + [1] * 50)
    found = smoothed(answers, False, 0.05)
    assert found.answer == 1 and found.share == 0.25 and found.usual == 0  # the counting draws do not choose again
    exact = smoothed(np.array([2, 2, 1]), True, 0.05)
    assert (exact.answer, exact.usual, exact.share, exact.low) == (2, 2, 2 / 3, 2 / 3)


def tiny_model(units: int, kept: int, lean: float, rng: np.random.Generator) -> dict[tuple[tuple[int, ...], tuple[int, ...]], int]:
    """A model of nothing but its inputs: an answer for every mask and what it shows of a text, `(places, words there) → answer`."""
    inputs = [(places, shown) for places in combinations(range(units), kept) for shown in product(range(WORDS), repeat=kept)]
    return {one: int(rng.random() < lean) for one in inputs}


def share_of(model: dict[tuple[tuple[int, ...], tuple[int, ...]], int], text: tuple[int, ...], kept: int) -> float:
    """The exact share of the answer 1."""
    masks = list(combinations(range(len(text)), kept))
    return sum(model[places, tuple(text[place] for place in places)] for places in masks) / len(masks)


def changed(text: tuple[int, ...], radius: int) -> list[tuple[int, ...]]:
    """Every text that differs in `radius` words at most."""
    return [other for other in product(range(WORDS), repeat=len(text)) if sum(a != b for a, b in zip(text, other, strict=True)) <= radius]


@pytest.mark.parametrize("radius", [1, 2])
def test_no_substitution_turns_an_answer_that_is_certified(radius: int) -> None:
    """Over all texts within the radius, exact smoothed shares enumerated; certificates from exact shares and from a sample."""
    rng = np.random.default_rng(radius)
    units, kept = 6, 1 + (radius == 1)
    given = {"exact": 0, "sampled": 0}
    for _ in range(150):
        model = tiny_model(units, kept, rng.choice([0.03, 0.1, 0.5, 0.9, 0.97]), rng)
        text = tuple(rng.integers(0, WORDS, units).tolist())
        share = share_of(model, text, kept)
        masks = [tuple(rng.choice(units, kept, replace=False).tolist()) for _ in range(CHOOSING + 200)]
        answers = np.array([model[tuple(sorted(places)), tuple(text[place] for place in sorted(places))] for places in masks])
        every = np.array([model[places, tuple(text[place] for place in places)] for places in combinations(range(units), kept)])
        for name, found in (("exact", smoothed(every, True, 0.0)), ("sampled", smoothed(answers, False, 0.0005))):
            if stands(found.low, units, kept, radius):
                given[name] += 1
                others = [share_of(model, other, kept) for other in changed(text, radius)]
                assert all((other > 0.5) == bool(found.answer) and other != 0.5 for other in others), (name, share)
    assert given["exact"] >= given["sampled"] >= 20, given  # there were certificates to be wrong about


def test_the_bound_is_reached_by_a_model_that_a_change_turns() -> None:
    """A model that looks whether one word is there: changing that word moves the share by all that the bound allows."""
    units, kept = 5, 2
    model = {one: int(0 in one[0] and one[1][one[0].index(0)] == 1) for one in tiny_model(units, kept, 0.5, np.random.default_rng(0))}
    before, after = share_of(model, (1, 0, 0, 0, 0), kept), share_of(model, (0, 0, 0, 0, 0), kept)
    assert before - after == pytest.approx(touched(units, kept, 1))
    assert not stands(before, units, kept, 1)  # it hangs on one word of five, and two are read


def test_a_constant_answer_is_certified_as_far_as_masks_allow() -> None:
    for units, kept, radius in ((20, 3, 3), (9, 1, 3), (40, 6, 3)):
        low = at_least(200, 200, 0.0005) if comb(units, kept) > 220 else 1.0
        assert stands(low, units, kept, radius)
    assert not stands(1.0, 1, 1, 1) and not stands(1.0, 2, 1, 1)  # of one word, or two, one is too much
