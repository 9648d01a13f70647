"""Adaptations: what is trained, that the rest stays, and that updates merge into the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trustbase.errors import RecipeError
from trustbase.model.adapt import (
    adapt,
    adapt_problems,
    adapted_layers,
    adapted_with,
    frozen_features,
    head_only,
    merge,
    target_names,
    trainable,
)
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.pretrained import origin_of
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.records import LabelSchema

LABELS = LabelSchema(("a", "b", "c"), "a", "a")
HEAD = {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}
TEXTS = ["the food was good", "bad bad service and not very fine " * 3, "a", "not good", "fine film", "poor"]
LORA = [
    {},
    {"rank": 2, "alpha": 5.0},
    {"targets": ["query", "attention.output.dense"]},
    {"targets": ["all-linear"], "dropout": 0.2},
    {"dora": True},
    {"rslora": True, "rank": 4},
    {"init": "pissa", "rank": 4},
    {"init": "pissa", "rslora": True},
]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tiny_folder: Path):
    return resolve_base(str(tiny_folder))


@pytest.fixture(scope="module")
def rows(base):
    return encode(load_tokenizer(base.folder), TEXTS, max_length=64)


@pytest.fixture(scope="module")
def batch(rows):
    return {name: torch.from_numpy(array) for name, array in pad(rows, np.arange(len(rows)), 0).items()}


def build(base, **options):
    model = TEXT_CLASSIFICATION.build(base, LABELS, seed=3)
    return adapt(model, AdaptOptions(**options), seed=3)


def train(model, batch, steps=4):
    optimizer = torch.optim.Adam([parameter for _, parameter in trainable(model)], lr=0.01)
    full = {**batch, "labels": torch.tensor([0, 1, 2, 0, 1, 2])}
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(steps):
            optimizer.zero_grad()
            TEXT_CLASSIFICATION.loss(model, full).mean().backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def logits(model, batch):
    return model(**batch).logits


def changed(before, model):
    return {name for name, tensor in model.state_dict().items() if name not in before or not torch.equal(before[name], tensor)}


def test_full_trains_everything(base, batch):
    model = build(base)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert {name for name, _ in trainable(model)} == {name for name, _ in model.named_parameters()}
    assert changed(before, train(model, batch)) == {name for name, _ in model.named_parameters()}


def test_frozen_trains_the_head_alone(base, batch):
    model = build(base, method="frozen")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert {name for name, _ in trainable(model)} == HEAD
    assert changed(before, train(model, batch)) == HEAD


def test_features_are_computed_once_and_the_head_trained_on_them_is_the_models_own(base, rows, batch):
    model = build(base, method="frozen").train()
    features = frozen_features(model, rows, pad_id=0, batch_tokens=40)
    assert model.training
    assert features.shape == (6, 32)
    assert torch.equal(features, frozen_features(model, rows, pad_id=0, batch_tokens=40))  # no dropout
    assert torch.allclose(features, frozen_features(model, rows, pad_id=0, batch_tokens=4096), atol=1e-5)
    head = head_only(model)
    shared = {id(parameter) for _, parameter in trainable(model)}
    assert {id(parameter) for parameter in head.parameters()} == shared
    optimizer = torch.optim.SGD(head.parameters(), lr=0.5)
    start, labels = logits(model.eval(), batch), torch.tensor([0, 1, 2, 0, 1, 2])
    for _ in range(5):
        optimizer.zero_grad()
        TEXT_CLASSIFICATION.loss(head.train(), {"features": features, "labels": labels}).mean().backward()
        optimizer.step()
    model.eval()
    assert float((logits(model, batch) - start).abs().max()) > 0.01
    with torch.no_grad():
        assert torch.allclose(head.eval()(features).logits, logits(model, batch), atol=1e-5)


def test_training_on_features_equals_training_the_head_in_the_model(base, rows, batch):
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    whole, apart = build(base, method="frozen").eval(), build(base, method="frozen").eval()
    features, head = frozen_features(apart, rows, pad_id=0), head_only(apart).eval()
    for learner, inputs in ((whole, batch), (head, {"features": features})):
        optimizer = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], lr=0.3)
        for _ in range(3):
            optimizer.zero_grad()
            TEXT_CLASSIFICATION.loss(learner, {**inputs, "labels": labels}).mean().backward()
            optimizer.step()
    for name in HEAD:
        assert torch.allclose(whole.get_parameter(name), apart.get_parameter(name), atol=1e-5)


@pytest.mark.parametrize("options", LORA, ids=str)
def test_low_rank_updates_start_at_the_base_train_and_merge(base, batch, options):
    plain = TEXT_CLASSIFICATION.build(base, LABELS, seed=3)
    model = build(base, method="lora", **options).eval()
    assert type(model) is type(plain)
    assert float((logits(model, batch) - logits(plain, batch)).abs().max()) < 1e-4  # the first step starts from the base
    names = {name for name, _ in trainable(model)}
    assert names >= HEAD
    assert all("lora_" in name for name in names - HEAD)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert changed(before, train(model, batch)) == names
    start = logits(model, batch)
    merged = merge(model)
    assert float((logits(merged, batch) - start).abs().max()) < 1e-4
    assert torch.equal(logits(model, batch), start)  # the original stays
    assert set(merged.state_dict()) == set(plain.state_dict())
    assert not adapted_layers(merged)
    assert adapted_with(merged) is None
    assert origin_of(merged).adaptation["method"] == "lora"
    assert {name for name, _ in trainable(merged)} == {name for name, _ in plain.named_parameters()}


def test_updates_are_drawn_from_the_seed_alone(base):
    def update(seed: int) -> torch.Tensor:
        model = TEXT_CLASSIFICATION.build(base, LABELS, seed=0)
        return next(p for n, p in trainable(adapt(model, AdaptOptions(method="lora"), seed=seed)) if "lora_A" in n)

    torch.manual_seed(1)
    first, state = update(5), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, update(5))
    assert not torch.equal(first, update(6))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_usual_targets_and_named_ones(base):
    model = TEXT_CLASSIFICATION.build(base, LABELS, seed=0)
    usual = target_names(model, None)
    assert {name.rsplit(".", 1)[-1] for name in usual} == {"query", "value"}
    assert len(usual) == 4
    everything = target_names(model, ["all-linear"])
    assert len(everything) == 12
    assert not [name for name in everything if "pooler" in name or "classifier" in name]
    assert target_names(model, ["layer.1.attention.self.key"]) == ["bert.encoder.layer.1.attention.self.key"]
    assert len(target_names(model, ["dense"])) == 6  # the pooler's is part of the head


def test_unknown_targets_are_told_with_the_nearest_name_before_training(base):
    options = AdaptOptions(method="lora", targets=("query", "vlaue", "pooler", "uery"))
    problems = adapt_problems(base, options)
    assert [problem.hint for problem in problems] == ["did you mean 'value'?", "", "did you mean 'query'?"]
    assert all(problem.where == "adapt.targets" for problem in problems)
    with pytest.raises(RecipeError, match="'vlaue' names no linear layer"):
        build(base, method="lora", targets=("vlaue",))
    assert adapt_problems(base, AdaptOptions(method="lora")) == []
    assert adapt_problems(base, AdaptOptions()) == []


@pytest.mark.parametrize("options", [{}, {"dora": True}, {"rslora": True}, {"init": "pissa"}], ids=str)
def test_the_first_losses_equal_those_of_peft_itself(base, batch, options):
    """PEFT's own model, built its own way from the same start, learns the same."""
    from peft import LoraConfig, get_peft_model

    ours = build(base, method="lora", rank=4, **options).eval()
    plain = TEXT_CLASSIFICATION.build(base, LABELS, seed=3)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["query", "value"],
        modules_to_save=["classifier", "bert.pooler"],
        use_dora=options.get("dora", False),
        use_rslora=options.get("rslora", False),
        init_lora_weights=options.get("init", True),
    )
    theirs = get_peft_model(plain, config).eval()
    start = {name: tensor for name, tensor in ours.state_dict().items() if "lora_" in name}
    theirs.base_model.model.load_state_dict(start, strict=False)
    labels, losses = torch.tensor([0, 1, 2, 0, 1, 2]), []
    for model in (ours, theirs):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            loss = TEXT_CLASSIFICATION.loss(model, {**batch, "labels": labels}).mean()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[:4] == pytest.approx(losses[4:], abs=1e-5)
    assert losses[3] < losses[0]
