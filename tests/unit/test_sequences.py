"""Inputs of several sequences: windows are those of transformers, choices are pairs, and every way through a model agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification

from tiny import tiny_bert
from trustbase.compress.graph import export_onnx
from trustbase.data import choices
from trustbase.data.pair import join, sides
from trustbase.data.single import load_single
from trustbase.data.template import TextTemplate
from trustbase.errors import DataError, ModelError
from trustbase.model.encoded import joined, pad
from trustbase.model.frozen import frozen_features, head_only
from trustbase.model.load import resolve_base
from trustbase.model.runtime_onnx import OnnxRuntime
from trustbase.model.runtime_torch import TorchRuntime
from trustbase.model.sequencer import Sequencer
from trustbase.model.task import MULTIPLE_CHOICE
from trustbase.model.token_pairs import encode_pairs
from trustbase.model.tokenizer import encode, load_tokenizer, not_text
from trustbase.model.windows import window_counts, windows_of
from trustbase.records import LabelSchema
from trustbase.train.forward import Forward
from trustbase.train.labelled import FeatureRows, TokenRows

WORDS = [f"w{number}" for number in range(30)]
LENGTH, STRIDE = 12, 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("sequences") / "base", WORDS)


def texts(count: int, *, longest: int = 40, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(rng.integers(1, longest + 1)))) for _ in range(count)]


def questions(count: int, *, choices: int = 3, seed: int = 0) -> list[str]:
    made = texts(count * (choices + 1), longest=9, seed=seed)
    return [join(*made[start : start + choices + 1]) for start in range(0, len(made), choices + 1)]


@pytest.mark.parametrize("stride", [0, 3, 5])
def test_windows_are_those_of_transformers(base: Path, stride: int) -> None:
    tokenizer, made = load_tokenizer(base), texts(60)
    ours = encode(tokenizer, made, max_length=LENGTH, stride=stride)
    shape: dict[str, Any] = {"truncation": True, "max_length": LENGTH, "stride": stride, "return_overflowing_tokens": True}
    wanted = [tokenizer(text, **shape)["input_ids"] for text in made]
    tokenizer.backend_tokenizer.no_truncation()
    assert ours.sequences is not None and max(map(len, wanted)) > 3 and len(ours) == 60
    found = [ours.ids[a:b].tolist() for a, b in zip(ours.offsets[:-1], ours.offsets[1:], strict=True)]
    assert found == [window for windows in wanted for window in windows]
    assert np.diff(ours.sequences).tolist() == [len(windows) for windows in wanted]
    assert not ours.truncated.any() and encode(tokenizer, made, max_length=LENGTH).truncated.any()
    assert ours.lengths.tolist() == [sum(map(len, windows)) for windows in wanted]


def test_windows_over_a_second_text_are_those_of_transformers(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    shape: dict[str, Any] = {"truncation": "only_second", "max_length": 20, "stride": 5, "return_overflowing_tokens": True}
    for question, context in zip(texts(30, longest=5), texts(30, longest=50, seed=1), strict=True):
        wanted = tokenizer(question, context, return_offsets_mapping=True, **shape)
        tokenizer.backend_tokenizer.no_truncation()
        found = windows_of(tokenizer.backend_tokenizer.encode(question, context), 20, 5, over=1)
        assert [ids.tolist() for ids in found.ids] == wanted["input_ids"] and found.unread == 0
        assert [kinds.tolist() for kinds in found.kinds] == wanted["token_type_ids"]
        for number, spans in enumerate(found.spans):
            inside = [owner == 1 for owner in wanted.sequence_ids(number)]
            theirs = [list(span) if own else [-1, -1] for span, own in zip(wanted["offset_mapping"][number], inside, strict=True)]
            assert spans.tolist() == theirs


def test_the_longer_text_of_a_pair_is_windowed_and_a_long_other_one_is_cut(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    pairs = [join(" ".join(WORDS[:4]), " ".join(WORDS)), join(" ".join(WORDS), "w1"), join(" ".join(WORDS[:20]), " ".join(WORDS)), "w1 w2"]
    found = encode_pairs(tokenizer, pairs, 0, max_length=15, stride=2, refused=not_text)
    assert found.sequences is not None and found.segments is not None
    assert np.diff(found.offsets).max() == 15 and found.lost.tolist() == [0, 0, 14, 0]
    for row, (_, *other) in enumerate(map(sides, pairs)):
        part = found.take([row])
        read = {int(token) for token in part.ids}
        assert {tokenizer.convert_tokens_to_ids(word) for word in (other or ["w2"])[0].split()} <= read
    with pytest.raises(ValueError, match="cannot overlap"):
        window_counts(np.array([40]), 10, 10)


def test_texts_that_fit_cost_what_they_cost_without_windows(base: Path) -> None:
    tokenizer, made = load_tokenizer(base), texts(40, longest=8)
    plain, windowed = (encode(tokenizer, made, max_length=LENGTH, stride=stride) for stride in (None, STRIDE))
    assert windowed.sequences is None and np.array_equal(plain.ids, windowed.ids) and np.array_equal(plain.sizes, windowed.sizes)


def test_rows_are_taken_with_all_their_sequences(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    parts = [encode(tokenizer, made, max_length=LENGTH, stride=STRIDE) for made in (texts(9), texts(5, longest=3), texts(7, seed=2))]
    whole = joined(parts)
    again = joined([part.take([row]) for part in parts for row in range(len(part))])
    assert len(whole) == 21 and np.array_equal(whole.sequences, again.sequences) and np.array_equal(whole.ids, again.ids)
    chosen = whole.take([20, 3, 3])
    assert chosen.lengths.tolist() == whole.lengths[[20, 3, 3]].tolist() and len(pad(whole, [20, 3], 0)["input_ids"]) == len(
        whole.of_rows([20, 3])
    )
    assert chosen.full_lengths.tolist() == whole.full_lengths[[20, 3, 3]].tolist() and not chosen.truncated.any()


def test_each_choice_is_a_pair_with_the_question(base: Path) -> None:
    tokenizer, asked = load_tokenizer(base), questions(20)
    found = Sequencer(LENGTH, form="choices").encode(tokenizer, asked)
    wanted = [
        tokenizer(question, choice, truncation=True, max_length=LENGTH)["input_ids"]
        for question, *rest in map(sides, asked)
        for choice in rest
    ]
    tokenizer.backend_tokenizer.no_truncation()
    assert [found.ids[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)] == wanted
    assert len(found) == 20 and set(np.diff(found.sequences)) == {3}
    whole = Sequencer(2**40, form="choices").encode(tokenizer, asked)
    lost = np.maximum(np.diff(whole.offsets) - LENGTH, 0).reshape(20, 3).sum(axis=1)
    assert lost.any() and found.lost.tolist() == lost.tolist()
    stats = Sequencer(LENGTH, form="choices").stats(tokenizer, asked)
    assert stats.truncated_rows == int((lost > 0).sum()) and stats.tokens == whole.lengths.sum() - 20 * 3 * 3
    assert (
        Sequencer(LENGTH, STRIDE).stats(tokenizer, texts(9)).truncated_rows
        == 0
        < Sequencer(LENGTH).stats(tokenizer, texts(9)).truncated_rows
    )
    with pytest.raises(DataError, match="no questions") as error:
        Sequencer(LENGTH, form="choices").encode(tokenizer, ["w1", join("w1", "w2"), asked[0]])
    assert [problem.where for problem in error.value.problems] == ["row 0", "row 1"]


@pytest.mark.parametrize("form", ["text", "choices"])
def test_training_and_every_runtime_put_sequences_together_alike(base: Path, form: str, tmp_path: Path, one_thread: None) -> None:
    tokenizer = load_tokenizer(base)
    model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1 if form == "choices" else 3).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(30)
    asked = questions(30) if form == "choices" else texts(40)
    reading = Sequencer(LENGTH, None if form == "choices" else STRIDE, form)
    encoded = reading.encode(tokenizer, asked)
    with torch.no_grad():  # row by row, by transformers alone
        alone = [model(**{k: torch.from_numpy(v) for k, v in pad(encoded, [row], 0).items()}).logits for row in range(len(encoded))]
    wanted = np.stack([logits[:, 0].numpy() if form == "choices" else logits.mean(0).numpy() for logits in alone])
    assert np.ptp(wanted, axis=0).max() > 0.1 and max(map(len, alone)) >= 3

    export_onnx(model, tokenizer, tmp_path / "model.onnx", texts=asked[:2], max_length=LENGTH)
    several: dict[str, Any] = {"max_length": LENGTH, **reading.unusual}
    ways = [
        OnnxRuntime.open(tmp_path, tokenizer=tokenizer, **several),
        *(TorchRuntime(model, tokenizer, packed=p, **several) for p in (False, True)),
    ]
    orders = (np.arange(len(asked)), np.random.default_rng(0).permutation(len(asked)), np.array([7]))
    for runtime in ways:
        prepared = runtime.prepare(asked)
        for order in orders:
            np.testing.assert_allclose(runtime.forward("logits", prepared, order), wanted[order], atol=3e-5)
    embedded = [runtime.forward("embedding", runtime.prepare(asked), orders[1]) for runtime in ways]
    assert all(np.abs(values - embedded[0]).max() < 3e-5 for values in embedded)

    shape: dict[str, Any] = {"sequences": encoded.sequences, "together": encoded.together}
    material = TokenRows(encoded.ids, encoded.offsets, np.zeros(len(asked), np.int64), 0, encoded.segments, **shape)
    forward = Forward(model, precision="fp32", device="cpu", seed=0)
    features = frozen_features(model, encoded.flat, pad_id=0)
    frozen = FeatureRows(features, encoded.lengths, material.labels, **shape)
    head = Forward(head_only(model), precision="fp32", device="cpu", seed=0)
    for order in orders:
        batch = material.take(order, "cpu")
        assert len(batch.labels) == len(order) and material.size(order) == batch.inputs["input_ids"].numel() == batch.tokens
        assert batch.tokens <= len(order) * int(material.lengths[order].max())
        with torch.no_grad():
            np.testing.assert_allclose(forward.score(batch), wanted[order], atol=3e-5)
            np.testing.assert_allclose(head.score(frozen.take(order, "cpu")), wanted[order], atol=3e-5)
    assert "agrees" in forward.try_quick(material) and forward.route == "quick"
    with torch.no_grad():
        np.testing.assert_allclose(forward.score(material.take(orders[1], "cpu")), wanted[orders[1]], atol=3e-5)


def test_a_model_of_choices_is_that_of_transformers(base: Path, tmp_path: Path) -> None:
    labels, tokenizer, asked = LabelSchema(("a", "b", "c"), "c", "c"), load_tokenizer(base), questions(6)
    model: Any = MULTIPLE_CHOICE.build(resolve_base(str(base)), labels, seed=1)
    model.save_pretrained(tmp_path)
    theirs = AutoModelForMultipleChoice.from_pretrained(tmp_path).eval()
    pairs = [tokenizer(question, choice) for question, *rest in map(sides, asked) for choice in rest]
    batch = {name: values.view(6, 3, -1) for name, values in tokenizer.pad(pairs, return_tensors="pt").items()}
    encoded = Sequencer(64, form="choices").encode(tokenizer, asked)
    ours = {name: torch.from_numpy(values) for name, values in pad(encoded, range(6), 0).items()}
    with torch.no_grad():
        wanted = theirs(**batch).logits
        np.testing.assert_allclose(model(**ours).logits.reshape(6, 3), wanted, atol=1e-6)
        truth = torch.tensor([0, 1, 2, 2, 1, 0])
        loss = MULTIPLE_CHOICE.loss(model, {**ours, "labels": truth})
        np.testing.assert_allclose(loss.mean(), theirs(**batch, labels=truth).loss, rtol=1e-5)
    with pytest.raises(ModelError, match="two choices"):
        MULTIPLE_CHOICE.build(resolve_base(str(base)), LabelSchema(("a",), "a", "a"), seed=1)


def test_a_label_names_the_right_choice_in_three_ways(tmp_path: Path) -> None:
    names = choices.choice_names(TextTemplate.parse(join("q", "one", "{two|none} of it", "D"), None))
    assert names == ("one", "two", "D") and choices.choice_names(TextTemplate.parse(join("q", "one"), None)) == ()
    column = pa.chunked_array([pa.array(["one", "A", "1", " C ", "D", "3", "x", None])])
    assert choices.named(column, names).to_pylist() == ["one", "one", "two", "D", "D", "3", "x", None]
    lines = ["q,b,a,answer", *(f"w{n},w1,w2,{label}" for n, label in enumerate(["1", "b", "A", "a"]))]
    (tmp_path / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    split, labels, _ = load_single(tmp_path / "rows.csv", text=join("q", "b", "a"), label="answer")
    assert labels.names == ("b", "a") and split.labels.tolist() == [1, 0, 0, 1], "the order of the choices is that of the recipe"
    (tmp_path / "rows.csv").write_text("\n".join([*lines, "w9,w1,w2,2", "w9,w1,,b"]), encoding="utf-8")
    with pytest.raises(DataError) as error:
        load_single(tmp_path / "rows.csv", text=join("q", "b", "a"), label="answer")
    assert [problem.where.split(":")[-1] for problem in error.value.problems] == ["6", "7"], (
        "neither counting from 1 nor an empty choice is guessed"
    )
