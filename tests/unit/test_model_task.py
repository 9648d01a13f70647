"""The text-classification task: its model, head, loss and scores."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import softmax
from sklearn.metrics import log_loss

from trustbase.errors import ModelError
from trustbase.model.adapt import trainable
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.pretrained import head_names, load_classifier
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.records import LabelSchema

YES = LabelSchema(("no", "yes"), "yes", "yes")
THREE = LabelSchema(("a", "b", "c"), "a", "a")
TEXTS = ["the food was good", "bad bad service", "a"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tiny_folder: Path):
    return resolve_base(str(tiny_folder))


def batch_of(base, texts=TEXTS, labels=None):
    tokenizer = load_tokenizer(base.folder)
    arrays = pad(encode(tokenizer, texts, max_length=64), np.arange(len(texts)), tokenizer.pad_token_id)
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return batch if labels is None else {**batch, "labels": torch.tensor(labels)}


def test_the_model_speaks_the_labels_of_the_task(base):
    for labels in (YES, THREE):
        config = TEXT_CLASSIFICATION.build(base, labels, seed=0).config
        assert config.id2label == dict(enumerate(labels.names))
        assert config.label2id == {name: index for index, name in enumerate(labels.names)}
        assert config.num_labels == len(labels.names)  # two labels have two logits
        assert config.problem_type == "single_label_classification"
    assert (TEXT_CLASSIFICATION.name, TEXT_CLASSIFICATION.answer_kind) == ("text-classification", "classes")
    for wrong in (("one",), ("a", "a")):
        with pytest.raises(ModelError, match="at least two different labels"):
            TEXT_CLASSIFICATION.build(base, LabelSchema(wrong, wrong[0], wrong[0]), seed=0)


def test_the_body_is_the_base_bit_for_bit_and_the_pooler_with_it(base):
    state = TEXT_CLASSIFICATION.build(base, YES, seed=0).state_dict()
    for name, tensor in load_file(base.folder / "model.safetensors").items():
        assert torch.equal(state[f"bert.{name}"], tensor)


def test_the_head_is_drawn_from_the_seed_alone(base):
    def head(seed: int) -> torch.Tensor:
        return TEXT_CLASSIFICATION.build(base, THREE, seed=seed).state_dict()["classifier.weight"]

    torch.manual_seed(1)
    first, state = head(7), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, head(7))
    assert not torch.equal(first, head(8))
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # building neither used nor changed the global state
    assert 0.01 < float(first.std()) < 0.03  # BERT's initializer_range is 0.02


def test_all_dropout_is_set_and_the_models_own_is_kept_otherwise(base):
    def rates(**options: float) -> set[float]:
        model = TEXT_CLASSIFICATION.build(base, YES, seed=0, **options)
        return {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}

    assert rates() == {0.1}
    assert rates(dropout=0.25) == {0.25}
    model = TEXT_CLASSIFICATION.build(base, YES, seed=0, dropout=0.0).train()
    batch = batch_of(base)
    assert torch.equal(model(**batch).logits, model(**batch).logits)


def test_the_loss_is_the_cross_entropy_of_each_row_in_fp32(base):
    model = TEXT_CLASSIFICATION.build(base, THREE, seed=0)
    batch = batch_of(base, labels=[2, 0, 1])
    with torch.no_grad():
        losses = TEXT_CLASSIFICATION.loss(model, batch)
        logits = model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits
        own = model(**batch).loss
    assert losses.shape == (3,)
    assert losses.dtype == torch.float32
    assert float(losses.mean()) == pytest.approx(float(own), abs=1e-6)
    truth = log_loss([2, 0, 1], softmax(logits.double().numpy(), axis=1), labels=[0, 1, 2])
    assert float(losses.mean()) == pytest.approx(truth, abs=1e-6)
    rough = TEXT_CLASSIFICATION.row_losses(logits.bfloat16(), batch["labels"])
    assert rough.dtype == torch.float32


def test_scores_are_probabilities_in_fp32():
    scores = TEXT_CLASSIFICATION.scores(torch.tensor([[1000.0, 0.0], [0.0, 0.0]], dtype=torch.bfloat16))
    assert scores.dtype == torch.float32
    assert scores.tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_padding_does_not_change_an_answer(base):
    model = TEXT_CLASSIFICATION.build(base, YES, seed=0)
    with torch.no_grad():
        alone = model(**batch_of(base, TEXTS[2:])).logits
        together = model(**batch_of(base)).logits[2:]
    assert float((alone - together).abs().max()) < 1e-5


def test_a_base_that_knows_these_labels_keeps_its_head_and_any_other_gets_a_new_one(base, tmp_path):
    model = TEXT_CLASSIFICATION.build(base, THREE, seed=0)
    save_checkpoint(model, load_tokenizer(base.folder), tmp_path / "first", meta={})
    first = resolve_base(str(tmp_path / "first"))
    assert first.lineage == (f"local:base at local ({base.digest})",)
    kept = TEXT_CLASSIFICATION.build(first, THREE, seed=1)
    assert torch.equal(kept.get_parameter("classifier.weight"), model.get_parameter("classifier.weight"))
    for other in (LabelSchema(("c", "b", "a"), "a", "a"), YES):
        fresh = TEXT_CLASSIFICATION.build(first, other, seed=1).get_parameter("classifier.weight")
        assert fresh.shape != (3, 32) or not torch.equal(fresh, model.get_parameter("classifier.weight"))
    save_checkpoint(kept, load_tokenizer(base.folder), tmp_path / "second", meta={})
    assert [line.split(" at ")[0] for line in resolve_base(str(tmp_path / "second")).lineage] == ["local:base", "local:first"]


def test_a_base_without_its_pooler_gets_a_new_one(tiny_folder, tmp_path):
    from safetensors.torch import save_file

    folder = Path(shutil.copytree(tiny_folder, tmp_path / "mlm"))  # masked language models are saved without one
    state = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if not name.startswith("pooler.")}
    save_file({**state, "cls.predictions.bias": torch.zeros(4)}, folder / "model.safetensors", metadata={"format": "pt"})
    one, two = (TEXT_CLASSIFICATION.build(resolve_base(str(folder)), YES, seed=seed) for seed in (0, 0))
    assert torch.equal(one.get_parameter("bert.pooler.dense.weight"), two.get_parameter("bert.pooler.dense.weight"))
    assert not bool(one.get_parameter("bert.pooler.dense.bias").any())


def test_a_folder_without_a_head_is_no_classifier(base):
    with pytest.raises(ModelError, match=r"config.json and its classification head do not agree"):
        load_classifier(base.folder)


_ENCODER = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
FAMILIES: dict[str, dict[str, object]] = {
    "roberta": {**_ENCODER, "pad_token_id": 1},
    "distilbert": {"vocab_size": 60, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64, "pad_token_id": 1},
    "albert": {**_ENCODER, "embedding_size": 16},
    "gpt2": {"vocab_size": 60, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 2},
    "llama": _ENCODER,
}
XLNET = {"vocab_size": 60, "d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 64, "pad_token_id": 1, "initializer_range": 0.5}


def family_folder(kind: str, settings: dict[str, object], folder: Path) -> Path:
    from transformers import AutoConfig, AutoModel

    from trustbase.model.quiet import quiet

    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(kind, **settings)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", FAMILIES)
def test_other_families_build_train_their_head_and_reload(kind, tmp_path):
    from trustbase.model.adapt import adapt, frozen_features, head_only, merge
    from trustbase.model.checkpoint import assert_reload_equal
    from trustbase.model.encoded import Encoded
    from trustbase.model.options import AdaptOptions

    folder = family_folder(kind, FAMILIES[kind], tmp_path / kind)
    ids = np.array([0, 5, 6, 7, 2, 0, 5, 2, 0, 9, 9, 3, 3, 2], np.int32)
    rows = Encoded(ids, np.array([0, 5, 8, 14]), np.array([5, 3, 6]))
    model = adapt(load_classifier(folder, label_names=["x", "y"], pad_id=1), AdaptOptions(method="frozen"), seed=0)
    assert {name for name, _ in trainable(model)} == set(head_names(model))
    features = frozen_features(model, rows, pad_id=1)
    with torch.no_grad():
        batch = {name: torch.from_numpy(array) for name, array in pad(rows, [0, 1, 2], 1).items()}
        assert torch.allclose(head_only(model).eval()(features).logits, model(**batch).logits, atol=1e-5)
    save_checkpoint(model, None, tmp_path / "saved", meta={})
    assert assert_reload_equal(model, tmp_path / "saved", rows) == 0.0
    low_rank = adapt(
        load_classifier(folder, label_names=["x", "y"], pad_id=1), AdaptOptions(method="lora", init="pissa", rank=2), seed=0
    ).eval()
    with torch.no_grad():
        assert float((low_rank(**batch).logits - merge(low_rank)(**batch).logits).abs().max()) < 1e-4


def test_a_family_whose_head_cannot_be_run_alone_is_refused_for_frozen(tmp_path):
    from trustbase.model.adapt import adapt, frozen_features
    from trustbase.model.encoded import Encoded
    from trustbase.model.options import AdaptOptions

    folder = family_folder("xlnet", XLNET, tmp_path / "xlnet")
    model = adapt(load_classifier(folder, label_names=["x", "y"]), AdaptOptions(method="frozen"), seed=0)
    rows = Encoded(np.array([3, 5, 6, 7, 2], np.int32), np.array([0, 5]), np.array([5]))
    with pytest.raises(ModelError, match=r"frozen does not work for XLNet.*") as caught:
        frozen_features(model, rows, pad_id=1)
    assert "adapt: lora" in caught.value.hint
