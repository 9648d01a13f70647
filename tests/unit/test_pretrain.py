"""Pretraining over the loop: it learns, resumes to the bit, keeps its budget, and goes back after a spike."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrain_kit import PAIRS, Corpus, batches, corpus, run, scene, texts, tokens
from train_kit import Log, Toy, job, rows, weights

from trustbase.errors import Interrupted, RecipeError, StaleRunError, TrainingError, UsageError
from trustbase.train import guard
from trustbase.train.batches import Batch
from trustbase.train.heldout import measure_held_out
from trustbase.train.objectives.base import Texts
from trustbase.train.update import UpdateResult, UpdateTools, plain

LEARNED = {  # how much of the first loss is left, at most
    "masked": 0.8,
    "masked+next_sentence": 0.85,
    "masked+sentence_order": 0.85,
    "contrastive": 0.9,
    "replaced_token": 0.9,
    "causal": 0.6,
    "span_corruption": 0.8,
    "infilling": 0.3,
}


class Stopping(Log):
    """Does something once when a step is reported."""

    def __init__(self, step, action):
        super().__init__()
        self.step, self.action = step, action

    def __call__(self, event, /, **fields):
        super().__call__(event, **fields)
        if event == "step" and fields["step"] == self.step:
            self.action()


@pytest.mark.parametrize("name", list(PAIRS))
def test_every_objective_learns_a_small_corpus(tmp_path, name):
    _, result, log = run(tmp_path, name, tokens=80_000, batch_tokens=256)
    losses = [fields["loss"] for fields in log.of("step")]
    assert np.mean(losses[-5:]) < LEARNED[name] * np.mean(losses[:3]), losses[:: max(1, len(losses) // 10)]
    assert all(set(fields["parts"]) == set(result.facts["weights"]) for fields in log.of("step"))
    assert sum(fields["tokens"] for fields in log.of("step")) >= 80_000
    assert all(fields["tokens_per_second"] > 0 for fields in log.of("step"))
    assert result.progress.finished and result.held_out is not None
    findings = result.held_out.findings()
    if name != "contrastive":
        assert 1 < findings["quality.perplexity"] < len(corpus(PAIRS[name][1])[1])
    assert log.of("evaluation")[-1].items() >= findings.items()


@pytest.mark.parametrize("name", ["masked+next_sentence", "causal", "span_corruption", "replaced_token", "masked+contrastive"])
def test_a_signal_saves_and_the_same_call_goes_on_to_the_same_bits(tmp_path, name):
    whole, result, _ = run(tmp_path / "whole", name, accumulation=2)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", name, accumulation=2, emit=Stopping(5, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    torch.manual_seed(4711)  # whatever the new process's random state is
    again, resumed, log = run(tmp_path / "cut", name, accumulation=2)
    assert log.of("resumed")[0]["step"] == 5 and log.of("step")[0]["step"] == 6
    assert weights(again) == weights(whole)
    assert resumed.progress.history == result.progress.history and resumed.progress.tokens == result.progress.tokens


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from pretrain_kit import run
from trustbase.events import RunLog

def be_killed(folder, step):
    def listen(record):
        if record["event"] == "step" and record["step"] == step:
            os.kill(os.getpid(), signal.SIGKILL)
    run(folder / "checkpoints", "masked+next_sentence", save_every=1e-9, emit=RunLog(folder / "log.jsonl", listeners=(listen,)))

for step in (1, 7):
    folder = Path(sys.argv[1], str(step))
    folder.mkdir()
    child = os.fork()
    if child == 0:
        be_killed(folder, step)
        os._exit(0)
    print(step, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_kill_9_between_steps_costs_no_bit(tmp_path):
    here = Path(__file__).parent
    program = KILLED.format(paths=[str(here), str(here.parent)])
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.stdout.split("\n")[:-1] == ["1 -9", "7 -9"], done.stdout + done.stderr
    whole, _, _ = run(tmp_path / "whole", "masked+next_sentence", save_every=1e6)
    for step in (1, 7):
        net, _, log = run(tmp_path / str(step) / "checkpoints", "masked+next_sentence", save_every=1e6)
        assert [fields["step"] for fields in log.of("resumed")] == ([6] if step == 7 else [])
        assert weights(net) == weights(whole)
        assert re.search(r'"event": "step"', (tmp_path / str(step) / "log.jsonl").read_text())


def test_what_comes_out_follows_from_the_seed(tmp_path):
    first, again, other = (
        weights(run(tmp_path / name, "masked", training_seed=s, tokens=3000)[0]) for name, s in zip("abc", (0, 0, 1), strict=True)
    )
    assert first == again != other


def test_checkpoints_of_another_corpus_or_objective_are_refused(tmp_path):
    run(tmp_path, "masked", tokens=2000, kind="BertForPreTraining")
    with pytest.raises(StaleRunError, match="weights"):
        run(tmp_path, "masked+next_sentence", tokens=2000, kind="BertForPreTraining")
    data, _ = corpus()
    with pytest.raises(StaleRunError, match="corpus"):
        run(tmp_path, "masked", tokens=2000, kind="BertForPreTraining", data=replace(data, digest="sha256:other"))


def test_units_weigh_alike_however_they_fall_into_batches():
    """Two batches of unequal predicted tokens change the parameters as one batch of all does; terms have weights."""
    changed, results = [], []
    for joined in (False, True):
        place = scene("masked")
        place.model.eval()
        place.reading._random = False
        parts = [batch for _, batch in batches(place.objective, place.texts, packed=True, batch_tokens=2048)][-2:]
        assert parts[0].units["masked"] > 1.5 * parts[1].units["masked"]
        optimizer = torch.optim.SGD(place.model.parameters(), lr=0.1)
        losses = lambda batch: place.objective(place.reading, batch)  # noqa: B023, E731
        if joined:
            whole = torch.cat([losses(batch)["masked"] for batch in parts]).mean()
            (3 * whole).backward()
            optimizer.step()
            assert results[0].loss == pytest.approx(3 * float(whole), rel=1e-6)
            assert results[0].parts["masked"] == pytest.approx(float(whole), rel=1e-6)
        else:
            tools = UpdateTools(losses, list(place.model.parameters()), optimizer, None, weights={"masked": 3.0})
            results.append(plain(tools, parts, 1))
        changed.append([parameter.detach() for parameter in place.model.parameters()])
    for ours, wanted in zip(*changed, strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-6)


def test_a_loss_that_is_no_number_names_its_documents(tmp_path, monkeypatch):
    from trustbase.train.objectives.masked import Masked

    real, bad = Masked.outcomes, []

    def spoiled(self, reading, batch):
        found = real(self, reading, batch)
        if batch.number == 2 and reading._random:
            owners = batch.owners["masked"]
            bad.append(int(owners[0]))
            losses = found["masked"].losses * torch.where(torch.from_numpy(owners == owners[0]), torch.nan, 1.0)
            return {"masked": replace(found["masked"], losses=losses)}
        return found

    monkeypatch.setattr(Masked, "outcomes", spoiled)
    with pytest.raises(TrainingError, match=r"loss of step 3 .*documents") as stopped:
        run(tmp_path, "masked")
    assert f"documents {bad[0]} of the training part" in str(stopped.value)


class Odd:
    """An update rule of the toy job that meets an odd loss at some steps, the first time that it comes there or each time."""

    def __init__(self, steps, factor=50.0):
        self.steps, self.factor, self.met = set(steps), factor, []

    def __call__(self, tools, batches, step):
        if step in self.steps:
            self.met.append(step)
            real, tools.losses = tools.losses, lambda batch: {term: x * self.factor for term, x in real(batch).items()}
            try:
                return plain(tools, batches, step)
            finally:
                tools.losses = real
        return plain(tools, batches, step)


SPIKES = {"spike": 8.0, "epochs": 12, "learning_rate": 0.003}


@pytest.mark.parametrize("save_every", [1e-9, 1e6])
def test_a_spike_goes_back_to_a_checkpoint_and_leaves_both_updates_out(tmp_path, save_every):
    """Whichever checkpoint is gone back to, the result is the same: that of a training that never made the two updates."""
    odd = Odd([50])
    model, progress, log = job(tmp_path, material=rows(40), update=odd, save_every=save_every, **SPIKES)
    (spike,) = log.of("spike")
    assert spike["step"] == 50 and spike["loss"] > spike["limit"] and len(spike["left_out"]) == 2
    assert spike["back_to"] <= 48 and spike["checkpoint"] == f"step-{spike['back_to']:08d}"
    if save_every < 1:
        assert spike["back_to"] == 48
    assert odd.met == [50], "it is not met again"
    assert progress.spikes == 1 and progress.left_out == spike["left_out"] and progress.finished
    notes = [fields["text"] for fields in log.of("note")]
    assert notes == ["step 49 is left out because of a spike of the loss", "step 50 is left out because of a spike of the loss"]

    wanted, _, _ = job(tmp_path / "never", material=rows(40), update=Without({49, 50}), **SPIKES)
    assert weights(model) == weights(wanted)


class Without:
    """An update rule that does nothing at some steps."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, tools, batches, step):
        if step not in self.steps:
            return plain(tools, batches, step)
        return UpdateResult(0.0, 0.0, 0, 0)


@pytest.mark.parametrize("at", [44, 49, 52])
def test_a_training_that_was_stopped_around_a_spike_ends_in_the_same_bits(tmp_path, at):
    whole, progress, _ = job(tmp_path / "whole", material=rows(40), update=Odd([50]), **SPIKES)
    stop = Stopping(at, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        job(tmp_path / "cut", material=rows(40), update=Odd([50]), emit=stop, **SPIKES)
    again, resumed, log = job(tmp_path / "cut", material=rows(40), update=Odd([50]), **SPIKES)
    assert len(log.of("spike")) == (at < 50)
    assert weights(again) == weights(whole) and resumed.left_out == progress.left_out


def test_no_spike_is_seen_before_the_usual_is_known():
    assert math.isinf(guard.loss_limit([1.0] * guard.WINDOW, 3.0))
    assert guard.loss_limit([1.0] * (guard.WINDOW + 1), 3.0) == pytest.approx(1.05)
    values = [1.0, 2.0] * guard.WINDOW
    assert guard.loss_limit(values, 3.0) == pytest.approx(1.5 + 3 * 0.5)
    kept = []
    for value in [*values, math.nan, math.inf]:
        guard.remember(kept, value)
    assert kept == values[-guard.WINDOW - 1 :]


def test_too_many_spikes_stop_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr("trustbase.train.job.MOST_SPIKES", 1)
    with pytest.raises(TrainingError, match="spike 2"):
        job(tmp_path, material=rows(40), update=Odd([50, 60]), **SPIKES)


def test_a_gradient_beyond_the_guard_is_left_out(tmp_path):
    class Long(Odd):
        def __call__(self, tools, batches, step):
            if step not in self.steps:
                return plain(tools, batches, step)
            hook = tools.parameters[0].register_hook(lambda gradient: gradient * 1e6)
            try:
                return plain(tools, batches, step)
            finally:
                hook.remove()

    options = {"gradient_guard": 20.0, "epochs": 12, "clip": None}
    before = []

    class Keep(Log):
        def __call__(self, event, /, **fields):
            super().__call__(event, **fields)
            if event == "step" and fields["step"] in (39, 40):
                before.append(weights(net))

    net, log = Toy(), Keep()
    _, progress, _ = job(tmp_path, model=net, material=rows(40), update=Long([3, 40]), emit=log, **options)
    refused = [fields["step"] for fields in log.of("step") if fields.get("refused")]
    assert refused == [40], "at step 3 nobody knows yet what is usual"
    assert before[0] == before[1] and progress.refused == 1
    stop = Stopping(38, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        job(tmp_path / "cut", material=rows(40), update=Long([3, 40]), emit=stop, **options)
    again, _, _ = job(tmp_path / "cut", material=rows(40), update=Long([3, 40]), **options)
    assert weights(again) == weights(net)


def test_gradients_that_are_all_too_long_stop_the_training(tmp_path):
    class Longer(Odd):
        def __call__(self, tools, batches, step):
            hook = tools.parameters[0].register_hook(lambda gradient: gradient * (1e6 if step > 40 else 1.0))
            try:
                return plain(tools, batches, step)
            finally:
                hook.remove()

    with pytest.raises(TrainingError, match="21 gradients in a row"):
        job(tmp_path, material=rows(40), update=Longer([]), gradient_guard=20.0, epochs=12, clip=None)


def test_held_out_values_of_documents_add_up_and_repeat(tmp_path):
    place = scene("masked+next_sentence")
    held = Texts(place.corpus.held_out)
    first, again = (measure_held_out(place.reading, [place.objective], held, device="cpu") for _ in range(2))
    assert set(first.tallies) == {"masked", "next_sentence"}
    for term, tally in first.tallies.items():
        assert np.array_equal(tally.losses, again.tallies[term].losses) and np.array_equal(tally.right, again.tallies[term].right)
        assert len(tally.losses) == 8 and (tally.right <= tally.units).all()
    masked = first.tallies["masked"]
    assert first.perplexity == pytest.approx(math.exp(masked.losses.sum() / masked.units.sum()))
    assert 0 <= first.findings()["quality.masked_accuracy"] <= 1 and 0 <= first.findings()["quality.next_sentence_accuracy"] <= 1
    lengths = np.diff(held.tokens.bounds)
    assert (masked.units >= np.floor(lengths * 0.12)).all() and (masked.units[lengths > 0] > 0).all()
    torch.manual_seed(1)
    place.model.train()
    assert measure_held_out(place.reading, [place.objective], held, device="cpu").perplexity == first.perplexity
    assert place.model.training


def test_one_held_out_document_has_no_question_about_pairs_of_documents():
    place = scene("masked+next_sentence")
    one = tokens(place.tokenizer, texts(1))
    found = measure_held_out(place.reading, [place.objective], Texts(one), device="cpu")
    pairs = found.tallies.get("next_sentence")
    assert "masked" in found.tallies and (pairs is None or pairs.units.sum() <= 1)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(RecipeError) as refused:
        run(tmp_path, "masked", batch_tokens=16, context=64, dropout=0.1, early_stopping=2, kind="BertForMaskedLM", positions=32)
    where = [problem.where for problem in refused.value.problems]
    assert where == ["model.base", "train.batch_tokens", "train.dropout", "train.early_stopping"]
    with pytest.raises(RecipeError, match="encoder-decoder"):
        run(tmp_path, "span_corruption", kind="BertForMaskedLM")
    with pytest.raises(RecipeError, match="decoder"):
        run(tmp_path, "causal", kind="BertForMaskedLM")
    with pytest.raises(UsageError, match="no text"):
        data, _ = corpus()
        empty = replace(data.train, ids=np.zeros(0, np.uint16), bounds=np.zeros(1, np.int64))
        run(tmp_path, "masked", data=Corpus(empty, data.held_out))


@pytest.mark.parametrize("name", ["causal", "span_corruption"])
def test_gradient_checkpointing_changes_no_weight(tmp_path, name):
    plain_run, _, _ = run(tmp_path / "a", name, tokens=2500)
    saved, result, _ = run(tmp_path / "b", name, tokens=2500, gradient_checkpointing=True)
    assert "own forward" in result.facts["ways"][name]
    for a, b in zip(plain_run.parameters(), saved.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_bf16_learns_as_well(tmp_path):
    _, _, exact = run(tmp_path / "a", "masked", tokens=20_000)
    _, _, half = run(tmp_path / "b", "masked", tokens=20_000, precision="bf16")
    ends = [np.mean([fields["loss"] for fields in log.of("step")][-5:]) for log in (exact, half)]
    assert ends[1] == pytest.approx(ends[0], abs=0.15)


def test_whole_chinese_words_are_hidden_together(tmp_path):
    _, result, log = run(tmp_path, "masked", tokens=2000)
    assert (tmp_path / "words-train.npy").is_file() and (tmp_path / "words-held_out.npy").is_file()
    again = [p for p in log.of("progress") if p["what"] == "finding words"]
    assert again and result.facts["ways"]["masked"]


def test_steps_can_be_written_as_json(tmp_path):
    _, _, log = run(tmp_path, "masked+next_sentence", tokens=2000)
    for event, fields in log:
        json.dumps({"event": event, **fields}, allow_nan=False)
    assert isinstance(log.of("step")[0]["parts"]["next_sentence"], float)
    assert Batch(np.arange(1), {}, torch.empty(0), 1).units == {}


def test_a_training_by_tokens_looks_twenty_times_and_not_at_every_end_of_a_short_epoch(tmp_path):
    _, result, log = run(tmp_path, "masked", save_every=1e6)
    looks = [entry["step"] for entry in result.progress.history]
    every = math.ceil(result.progress.step / 20)
    assert looks == sorted({*range(every, result.progress.step + 1, every), result.progress.step})
    assert len(log.of("checkpoint")) == 1
    _, other, _ = run(tmp_path / "often", "masked", evaluate_every=10)
    assert [entry["step"] for entry in other.progress.history][:2] == [10, 20]


def test_live_measures_read_a_part_of_many_held_out_documents():
    place = scene("masked")
    many = Texts(tokens(place.tokenizer, texts(200, 3)))
    parts = [measure_held_out(place.reading, [place.objective], many, device="cpu", most=500) for _ in range(2)]
    read = parts[0].tallies["masked"].units > 0
    lengths = np.diff(many.tokens.bounds)
    assert 500 <= lengths[read].sum() < 500 + lengths.max() and np.array_equal(read, parts[1].tallies["masked"].units > 0)
    assert np.flatnonzero(read).max() > 50, "not the first ones alone"
