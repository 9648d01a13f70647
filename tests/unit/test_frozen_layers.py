"""The first layers frozen: what is trained above them on states computed once is what the whole model would learn, by either route."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from train_kit import LABELS, Log, split

from table_rows import table
from tiny import tiny_bert
from trustbase import files
from trustbase.data.options import FeatureOptions
from trustbase.data.pair import join
from trustbase.errors import ModelError, RecipeError, TrainingError
from trustbase.model import states as keeping
from trustbase.model.adapt import adapt, adapt_problems, cut_of, trainable
from trustbase.model.checkpoint import load_checkpoint
from trustbase.model.columns import ColumnEncoder
from trustbase.model.cut import Cut
from trustbase.model.fused import fuse
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.states import frozen_states
from trustbase.model.task import TEXT_CLASSIFICATION, TEXT_PAIR_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.records import Split
from trustbase.train.fit import fit
from trustbase.train.forward import Forward
from trustbase.train.labelled import StateRows, TokenRows
from trustbase.train.loop import train
from trustbase.train.objectives.classification import classification
from trustbase.train.options import TrainOptions
from trustbase.train.update import plain

pytestmark = pytest.mark.usefixtures("one_thread")
TWO = AdaptOptions(method="frozen", layers=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return resolve_base(str(tiny_bert(tmp_path_factory.mktemp("base"), layers=3)))


def other(folder: Path, kind: str, tokenizer):
    """A tiny base of another architecture, as transformers makes it."""
    from transformers import AutoConfig, AutoModel

    shapes = {
        "roformer": {"embedding_size": 32, "type_vocab_size": 2},
        "roberta": {"pad_token_id": 0},
        "electra": {"embedding_size": 16},
        "mpnet": {"pad_token_id": 0},
        "albert": {"embedding_size": 16},
    }
    small = {"d_model": 32, "n_layer": 3, "n_head": 2, "d_inner": 64}
    named = {
        "xlnet": small,
        "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64},
        "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 2},
    }
    usual = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **named.get(kind, usual), **shapes.get(kind, {}))
    config.pad_token_id = 0
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return resolve_base(str(folder))


def pieces(base, count=40, seed=0):
    """Tokenizer, split and its tokens."""
    tokenizer, part = load_tokenizer(base.folder), split(count, "train", seed)
    return tokenizer, part, encode(tokenizer, part.texts, max_length=32)


def state_rows(model, part, encoded, folder):
    kept = frozen_states(model, cut_of(model), encoded, pad_id=0, dtype=torch.float32, folder=folder, batch_tokens=96)
    return StateRows(encoded.ids, encoded.offsets, part.labels, 0, encoded.segments, encoded.columns, states=kept.states)


def trained(base, folder, *, cached, quick, fused=False, **options):
    """A model trained without dropout, from states computed once or by the whole model each time; of columns too where `fused`."""
    _, part, encoded = pieces(base)
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0, dropout=0.0), TWO, seed=0)
    if fused:
        cells = table(len(part))
        features = FeatureOptions(numeric=["amount"], categorical=["channel", "sex"])  # two of a kind are a list of modules too
        encoder = ColumnEncoder.of(cells, features)
        fuse(model, encoder, seed=0)
        encoded = replace(encoded, columns=encoder.encode(list(zip(*(cells[name].to_pylist() for name in encoder.names), strict=True))))
    whole = (encoded.ids, encoded.offsets, part.labels, 0, None, encoded.columns)
    material = state_rows(model, part, encoded, folder) if cached else TokenRows(*whole)
    forward = Forward(model, precision="fp32", device="cpu", seed=0, cut=cut_of(model) if cached else None)
    if quick:
        assert "agrees" in forward.try_quick(material)
    settings = TrainOptions(epochs=2, batch_tokens=96, max_length=32, learning_rate=3e-3, precision="fp32", **options)
    train(model, classification, plain, material, options=settings, folder=folder / "steps", forward=forward)
    return model


def test_states_are_what_the_answering_model_says_although_it_is_training(base, tmp_path):
    """Dropout belongs to what is trained: computed once with it, every epoch would learn from one and the same noise."""
    _, _, encoded = pieces(base)
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0, dropout=0.5), TWO, seed=0).train()
    kept = frozen_states(model, cut_of(model), encoded, pad_id=0, dtype=torch.float32, folder=tmp_path)
    assert model.training, "it goes on training"
    rows = TokenRows(encoded.ids, encoded.offsets, np.zeros(len(encoded), np.int64), 0).take(np.arange(len(encoded)), "cpu").inputs
    model.eval()
    with torch.no_grad():  # transformers' own list: what the embeddings give, then what each layer does
        wanted = model.base_model(**rows, output_hidden_states=True).hidden_states[2]
    real = torch.arange(wanted.shape[1]) < torch.from_numpy(encoded.lengths)[:, None]
    assert torch.allclose(kept.states, wanted[real], atol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("quick", [False, True])
def test_training_on_states_equals_training_the_whole_model(base, quick, fused, tmp_path):
    whole = trained(base, tmp_path / "whole", cached=False, quick=False, fused=fused)
    upper = trained(base, tmp_path / "upper", cached=True, quick=quick, fused=fused)
    fresh = TEXT_CLASSIFICATION.build(base, LABELS, seed=0).state_dict()
    assert any("columns" in name for name in upper.state_dict()) is fused
    moved = {name for name, tensor in upper.state_dict().items() if name in fresh and not torch.equal(tensor, fresh[name])}
    assert moved and all("layer.2." in name or "pooler" in name or "classifier" in name for name in moved), moved
    assert len(moved) > 10
    for name, tensor in whole.state_dict().items():
        if name.endswith("key.bias"):  # moves no score: its gradient is rounding alone, which Adam makes large
            continue
        assert torch.allclose(upper.state_dict()[name], tensor, atol=2e-5), name


@pytest.mark.parametrize("kind", ["roformer", "roberta", "electra", "mpnet", "distilbert", "gpt2"])
def test_other_architectures_are_cut_by_their_own_forward(base, kind, tmp_path):
    other_base = other(tmp_path / kind, kind, load_tokenizer(base.folder))
    _, part, encoded = pieces(other_base)
    model = adapt(TEXT_CLASSIFICATION.build(other_base, LABELS, seed=0), TWO, seed=0).eval()
    names = {name for name, _ in trainable(model)}
    assert not any("embed" in name or "wte" in name or "relative" in name or ".0." in name or ".1." in name for name in names), names
    assert any(".2." in name for name in names)
    material, plain_rows = state_rows(model, part, encoded, tmp_path), TokenRows(encoded.ids, encoded.offsets, part.labels, 0)
    forward = Forward(model, precision="fp32", device="cpu", seed=0, cut=cut_of(model))
    assert ("agrees" in forward.try_quick(material)) is (kind == "roformer")
    chosen = np.argsort(encoded.lengths)[[0, 7, 39]]
    with torch.no_grad():
        found, wanted = forward.score(material.take(chosen, "cpu")), model(**plain_rows.take(chosen, "cpu").inputs).logits
    assert torch.allclose(found, wanted, atol=1e-5)
    assert len(model.get_submodule(Cut(model, 2)._name)) == 3, "the model was left with fewer layers"


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_bf16_states_are_kept_in_bf16_and_answer_as_the_whole_model_does(base, kind, tmp_path):
    named = base if kind == "bert" else other(tmp_path / kind, kind, load_tokenizer(base.folder))
    _, part, encoded = pieces(named)
    model = adapt(TEXT_CLASSIFICATION.build(named, LABELS, seed=0), TWO, seed=0).eval()
    kept = frozen_states(model, cut_of(model), encoded, pad_id=0, dtype=torch.bfloat16, folder=tmp_path)
    assert kept.states.dtype == torch.bfloat16
    material = StateRows(encoded.ids, encoded.offsets, part.labels, 0, states=kept.states)
    batch = material.take(np.arange(8), "cpu")
    own = Forward(model, precision="bf16", device="cpu", seed=0, cut=cut_of(model))
    quick = Forward(model, precision="bf16", device="cpu", seed=0, cut=cut_of(model))
    assert ("agrees" in quick.try_quick(material)) is (kind == "bert")
    with torch.no_grad():
        wanted = model(**{name: each for name, each in batch.inputs.items() if name != "states"}).logits
        for route in (own, quick):
            assert torch.allclose(route.score(batch).float(), wanted, atol=0.03)


def test_models_without_first_layers_are_refused(base, tmp_path):
    albert = other(tmp_path / "albert", "albert", load_tokenizer(base.folder))
    (problem,) = adapt_problems(albert, TWO)
    assert problem.where == "adapt.layers" and "no stack of two layers" in problem.message
    (problem,) = adapt_problems(base, AdaptOptions(method="frozen", layers=3))
    assert "one of the 3" in problem.message and "adapt.layers: 2 or less" in problem.hint
    with pytest.raises(RecipeError):
        adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method="frozen", layers=3), seed=0)
    with pytest.raises(ValueError, match="layers belong to method frozen"):
        AdaptOptions(method="lora", layers=1)


def test_layers_that_take_another_form_are_refused(base, tmp_path):
    """XLNet's stand the length before the rows."""
    xlnet = other(tmp_path / "xlnet", "xlnet", load_tokenizer(base.folder))
    with pytest.raises(ModelError, match="not \\(rows, length, width\\)"):
        adapt(TEXT_CLASSIFICATION.build(xlnet, LABELS, seed=0), TWO, seed=0)


def test_a_model_that_reads_padding_is_refused(base, tmp_path):
    _, part, encoded = pieces(base)
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), TWO, seed=0)
    model.bert.encoder.layer[2].register_forward_hook(lambda _, args, output: output + output[:, -1:])
    with pytest.raises(ModelError, match="its logits then differ"):
        state_rows(model, part, encoded, tmp_path)


def test_a_model_that_sees_more_than_its_layers_states_is_refused(base, tmp_path):
    """As one that adds its embeddings again at the end would be: the parts do not make up the whole."""
    _, part, encoded = pieces(base)
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), TWO, seed=0)
    seen = []
    model.bert.encoder.layer[0].register_forward_hook(lambda *_: seen.append(1))
    model.bert.register_forward_pre_hook(lambda *_: seen.clear())
    model.bert.pooler.register_forward_hook(lambda _, args, output: output + 0.5 * len(seen))
    with pytest.raises(ModelError, match="cannot be cut between two layers"):
        state_rows(model, part, encoded, tmp_path)


def test_states_lie_in_a_file_without_a_name_where_memory_is_short(base, tmp_path, monkeypatch):
    _, _, encoded = pieces(base)
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), TWO, seed=0).train()
    arguments = {"pad_id": 0, "dtype": torch.float32, "folder": tmp_path / "kept"}
    first = frozen_states(model, cut_of(model), encoded, **arguments)
    assert not first.in_file and model.training and first.states.shape == (len(encoded.ids), 32)
    monkeypatch.setattr(keeping, "_free_memory", lambda: 1000)
    second = frozen_states(model, cut_of(model), encoded, **arguments)
    assert second.in_file and torch.equal(first.states, second.states) and not list((tmp_path / "kept").iterdir())
    monkeypatch.setattr(keeping.os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(TrainingError, match="could not be written"):
        frozen_states(model, cut_of(model), encoded, **arguments)
    assert not list((tmp_path / "kept").iterdir())


def pairs(count, name, seed=0):
    rng = np.random.default_rng(seed)
    words = np.array(["good", "bad", "fine", "poor"])
    both = rng.integers(0, 4, (count, 2))
    texts = [join(f"the film was {words[a]}", f"a very {words[b]} film") for a, b in both]
    return Split(
        name, texts, (both[:, 0] % 2 == both[:, 1] % 2).astype(np.int64), {}, None, np.arange(count) + 1, "t", f"sha256:{name}{seed}"
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_fit_resumes_to_the_same_bits_and_reloads_equal_for_pairs(base, layers, tmp_path):
    rows, looks = pairs(60, "train"), pairs(30, "validation", 1)
    arguments = {"adapt": AdaptOptions(method="frozen", layers=layers), "task": TEXT_PAIR_CLASSIFICATION, "labels": LABELS, "base": base}
    regular = {"r_drop": 0.5, "layer_decay": 0.9, "averaging": "ema"} if layers == 1 else {}
    options = TrainOptions(epochs=3, batch_tokens=128, max_length=24, learning_rate=1e-3, precision="fp32", **regular)

    def go(name, emit):
        return fit(train_split=rows, validation_split=looks, options=options, folder=tmp_path / name, emit=emit, **arguments)

    straight = go("straight", Log())
    assert straight.reload_difference == 0.0 and "computed once" in straight.facts["route"] and "agrees" in straight.facts["route"]

    def die(event, /, **fields):
        if event == "step" and fields["step"] == straight.steps - 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go("killed", die)
    log = Log()
    again = go("killed", log)
    assert log.of("resumed") and again.digest == straight.digest
    model, _, _ = load_checkpoint(again.folder, base=base)
    fresh = TEXT_PAIR_CLASSIFICATION.build(base, LABELS, seed=0).state_dict()
    still = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, fresh[name])}
    assert all((f"layer.{number}.output.dense.weight" in "".join(still)) is (number < layers) for number in range(3))


def test_the_benchmark_runs_at_toy_size(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import frozen_cache

    base = tiny_bert(tmp_path / "base", layers=3, max_positions=256)
    asked = ["--base", str(base), "--rows", "40", "--test-rows", "20", "--epochs", "2", "--layers", "2", "--seeds", "1"]
    found = frozen_cache.main([*asked, "--out", str(tmp_path / "out.json")])
    assert [row["system"] for row in found["table"]] == list(frozen_cache.SYSTEMS) and found == files.read_json(tmp_path / "out.json")
    scores = {name: [run["accuracy"] for run in done] for name, done in found["runs"].items()}
    assert scores["ours, kept"] == scores["ours, not kept"], "what is kept is what would be computed again"
    assert all(row["later"] > 0 and row["ratio_cpu"] > 0 for row in found["table"]) and "at least 3 x" in capsys.readouterr().out
