"""Schedules and optimizers against transformers' and torch's own; each resumes to the same bits."""

import copy
import math
import os
import signal

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from train_kit import Log, job, weights

from trustbase.errors import Interrupted, UsageError
from trustbase.model.options import ModelOptions
from trustbase.model.scratch import build_model
from trustbase.model.tokenizer import load_tokenizer
from trustbase.train import state
from trustbase.train.optimizers import MuonWithAdamW, hidden_matrices
from trustbase.train.options import TrainOptions
from trustbase.train.schedule import learning_rate_factor, make_optimizer, set_learning_rate

OPTIMIZERS = ("adamw", "adafactor", "muon")


class Deep(torch.nn.Module):
    """The toy of the loop's tests with a hidden matrix, so that Muon has one."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(50, 8)
            self.hidden = torch.nn.Linear(8, 12)
            self.norm = torch.nn.LayerNorm(12)
            self.classifier = torch.nn.Linear(12, 2)

    def forward(self, input_ids, attention_mask):
        from types import SimpleNamespace

        x = (self.table(input_ids) * attention_mask[..., None]).sum(1)
        return SimpleNamespace(logits=self.classifier(self.norm(torch.tanh(self.hidden(x)))))


@pytest.fixture(scope="module")
def tokenizer(tiny_folder):
    return load_tokenizer(tiny_folder)


@pytest.mark.parametrize(("total", "warmup", "cooldown"), [(20, 0.1, 0.2), (7, 0.0, 1.0), (11, 0.5, 0.5), (13, 0.34, 0.1), (1, 0.0, 0.2)])
def test_wsd_rates_are_those_of_transformers(total, warmup, cooldown):
    from transformers import get_wsd_schedule

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rising = math.ceil(warmup * total)
    falling = min(math.ceil(cooldown * total), total - rising)
    oracle = get_wsd_schedule(optimizer, rising, falling, num_training_steps=total, decay_type="1-sqrt")
    for step in range(total):
        found = learning_rate_factor(step, total, schedule="wsd", warmup=warmup, cooldown=cooldown)
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12), step
        optimizer.step()
        oracle.step()
    assert learning_rate_factor(total, total, schedule="wsd", warmup=warmup, cooldown=cooldown) == 0.0


def test_options_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="more than the whole training"):
        TrainOptions(schedule="wsd", warmup=0.5, cooldown=0.6)
    with pytest.raises(ValidationError, match="adafactor"):
        TrainOptions(optimizer="lion")
    assert TrainOptions(warmup=0.9).cooldown == 0.2  # no fall is planned there, so nothing collides


def _gradients(model, seed):
    stream = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=stream)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_those_of_torch_itself(name):
    ours, theirs = Deep(), Deep()
    options = TrainOptions(
        optimizer=name, learning_rate=0.01, weight_decay=0.1, epsilon=1e-7, momentum=0.9, schedule="constant", warmup=0.0
    )
    optimizer = make_optimizer(ours, list(ours.named_parameters()), options)
    decayed = [theirs.table.weight, theirs.hidden.weight, theirs.classifier.weight]
    plain = [parameter for parameter in theirs.parameters() if not any(parameter is other for other in decayed)]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    if name == "muon":
        groups[0]["params"] = [theirs.table.weight, theirs.classifier.weight]
        first = torch.optim.Muon([theirs.hidden.weight], lr=0.01, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
        oracles = [first, torch.optim.AdamW(groups, lr=0.01, eps=1e-7, fused=True)]
    elif name == "adafactor":
        oracles = [torch.optim.Adafactor(groups, lr=0.01)]
    else:
        oracles = [torch.optim.AdamW(groups, lr=0.01, eps=1e-7, fused=True)]
    for step in range(4):
        _gradients(ours, step)
        _gradients(theirs, step)
        set_learning_rate(optimizer, step, 4, options)
        optimizer.step()
        for oracle in oracles:
            oracle.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    optimizer.zero_grad(set_to_none=True)
    assert all(parameter.grad is None for parameter in ours.parameters())


def test_muon_moves_a_matrix_by_an_orthogonal_one_of_adamws_size():
    model, rate = Deep(), 0.01
    options = TrainOptions(optimizer="muon", learning_rate=rate, weight_decay=0.0)
    optimizer = make_optimizer(model, list(model.named_parameters()), options)
    before = model.hidden.weight.detach().clone()
    _gradients(model, 0)
    optimizer.step()
    moved = (model.hidden.weight.detach() - before) / rate
    sizes = np.linalg.svd(moved.numpy(), compute_uv=False) / (0.2 * math.sqrt(12))  # Liu et al. (2025), equation 4
    assert sizes.max() < 1.3 and sizes.min() > 0.5  # Newton–Schulz stops near 1


@pytest.mark.parametrize(
    ("family", "architecture", "objectives", "hidden", "outside"),
    [
        (
            "encoder",
            None,
            ("masked", "next_sentence"),
            {"roformer.encoder.layer.0.attention.self.query.weight", "cls.predictions.transform.dense.weight"},
            {"cls.seq_relationship.weight", "roformer.embeddings.word_embeddings.weight", "roformer.encoder.embed_positions.weight"},
        ),
        (
            "encoder",
            "bert",
            ("masked", "next_sentence"),
            {"bert.encoder.layer.0.attention.self.query.weight", "cls.predictions.transform.dense.weight", "bert.pooler.dense.weight"},
            {"cls.seq_relationship.weight", "bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight"},
        ),
        (
            "encoder",
            None,
            ("replaced_token",),
            {"generator.electra.embeddings_project.weight", "discriminator.discriminator_predictions.dense.weight"},
            {"discriminator.discriminator_predictions.dense_prediction.weight", "generator.electra.embeddings.word_embeddings.weight"},
        ),
        (
            "decoder",
            None,
            ("causal",),
            {"transformer.h.0.attn.c_attn.weight", "transformer.h.1.mlp.c_proj.weight"},
            {"transformer.wte.weight"},
        ),
        ("decoder", "llama", ("causal",), {"model.layers.0.mlp.gate_proj.weight"}, {"model.embed_tokens.weight"}),
        (
            "encoder-decoder",
            None,
            ("infilling",),
            {"decoder.block.0.layer.1.EncDecAttention.q.weight"},
            {"shared.weight", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"},
        ),
    ],
)
def test_muon_takes_hidden_matrices_only(tokenizer, family, architecture, objectives, hidden, outside):
    shape = ModelOptions(family=family, architecture=architecture, layers=2, width=16, heads=2, context=16)
    if family == "encoder-decoder":
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.eos_token = "[SEP]"
    model = build_model(shape, tokenizer, objectives=objectives, seed=0)
    found, names = hidden_matrices(model), {name for name, _ in model.named_parameters()}
    assert hidden <= found and outside <= names - found
    optimizer = make_optimizer(model, list(model.named_parameters()), TrainOptions(optimizer="muon"))
    assert isinstance(optimizer, MuonWithAdamW)
    taken = sum(len(group["params"]) for group in optimizer.parts[0].param_groups)
    assert taken == len(found) and sum(len(group["params"]) for group in optimizer.param_groups) == len(names)


def test_an_untied_head_stays_with_adamw(tokenizer):
    model = build_model(ModelOptions(family="decoder", layers=1, width=16, heads=2, context=16), tokenizer, seed=0)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert "lm_head.weight" not in hidden_matrices(model)


class Stopping(Log):
    """Sends a signal once, at a step."""

    def __call__(self, event, /, **fields):
        super().__call__(event, **fields)
        if event == "step" and fields["step"] == 5:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_repeats_an_uninterrupted_one_to_the_bit(tmp_path, name):
    wanted = {"optimizer": name, "schedule": "wsd", "cooldown": 0.5}
    whole, progress, _ = job(tmp_path / "whole", model=Deep(), **wanted)
    with pytest.raises(Interrupted):
        job(tmp_path / "cut", model=Deep(), emit=Stopping(), **wanted)
    saved, _ = state.latest(tmp_path / "cut")
    assert (saved / "optimizer.safetensors").is_file()
    resumed, again, log = job(tmp_path / "cut", model=Deep(), **wanted)
    assert log.of("resumed")[0]["step"] == 5 and again.step == progress.step > 8
    assert weights(resumed) == weights(whole) and again.history == progress.history
    forgetful, _, _ = job(tmp_path / "other", model=Deep(), **{**wanted, "optimizer": next(x for x in OPTIMIZERS if x != name)})
    assert weights(forgetful) != weights(whole)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_saved_is_the_whole_state_and_without_it_the_bits_differ(tmp_path, name):
    """The test above could not fail if an optimizer's state did not matter: here it is thrown away."""
    with pytest.raises(Interrupted):
        job(tmp_path / "cut", model=Deep(), emit=Stopping(), optimizer=name)
    path, _ = state.latest(tmp_path / "cut")
    model = Deep()
    trained = list(model.named_parameters())
    fingerprint = state.files.read_json(path / "state.json")["fingerprint"]
    kept, lost = (make_optimizer(model, trained, TrainOptions(optimizer=name, learning_rate=0.01)) for _ in range(2))
    state.load(path, trained, kept, fingerprint)
    assert set(kept.state) == {parameter for _, parameter in trained}
    before = {key: value.detach().clone() for key, value in model.state_dict().items()}
    results = []
    for optimizer in (kept, lost):
        model.load_state_dict(before)
        _gradients(model, 3)
        optimizer.step()
        results.append(weights(model))
    assert results[0] != results[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(tmp_path, name):
    rate = 0.1 if name == "adafactor" else 0.02
    _, progress, _ = job(tmp_path, model=Deep(), optimizer=name, learning_rate=rate, epochs=8)
    losses = [entry["training_loss"] for entry in progress.history]
    assert losses[-1] < 0.75 * losses[0]


def test_a_torch_without_muon_is_named(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UsageError, match=r"torch 2\.9"):
        make_optimizer(Deep(), list(Deep().named_parameters()), TrainOptions(optimizer="muon"))
