"""The torch runtime: the packed path equals transformers, bf16 stays close, and the white-box session leaves no trace."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from tiny import tiny_bert
from trustbase.errors import ModelError, PredictionError, UsageError
from trustbase.model import packed
from trustbase.model.artifact import read_artifact
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.packed import PackedBert, cut_groups, plan_groups, unsupported
from trustbase.model.predict import Predictor, Question
from trustbase.model.runtime_torch import TorchRuntime, load_model, mean_hidden
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.records import LabelSchema

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = LabelSchema(("bad", "fine", "good"), positive="good", favourable="good")
WORDS = ["good", "bad", "fine", "poor", "the", "a", "is", "was", "very", "not", "film", "service", "food", "and", "zx"]


def texts(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(2.3, 0.8, count).astype(int), 1, 100)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, one_thread):
    folder = tmp_path_factory.mktemp("checkpoint")
    base = resolve_base(str(tiny_bert(folder / "base", layers=3)))
    model = TEXT_CLASSIFICATION.build(base, LABELS, seed=3)
    with torch.no_grad():
        model.classifier.weight.mul_(30)  # a fresh head answers 1/3 everywhere, which would hide differences
    model.save_pretrained(folder / "model")
    load_tokenizer(base.folder).save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def oracle(checkpoint):
    """Each text alone through transformers' own forward: (probabilities, embeddings)."""
    model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)

    def ask(items):
        scores, embeddings = [], []
        encoded = encode(tokenizer, items, max_length=64)
        with torch.inference_mode():
            for row in range(len(items)):
                batch = {name: torch.from_numpy(array) for name, array in pad(encoded, [row], 0).items()}
                scores.append(model(**batch).logits.double().softmax(-1)[0].numpy())
                embeddings.append(mean_hidden(model, batch)[0].numpy())
        return np.stack(scores), np.stack(embeddings)

    return ask


def runtime_of(checkpoint, **options):
    return TorchRuntime.open(checkpoint, tokenizer=load_tokenizer(checkpoint), max_length=64, device="cpu", **options)


def info_of(checkpoint):
    from dataclasses import replace

    return replace(read_artifact(checkpoint), max_length=64)


@pytest.mark.parametrize("budget", [64, 500, 4096])
def test_packed_scores_and_embeddings_equal_transformers(checkpoint, oracle, budget):
    items = texts(120)
    scores, embeddings = oracle(items)
    with Predictor.open(info_of(checkpoint), batch_tokens=budget, device="cpu", threads=1) as predictor:
        assert predictor.runtime.path == "packed"
        np.testing.assert_allclose(predictor.class_scores(items), scores, atol=1e-5)
        np.testing.assert_allclose(predictor.embeddings(items), embeddings, atol=1e-5)
        labels = np.arange(120) % 3
        np.testing.assert_allclose(predictor.losses(items, labels), -np.log(scores[np.arange(120), labels]), atol=1e-4)
        assert predictor.counters.padding_share < 0.1
    assert scores.std(axis=0).min() > 0.05  # the comparison would mean nothing where all answers are alike


def test_an_answer_does_not_depend_on_its_neighbours(checkpoint):
    items = texts(60, seed=1)
    with Predictor.open(info_of(checkpoint), cache_size=0, device="cpu", threads=1) as predictor:
        together = predictor.class_scores(items)
        alone = np.concatenate([predictor.class_scores([item]) for item in items])
        backwards = predictor.class_scores(items[::-1])[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(backwards, together, atol=1e-5)


def test_other_architectures_take_the_forward_of_transformers(checkpoint, oracle):
    items = texts(50, seed=2)
    runtime = runtime_of(checkpoint, packed=False)
    assert runtime.path.startswith("transformers")
    scores, embeddings = oracle(items)
    with Predictor(info_of(checkpoint), runtime, threads=1) as predictor:
        np.testing.assert_allclose(predictor.class_scores(items), scores, atol=1e-5)
        np.testing.assert_allclose(predictor.embeddings(items), embeddings, atol=1e-5)
        assert predictor.counters.padding_share > 0


@pytest.mark.parametrize("packed", [True, False])
def test_bf16_stays_close_to_fp32(checkpoint, oracle, packed):
    items = texts(80, seed=4)
    scores, _ = oracle(items)
    with Predictor(info_of(checkpoint), runtime_of(checkpoint, precision="bf16", packed=packed), threads=1) as predictor:
        difference = np.abs(predictor.class_scores(items) - scores)
    assert 0 < difference.max() < 0.1


def test_what_the_packed_path_does_not_know_it_does_not_take():
    from transformers import BertConfig, BertForSequenceClassification, DistilBertConfig, DistilBertForSequenceClassification

    shape = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    assert unsupported(BertForSequenceClassification(BertConfig(**shape))) is None
    assert unsupported(BertForSequenceClassification(BertConfig(**shape, hidden_act="relu"))) == "activation relu"
    other = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=8))
    assert "DistilBert" in (unsupported(other) or "")
    with pytest.raises(ValueError, match="DistilBert"):
        PackedBert(other, dtype=torch.float32)


def test_groups_cover_every_row_once_and_waste_little():
    lengths = np.sort(np.random.default_rng(0).integers(1, 90, 200))
    groups = plan_groups(lengths)
    assert sum(group.rows for group in groups) == 200
    row = place = 0
    for group in groups:
        part = lengths[row : row + group.rows]
        assert group.start == place and group.length == part.max() and group.padded == (part.min() < part.max())
        assert group.length * group.rows - part.sum() <= 8
        row, place = row + group.rows, place + group.rows * group.length


def test_blocks_of_groups_cover_the_same_places_and_hold_few_scores():
    lengths = np.sort(np.random.default_rng(1).integers(1, 90, 200).repeat(3))
    groups, blocks = plan_groups(lengths), cut_groups(plan_groups(lengths), 2000)
    assert len(blocks) > len(groups) and max(block.rows for block in blocks) > 1
    assert all(block.rows == 1 or block.rows * block.length**2 <= 2000 for block in blocks)
    places = [[(g.start + row * g.length, g.length, g.padded) for g in cut for row in range(g.rows)] for cut in (groups, blocks)]
    assert places[0] == places[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_blocks_of_scores_change_no_answer(checkpoint, monkeypatch, precision):
    items = texts(40, seed=6)
    with Predictor.open(info_of(checkpoint), precision=precision, cache_size=0, device="cpu", threads=1) as predictor:
        whole = predictor.class_scores(items)
        made: list[int] = []
        monkeypatch.setattr(packed, "_BLOCK_BYTES", 64)
        monkeypatch.setattr(
            packed, "cut_groups", lambda groups, most: made.append(len(cut_groups(groups, most))) or cut_groups(groups, most)
        )
        np.testing.assert_allclose(predictor.class_scores(items), whole, atol=1e-6)
    assert sum(made) == len(items)  # one row a block


def test_white_box_lends_the_model_alone_and_leaves_no_trace(checkpoint):
    items = texts(5, seed=5)
    with Predictor.open(info_of(checkpoint), precision="bf16", cache_size=0, device="cpu", threads=1) as predictor:
        before = predictor.class_scores(items)
        finished: list[float] = []
        with predictor.white_box() as box:
            assert "bf16" in box.note and next(box.model.parameters()).dtype == torch.float32
            with pytest.raises(PredictionError, match="borrowed"):
                predictor.class_scores(items)
            other = threading.Thread(target=lambda: (predictor.class_scores(items), finished.append(time.perf_counter())))
            other.start()
            box.model.requires_grad_(True)
            batch = {name: torch.from_numpy(array) for name, array in pad(encode(box.tokenizer, items, max_length=64), range(5), 0).items()}
            box.model(**batch).logits.sum().backward()
            assert box.model.classifier.weight.grad is not None
            with torch.no_grad():
                box.model.classifier.weight.add_(1.0)
            time.sleep(0.05)
            assert not finished  # the other thread waits until the session ends
        other.join(10)
        assert finished
        np.testing.assert_array_equal(predictor.class_scores(items), before)
        with predictor.white_box() as box:  # written-to weights were thrown away
            assert torch.equal(box.model.classifier.weight, load_model(checkpoint).classifier.weight)
            assert not box.model.classifier.weight.requires_grad and box.model.classifier.weight.grad is None


def test_a_plain_checkpoint_gets_labels_from_its_config(checkpoint):
    info = read_artifact(checkpoint)
    assert info.labels.names == LABELS.names and info.labels.positive == "good" and info.labels.positive_assumed
    assert (info.runtime, info.precision, info.max_length) == ("torch", "fp32", 128)
    assert info.digest == read_artifact(checkpoint).digest


def test_a_body_without_a_head_and_an_empty_folder_are_refused(tmp_path, checkpoint):
    with pytest.raises(ModelError, match="no model here"):
        read_artifact(tmp_path)
    with pytest.raises(ModelError, match="no classification head"):
        read_artifact(checkpoint.parent / "base")
    (tmp_path / "artifact.json").write_text('{"schema": "trustbase/artifact/9"}')
    with pytest.raises(ModelError, match="trustbase/artifact/1"):
        read_artifact(tmp_path)
    (tmp_path / "artifact.json").write_text("[]")
    with pytest.raises(ModelError, match="JSON object"):
        read_artifact(tmp_path)


def test_fp16_on_a_cpu_is_refused(checkpoint):
    with pytest.raises(UsageError, match="fp16"):
        Predictor.open(checkpoint, precision="fp16", device="cpu", threads=1)


def test_500_askers_on_a_real_model(checkpoint):
    items = texts(50, seed=6)

    async def asker(predictor, number):
        first = await predictor.ask(Question("class_scores", items[number % 50]))
        second = await predictor.ask(Question("embedding", items[number % 50]))
        return np.concatenate([first.value, second.value])

    with Predictor.open(info_of(checkpoint), device="cpu", threads=1) as predictor:
        answers = np.stack(predictor.gather(asker(predictor, i) for i in range(500)))
        assert predictor.counters.unique == 100 and predictor.counters.questions == 1000
        np.testing.assert_allclose(answers[:, :3], np.tile(predictor.class_scores(items), (10, 1)), atol=1e-12)
