"""Every registered runtime answers like transformers in fp32, row by row, in the order asked; one that does not is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from base_kit import TEXTS as KNOWN
from base_kit import base, tokenizers
from tiny import tiny_bert
from trustbase.compress.graph import export_onnx
from trustbase.errors import ModelError
from trustbase.model.artifact import ONNX_FILE, read_artifact
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.runtime_torch import load_model, mean_hidden
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import RUNTIMES
from trustbase.records import LabelSchema

LABELS = LabelSchema(("a", "b", "c"), "a", "a")
TEXTS = ["the film was " + "very " * (i * 7 % 23) + word for i in range(8) for word in ("good", "bad", "poor")]
LONGEST = 24  # the longest texts are cut
REGISTERED = [(name, load(entry)) for name, entry in RUNTIMES.items() if entry.tokens]  # the other: test_plain_models.py
CLASSIFIERS = [name for name, _ in REGISTERED if name != "language"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A base model's folder, and what transformers says of each text alone: every token masked alone, and the mean of the states."""
    from transformers import AutoModelForMaskedLM

    root = tmp_path_factory.mktemp("bases")
    made = tokenizers(root / "tokenizers", [*TEXTS, *KNOWN])
    folder, tokenizer = base(root, "masked", made).folder, made["encoder"]
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    wanted: dict[str, list[Any]] = {"log_likelihood": [], "embedding": []}
    for text in TEXTS:
        ids = torch.tensor(tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"])
        places = torch.arange(1, len(ids) - 1)
        hidden = ids.repeat(len(places), 1)
        hidden[torch.arange(len(places)), places] = tokenizer.mask_token_id
        with torch.inference_mode():
            scores = torch.log_softmax(model(hidden).logits[torch.arange(len(places)), places], dim=-1)
            wanted["log_likelihood"].append([float(scores.gather(1, ids[places, None]).sum()), len(places)])
            wanted["embedding"].append(model.base_model(ids[None]).last_hidden_state[0].mean(0).numpy())
    return folder, tokenizer, {name: np.array(values, np.float32) for name, values in wanted.items()}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with weights and graph, and what transformers answers to each text alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("runtimes")
    base = resolve_base(str(tiny_bert(root / "base")))
    model: Any = TEXT_CLASSIFICATION.build(base, LABELS, seed=3)
    with torch.no_grad():
        model.classifier.weight.mul_(30)  # a fresh head answers 1/3 everywhere, which would hide differences
    folder, tokenizer = root / "model", load_tokenizer(base.folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    export_onnx(load_model(folder), tokenizer, folder / ONNX_FILE, texts=TEXTS[:2], max_length=LONGEST)
    encoded = encode(tokenizer, TEXTS, max_length=LONGEST)
    wanted: dict[str, list[Any]] = {"logits": [], "embedding": []}
    with torch.inference_mode():
        for row in range(len(TEXTS)):
            batch = {name: torch.from_numpy(array) for name, array in pad(encoded, [row], 0).items()}
            wanted["logits"].append(model.eval()(**batch).logits[0].numpy())
            wanted["embedding"].append(mean_hidden(model, batch)[0].numpy())
    yield folder, tokenizer, {name: np.stack(values) for name, values in wanted.items()}
    torch.set_num_threads(threads)


def check_runtime(runtime: Any, shipped: Any) -> None:
    """Equal to transformers for every row, whatever the company and the order."""
    folder, tokenizer, wanted = shipped
    opened = runtime.open(folder, tokenizer=tokenizer, max_length=LONGEST, precision="fp32", device="cpu", threads=1)
    assert opened.precision == "fp32" and set(opened.outputs) == set(wanted)
    encodings = opened.prepare(TEXTS)
    assert int(encodings.lengths.max()) == LONGEST and opened.computed_tokens(encodings.lengths) >= int(encodings.lengths.sum())
    orders = [np.arange(len(TEXTS)), np.random.default_rng(0).permutation(len(TEXTS)), np.array([5, 2, 5]), np.array([7])]
    for output, values in wanted.items():
        assert np.ptp(values, axis=0).max() > 0.1, "answers are too much alike to tell rows apart"
        for order in orders:
            found = opened.forward(output, encodings, order)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, values[order], atol=2e-4)


def test_how_many_runtimes_are_covered() -> None:
    assert [name for name, _ in REGISTERED] == ["torch", "onnx", "language"] and len(CLASSIFIERS) == 2
    assert [name for name, entry in RUNTIMES.items() if not entry.tokens] == ["plain"]


@pytest.mark.parametrize(("name", "runtime"), REGISTERED, ids=[name for name, _ in REGISTERED])
def test_every_runtime_keeps_the_contract(name: str, runtime: Any, shipped: Any, pretrained: Any) -> None:
    assert runtime.name == name
    check_runtime(runtime, shipped if name in CLASSIFIERS else pretrained)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_predictor_opens_the_runtime_that_the_artefact_names(name: str, shipped: Any) -> None:
    info = replace(read_artifact(shipped[0]), runtime=name, max_length=LONGEST)
    with Predictor.open(info, device="cpu", threads=1) as predictor:
        assert type(predictor.runtime) is load(RUNTIMES[name])
        scores = predictor.class_scores(TEXTS)
    logits = shipped[2]["logits"].astype(float)
    np.testing.assert_allclose(scores, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), atol=2e-4)
    with pytest.raises(ModelError, match="runtime 'abacus' is unknown"):
        Predictor.open(replace(info, runtime="abacus"))


def broken(runtime: Any, change: Callable[..., Any]) -> Any:
    """The runtime, with `change(values, rows)` between it and whoever asks."""

    class Broken(runtime):
        def forward(self, output: str, encodings: Any, rows: Any) -> Any:
            return change(super().forward(output, encodings, rows), rows)

    return Broken


def swapped(values: Any, rows: Any) -> Any:
    return values if len(values) < 3 else values[[1, 0, *range(2, len(values))]]


def in_row_order(values: Any, rows: Any) -> Any:
    return values[np.argsort(rows)]


def constant(values: Any, rows: Any) -> Any:
    return np.zeros_like(values)


def rounded(values: Any, rows: Any) -> Any:
    return values.round(2)


@pytest.mark.parametrize("change", [swapped, in_row_order, constant, rounded], ids=lambda change: change.__name__)
@pytest.mark.parametrize(("name", "runtime"), REGISTERED, ids=[name for name, _ in REGISTERED])
def test_a_broken_runtime_is_noticed(name: str, runtime: Any, change: Callable[..., Any], shipped: Any, pretrained: Any) -> None:
    with pytest.raises(AssertionError):
        check_runtime(broken(runtime, change), shipped if name in CLASSIFIERS else pretrained)
