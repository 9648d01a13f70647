"""What a pretraining costs: operations equal hand counts and torch's own, trials change nothing, and events and facts say it."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from pretrain_kit import PAIRS, batches, corpus, model, run, scene
from test_pretrain import Stopping
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode
from train_kit import Log, weights

from trustbase.audit.options import CostOptions
from trustbase.errors import Interrupted, RecipeError, TrainingError, UsageError
from trustbase.train import estimate as estimating
from trustbase.train.estimate import Estimate, estimate
from trustbase.train.flops import matmul_peak, shape_of, sizes_of, training_flops, work_of
from trustbase.train.options import TrainOptions
from trustbase.train.packing import Chosen
from trustbase.train.range_test import judge, range_test, smooth, try_rates
from trustbase.train.rehearsal import rehearsing
from trustbase.train.state import Progress
from trustbase.train.update import UpdateResult

WIDTH, INNER, LAYERS = 32, 64, 2  # of the kit's models


def options(**more) -> TrainOptions:
    return TrainOptions(
        **{"tokens": 12_000, "batch_tokens": 512, "max_length": 16, "learning_rate": 5e-3, "precision": "fp32", "threads": 1, **more}
    )


# --- counting ---------------------------------------------------------------------------------------------------------------


def layer(width: int = WIDTH, inner: int = INNER) -> int:
    """Parameters of one BERT layer: four projections, two of the feed-forward part, two norms."""
    return 4 * (width**2 + width) + 2 * width * inner + inner + width + 4 * width


def test_a_bert_is_counted_as_by_hand():
    made = scene("masked", context=32)
    chosen, batch = batches(made.objective, made.texts, packed=True)[0]
    vocabulary = len(made.tokenizer)
    tokens = int((chosen.pieces.lengths + 2).sum())
    predicted = len(batch.targets["places"])
    length = batch.inputs["input_ids"].shape[1]
    assert 0 < predicted < tokens <= batch.inputs["input_ids"].numel()
    body = LAYERS * layer() + 2 * WIDTH  # and the norm of the embeddings
    head = WIDTH**2 + WIDTH + 2 * WIDTH + vocabulary  # the transformation, its norm, and the bias of the scores
    wanted = 6 * body * tokens + 6 * (head + WIDTH * vocabulary) * predicted + 12 * LAYERS * WIDTH * tokens * length
    assert training_flops(shape_of(made.model), [batch]) == wanted
    assert training_flops(shape_of(made.model), [batch, batch]) == 2 * wanted


def test_padding_counts_for_nothing():
    made = scene("masked")
    alone = batches(made.objective, made.texts, packed=False, batch_tokens=2048)
    padded = next(batch for _, batch in alone if "attention_mask" in batch.inputs)
    real = int(padded.inputs["attention_mask"].sum())
    assert sizes_of(padded).counts["read"] == real < padded.inputs["input_ids"].numel()


@pytest.mark.parametrize("name", [*PAIRS])
def test_every_objective_counts_what_torch_counts(name):
    """Of the model's own forward, with hardly any padding; it transforms all tokens before the head, and not the predicted alone."""
    made = scene(name, context=64)
    widened(made, name)
    batch = fullest(made)
    reading = made.reading
    with FlopCounterMode(display=False) as counter:
        sum(losses.sum() for losses in made.objective(reading, batch).values()).backward()
    shape, counts = shape_of(made.model), sizes_of(batch).counts
    more = 6 * shape.parameters["predicted"] * (counts["read"] - counts["predicted"])
    ratio = (training_flops(shape, [batch]) + more) / counter.get_total_flops()
    least = 0.95 if name == "masked+next_sentence" else 0.99  # another document's second half may be shorter, which leaves padding
    assert least < ratio < 1.02, ratio


def widened(made, name: str) -> None:
    """The same model wide enough that biases and norms, which torch counts as nothing, are few beside matrices."""
    import transformers as library

    from trustbase.model.scratch import ReplacedTokenPair, with_generator
    from trustbase.train.reading import Reading
    from trustbase.train.scene import make_objectives
    from trustbase.train.symbols import symbols_of

    config = made.model.config
    for key in ("hidden_size", "n_embd", "d_model", "embedding_size"):
        if key in vars(config) or key in getattr(config, "attribute_map", {}):
            setattr(config, key, 256)
    for key in ("intermediate_size", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"):
        if key in vars(config):
            setattr(config, key, 512)
    if hasattr(config, "d_kv"):
        config.d_kv = 128
    config._attn_implementation = "eager"  # whose products torch counts forward and backward
    own = type(made.model.discriminator if isinstance(made.model, ReplacedTokenPair) else made.model)
    made.model = getattr(library, own.__name__)(config).train()
    if name == "replaced_token":
        made.model = with_generator(made.model, seed=0).train()
    made.reading = Reading(made.model, precision="fp32", device="cpu", seed=0)
    (made.objective,) = make_objectives(name, symbols_of(made.tokenizer), 64, model=made.model, options=options())


def fullest(made):
    """A batch of pieces of the same length, each in a row of its own, so that hardly anything is padding."""
    pieces = made.objective.cut(made.texts, np.arange(len(made.texts.tokens.bounds) - 1))
    pieces = pieces.take(np.argsort(-pieces.lengths)[:8])
    pieces = replace(pieces, lengths=np.full(len(pieces), pieces.lengths.min()))
    rows = np.arange(len(pieces))
    chosen = Chosen(pieces, rows, rows, int(made.objective.sizes(pieces.lengths)[0]))
    return made.objective.collate(chosen, made.texts, np.random.default_rng(0), "cpu", 0)


def test_a_head_of_its_own_counts_at_predicted_tokens_only():
    tok = corpus("decoder")[1]
    net = model("llama", tok)  # whose head shares no table
    shape = shape_of(net)
    assert shape.table == len(tok) * WIDTH
    assert sum(shape.parameters.values()) == sum(p.numel() for p in net.parameters()) - 2 * len(tok) * WIDTH
    assert {where for where, count in shape.parameters.items() if count} == {"read"}


def test_the_peak_is_one_that_a_product_reaches():
    measured = matmul_peak("fp32", 1, seconds=0.2)
    left = torch.randn(512, 512)
    with torch.inference_mode():
        timed = Timer("left @ left", globals={"left": left}, num_threads=1).blocked_autorange(min_run_time=0.1)
    assert measured > 0.4 * 2 * 512**3 / timed.median


# --- before -----------------------------------------------------------------------------------------------------------------


def untouched(net):
    """What a trial may not change."""
    return weights(net), torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), net.training, torch.get_num_threads()


@pytest.mark.parametrize("name", ["masked+next_sentence", "causal", "replaced_token"])
def test_a_trial_changes_nothing_and_foretells_the_training(tmp_path, name):
    own, family = PAIRS[name]
    data, tok = corpus(family)
    net = model(own, tok, std=0.1)
    before = untouched(net)
    settings = options()
    log = Log()
    with rehearsing(net, name, data, tok, context=32, options=settings, emit=log) as rehearsal:
        told = estimate(rehearsal, cost=CostOptions(), seconds=0.2, emit=log)
    assert untouched(net) == before and all(parameter.grad is None for parameter in net.parameters())
    assert not list(tmp_path.iterdir()) and log.of("progress")[-1]["what"] == "a trial of a few updates"
    trained, result, events = run(tmp_path, name)
    assert told.steps == result.progress.step == len(events.of("step"))
    assert told.tokens == pytest.approx(result.facts["training_tokens"], rel=0.05)
    assert told.flops == pytest.approx(result.facts["flops"], rel=0.05)
    assert weights(trained) == weights(run(tmp_path / "again", name)[0])


def test_an_estimate_is_arithmetic_on_its_trial(monkeypatch):
    data, tok = corpus()
    net = model("BertForMaskedLM", tok)
    looks = np.diff(data.held_out.bounds).sum()

    class Clock:
        job = None

        def step(self):
            self.job.progress.step += 1
            self.seconds = [9.0, 1.0, 3.0][self.job.progress.step - 1]
            return UpdateResult(1.0, 1.0, 4, 500, {}, "", 1e9) if self.job.progress.step < 4 else None

    trial = estimating._try
    monkeypatch.setattr(estimating, "_try", lambda rehearsal, seconds, emit: trial(clock(rehearsal), seconds, emit))

    def clock(rehearsal):
        found = Clock()
        found.job = rehearsal.job
        return found

    cost = CostOptions(watts=100, carbon_grams_per_kwh=500)
    with rehearsing(net, "masked", data, tok, context=32, options=options(tokens=100_000)) as rehearsal:
        told = estimate(rehearsal, cost=cost, seconds=0.0)
    assert (told.trial_steps, told.trial_seconds, told.tokens_per_second, told.flops_per_second) == (2, 4.0, 250.0, 5e8)
    assert told.tokens == 100_000 and told.flops == 2e11
    looked = 21 * looks  # twenty times and in the end, all of them as they are few
    assert told.seconds == pytest.approx(100_000 / 250 + looked / 250 / 3, rel=0.02)
    assert told.seconds_low == pytest.approx(told.seconds / 2) and told.seconds_high == pytest.approx(told.seconds * 1.5)
    assert told.energy_kwh == pytest.approx(told.seconds / 3600 * 0.1) and told.carbon_kg == pytest.approx(told.energy_kwh / 2)
    as_json = told.to_json()
    assert as_json["hours"] == told.seconds / 3600 and Estimate(**{k: v for k, v in as_json.items() if k != "hours"}) == told
    assert "100,000 tokens" in told.said and "100 W" in told.said and "500 g per kWh" in told.said and "\n" not in told.said


def test_a_training_of_one_update_is_estimated_too():
    data, tok = corpus()
    settings = options(tokens=None, max_steps=1)
    with rehearsing(model("BertForMaskedLM", tok), "masked", data, tok, context=32, options=settings) as rehearsal:
        told = estimate(rehearsal, cost=CostOptions(), seconds=0.1)
    assert told.steps == told.trial_steps == 1 and told.tokens <= 512


def test_what_cannot_be_pretrained_cannot_be_tried():
    data, tok = corpus()
    net = model("BertForMaskedLM", tok)
    with pytest.raises(RecipeError), rehearsing(net, "causal", data, tok, context=32, options=options()):
        pass
    for steps, low, high in ((40, 1e-2, 1e-3), (5, 1e-5, 1e-3)):
        kept = rehearsing(net, "masked", data, tok, context=32, options=options(), steps=steps)
        with kept as rehearsal, pytest.raises(UsageError, match="rates that grow"):
            range_test(rehearsal, low=low, high=high)


# --- the range test -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curvature", [0.1, 1.0, 30.0])
def test_the_range_test_finds_where_descent_on_a_parabola_diverges(curvature):
    """Gradient descent on c x² / 2 shrinks x where rate × c < 2, and makes it grow above; the gradient is noisy, as of batches."""
    state = {"x": 10.0}
    rng = np.random.default_rng(0)

    def update(rate):
        loss = 1 + curvature * state["x"] ** 2 / 2
        state["x"] -= rate * curvature * (state["x"] + rng.normal())
        return loss

    found = try_rates(update, np.geomspace(1e-4 / curvature, 100 / curvature, 120).tolist())
    assert 2 / curvature < found.diverged_at < 12 / curvature
    assert found.suggestion == found.diverged_at / 10 and "tenth" in found.rule
    assert [point.rate for point in found.points] == sorted(point.rate for point in found.points)


def test_a_loss_that_never_rises_gives_its_steepest_fall():
    rates = np.geomspace(1e-6, 1e-1, 60)
    losses = 5 - 3 / (1 + np.exp(-4 * (np.log10(rates) + 3)))  # falls fastest at 1e-3
    found = judge(rates.tolist(), losses.tolist())
    assert found.diverged_at is None and "fastest" in found.rule
    assert 1e-3 <= found.suggestion < 3e-3  # smoothing lags behind


def test_a_loss_that_is_no_number_ends_the_test():
    def update(rate):
        if rate > 1e-2:
            raise TrainingError("not finite")
        return 2.0

    found = try_rates(update, np.geomspace(1e-4, 1.0, 41).tolist())
    assert 1e-2 < found.diverged_at < 1.3e-2 and found.points[-1].rate <= 1.01e-2
    assert all(np.isfinite(point.smoothed) for point in found.points)
    with pytest.raises(TrainingError, match="before anything was learned"):
        judge([1e-4, 1e-3], [float("nan"), float("nan")])


def test_a_running_mean_has_no_bias_at_its_start():
    assert smooth([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    assert smooth([4.0, 2.0])[1] == pytest.approx((0.7 * 4 + 2) / 1.7)


def test_the_range_test_of_a_model_changes_nothing_and_sees_the_rates_in_the_optimizer(monkeypatch):
    data, tok = corpus()
    net = model("BertForMaskedLM", tok, std=0.1)
    before = untouched(net)
    seen = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a: (seen.append({g["lr"] for g in self.param_groups}), step(self, *a))[1])
    with rehearsing(net, "masked", data, tok, context=32, options=options(), steps=40) as rehearsal:
        found = range_test(rehearsal, low=1e-5, high=10.0)
    assert untouched(net) == before
    rates = np.geomspace(1e-5, 10.0, 40)
    assert [rate for (rate,) in seen] == pytest.approx(rates[: len(seen)])
    assert found.diverged_at is not None and 1e-4 < found.suggestion < 1.0
    lowest = min(point.smoothed for point in found.points)
    assert found.points[0].smoothed - lowest > 0.1, "nothing was learned on the way"
    as_json = found.to_json()
    assert as_json["suggestion"] == found.suggestion and as_json["points"][0]["rate"] == 1e-5
    assert f"{found.suggestion:.1e}" in found.said


# --- during and after ---------------------------------------------------------------------------------------------------------


def test_steps_say_their_operations_and_the_share_of_the_peak(tmp_path):
    data, tok = corpus()
    from trustbase.train.pretrain import pretrain

    log = Log()
    settings = options(report_to=("tensorboard",))
    result = pretrain(
        model("BertForMaskedLM", tok), "masked", data, tok, context=32, options=settings, folder=tmp_path, peak=1e12, emit=log
    )
    steps = log.of("step")
    for fields in steps:
        assert fields["utilisation"] == fields["flops_per_second"] / 1e12
        assert fields["flops_per_second"] / fields["tokens_per_second"] == pytest.approx(result.facts["flops"] / 12_000, rel=0.2)
    facts = result.facts
    assert facts["flops"] == pytest.approx(sum(f["flops_per_second"] / f["tokens_per_second"] * f["tokens"] for f in steps))
    assert facts["training_tokens"] == sum(fields["tokens"] for fields in steps)
    assert facts["flops_per_second"] == facts["flops"] / facts["seconds"] and facts["seconds"] <= facts["total_seconds"]
    assert facts["utilisation"] == facts["flops_per_second"] / 1e12 and facts["peak_flops"] == 1e12
    events = list((tmp_path / "tensorboard").iterdir())
    assert events and b"train/utilisation" in events[0].read_bytes() and b"train/tokens_per_second" in events[0].read_bytes()


def test_without_a_peak_nothing_is_said_of_utilisation(tmp_path):
    _, result, log = run(tmp_path, "masked")
    assert result.facts["utilisation"] is None and result.facts["flops"] > 0
    assert all("utilisation" not in fields and fields["flops_per_second"] > 0 for fields in log.of("step"))
    assert work_of(Progress(), 1e12)["flops_per_second"] is None


def test_operations_and_seconds_outlive_an_interruption(tmp_path):
    _, whole, _ = run(tmp_path / "whole", "masked")
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", "masked", emit=Stopping(7, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    _, first, _ = run(tmp_path / "cut", "masked")
    assert first.facts["flops"] == whole.facts["flops"]
    _, again, log = run(tmp_path / "cut", "masked")  # all is done already
    assert not log.of("step")
    kept = ("flops", "seconds", "flops_per_second", "training_tokens")
    assert {key: again.facts[key] for key in kept} == {key: first.facts[key] for key in kept}
