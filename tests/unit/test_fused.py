"""Columns at the head: the same on every route, in training as in answers, kept whole on disk, and never left out unnoticed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optional import adaptations_here
from table_rows import FEATURES, table
from trustbase.compress.export import make_artifact
from trustbase.compress.graph import export_onnx
from trustbase.compress.options import ReleaseOptions
from trustbase.data.cells import inputs_of
from trustbase.errors import Interrupted, ModelError
from trustbase.model.adapt import adapt, base_problems, merge, merges
from trustbase.model.checkpoint import assert_reload_equal, load_checkpoint, save_checkpoint
from trustbase.model.columns import ColumnEncoder, encode_inputs
from trustbase.model.encoded import Encoded, pad
from trustbase.model.fused import NumberEmbedding, fuse, network_of
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.predict import Predictor
from trustbase.model.questions import Answer, Failure, Question
from trustbase.model.runtime_onnx import OnnxRuntime
from trustbase.model.runtime_torch import TorchRuntime
from trustbase.model.sequencer import Sequencer
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.recipe.lookup import ADAPTATIONS
from trustbase.records import LabelSchema, Split
from trustbase.train.columns import columns_of, learn_columns
from trustbase.train.fit import fit
from trustbase.train.labelled import TokenRows
from trustbase.train.objectives.classification import classification
from trustbase.train.options import TrainOptions
from trustbase.train.quick import Dropout, QuickBert

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = LabelSchema(("no", "yes"), "yes", "yes")


def split(rows: int, name: str = "train", seed: int = 0) -> Split:
    found = table(rows, seed=seed)
    codes = np.array([LABELS.index(label) for label in found["label"].to_pylist()])
    shown = found.select(["text", "amount", "channel"])
    return Split(
        name, found["text"].to_pylist(), codes, {}, shown, np.arange(rows) + 1, "rows", f"sha256:{name}{rows}{seed}", FEATURES.columns
    )


ROWS = split(300)
ENCODER = ColumnEncoder.of(ROWS.table, FEATURES)


def fused(folder: Path, method: str = "full", *, loud: bool = True) -> nn.Module:
    """A classifier with a network of columns whose weights are far from where they start."""
    model = TEXT_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=0)
    model = fuse(adapt(model, AdaptOptions.model_validate({"method": method}), seed=0), ENCODER, seed=0)
    network = network_of(model)
    assert network is not None
    if loud:
        stream = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=stream))
    return model.eval()


def encoded(folder: Path, rows: Split = ROWS) -> Encoded:
    return encode_inputs(load_tokenizer(folder), ENCODER, inputs_of(rows, rows.features), Sequencer(24))


def batch_of(rows: Encoded, count: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in pad(rows, range(count), 0).items()}


def test_numbers_are_embedded_as_the_encoding_says() -> None:
    """Oracle: the piecewise-linear encoding written out, bin by bin (Gorishniy et al. 2022, equation 1, ends held)."""
    part = NumberEmbedding(5, 7)
    with torch.no_grad():
        part.bin.weight.normal_()
        places = torch.tensor([0.0, 2.25, 4.999, -1.0])
        found = part(places)
        for row, place in enumerate(places.tolist()):
            pieces = [0.0 if place < t else 1.0 if place >= t + 1 else place - t for t in range(5)]
            line = part.slopes(torch.tensor(pieces)) if place >= 0 else torch.zeros(7)
            wanted = torch.relu(line + part.bin.weight[int(place) + 1 if place >= 0 else 0])
            torch.testing.assert_close(found[row], wanted)


def test_every_route_gives_the_same_answers(tiny_folder: Path, tmp_path: Path) -> None:
    model, tokenizer, rows = fused(tiny_folder), load_tokenizer(tiny_folder), encoded(tiny_folder)
    inputs = list(inputs_of(ROWS, ROWS.features))
    with torch.no_grad():
        wanted = model(**batch_of(rows, 300)).logits.numpy()
        emptied = model(**{**batch_of(rows, 300), "columns": torch.tensor([[-1.0, 0.0]] * 300)}).logits.numpy()
        material = TokenRows(rows.ids, rows.offsets, ROWS.labels, 0, None, rows.columns)
        quick = QuickBert(model, Dropout()).logits(material.take(np.arange(300), "cpu").inputs, torch.float32).numpy()
    assert np.abs(wanted - emptied).max() > 0.1, "columns change nothing, so this test could not fail"
    np.testing.assert_allclose(quick, wanted, atol=1e-5)
    export_onnx(model, tokenizer, tmp_path / "model.onnx", texts=inputs[:2], max_length=24)
    save_checkpoint(model, tokenizer, tmp_path / "saved", meta={})
    shutil.copy(tmp_path / "saved" / "columns.json", tmp_path)
    ways: list[Any] = [
        OnnxRuntime.open(tmp_path, tokenizer=tokenizer, max_length=24),
        TorchRuntime(model, tokenizer, max_length=24, packed=False),
        TorchRuntime(model, tokenizer, max_length=24),
    ]
    order = np.random.default_rng(0).permutation(300)
    for runtime in ways:
        np.testing.assert_allclose(runtime.forward("logits", runtime.prepare(inputs), order), wanted[order], atol=1e-5)
        assert runtime.forward("embedding", runtime.prepare(inputs[:3]), np.arange(3)).shape == (3, 32)
    assert [runtime.path for runtime in ways][::2] == ["graph", "packed"]


def test_a_model_asked_without_its_columns_refuses(tiny_folder: Path) -> None:
    model = fused(tiny_folder)
    batch = batch_of(encoded(tiny_folder), 4)
    with torch.no_grad():
        model(**batch)
        with pytest.raises(ModelError, match="reads the columns amount, channel beside the text"):
            model(**{name: tensor for name, tensor in batch.items() if name != "columns"})  # not those of the batch before


@pytest.mark.parametrize("method", adaptations_here(ADAPTATIONS))
def test_every_adaptation_keeps_the_columns(method: str, tiny_folder: Path, tmp_path: Path) -> None:
    base, tokenizer, rows = resolve_base(str(tiny_folder)), load_tokenizer(tiny_folder), encoded(tiny_folder)
    model = fused(tiny_folder, method)
    assert all(parameter.requires_grad for parameter in network_of(model).parameters())
    save_checkpoint(model, tokenizer, tmp_path / "saved", meta={})
    assert assert_reload_equal(model, tmp_path / "saved", rows) == 0.0
    shipped = merge(model) if merges(model) else model
    save_checkpoint(shipped, tokenizer, tmp_path / "whole", meta={}, whole=True)
    assert not list((tmp_path / "whole").glob("model*.safetensors")), "another tool would take it for a model without columns"
    with torch.no_grad():
        batch = batch_of(rows, 40)
        reloaded = load_checkpoint(tmp_path / "whole")[0]
        torch.testing.assert_close(reloaded(**batch).logits, model(**batch).logits, atol=1e-5, rtol=0)
    (tmp_path / "saved" / "columns.json").unlink()
    with pytest.raises(ModelError):
        load_checkpoint(tmp_path / "saved", base=base)
    problems = base_problems(resolve_base(str(tmp_path / "whole")), AdaptOptions(), max_length=24)
    assert [problem.where for problem in problems] == ["base"] and "data.features" in problems[0].message


def other(kind: str) -> Any:
    from transformers import DistilBertConfig, GPT2Config, RobertaConfig, T5Config
    from transformers.models import distilbert, gpt2, roberta, t5

    small = {"vocab_size": 60, "num_labels": 2, "pad_token_id": 0}
    return {
        "roberta": lambda: roberta.RobertaForSequenceClassification(
            RobertaConfig(**small, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
        ),
        "distilbert": lambda: distilbert.DistilBertForSequenceClassification(
            DistilBertConfig(**small, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
        ),
        "gpt2": lambda: gpt2.GPT2ForSequenceClassification(GPT2Config(**small, n_embd=16, n_layer=1, n_head=2)),
        "t5": lambda: t5.T5ForSequenceClassification(T5Config(**small, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)),
    }[kind]()


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "gpt2"])
def test_other_architectures_take_columns_too(kind: str) -> None:
    model = fuse(other(kind), ENCODER, seed=0)
    network = network_of(model)
    with torch.no_grad():
        network.scores.weight.normal_()
        batch = {"input_ids": torch.tensor([[5, 6, 7], [8, 9, 5]]), "attention_mask": torch.ones(2, 3, dtype=torch.long)}
        columns = torch.tensor([[0.5, 2.0], [-1.0, 1.0]])
        both = model(**batch, columns=columns).logits
        alone = torch.cat([model(**{k: v[i : i + 1] for k, v in batch.items()}, columns=columns[i : i + 1]).logits for i in range(2)])
        swapped = model(**batch, columns=columns.flip(0)).logits
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=1e-5)
    assert (both - swapped).abs().max() > 0.01


def test_an_architecture_that_cannot_is_refused_in_words() -> None:
    with pytest.raises(ModelError, match=r"data\.features does not work with T5"):
        fuse(other("t5"), ENCODER, seed=0)


def test_a_predictor_tells_equal_texts_with_other_cells_apart(tiny_folder: Path, tmp_path: Path) -> None:
    model, tokenizer = fused(tiny_folder), load_tokenizer(tiny_folder)
    save_checkpoint(model, tokenizer, tmp_path / "trained", meta={})
    from trustbase.records import Trained

    trained = Trained(tmp_path / "trained", "sha256:0", 1, 1.0, "x", 0.0, 0.0)
    inputs = inputs_of(ROWS, ROWS.features)
    told = {"labels": LABELS, "text": "text", "base": resolve_base(str(tiny_folder)), "max_length": 24, "sample": inputs}
    info = make_artifact(trained, tmp_path / "artifact", options=ReleaseOptions(runtime="torch", precision="fp32"), **told)
    assert info.columns == ("amount", "channel") and info.features == {"numeric": ("amount",), "categorical": ("channel",)}
    text = "the film was good"
    asked = [f"{text}\x1e10\x1eweb", f"{text}\x1e200\x1eweb", f"{text}\x1e200\x1efax", f"{text}\x1e\x1e", f"{text}\x1e10\x1eweb"]
    with Predictor.open(tmp_path / "artifact") as predictor:
        scores = predictor.class_scores(asked)
        assert len({tuple(row) for row in scores[:4].tolist()}) == 4 and (scores[0] == scores[4]).all()
        assert predictor.counters.unique == 4 and predictor.counters.duplicates == 1
        results = predictor.ask_all([Question("class_scores", each) for each in (text, f"{text}\x1eten\x1eweb", asked[0])])
        assert [type(result) for result in results] == [Failure, Failure, Answer]
        assert [result.code for result in results[:2]] == ["bad_input"] * 2 and "2 cells" in results[0].reason


def test_columns_alone_are_learned_in_a_moment_and_the_same_each_time(tiny_folder: Path) -> None:
    rows, held_out = split(600, seed=3), split(300, seed=4)
    options = TrainOptions(feature_epochs=20)
    targets = np.asarray(rows.labels, dtype=np.int64)
    learned = []
    for _ in range(2):
        model = fused(tiny_folder, loud=False)
        state = torch.random.get_rng_state()
        learn_columns(model, rows, targets, classification, options)
        assert torch.equal(state, torch.random.get_rng_state()), "the global random state moved"
        learned.append(network_of(model))
    assert all(torch.equal(one, two) for one, two in zip(learned[0].parameters(), learned[1].parameters(), strict=True))
    with torch.no_grad():
        scores = learned[0].eval()(torch.from_numpy(columns_of(model, held_out)))
    # the word is not seen: amount and channel alone tell some seven of ten rows
    assert (scores.argmax(1).numpy() == held_out.labels).mean() > 0.66


def fitted(base: Path, folder: Path, **wishes: Any) -> Any:
    options = {"epochs": 2, "learning_rate": 1e-3, "batch_tokens": 256, "max_length": 24, "precision": "fp32", "feature_epochs": 2}
    method, emit = wishes.pop("method", "full"), wishes.pop("emit", lambda event, /, **fields: None)
    adaptation = AdaptOptions.model_validate({"method": method})
    parts = (split(240, seed=5), split(80, "validation", seed=6))
    named = {"adapt": adaptation, "options": TrainOptions(**{**options, **wishes}), "features": FEATURES, "emit": emit}
    return fit(resolve_base(str(base)), TEXT_CLASSIFICATION, LABELS, *parts, folder=folder, **named)


@pytest.mark.parametrize("method", ["full", "frozen"])
def test_a_stopped_training_goes_on_to_the_same_bits(method: str, tiny_folder: Path, tmp_path: Path) -> None:
    def stop(event: str, /, **fields: Any) -> None:
        if event == "step" and fields["step"] == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = fitted(tiny_folder, tmp_path / "whole", method=method)
    with pytest.raises(Interrupted):
        fitted(tiny_folder, tmp_path / "cut", method=method, emit=stop)
    assert fitted(tiny_folder, tmp_path / "cut", method=method).digest == whole.digest
    assert ("quicker route agrees" in whole.facts["route"]) is (method == "full")


def test_both_training_routes_lead_to_the_same_model(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = fitted(tiny_folder, tmp_path / "quick", dropout=0.0, feature_epochs=1)
    monkeypatch.setattr(QuickBert, "serves", staticmethod(lambda model: False))
    plain = fitted(tiny_folder, tmp_path / "plain", dropout=0.0, feature_epochs=1)
    assert "agrees" in quick.facts["route"] and "agrees" not in plain.facts["route"]
    batch = batch_of(encoded(tiny_folder), 40)
    with torch.no_grad():
        one, two = (load_checkpoint(each.folder)[0](**batch).logits for each in (quick, plain))
    torch.testing.assert_close(one, two, atol=2e-3, rtol=0)
