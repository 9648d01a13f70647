"""How answers move with inputs, weights and training rows: against exact Jacobians, noise really added, and heads of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from robustness_kit import asked_context, surely
from sklearn.linear_model import Ridge

from tiny import tiny_bert
from trustbase.audit.context import AuditContext
from trustbase.audit.robustness import sensitivity
from trustbase.audit.robustness.dependence import measured
from trustbase.audit.robustness.gradients import Tracer, layer_of
from trustbase.audit.robustness.refit import Rows, penalty_of, told, without
from trustbase.audit.robustness.sensitivity import _unchecked
from trustbase.audit.robustness.taught import _parts, of_training
from trustbase.audit.stats import mean
from trustbase.model.encoded import Encoded
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.model.windows import cut_windows
from trustbase.records import Split

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ["good film and bad service", "the food was very poor", "a fine film", "not good not bad", "very old years"]
WORDS = ("good", "bad", "film")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A tiny BERT of three labels, in double precision, so that differences of scores are exact enough to be an oracle."""
    from transformers import AutoModelForSequenceClassification

    folder = tiny_bert(tmp_path_factory.mktemp("model"), seed=5, hidden=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).double().eval().requires_grad_(False)
        made.classifier.weight.data *= 20
    tokenizer = load_tokenizer(folder)
    yield SimpleNamespace(model=made, tokenizer=tokenizer, encoded=encode(tokenizer, TEXTS, max_length=32))
    made.requires_grad_(False)


def logits_of(model: Any, encoded: Encoded, row: int) -> torch.Tensor:
    ids = torch.from_numpy(encoded.take([row]).ids.astype(np.int64))[None]
    scores: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    return scores


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("row", range(3))
def test_slopes_are_those_of_the_exact_jacobian(model: SimpleNamespace, row: int) -> None:
    with torch.enable_grad(), Tracer(model.model, model.encoded, 0, "classes").watching() as tracer:
        moved = tracer.moved(row, 1, rng())
    table = model.model.get_input_embeddings()
    ids = torch.from_numpy(model.encoded.take([row]).ids.astype(np.int64))[None]
    read = table(ids).detach()

    def score(given: torch.Tensor) -> torch.Tensor:
        return model.model(inputs_embeds=given, attention_mask=torch.ones_like(ids)).logits[0].float().softmax(0)[1]

    jacobian = torch.autograd.functional.jacobian(score, read)
    assert moved.inputs == pytest.approx(float(read.square().sum() * jacobian.square().sum() / read.numel()), rel=1e-4)
    weights = {name: weight.detach().clone() for name, weight in model.model.named_parameters()}

    def of(**given: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model.model, given, (ids, torch.ones_like(ids))).logits[0].float().softmax(0)[1]

    wanted: dict[str, float] = {}
    for name, weight in weights.items():
        slope = torch.autograd.functional.jacobian(lambda one, name=name: of(**{**weights, name: one}), weight)
        part = float(weight.square().sum() * slope.square().sum()) / weight.numel()
        wanted[layer_of(name)] = wanted.get(layer_of(name), 0.0) + part
    assert moved.layers == pytest.approx(wanted, rel=1e-3) and set(moved.layers) == {
        "bert.embeddings",
        "bert.encoder.layer.0",
        "bert.encoder.layer.1",
        "bert.pooler",
        "classifier",
    }


def test_noise_that_is_really_added_moves_scores_as_first_order_says(model: SimpleNamespace) -> None:
    """Mean squared change over 600 draws of 1 % noise on every weight of a layer, in squared percentage points, within four errors."""
    with torch.enable_grad(), Tracer(model.model, model.encoded, 0, "classes").watching() as tracer:
        moved = tracer.moved(0, 0, rng())
    model.model.requires_grad_(False)
    before = float(logits_of(model.model, model.encoded, 0).softmax(0)[0])
    torch.manual_seed(0)
    for layer in ("bert.encoder.layer.1", "classifier"):
        weights = {name: weight for name, weight in model.model.named_parameters() if layer_of(name) == layer}
        kept = {name: weight.clone() for name, weight in weights.items()}
        changes = []
        for _ in range(600):
            for name, weight in weights.items():
                weight.data = kept[name] + 0.01 * kept[name].norm() / weight.numel() ** 0.5 * torch.randn_like(weight)
            changes.append((100 * (float(logits_of(model.model, model.encoded, 0).softmax(0)[0]) - before)) ** 2)
        for name, weight in weights.items():
            weight.data = kept[name]
        seen, error = np.mean(changes), np.std(changes) / len(changes) ** 0.5
        assert abs(moved.layers[layer] - seen) < 4 * error + 0.03 * seen, (layer, moved.layers[layer], seen, error)


def test_random_signs_have_the_squared_jacobian_as_their_mean_and_intervals_that_hold(model: SimpleNamespace) -> None:
    """Of three scores by themselves: the mean over 400 signs is the exact one; of 300 intervals over 40 draws at least 90 % hold it."""
    tracer = Tracer(model.model, model.encoded, 0, "labels")
    exact = []
    with torch.enable_grad(), tracer.watching():
        for row in range(len(TEXTS)):
            exact.append(sum(tracer.moved(row, answer, rng()).inputs for answer in range(3)))
        probes = np.array([[tracer.moved(row, None, rng(seed)).inputs for seed in range(40)] for row in range(len(TEXTS))])
    for row in range(len(TEXTS)):
        error = probes[row].std(ddof=1) / 40**0.5
        assert abs(probes[row].mean() - exact[row]) < 4 * error + 1e-9
    draw, held = rng(7), 0
    for _ in range(300):
        rows = draw.integers(0, len(TEXTS), 40)
        found = mean(probes[rows, draw.integers(0, 40, 40)])
        held += found.low <= np.mean(exact) <= found.high
    assert held >= 270, held


def test_a_step_along_the_gradient_is_its_check(model: SimpleNamespace) -> None:
    with torch.enable_grad(), Tracer(model.model, model.encoded, 0, "classes").watching() as tracer:
        pairs = [tracer.checked(row, 0, rng(), 1e-3) for row in range(3)]
        assert all(real == pytest.approx(expected, rel=0.02) for expected, real in pairs)
    assert _unchecked(pairs) == ""
    assert "2 of 3 steps" in _unchecked([(1e-3, 1e-3), (1e-3, 5e-3), (1e-3, -1e-3)])
    assert "no score moves" in _unchecked([(1e-9, 0.0)])


def test_windows_of_a_long_text_are_traced_together(model: SimpleNamespace) -> None:
    """The score is the softmax of the mean over windows, as the runtime's is."""
    whole = encode(model.tokenizer, [" ".join(["good", "film", "bad"] * 10)], max_length=2**20)
    windows = cut_windows(whole, 16, 4, 1, 1)
    with torch.enable_grad(), Tracer(model.model, windows, 0, "classes").watching() as tracer:
        scores = tracer.scores(0).detach()
        assert tracer.moved(0, 0, rng()).inputs > 0
    flat = windows.flat
    each = torch.stack([logits_of(model.model, flat, row) for row in range(len(flat))])
    assert len(flat) > 1 and torch.allclose(scores, each.float().mean(0).softmax(0), atol=1e-6)


# --- heads ----------------------------------------------------------------------------------------------------------------------


def embedded(text: str) -> list[float]:
    """Counts of three words, and a little that says nothing."""
    return [*(float(text.count(word)) for word in WORDS), float(len(text) % 7)]


def taught_context(folder: Path, *, flipped: str | None, rows: int = 400, seed: int = 0, **more: Any) -> AuditContext:
    """Texts of good and bad words; the labels of training rows of one source are turned round, where it is named."""
    draw = rng(seed)
    texts = [f"{' '.join(draw.choice(WORDS, 9))} r{number}" for number in range(rows)]
    truth = [int(text.count("good") > text.count("bad")) for text in texts]

    def scores(text: str) -> list[float]:
        return surely(text.count("good") > text.count("bad"))

    context = asked_context(folder, texts[:100], truth[:100], scores, embedding=embedded, **more)
    source = draw.choice(["a", "b", "c", "d"], rows - 100).astype(object)
    labels = np.array([1 - label if name == flipped else label for label, name in zip(truth[100:], source, strict=True)])
    train = asked_context(folder, texts[100:], labels.tolist(), scores).test
    return replace(context, train=replace(train, groups={"source": source}))


def test_a_part_of_the_training_rows_with_turned_labels_is_the_one_that_moves_answers_most(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    of_training(taught_context(tmp_path, flipped="b"), np.arange(100), found)
    parts = {part["part"]: part["value"] for part in found["training"]["parts"]}
    assert max(parts, key=parts.__getitem__) == "source=b" and parts["source=b"] > 3 * max(v for k, v in parts.items() if k != "source=b")
    twin: dict[str, Any] = {}
    told_ = of_training(taught_context(tmp_path, flipped=None), np.arange(100), twin)
    calm = [part["value"] for part in twin["training"]["parts"]]
    assert max(calm) < parts["source=b"] / 3 and told_.status == "ok" and told_.low <= told_.value <= told_.high  # type: ignore[operator]


def test_parts_are_tenths_where_training_rows_name_no_groups(tmp_path: Path) -> None:
    context = taught_context(tmp_path, flipped=None)
    train = replace(context.train, groups={})  # type: ignore[type-var]
    parts = _parts(train, np.arange(300), 30)
    assert list(parts) == [f"{number}/10" for number in range(1, 11)] and np.sum(list(parts.values()), axis=0).tolist() == [1] * 300
    small = Split("t", ["x"] * 300, np.zeros(300), {"g": np.array(["a"] * 20 + ["b"] * 280, object)}, None, np.arange(300), "", "")  # type: ignore[arg-type]
    assert list(_parts(small, np.arange(300), 30)) == ["g=b"]


def test_a_head_that_does_not_speak_for_the_model_says_so(tmp_path: Path) -> None:
    context = taught_context(tmp_path, flipped=None)
    turned = replace(context, answers=replace(context.answers, predicted=1 - context.answers.predicted))
    found = of_training(turned, np.arange(100), {})
    assert found.status == "insufficient" and "agrees with the model in" in found.reason
    assert of_training(replace(context, train=None), np.arange(100), {}).status == "insufficient"


def test_the_head_of_numbers_is_ridge_regression() -> None:
    draw = rng()
    train, test = draw.normal(size=(80, 5)), draw.normal(size=(20, 5))
    truth = train @ draw.normal(size=5) + draw.normal(size=80)
    rows = Rows(train, truth, test, 0)
    found = told(rows, np.ones(80, bool), 10.0)
    assert found is not None and np.allclose(found[:, 0], Ridge(alpha=10.0).fit(train, truth).predict(test), atol=1e-9)
    part = np.arange(80) < 8
    whole, others = without(rows, {"first": part})
    scaled = rows.scaled()
    alpha = penalty_of(scaled)
    assert np.allclose(others["first"][:, 0], Ridge(alpha=alpha).fit(scaled.train[~part], truth[~part]).predict(scaled.test), atol=1e-9)
    assert whole.shape == (20, 1)


def test_wide_rows_that_say_nothing_are_penalised_most() -> None:
    draw = rng()
    train = draw.normal(size=(100, 60))
    noise = Rows(train, draw.integers(0, 2, 100), train[:5], 2)
    told_apart = Rows(train, (train[:, 0] > 0).astype(int), train[:5], 2)
    assert penalty_of(noise) == 1000.0 > penalty_of(told_apart)
    assert penalty_of(Rows(train, train[:, 0], train[:5], 0)) == 1.0


def test_a_part_without_which_one_class_is_left_is_left_out() -> None:
    truth = np.array([0] * 10 + [1] * 30)
    rows = Rows(rng().normal(size=(40, 3)), truth, rng(1).normal(size=(5, 3)), 3)
    whole, others = without(rows, {"all of class 0": truth == 0, "some": np.arange(40) % 4 == 0})
    assert list(others) == ["some"] and whole.shape == (5, 3) and (whole[:, 2] == 0).all()
    with pytest.raises(ValueError, match="one class"):
        without(replace(rows, truth=np.ones(40, int)), {})


# --- findings -------------------------------------------------------------------------------------------------------------------


def test_few_rows_give_no_number_and_no_bound_lies_under_nothing(tmp_path: Path) -> None:
    context = asked_context(tmp_path, [f"row {number}" for number in range(10)], [1] * 10, lambda text: surely(1))
    assert {finding.status for finding in sensitivity.measure_sensitivity(context)} == {"insufficient"}
    found = measured(context, "robustness.sensitivity", np.array([0.0] * 30 + [9.0]), "made", "")
    assert found.low == 0.0 and found.unit == "squared points" and found.value == pytest.approx(9 / 31)


def test_what_has_no_torch_weights_says_so(tmp_path: Path) -> None:
    context = asked_context(tmp_path, [f"row {number}" for number in range(50)], [1] * 50, lambda text: surely(1))
    assert context.artifact is not None
    plain = replace(context, artifact=replace(context.artifact, runtime="plain"))
    found = {finding.id: finding for finding in sensitivity.measure_sensitivity(plain)}
    assert [finding.status for finding in found.values()] == ["not_applicable"] * 4
    several = sensitivity._unlent(replace(context.artifact, members=3))
    assert "mean of 3 models" in several
