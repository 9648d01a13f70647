"""QLoRA: what 4 bits hold, that a layer computes what it says, and that what ships is what was trained."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_added_modules import of_type
from torch.nn import functional

from optional import unless_installed
from trustbase.compress import export
from trustbase.compress.graph import export_onnx
from trustbase.compress.options import ReleaseOptions
from trustbase.errors import ModelError, RecipeError
from trustbase.model.adapt import adapt, adapt_problems, adapted_layers, merge, trainable
from trustbase.model.adaptations import libraries
from trustbase.model.adaptations.four_bits import (
    FourBitLinear,
    Packing,
    packed_digest,
    packed_layers,
    parameter_count,
    weight_bytes,
)
from trustbase.model.checkpoint import assert_reload_equal, load_checkpoint, save_checkpoint
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.packed import unsupported
from trustbase.model.pretrained import origin_of, set_origin
from trustbase.model.runtime_torch import load_model
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.recipe import check
from trustbase.recipe.read import read_recipe
from trustbase.records import LabelSchema, Trained

LABELS = LabelSchema(("a", "b", "c"), "a", "a")
TEXTS = ["the food was good", "bad bad service and not very fine " * 3, "a", "not good", "fine film", "poor"]
IDS = torch.tensor([[5, 9, 12, 7], [6, 8, 0, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).long()}
# Dettmers et al. (2023), QLoRA, appendix E: the 16 values of NormalFloat
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334]
NF4 += [-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224]
NF4 += [0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]

pytestmark = pytest.mark.usefixtures("one_thread")
needs_library = unless_installed("bitsandbytes")


@pytest.fixture(scope="module")
def base(tiny_folder: Path):
    return resolve_base(str(tiny_folder))


@pytest.fixture(scope="module")
def rows(base):
    return encode(load_tokenizer(base.folder), TEXTS, max_length=64)


def moved(base, **options):
    """A model whose trained parameters have all moved."""
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method="qlora", **options), seed=0).eval()
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter += 0.1 * torch.randn(parameter.shape, generator=stream)
    return model


@torch.no_grad()
def logits(model, **batch):
    return model(**(batch or BATCH)).logits


def layer(double: bool = True, compute: str | None = None, shape: tuple[int, int] = (24, 64), turned: bool = False):
    stream = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(shape, generator=stream), torch.randn(shape[0], generator=stream)
    return weight, FourBitLinear(weight, bias, Packing(double, compute), turned=turned)


# ---------------------------------------------------------------- one layer


@needs_library
def test_a_block_of_weights_becomes_its_largest_times_the_nearest_of_sixteen_values():
    weight, packed = layer(double=False)
    blocks = weight.numpy().reshape(-1, 64)
    scale = np.abs(blocks).max(axis=1, keepdims=True)
    nearest = np.abs((blocks / scale)[..., None] - np.array(NF4)).argmin(axis=-1)
    np.testing.assert_allclose(packed.weight.numpy().reshape(-1, 64), np.array(NF4)[nearest] * scale, atol=1e-6)
    assert packed.packed.nbytes * 2 == weight.numel()


@needs_library
def test_packed_scales_cost_a_little_more_and_take_less_room():
    (weight, packed), (_, double) = layer(double=False, shape=(256, 128)), layer(shape=(256, 128))
    error = [float((each.weight - weight).abs().mean()) for each in (packed, double)]
    assert error[0] < error[1] < 1.05 * error[0]
    bits = [
        8 * (each.packed.nbytes + each.scales.nbytes + getattr(each, "nested", torch.empty(0)).nbytes) / weight.numel()
        for each in (packed, double)
    ]
    assert bits[0] == 4.5 and 4.125 < bits[1] < 4.14


@needs_library
@pytest.mark.parametrize("double", [False, True])
def test_a_layer_multiplies_with_the_weight_it_says_whether_it_trains_or_answers(double):
    """The library's own layer computes in bf16 when it answers on some processors, whatever was asked."""
    _, packed = layer(double)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(2))
    wanted = functional.linear(x, packed.weight, packed.bias)
    with torch.no_grad():
        answers = packed.train()(x), packed.eval()(x), packed(x)
    assert all(torch.equal(answer, wanted) for answer in answers)
    shown = x.clone().requires_grad_(True)
    packed(shown).square().sum().backward()
    torch.testing.assert_close(shown.grad, 2 * wanted @ packed.weight)


@needs_library
def test_a_layer_computes_in_the_format_that_was_asked_for():
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(2))
    for compute, cast, ask in (
        (None, False, torch.float32),
        (None, True, torch.bfloat16),
        ("bf16", False, torch.bfloat16),
        ("fp32", True, torch.float32),
    ):
        _, packed = layer(compute=compute)
        bias = packed.bias.clone()
        with torch.autocast("cpu", torch.bfloat16, enabled=cast), torch.no_grad():
            y = packed(x)
        own = functional.linear(x.to(ask), packed.weight.to(ask), bias.to(ask))
        assert y.dtype == (torch.bfloat16 if cast else torch.float32), compute
        torch.testing.assert_close(y.float(), own.to(y.dtype).float(), atol=0.02 if ask == torch.bfloat16 else 0, rtol=0)
        assert torch.equal(packed.bias, bias), "it was rounded for good"


@needs_library
def test_a_copy_of_a_layer_shares_nothing_and_a_plain_one_is_as_before():
    weight, packed = layer()
    other = copy.deepcopy(packed)
    other.packed.zero_()
    assert not torch.equal(packed.weight, other.weight)
    plain = packed.plain(packed.weight)
    assert type(plain) is torch.nn.Linear and plain.weight.shape == weight.shape
    x = torch.randn(3, 64)
    torch.testing.assert_close(plain(x), packed(x))
    turned = layer(turned=True)[1]
    conv = turned.plain(turned.weight)
    assert type(conv).__name__ == "Conv1D" and conv.weight.shape == (64, 24)
    torch.testing.assert_close(conv(x), turned(x))


# ---------------------------------------------------------------- a model


@needs_library
def test_weights_are_counted_as_what_they_are(base):
    plain, model = TEXT_CLASSIFICATION.build(base, LABELS, seed=0), moved(base)
    other = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method="lora", targets=["all-linear"]), seed=0)
    trained = [sum(parameter.numel() for _, parameter in trainable(each)) for each in (model, other)]
    assert trained[0] == trained[1]
    assert parameter_count(model) == parameter_count(other) > parameter_count(plain) == sum(p.numel() for p in plain.parameters())
    packed = sum(each.in_features * each.out_features for each in packed_layers(model).values())
    assert packed == sum(
        p.numel()
        for name, p in plain.named_parameters()
        if ("encoder" in name and name.endswith("dense.weight")) or ("self" in name and p.dim() == 2)
    )
    saved = weight_bytes(other) - weight_bytes(model)
    overhead = sum(
        each.scales.nbytes + each.nested.nbytes + each.codes.nbytes + each.nested_codes.nbytes + 4 for each in packed_layers(model).values()
    )
    assert saved == packed * 4 - packed / 2 - overhead


@needs_library
def test_the_head_and_the_embeddings_stay_whole_and_all_else_is_packed(base):
    plain, model = (
        TEXT_CLASSIFICATION.build(base, LABELS, seed=0),
        adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method="qlora", targets=["query"]), seed=0),
    )
    assert len(packed_layers(model)) == 12 and len(adapted_layers(model)) == 2
    assert type(model) is type(plain) and type(model.classifier) is type(model.bert.pooler.dense) is torch.nn.Linear
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, plain.bert.embeddings.word_embeddings.weight)
    assert {name for name, _ in trainable(model) if "lora_" not in name} == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }


@needs_library
def test_the_whole_is_what_peft_and_bitsandbytes_make_of_the_same_adapter(base, rows, tmp_path):
    from peft import PeftModel

    library = libraries.bitsandbytes().nn
    model = moved(base)
    save_checkpoint(model, load_tokenizer(base.folder), tmp_path / "saved", meta={})
    theirs = TEXT_CLASSIFICATION.build(base, LABELS, seed=99)
    for name in packed_layers(model):
        name = name.removesuffix(".base_layer")
        own = theirs.get_submodule(name)
        made = library.Linear4bit(
            own.in_features, own.out_features, compute_dtype=torch.float32, quant_type="nf4", compress_statistics=True
        )
        made.load_state_dict({"weight": own.weight.detach(), "bias": own.bias.detach()})
        made.support_avx512bf16_for_cpu = False  # else it computes in bf16
        parent, _, child = name.rpartition(".")
        setattr(theirs.get_submodule(parent), child, made.to("cpu"))
    theirs.is_loaded_in_4bit = True
    peft = PeftModel.from_pretrained(theirs, tmp_path / "saved").eval()
    batch = {name: torch.from_numpy(array) for name, array in pad(rows, np.arange(4), 0).items()}
    torch.testing.assert_close(logits(peft, **batch), logits(model, **batch), atol=1e-5, rtol=0)


@needs_library
@pytest.mark.parametrize("kind", ["roberta", "distilbert", "gpt2", "llama", "roformer", "bart"])
def test_other_architectures_learn_merge_and_are_packed_alike(kind):
    plain = of_type(kind)
    batch = BATCH if kind != "bart" else {"input_ids": IDS.new_tensor([[5, 9, 12, 2], [6, 8, 7, 2]])}  # it wants each text to end
    model = adapt(of_type(kind), AdaptOptions(method="qlora", rank=2), seed=0)
    assert packed_layers(model) and not torch.equal(logits(model, **batch), logits(plain, **batch))
    model.train()(**batch).logits.square().sum().backward()
    assert all(parameter.grad is not None for name, parameter in trainable(model) if "lora_B" in name)
    with torch.no_grad():
        for name, parameter in trainable(model):
            if "lora_" in name:
                parameter += 0.1
    model.eval()
    merged = merge(model)
    torch.testing.assert_close(logits(merged, **batch), logits(model, **batch), atol=1e-4, rtol=1e-4)
    assert {name: tensor.shape for name, tensor in merged.state_dict().items()} == {
        name: tensor.shape for name, tensor in plain.state_dict().items()
    }
    again = adapt(of_type(kind), AdaptOptions(method="qlora", rank=2), seed=0)
    assert packed_digest(again) == packed_digest(model)


@needs_library
def test_merging_adds_to_the_packed_weights_and_not_to_the_bases_own(base):
    model = moved(base)
    merged = merge(model)
    assert not packed_layers(merged) and not adapted_layers(merged) and not hasattr(merged, "peft_config")
    torch.testing.assert_close(logits(merged), logits(model), atol=1e-5, rtol=0)
    wrong = TEXT_CLASSIFICATION.build(base, LABELS, seed=0).eval()
    wrong.load_state_dict(merged.state_dict())
    own = TEXT_CLASSIFICATION.build(base, LABELS, seed=0)
    with torch.no_grad():
        for name, updated in adapted_layers(model).items():
            wrong.get_submodule(name).weight.copy_(own.get_submodule(name).weight + updated.get_delta_weight("default"))
    assert float((logits(wrong) - logits(model)).abs().max()) > 1e-3


@needs_library
def test_an_update_that_is_not_finite_is_not_merged(base):
    model = moved(base)
    with torch.no_grad():
        next(parameter for name, parameter in trainable(model) if "lora_B" in name).fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        merge(model)


@needs_library
def test_neither_packed_weights_nor_updates_beside_take_the_packed_path(base):
    assert unsupported(TEXT_CLASSIFICATION.build(base, LABELS, seed=0)) is None
    assert "updates" in (unsupported(moved(base)) or "")
    assert "updates" in (unsupported(adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method="lora"), seed=0)) or "")
    assert unsupported(merge(moved(base))) is None


# ---------------------------------------------------------------- on disk


@needs_library
def test_how_the_base_is_packed_stands_beside_the_adapter_and_is_held_to(base, rows, tmp_path):
    model = moved(base, double_quantisation=False, compute="bf16")
    save_checkpoint(model, load_tokenizer(base.folder), tmp_path / "saved", meta={})
    path = tmp_path / "saved" / "adapter_config.json"
    said = json.loads(path.read_text())
    packing = said["trustbase_packing"]
    assert {key: packing[key] for key in ("format", "block", "double", "compute")} == {
        "format": "nf4",
        "block": 64,
        "double": False,
        "compute": "bf16",
    }
    assert packing["digest"] == packed_digest(model) and packing["bitsandbytes"] == libraries.bitsandbytes_version()
    assert assert_reload_equal(model, tmp_path / "saved", rows) == 0.0
    assert not [name for name in load_file(tmp_path / "saved" / "adapter_model.safetensors") if "packed" in name]
    for change, message in (
        ({"digest": "sha256:0"}, "packs to other weights here"),
        ({"double": True}, "packs to other weights here"),
        ({"format": "fp4"}, "does not know"),
        (None, "does not say how its base is packed"),
    ):
        path.write_text(json.dumps({**said, "trustbase_packing": None if change is None else packing | change}))
        with pytest.raises(ModelError, match=message):
            load_checkpoint(tmp_path / "saved", base=base)


def shipped(base, folder, model, **options):
    tokenizer = load_tokenizer(base.folder)
    if not (folder / "trained").exists():
        save_checkpoint(model, tokenizer, folder / "trained", meta={})
    trained = Trained(folder / "trained", "sha256:0", 1, 1.0, "quality.accuracy", 0.5, 0.0)
    made = {"labels": LABELS, "text": "text", "base": base, "max_length": 32, "sample": TEXTS * 3}
    return export.make_artifact(trained, folder / "made", options=ReleaseOptions(**options), **made)


@needs_library
def test_what_ships_merged_is_a_plain_model_and_says_what_merging_changed(base, tmp_path):
    from transformers import AutoModelForSequenceClassification

    model = moved(base)
    info = shipped(base, tmp_path, model, precision="fp32")
    assert info.facts["weights"] == "merged" and ("onnx", "fp32") in {
        (each["runtime"], each["precision"]) for each in info.facts["candidates"]
    }
    assert 0 <= info.facts["merging"]["max_difference"] < 1e-6 and info.facts["merging"]["n"] == 18
    theirs = AutoModelForSequenceClassification.from_pretrained(info.folder)
    torch.testing.assert_close(logits(theirs), logits(model), atol=1e-5, rtol=0)


@needs_library
def test_merging_what_was_trained_in_bf16_is_refused_where_it_changes_too_much(base, tmp_path):
    model = moved(base, compute="bf16")
    info = shipped(base, tmp_path, model, runtime="torch", precision="fp32")
    assert 1e-5 < info.facts["merging"]["max_difference"] <= 0.02
    with pytest.raises(ModelError, match="merging changes answers"):
        shipped(base, tmp_path, model, runtime="torch", precision="fp32", max_difference=1e-6)


@needs_library
def test_what_ships_as_an_adapter_stays_beside_packed_weights_and_answers_to_the_bit(base, tmp_path, monkeypatch):
    monkeypatch.setattr("trustbase.model.checkpoint.resolve_base", lambda reference: base)
    model = moved(base, compute="bf16")
    origin = origin_of(model)
    set_origin(model, replace(origin, described={**origin.described, "reference": "package:tiny"}))  # a local base would have to be given
    info = shipped(base, tmp_path, model, weights="adapter", precision="fp32")
    assert (info.runtime, info.facts["weights"]) == ("torch", "adapter") and "merging" not in info.facts
    assert not list(info.folder.glob("model*"))
    opened = load_model(info.folder)
    assert packed_layers(opened) and torch.equal(logits(opened), logits(model))
    with pytest.raises(ModelError, match="held in 4 bits"):
        export_onnx(opened, load_tokenizer(base.folder), tmp_path / "model.onnx", texts=TEXTS[:2], max_length=16)


# ---------------------------------------------------------------- where the library is not installed


def absent(monkeypatch):
    for module in (libraries, check):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == "bitsandbytes" else find_spec(name))
    libraries.bitsandbytes.cache_clear()


def test_without_the_library_it_is_refused_before_training_and_says_what_to_install(base, tmp_path, monkeypatch):
    absent(monkeypatch)
    options = AdaptOptions(method="qlora")
    (problem,) = adapt_problems(base, options)
    assert "not installed" in problem.message and problem.hint == "pip install 'trustbase[qlora]'"
    with pytest.raises(ModelError, match="bitsandbytes, which is not installed"):
        adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), options, seed=0)
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"row {number},{'ab'[number % 2]}\n" for number in range(40)))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: text-classification\nbase: {base.folder}\ndata: {{train: rows.csv, text: text, label: label}}\nadapt: qlora\n"
        "purpose: {intended_use: tests, owner: nobody}\n"
    )
    with pytest.raises(RecipeError) as caught:
        read_recipe(recipe)
    assert [each.hint for each in caught.value.problems if "qlora" in each.message] == ["pip install 'trustbase[qlora]'"]


def test_other_adaptations_do_without_it(base, monkeypatch):
    absent(monkeypatch)
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method="lora"), seed=0)
    assert adapted_layers(model) and not packed_layers(model)


def test_no_compiled_code_is_fetched_while_it_is_imported():
    before = sys.modules.get("json")
    with libraries._without("json"), pytest.raises(ImportError):
        import json  # noqa: F401
    assert sys.modules.get("json") is before
    with libraries._without("no_such_package_at_all"):
        pass
    assert "no_such_package_at_all" not in sys.modules


@needs_library
def test_a_library_that_cannot_be_imported_is_told_with_its_cause(monkeypatch):
    def broken(name):
        raise OSError("no libstdc++")

    libraries.bitsandbytes.cache_clear()
    monkeypatch.setattr(libraries, "import_module", broken)
    with pytest.raises(ModelError, match="cannot be imported here: OSError: no libstdc"):
        libraries.bitsandbytes()


@pytest.mark.parametrize("wrong", [{"dora": True}, {"init": "pissa"}, {"length": 4}, {"compute": "fp16"}])
def test_options_of_others_are_refused(wrong):
    with pytest.raises(ValueError, match=r"qlora|fp32"):
        AdaptOptions(method="qlora", **wrong)
    with pytest.raises(ValueError, match="belong to method qlora"):
        AdaptOptions(method="lora", compute="bf16")
