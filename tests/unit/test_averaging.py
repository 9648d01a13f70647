"""Averages of the weights: torch's own as oracle, bit-equal after a kill, and what is measured is what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from train_kit import LABELS, Log, Toy, job, rows, split, weights

from tiny import tiny_bert
from trustbase.model.load import resolve_base
from trustbase.model.metrics import class_metrics
from trustbase.model.options import AdaptOptions
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.train import table
from trustbase.train.averaging import Averaging, faint
from trustbase.train.evaluate import CLASSES
from trustbase.train.fit import fit
from trustbase.train.forward import Forward
from trustbase.train.options import AveragingOptions, TrainOptions
from trustbase.train.pretrain_options import PretrainOptions
from trustbase.train.update import plain

pytestmark = pytest.mark.usefixtures("one_thread")
EMA, LAST = {"method": "ema", "decay": 0.9}, {"method": "last", "count": 3}


def beside(oracle, model, *, at):
    """An update rule that also tells torch's average, after the updates named (all where None)."""

    def update(tools, batches, step):
        result = plain(tools, batches, step)
        if at is None or step in at:
            oracle.update_parameters(model)
        return result

    return update


def test_ema_is_that_of_torch_to_the_bit(tmp_path):
    model = Toy()
    oracle = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    _, _, log = job(tmp_path / "own", model=model, averaging=EMA, update=beside(oracle, model, at=None))
    assert weights(model) == weights(oracle.module), f"after {len(log.of('step'))} updates"
    plainly, _, _ = job(tmp_path / "plain")
    assert weights(plainly) != weights(model)


def test_the_mean_of_the_last_epochs_is_that_of_torch(tmp_path):
    _, _, log = job(tmp_path / "first", epochs=5)
    ends = [each["step"] for each in log.of("evaluation")]
    model = Toy()
    oracle = AveragedModel(model)
    job(tmp_path / "own", model=model, epochs=5, averaging=LAST, update=beside(oracle, model, at=ends[-3:]))
    for name, tensor in oracle.module.state_dict().items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=1e-6), name


def test_training_itself_is_not_changed(tmp_path):
    losses = []
    for name, averaging in (("plain", None), ("ema", EMA), ("last", LAST)):
        _, _, log = job(tmp_path / name, averaging=averaging, validation=rows(20, seed=1))
        losses.append([each["loss"] for each in log.of("step")])
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("averaging", [EMA, LAST])
@pytest.mark.parametrize("at", [0.6, 0.95])
def test_a_killed_training_ends_in_the_same_average(averaging, at, tmp_path):
    arguments = {"averaging": averaging, "epochs": 3, "validation": rows(30, seed=1), "evaluate_every": 4}
    straight, progress, log = job(tmp_path / "straight", **arguments)
    step = int(at * progress.step)

    def die(event, /, **fields):
        if event == "step" and fields["step"] == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / "killed", emit=die, **arguments)
    again, later, resumed = job(tmp_path / "killed", **arguments)
    assert resumed.of("resumed") and later.history == progress.history and weights(again) == weights(straight)
    finished, _, _ = job(tmp_path / "killed", **arguments)  # once more, when nothing is left to do
    assert weights(finished) == weights(straight)
    assert len(log.of("evaluation")) > 3


@pytest.mark.parametrize("averaging", [EMA, LAST])
def test_the_average_that_was_measured_best_is_what_is_kept(averaging, tmp_path):
    validation = rows(40, seed=1)
    model, progress, _ = job(tmp_path, averaging=averaging, epochs=12, learning_rate=0.2, validation=validation)
    assert progress.best_step < progress.step, "the best must not be the last here, or nothing is shown"
    forward = Forward(model, precision="fp32", device="cpu", seed=0)
    found = CLASSES(forward.score, validation)
    assert found["quality.log_loss"] == pytest.approx(progress.best_value, abs=1e-9)
    assert next(each for each in progress.history if each["step"] == progress.best_step)["quality.log_loss"] == progress.best_value


def test_a_checkpoint_brings_the_average_back_as_it_was():
    averages = Averaging(AveragingOptions.model_validate(EMA), list(Toy().named_parameters()))
    averages.after(1)
    kept = {name: tensor.clone() for name, tensor in averages.state().items()}
    averages._parameters[0].data += 1
    averages.after(2)
    assert any(not torch.equal(kept[name], tensor) for name, tensor in averages.state().items())
    averages.load(kept)
    assert all(torch.equal(kept[name], tensor) for name, tensor in averages.state().items())


def test_nothing_averaged_yet_leaves_the_weights(tmp_path):
    model = Toy()
    before = weights(model)
    with Averaging(AveragingOptions(method="ema"), list(model.named_parameters())).shown():
        assert weights(model) == before
    assert weights(model) == before


@pytest.mark.parametrize(("method", "averaging"), [("full", EMA), ("lora", EMA), ("frozen", LAST)])
def test_fit_ships_the_average_of_a_real_model(method, averaging, tmp_path, monkeypatch):
    """Word tables are trained by their used rows, low-rank updates are merged: the saved model still answers as the average did."""
    monkeypatch.setattr(table, "_LARGE_TABLE", 100)
    base = resolve_base(str(tiny_bert(tmp_path / "base")))
    log = Log()
    options = TrainOptions(epochs=4, max_length=16, batch_tokens=64, learning_rate=3e-3, precision="fp32", averaging=averaging)
    looks = split(40, "validation", 1)
    arguments = {"adapt": AdaptOptions(method=method), "options": options, "folder": tmp_path / "checkpoints", "emit": log}
    trained = fit(base, TEXT_CLASSIFICATION, LABELS, split(60, "train"), looks, **arguments)
    assert trained.reload_difference == 0.0
    scores = answers(trained.folder, looks.texts, base)
    assert class_metrics(looks.labels, scores)["quality.log_loss"] == pytest.approx(trained.best_value, abs=1e-5)


def answers(folder: Path, texts, base) -> np.ndarray:
    from trustbase.model.checkpoint import load_checkpoint
    from trustbase.model.encoded import pad
    from trustbase.model.tokenizer import encode

    model, tokenizer, _ = load_checkpoint(folder, base=base)
    batch = {name: torch.from_numpy(each) for name, each in pad(encode(tokenizer, texts, max_length=16), range(len(texts)), 0).items()}
    with torch.no_grad():
        return model(**batch).logits.double().softmax(-1).numpy()


def test_options_and_what_is_said_of_them(tmp_path):
    assert TrainOptions(averaging="ema").averaging == AveragingOptions(method="ema", decay=0.999)
    with pytest.raises(ValueError, match="count belongs to method last"):
        AveragingOptions(method="ema", count=5)
    with pytest.raises(ValueError, match="never tried in pretraining"):
        PretrainOptions(averaging="ema")
    assert faint(AveragingOptions(method="ema", decay=0.9), 100) == "" == faint(AveragingOptions(method="last"), 3)
    _, _, log = job(tmp_path, averaging="ema")
    assert any("still make up" in note["text"] for note in log.of("note"))
