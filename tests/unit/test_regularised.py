"""What makes a training less sure of its labels: softened and weighted labels, R-Drop, rates that fall from layer to layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.utils.class_weight import compute_class_weight
from train_kit import Log, Toy, job, rows, weights
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from trustbase.errors import RecipeError, UsageError
from trustbase.train.batches import Batch
from trustbase.train.forward import Forward
from trustbase.train.objectives.classification import classification
from trustbase.train.objectives.regularised import Regularised, class_weights, disagreement
from trustbase.train.options import TrainOptions
from trustbase.train.pretrain_options import PretrainOptions
from trustbase.train.schedule import make_optimizer

LABELS = torch.tensor([0, 2, 1, 1])
SCORES = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)) * 3


def batch_of(labels: torch.Tensor) -> Batch:
    owners = np.arange(len(labels))
    return Batch(owners, {}, labels, len(labels), owners={"label": owners})


def losses(scores: torch.Tensor = SCORES, again: torch.Tensor | None = None, weights: torch.Tensor | None = None, **options) -> np.ndarray:
    objective = Regularised(TrainOptions(**options), weights)
    return objective(lambda _, draw=0: again if draw and again is not None else scores, batch_of(LABELS))["label"].numpy()


def test_softened_labels_are_a_mixture_of_the_label_and_all_labels() -> None:
    log = np.log(softmax(SCORES.numpy(), axis=1))
    own = -log[np.arange(4), LABELS.numpy()]
    np.testing.assert_allclose(losses(label_smoothing=0.1), 0.9 * own - 0.1 * log.mean(1), rtol=1e-5)
    plain = classification(lambda _: SCORES, batch_of(LABELS))["label"].numpy()
    np.testing.assert_array_equal(losses(), plain)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.array([0] * 70 + [1] * 25 + [2] * 5)
    found = class_weights("balanced", ("a", "b", "c"), labels)
    assert found is not None
    np.testing.assert_allclose(found.numpy(), compute_class_weight("balanced", classes=np.arange(3), y=labels), rtol=1e-6)
    assert found[torch.from_numpy(labels)].mean() == pytest.approx(1)
    np.testing.assert_allclose(losses(weights=found), losses() * found[LABELS].numpy(), rtol=1e-6)
    assert class_weights("none", ("a", "b"), labels) is None
    named = class_weights({"b": 4.0}, ("a", "b"), labels)
    assert named is not None and named.tolist() == [1.0, 4.0]
    with pytest.raises(RecipeError) as error:
        class_weights({"b": 4.0, "x": 1.0, "y": 1.0}, ("a", "b"), labels)
    assert [problem.message for problem in error.value.problems] == ["'x' is no label", "'y' is no label"]


def test_r_drop_is_half_the_papers_loss() -> None:
    again = SCORES + torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    first, second = softmax(SCORES.numpy(), axis=1), softmax(again.numpy(), axis=1)
    both = np.array([entropy(p, q) + entropy(q, p) for p, q in zip(first, second, strict=True)]) / 2
    np.testing.assert_allclose(disagreement(SCORES, again).numpy(), both, rtol=1e-4)
    paper = -np.log(first[np.arange(4), LABELS]) - np.log(second[np.arange(4), LABELS]) + 5.0 * both
    np.testing.assert_allclose(losses(again=again, r_drop=5.0), paper / 2, rtol=1e-4)


def test_both_passes_draw_masks_of_their_own_and_always_the_same() -> None:
    model = Toy()
    forward = Forward(model.train(), precision="fp32", device="cpu", seed=0)
    batch = rows().take(np.arange(20), "cpu", number=3)
    one, again, other = forward(batch), forward(batch), forward(batch, draw=1)
    assert torch.equal(one, again) and not torch.equal(one, other) and torch.equal(other, forward(batch, draw=1))


def test_r_drop_makes_answers_agree_and_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def train(folder: Path, strength: float, **more):
        options = {"r_drop": strength, "epochs": 4, "save_every": 1e-3, **more}
        return job(folder, objective=Regularised(TrainOptions(r_drop=strength)), **options)

    plain, agreeing = train(tmp_path / "plain", 0.0)[0], train(tmp_path / "agreeing", 4.0)[0]

    def apart(model: Toy) -> float:
        forward = Forward(model.train(), precision="fp32", device="cpu", seed=1)
        batch = rows(200, 5).take(np.arange(200), "cpu")
        with torch.no_grad():
            return float(disagreement(forward(batch), forward(batch, draw=1)).mean())

    assert apart(agreeing) < 0.7 * apart(plain)
    log = Log()

    def stop(event: str, /, **fields) -> None:
        log(event, **fields)
        if event == "checkpoint" and fields["step"] == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", 4.0, emit=stop)
    went_on = Log()
    model = train(tmp_path / "cut", 4.0, emit=went_on)[0]
    assert went_on.of("resumed")[0]["step"] == 9 and weights(model) == weights(agreeing)


def test_balanced_weights_find_more_of_a_rare_label(tmp_path: Path) -> None:
    material = rows(400, 2)
    rare = np.flatnonzero(material.labels == 1)[20:]
    material.labels = material.labels.copy()
    flipped = material.labels.copy()
    flipped[rare] = 0  # what speaks for the rare label is then mostly told to be the other
    material.labels = flipped

    def found(weights) -> int:
        model = job(tmp_path / str(weights is None), objective=Regularised(TrainOptions(), weights), material=material, epochs=20)[0]
        forward = Forward(model, precision="fp32", device="cpu", seed=0)
        return int((forward.score(material.take(np.arange(400), "cpu")).argmax(1) == 1).sum())

    assert found(class_weights("balanced", ("bad", "good"), flipped)) > 2 * found(None) + 20


SMALL = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16}


def rates(model: torch.nn.Module, **options) -> dict[str, float]:
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer = make_optimizer(model, trained, TrainOptions(learning_rate=1e-3, **options))
    by_id = {id(parameter): group["highest_lr"] for group in optimizer.param_groups for parameter in group["params"]}
    return {name: by_id[id(parameter)] for name, parameter in trained}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_rates_fall_from_layer_to_layer(optimizer: str) -> None:
    found = rates(BertForSequenceClassification(BertConfig(**SMALL)), layer_decay=0.5, optimizer=optimizer)
    for layer in range(4):
        assert {rate for name, rate in found.items() if f"encoder.layer.{layer}." in name} == {1e-3 * 0.5 ** (3 - layer)}
    assert {rate for name, rate in found.items() if ".embeddings." in name} == {1e-3 * 0.5**4}
    assert {rate for name, rate in found.items() if "pooler" in name or "classifier" in name} == {1e-3}
    decoder = GPT2ForSequenceClassification(GPT2Config(vocab_size=30, n_embd=8, n_layer=3, n_head=2, n_positions=16))
    found = rates(decoder, layer_decay=0.5, head_learning_rate=5e-3)
    assert found["transformer.wte.weight"] == 1e-3 * 0.5**3 and found["score.weight"] == 5e-3
    assert found["transformer.h.0.attn.c_attn.weight"] == 1e-3 * 0.5**2 and found["transformer.ln_f.weight"] == 1e-3


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (AlbertForSequenceClassification(AlbertConfig(embedding_size=8, **SMALL)), "no stack"),
        (
            BartForSequenceClassification(
                BartConfig(
                    vocab_size=30, d_model=8, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2
                )
            ),
            "several stacks",
        ),
    ],
)
def test_models_without_one_stack_are_refused(model: torch.nn.Module, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        rates(model, layer_decay=0.9)


def test_the_rate_that_is_told_is_that_of_the_top(tmp_path: Path) -> None:
    log = Log()
    job(tmp_path, emit=log, schedule="constant", warmup=0.0, learning_rate=0.02)
    assert {fields["learning_rate"] for fields in log.of("step")} == {0.02}


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (TrainOptions, {"r_drop": 1.0, "dropout": 0.0}, "dropout is 0"),
        (TrainOptions, {"class_weights": {"a": 0}}, "above 0"),
        (TrainOptions, {"class_weights": {}}, "above 0"),
        (TrainOptions, {"class_weights": "inverse"}, "balanced"),
        (TrainOptions, {"layer_decay": 0.0}, "greater than 0"),
        (TrainOptions, {"label_smoothing": 1.0}, "less than 1"),
        (PretrainOptions, {"label_smoothing": 0.1, "r_drop": 1.0}, "label_smoothing, r_drop belong to labels"),
    ],
)
def test_the_impossible_is_refused(kind: type, options: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        kind(**options)


def test_labels_that_yaml_takes_for_something_else_are_texts() -> None:
    assert TrainOptions(class_weights={False: 2.0, 7: 3.0}).class_weights == {"false": 2.0, "7": 3.0}
