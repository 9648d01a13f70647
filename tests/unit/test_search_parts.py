"""The parts of a search: combinations, differences between seeds, the power law, and the division of a corpus."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import optimize, stats

from trustbase import seeds
from trustbase.errors import DataError, UsageError
from trustbase.recipe.schema import PretrainRecipe, Recipe
from trustbase.search.compare import paired_difference, pooled_noise
from trustbase.search.division import MOST, choose_validation, divide, places
from trustbase.search.grid import make_grid, overrides_of, refuse_incomparable
from trustbase.search.power_law import fit_law, predict

OVER = {"train.learning_rate": [3e-4, 1e-3, "3e-3"], "model.width": [64, 128], "train.schedule": ["linear", "cosine"]}


def test_few_combinations_are_all_tried_in_the_order_of_the_grid():
    grid = make_grid(OVER, trials=12, seed=0)
    assert grid.combinations == len(grid.chosen) == 12
    assert overrides_of(grid.chosen[0]) == ["train.learning_rate=0.0003", "model.width=64", "train.schedule=linear"]
    assert overrides_of(grid.chosen[-1]) == ["train.learning_rate=3e-3", "model.width=128", "train.schedule=cosine"]
    assert len({tuple(settings.items()) for settings in grid.chosen}) == 12


def test_of_many_combinations_a_seeded_choice_is_tried_each_once():
    grids = [make_grid(OVER, trials=5, seed=seed) for seed in (0, 0, 1)]
    assert grids[0].chosen == grids[1].chosen != grids[2].chosen
    assert all(len({tuple(settings.items()) for settings in grid.chosen}) == 5 for grid in grids)
    whole = make_grid(OVER, trials=12, seed=0).chosen
    assert all(settings in whole for settings in grids[0].chosen)
    huge = make_grid({f"train.k{i}": range(10) for i in range(9)}, trials=3, seed=0)
    assert huge.combinations == 10**9 and len(huge.chosen) == 3


@pytest.mark.parametrize(("over", "trials"), [({}, 5), ({"train.clip": [1.0]}, 5), ({"train.clip": []}, 5), ({"train.clip": [1, 2]}, 1)])
def test_a_sweep_over_nothing_is_refused(over, trials):
    with pytest.raises(UsageError, match="two combinations at least"):
        make_grid(over, trials=trials, seed=0)


def test_values_written_twice_count_once():
    assert make_grid({"train.clip": [1, "1", 2]}, trials=5, seed=0).combinations == 2


def test_keys_whose_losses_do_not_compare_are_all_refused_at_once():
    raw = PretrainRecipe.model_validate({"corpus": {"files": "x.txt"}, "tokenizer": {"train": "bpe"}})
    refuse_incomparable(["train.learning_rate", "model.width", "model.dropout", "train.batch_tokens"], raw)
    wrong = [
        "tokenizer.vocab_size",
        "objective",
        "model.context",
        "train.seed",
        "train.tokens",
        "corpus.deduplicate",
        "whole_words",
        "train",
    ]
    with pytest.raises(UsageError) as caught:
        refuse_incomparable(["train.warmup", *wrong], raw)
    assert [problem.where for problem in caught.value.problems] == wrong
    rows = Recipe.model_validate({"data": {"train": "x.csv", "text": "t", "label": "l"}})
    refuse_incomparable(["train.learning_rate", "adapt.method"], rows)
    with pytest.raises(UsageError) as caught:
        refuse_incomparable(["model.width", "base", "data.text", "train.max_length"], rows)
    assert len(caught.value.problems) == 4


def test_a_paired_difference_is_that_of_another_library():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=5), rng.normal(0.4, 1, 5)
    ours = paired_difference(first, second)
    theirs = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.beyond_noise == (not theirs.low <= 0 <= theirs.high) and ours.pairs == 5


def test_equal_settings_seldom_differ_beyond_noise():
    rng = np.random.default_rng(1)
    told = [paired_difference(rng.normal(size=3), rng.normal(size=3)).beyond_noise for _ in range(3000)]
    assert 0.035 < np.mean(told) < 0.065
    assert np.mean([paired_difference(rng.normal(0, 0.1, 3), rng.normal(2, 0.1, 3)).beyond_noise for _ in range(300)]) > 0.95


def test_what_one_seed_cannot_tell_is_not_told():
    one, none = paired_difference([1.0], [2.0]), paired_difference([], [])
    assert (one.value, one.low, one.beyond_noise) == (1.0, None, None) and none.beyond_noise is None and math.isnan(none.value)
    noise = pooled_noise([[1.0], [2.0]])
    assert noise.deviation is None and noise.band() is None


def test_noise_is_pooled_over_settings():
    noise = pooled_noise([[1.0, 2.0], [10.0, 11.0, 12.0], [5.0]])
    assert noise.freedom == 3 and noise.deviation == pytest.approx(math.sqrt((0.5 + 2.0) / 3))
    assert noise.band() == pytest.approx(stats.t.ppf(0.975, 3) * math.sqrt(2) * noise.deviation)


SIZES = [5e4, 2e5, 8e5]


@pytest.mark.parametrize("law", [(1.7, 40.0, 0.3), (0.0, 30.0, 0.2), (3.0, 400.0, 0.5)])
def test_a_law_is_found_again_from_its_own_values(law):
    floor, scale, exponent = law
    losses = [floor + scale * size**-exponent for size in SIZES]
    found = fit_law(SIZES, losses)
    assert found.at(3.2e6) == pytest.approx(floor + scale * 3.2e6**-exponent, rel=2e-3)
    assert [found.at(size) for size in SIZES] == pytest.approx(losses, rel=1e-4)
    assert found.exponent == pytest.approx(exponent, rel=0.03)


def test_the_fit_is_that_of_another_optimiser():
    rng = np.random.default_rng(3)
    sizes = np.geomspace(1e4, 1e7, 6)
    losses = 2 + 60 * sizes**-0.35 + rng.normal(0, 0.01, 6)
    ours = fit_law(sizes.tolist(), losses.tolist())
    wanted, _ = optimize.curve_fit(lambda n, e, a, b: e + np.exp(a - b * np.log(n)), sizes, losses, p0=(1.5, 4.0, 0.3))
    theirs = wanted[0] + np.exp(wanted[1] - wanted[2] * np.log(sizes))
    errors = [float(((fit - losses) ** 2).sum()) for fit in (np.array([ours.at(n) for n in sizes]), theirs)]
    assert errors[0] == pytest.approx(errors[1], rel=0.05)
    assert ours.at(1e8) == pytest.approx(wanted[0] + np.exp(wanted[1] - wanted[2] * np.log(1e8)), abs=0.02)


def test_without_a_floor_it_is_a_line_in_logarithms():
    losses = [4.1, 3.3, 2.6]
    plain = fit_law(SIZES, losses, floor=0.0)
    slope, level = np.polyfit(np.log(SIZES), np.log(losses), 1, w=losses)
    assert (plain.exponent, plain.scale) == pytest.approx((-slope, math.exp(level)))
    assert fit_law(SIZES, losses).at(1e8) >= plain.at(1e8)


def test_losses_that_fall_faster_and_faster_leave_no_floor():
    found = fit_law([1040, 3680, 13952], [3.5166, 3.4358, 3.3306])
    assert found.floor == 0 and found.exponent > 0


def test_a_loss_that_does_not_fall_is_told_to_stay():
    found = fit_law(SIZES, [3.0, 3.0, 3.1])
    assert found.at(1e9) == pytest.approx(np.mean([3.0, 3.0, 3.1]), abs=0.07) and found.exponent >= 0


@pytest.mark.parametrize("law", [(1.7, 40.0, 0.3), (0.4, 30.0, 0.2)])
def test_the_interval_of_a_prediction_covers_what_comes_where_the_law_holds(law):
    floor, scale, exponent = law
    rng, size, noise, held, wide = np.random.default_rng(5), 3.2e6, 0.01, 0, []
    truth = [floor + scale * n**-exponent for n in (*SIZES, size)]
    for number in range(100):
        losses = [(mean + rng.normal(0, noise, 3)).tolist() for mean in truth[:3]]
        measured = pooled_noise(losses)
        told = predict(SIZES, losses, size, deviation=measured.deviation, freedom=measured.freedom, seed=number)
        held += told.low <= truth[3] + rng.normal(0, noise) <= told.high
        wide.append(told.high - told.low)
    assert held >= 90, held
    assert np.median(wide) < truth[2] - floor, "an interval that holds everything says nothing"


def test_without_noise_there_is_no_interval():
    told = predict(SIZES, [[3.0], [2.5], [2.2]], 3e6, deviation=None, freedom=0, seed=0)
    assert told.low is None and told.high is None and told.unchanged == 2.2 and told.no_floor < told.value < 2.2


class Store:
    """As much of a corpus store as a division asks for."""

    digest = "sha256:store"

    def __init__(self, count: int) -> None:
        self.train = range(count)

    def epoch(self, *, seed: int, epoch: int = 0) -> np.ndarray:
        return seeds.generator(seed, "corpus", "epoch", epoch).permutation(len(self.train))


def corpus(count: int = 300, *, seed: int = 0, same: int = 0):
    rng = np.random.default_rng(seed)
    texts = [rng.integers(0, 100, rng.integers(1, 40)).astype(np.uint16) for _ in range(count)]
    texts[:same] = [texts[0]] * same
    return texts, SimpleNamespace(ids=np.concatenate(texts), bounds=np.cumsum([0, *map(len, texts)]).astype(np.int64))


def documents(part) -> list[bytes]:
    return [part.ids[a:b].tobytes() for a, b in zip(part.bounds[:-1], part.bounds[1:], strict=True)]


def test_no_text_is_on_both_sides(tmp_path):
    texts, tokens = corpus(same=30)
    division = divide(Store(300), tokens, tmp_path / "division", budget=10**9, seed=0, order_seed=0)
    train, validation = documents(division.train), documents(division.held_out)
    assert sorted(train + validation) == sorted(text.tobytes() for text in texts)
    assert not set(train) & set(validation)
    share = division.held_out.size["tokens"] / len(tokens.ids)
    assert 0.03 < share < 0.25 and division.train.size["documents"] == len(train)


def test_what_is_put_aside_follows_from_the_seed_alone(tmp_path):
    _, tokens = corpus()
    lengths = np.diff(tokens.bounds)
    first, again, other = (choose_validation(tokens, lengths, seed) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    digests = {
        divide(Store(300), tokens, tmp_path / str(i), budget=500, seed=s, order_seed=o).digest
        for i, (s, o) in enumerate([(0, 0), (0, 0), (1, 0), (0, 1)])
    }
    assert len(digests) == 3


def test_a_trial_gets_as_many_documents_as_it_reads_in_the_order_of_the_corpus(tmp_path):
    texts, tokens = corpus()
    store = Store(300)
    division = divide(store, tokens, tmp_path / "division", budget=1000, seed=0, order_seed=0)
    assert 1000 <= division.train.size["tokens"] < 1100
    read = documents(division.train)
    order = [texts[number].tobytes() for number in store.epoch(seed=0)]
    wanted = [text for text in order if text in set(read)]
    assert [read[place] for place in division.order(0)] == wanted
    assert sorted(division.order(1)) == list(range(len(read))), "a second pass reads the same documents"


def test_what_lies_behind_the_corpus_is_not_read(tmp_path):
    texts, tokens = corpus(300)
    division = divide(Store(250), tokens, tmp_path / "division", budget=10**9, seed=0, order_seed=0)
    planted = {text.tobytes() for text in texts[250:]} - {text.tobytes() for text in texts[:250]}
    assert planted and not planted & {*documents(division.train), *documents(division.held_out)}


def test_validation_of_a_large_corpus_is_limited():
    lengths = np.full(400, MOST // 10)
    tokens = SimpleNamespace(ids=np.arange(400 * 7, dtype=np.uint16), bounds=np.arange(0, 401 * 7, 7))
    assert choose_validation(tokens, lengths, 0).sum() in (10, 11)


def test_too_few_documents_are_refused(tmp_path):
    _, tokens = corpus(15)
    with pytest.raises(DataError, match="too few to choose by"):
        divide(Store(15), tokens, tmp_path / "division", budget=100, seed=0, order_seed=0)


def test_places():
    assert places(np.array([2, 5, 9]), np.array([9, 1, 5, 10])).tolist() == [2, -1, 1, -1]
    assert places(np.array([], np.int64), np.array([3])).tolist() == [-1]
