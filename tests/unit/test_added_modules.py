"""Bottlenecks, prefixes and prompts: where they hang, what they leave as it was, and that answers are a text's own."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tiny import tiny_bert
from trustbase import files
from trustbase.errors import ModelError, RecipeError
from trustbase.model.adapt import adapt, adapt_problems, base_problems, merge, merges, trainable
from trustbase.model.adaptations.adapter import places_of
from trustbase.model.adaptations.prompt import Prompt
from trustbase.model.adaptations.shared import ADDED, body_of
from trustbase.model.checkpoint import assert_reload_equal, load_checkpoint, save_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.packed import unsupported
from trustbase.model.pretrained import set_origin
from trustbase.model.runtime_torch import TorchRuntime, load_model, mean_hidden
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.records import LabelSchema
from trustbase.train.optimizers import hidden_matrices

LABELS = LabelSchema(("a", "b", "c"), "a", "a")
TEXTS = ["the food was good", "bad bad service and not very fine " * 3, "a", "not good", "fine film", "poor"]
METHODS = [{"method": "adapter"}, {"method": "adapter", "style": "houlsby", "size": 4}, {"method": "prefix", "length": 5}]
METHODS += [{"method": "prompt", "length": 5}]
IDS = torch.tensor([[5, 9, 12, 7], [6, 8, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long()}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tiny_folder: Path):
    return resolve_base(str(tiny_folder))


def moved(base, **options):
    """An adapted model whose trained parameters have all moved."""
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(**options), seed=0).eval()
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter += 0.2 * torch.randn(parameter.shape, generator=stream)
    return model


@torch.no_grad()
def logits(model, **batch):
    return model(**(batch or BATCH)).logits


def of_type(kind: str):
    """A tiny classifier of another architecture, drawn at random."""
    import transformers as library

    shape = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    configs = {
        "roformer": library.RoFormerConfig(**shape),
        "electra": library.ElectraConfig(**shape, embedding_size=16),
        "roberta": library.RobertaConfig(**shape, pad_token_id=0),
        "albert": library.AlbertConfig(**shape, embedding_size=16),
        "modernbert": library.ModernBertConfig(**shape, pad_token_id=0, bos_token_id=1, eos_token_id=1, cls_token_id=1, sep_token_id=1),
        "distilbert": library.DistilBertConfig(vocab_size=60, dim=32, n_layers=2, n_heads=2, hidden_dim=64),
        "gpt2": library.GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=2, pad_token_id=0, bos_token_id=1, eos_token_id=1),
        "llama": library.LlamaConfig(**shape, num_key_value_heads=2, pad_token_id=0),
        "bart": library.BartConfig(
            vocab_size=60, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2
        ),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = library.AutoModelForSequenceClassification.from_config(configs[kind]).eval()
        for parameter in model.parameters():
            if parameter.dim() == 2 and parameter.requires_grad:  # RoFormer's angles are a parameter that is never trained
                torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_a_bottleneck_starts_as_nothing_and_hangs_after_the_blocks(base):
    plain = TEXT_CLASSIFICATION.build(base, LABELS, seed=0).eval()
    for style, count in (("pfeiffer", 2), ("houlsby", 4)):
        model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method="adapter", style=style, size=4), seed=0).eval()
        assert type(model) is type(plain) and torch.equal(logits(model), logits(plain))
        names = {name.split(f".{ADDED}")[0] for name, _ in trainable(model) if ADDED in name}
        assert names == set(places_of(plain, style)) and len(names) == count
        added = sum(parameter.numel() for name, parameter in model.named_parameters() if ADDED in name)
        assert added == count * (2 * 32 * 4 + 32 + 4)


def test_a_bottleneck_computes_what_its_paper_says(base):
    model = moved(base, method="adapter", size=4)
    layer = model.get_submodule("bert.encoder.layer.0.output.dense")
    inner, x = layer.get_submodule(f"{ADDED}bottleneck"), torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = x @ layer.weight.T + layer.bias
        wanted = y + torch.nn.functional.gelu(y @ inner.down.weight.T + inner.down.bias) @ inner.up.weight.T + inner.up.bias
        torch.testing.assert_close(layer(x), wanted)


def test_a_prefix_is_what_peft_computes_from_the_same_keys_and_values(base):
    """PEFT's prefix tuning, given our keys and values; it moves the positions of the text, which we take back for the comparison."""
    from peft import PrefixTuningConfig, get_peft_model

    ours = moved(base, method="prefix", length=5)
    prefix = body_of(ours).get_submodule(f"{ADDED}prefix")
    plain = TEXT_CLASSIFICATION.build(base, LABELS, seed=0)
    head = {name: tensor for name, tensor in ours.state_dict().items() if ADDED not in name}
    plain.load_state_dict(head)
    theirs = get_peft_model(plain, PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=5)).eval()
    both = torch.stack([prefix.keys, prefix.values], dim=1)  # (layers, 2, heads, length, width)
    flat = both.permute(3, 0, 1, 2, 4).reshape(5, -1).detach()
    with torch.no_grad():
        theirs.prompt_encoder["default"].embedding.weight.copy_(flat)
        table = theirs.base_model.bert.embeddings.position_embeddings.weight
        table[5 : 5 + IDS.shape[1]] = table[: IDS.shape[1]].clone()
        torch.testing.assert_close(theirs(**BATCH).logits, logits(ours), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_an_answer_is_that_of_the_text_alone_and_follows_every_vector(base, options):
    model = moved(base, **options)
    together = logits(model)
    alone = torch.cat([logits(model, input_ids=IDS[:1], attention_mask=BATCH["attention_mask"][:1]), logits(model, input_ids=IDS[1:, :2])])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)  # neighbours, padding and a missing mask change nothing
    embedded = {"inputs_embeds": body_of(model).get_input_embeddings()(IDS), "attention_mask": BATCH["attention_mask"]}
    torch.testing.assert_close(logits(model, **embedded), together, atol=1e-6, rtol=1e-5)
    for name, parameter in model.named_parameters():
        if ADDED in name:
            before = parameter.detach().clone()
            with torch.no_grad():
                parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))  # a norm takes a constant away
            assert (logits(model) - together).abs().max() > 1e-5, name
            with torch.no_grad():
                parameter.copy_(before)
    model(**BATCH).logits.sum().backward()
    missed = [name for name, parameter in trainable(model) if parameter.grad is None]
    assert not missed


def test_a_prompt_stands_in_front_and_the_text_comes_out_where_it_was(base):
    model = moved(base, method="prompt", length=5)
    outputs = model(**BATCH, output_hidden_states=True)
    assert {tuple(states.shape) for states in outputs.hidden_states} == {(2, 4, 32)}
    mean = mean_hidden(model, BATCH)
    last = outputs.hidden_states[-1]
    torch.testing.assert_close(mean[1], last[1, :2].mean(dim=0))
    text = model.bert.embeddings.word_embeddings(IDS[:1])
    prompt = body_of(model).get_submodule(f"{ADDED}prompt")
    assert isinstance(prompt, Prompt)
    plain = TEXT_CLASSIFICATION.build(base, LABELS, seed=0).eval()
    plain.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if ADDED not in name})
    places = torch.tensor([[0] * 5 + list(range(4))])
    with torch.no_grad():
        whole = plain.bert(inputs_embeds=torch.cat([prompt.vectors[None], text], dim=1), position_ids=places).last_hidden_state
        torch.testing.assert_close(whole[:, 5:], last[:1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(plain.classifier(plain.bert.pooler(whole[:, 5:])), logits(model)[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["roformer", "electra", "roberta", "albert", "modernbert", "gpt2", "llama", "distilbert", "bart"])
@pytest.mark.parametrize("method", ["adapter", "prefix", "prompt"])
def test_another_architecture_works_or_is_refused_with_a_reason(kind, method):
    refused = {("albert", "adapter"), ("bart", "prompt"), *((name, "prefix") for name in ("albert", "modernbert", "distilbert", "bart"))}
    model, options = of_type(kind), AdaptOptions(method=method)
    batch = {"input_ids": torch.tensor([[5, 9, 12, 2], [6, 2, 1, 1]]) if kind == "bart" else IDS, "attention_mask": BATCH["attention_mask"]}
    before = logits(model, **batch)
    if (kind, method) in refused:
        with pytest.raises((ModelError, RecipeError), match=f"adapt: {method}.*{type(model).__name__}"):
            adapt(model, options, seed=0)
        return
    adapt(model, options, seed=0)
    if method == "adapter":
        assert torch.equal(logits(model, **batch), before)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ADDED in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    after = logits(model, **batch)
    assert (after - before).abs().max() > 1e-4
    alone = logits(model, input_ids=batch["input_ids"][1:, :2], attention_mask=batch["attention_mask"][1:, :2])
    if kind != "gpt2":  # GPT-2 and the like are read at the last token, which they find by the padding
        torch.testing.assert_close(after[1:], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_a_whole_one_needs_no_base_and_answers_to_the_bit(base, tmp_path, options):
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = moved(base, **options), load_tokenizer(base.folder)
    rows = encode(tokenizer, TEXTS, max_length=64)
    digest = save_checkpoint(model, tokenizer, tmp_path / "whole", meta={}, whole=True)
    save_checkpoint(model, tokenizer, tmp_path / "beside", meta={})
    assert [path.name for path in (tmp_path / "whole").glob("*.safetensors")] == ["adapted_model.safetensors"]
    added = [name for name, _ in trainable(model)]
    assert sorted(load_file(tmp_path / "beside" / "adapter_model.safetensors")) == sorted(added)
    description = files.read_json(tmp_path / "whole" / "trustbase.json")
    assert (description["kind"], description["adaptation"]["method"]) == ("adapted", options["method"])
    for path in [*(tmp_path / "whole").iterdir(), *(tmp_path / "beside").iterdir()]:
        assert not any(text in path.read_bytes() for text in (str(tmp_path).encode(), str(base.folder).encode())), path
    assert assert_reload_equal(model, tmp_path / "whole", rows) == 0.0
    loaded = load_checkpoint(tmp_path / "whole")[0]  # no base is given
    assert save_checkpoint(loaded, tokenizer, tmp_path / "again", meta={}, whole=True) == digest
    with pytest.raises(OSError, match="no file named"):  # another tool must not take the base alone for the model
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole")
    assert "modules beside its own" in unsupported(load_model(tmp_path / "whole"))
    runtime = TorchRuntime(load_model(tmp_path / "whole"), tokenizer, max_length=64)
    asked = runtime.forward("logits", runtime.prepare(TEXTS), np.arange(6))
    batch = {"input_ids": torch.zeros(6, int(rows.lengths.max()), dtype=torch.long)}
    for row, (start, end) in enumerate(zip(rows.offsets, rows.offsets[1:], strict=False)):
        batch["input_ids"][row, : end - start] = torch.from_numpy(rows.ids[start:end].astype(np.int64))
    batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1])[None] < torch.from_numpy(rows.lengths)[:, None]).long()
    np.testing.assert_allclose(asked, logits(model, **batch).numpy(), atol=1e-5)
    files.write_json(tmp_path / "whole" / "trustbase.json", {**description, "kind": "model"})
    with pytest.raises(ModelError, match="does not hold what"):
        load_checkpoint(tmp_path / "whole")


def test_what_cannot_be_merged_says_so_and_is_no_base(base, tmp_path):
    model = moved(base, method="prefix")
    assert not merges(model)
    with pytest.raises(ModelError, match="adapt: prefix adds to a model cannot become part of its weights"):
        merge(model)
    save_checkpoint(model, load_tokenizer(base.folder), tmp_path / "whole", meta={}, whole=True)
    problems = base_problems(resolve_base(str(tmp_path / "whole")), AdaptOptions(), max_length=16)
    assert [problem.where for problem in problems] == ["base"] and "was trained with adapt: prefix" in problems[0].message
    set_origin(model, None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="without knowing its base"):
        save_checkpoint(model, None, tmp_path / "beside", meta={})


def test_a_prompt_takes_positions_only_where_a_text_cannot_keep_its_own(base, tmp_path):
    from trustbase.model.options import ModelOptions
    from trustbase.model.scratch import write_scratch_base

    whole = {"method": "prompt", "length": 20}
    assert base_problems(base, AdaptOptions(**whole), max_length=128) == []  # BERT can be told the positions
    shape, tokenizer = ModelOptions(layers=1, width=32, heads=2, context=64), load_tokenizer(base.folder)
    rotary = write_scratch_base(shape, tokenizer, tmp_path / "rotary", seed=0, tokenizer_from="test")
    for method in ("prompt", "prefix"):
        (problem,) = base_problems(rotary, AdaptOptions(method=method, length=20), max_length=64)
        assert problem.where == "train.max_length" and "64, of which adapt: " + method + " takes 20" in problem.message
        assert base_problems(rotary, AdaptOptions(method=method, length=20), max_length=44) == []


def test_an_architecture_without_a_place_is_refused_before_weights_are_read(tmp_path):
    folder = tiny_bert(tmp_path / "base")
    config = files.read_json(folder / "config.json")
    import transformers

    shape = {"vocab_size": config["vocab_size"], "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}
    transformers.DistilBertModel(transformers.DistilBertConfig(**shape)).save_pretrained(folder)
    problems = adapt_problems(resolve_base(str(folder)), AdaptOptions(method="prefix"))
    assert len(problems) == 1 and "takes no keys and values" in problems[0].message
    assert adapt_problems(resolve_base(str(folder)), AdaptOptions(method="adapter", style="houlsby")) == []


def test_a_copy_of_a_model_has_modules_of_its_own(base):
    for options in METHODS:
        model = moved(base, **options)
        twin, before = copy.deepcopy(model), logits(model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ADDED in name:
                    parameter.zero_()
        assert torch.equal(logits(twin), before) and not torch.equal(logits(model), before)


def test_muon_leaves_what_was_added_to_adamw(base):
    for options in METHODS:
        assert not [name for name in hidden_matrices(moved(base, **options)) if ADDED in name]


def test_vectors_are_drawn_from_the_seed_alone(base):
    for method in ("adapter", "prefix", "prompt"):
        torch.manual_seed(1)
        first, state = _drawn(base, method, 5), torch.get_rng_state()
        torch.manual_seed(2)
        assert torch.equal(first, _drawn(base, method, 5)) and not torch.equal(first, _drawn(base, method, 6))
        torch.manual_seed(1)
        assert torch.equal(state, torch.get_rng_state())


def _drawn(base, method, seed):
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method=method), seed=seed)
    return next(parameter for name, parameter in trainable(model) if ADDED in name)
