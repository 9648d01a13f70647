"""Units of long texts: each is answered by one window, the one that reads most of what surrounds it, by every way through a model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import WORDS, tiny_bert
from trustbase.compress.graph import export_onnx
from trustbase.data.units import unit_texts, units
from trustbase.model.adapt import adapt, cut_of
from trustbase.model.encoded import Encoded, joined, offsets_of, pad
from trustbase.model.frozen import frozen_features, head_only
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.ragged import ragged
from trustbase.model.runtime_onnx import OnnxRuntime
from trustbase.model.runtime_torch import TorchRuntime
from trustbase.model.sequencer import UNITS, Sequencer
from trustbase.model.states import frozen_states
from trustbase.model.tagging import TOKEN_CLASSIFICATION
from trustbase.model.token_units import encode_units, read_places, unread
from trustbase.model.tokenizer import load_tokenizer
from trustbase.model.windows import cut_windows
from trustbase.records import LabelSchema
from trustbase.train.forward import Forward
from trustbase.train.labelled import StateRows, TokenRows
from trustbase.train.objectives.tokens import tokens
from trustbase.train.units import UnitFeatureRows, UnitRows

pytestmark = pytest.mark.usefixtures("one_thread")

TAGS = ("O", "B-PER", "I-PER")
LABELS = LabelSchema(TAGS, TAGS[-1], TAGS[-1])
LENGTH, STRIDE = 12, 4
#: A text of seven windows, one that fits, one without a unit, words of many tokens, Han characters, and a sign that no token stands for.
TEXTS = [
    "good bad fine poor the a is was very not " * 6,
    "good film",
    "",
    "unfathomable xylophones notwithstanding good zebras and acknowledgements",
    "北京good京北" * 7,
    "old\u200b \u200b years " * 9,
]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tiny_bert(tmp_path_factory.mktemp("windows") / "base", (*WORDS, "北", "京"))
    model: Any = TOKEN_CLASSIFICATION.build(resolve_base(str(folder)), LABELS, seed=3).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.nn.init.normal_(model.classifier.weight, std=0.5)
    return SimpleNamespace(folder=folder, model=model, tokenizer=load_tokenizer(folder))


def encoded_in(tagger: SimpleNamespace, length: int = LENGTH, stride: int | None = STRIDE) -> Encoded:
    return Sequencer(length, stride, UNITS).encode(tagger.tokenizer, TEXTS)


def window_by_hand(place: int, length: int, room: int, step: int) -> int:
    """Of all windows that hold a token, counted from 0, that with the most tokens up to the next border that cuts the text."""
    best, found = -1, -1
    windows = 1 + max(0, -(-(length - room) // step))
    for window in range(windows):
        begin, end = window * step, min(window * step + room, length)
        if begin <= place < end:
            left = place - begin if window else length
            right = end - 1 - place if window < windows - 1 else length
            if min(left, right) >= best:  # of two alike the later one
                best, found = min(left, right), window
    return found


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_each_unit_stands_in_the_window_that_reads_most_around_it(data: st.DataObject) -> None:
    prefix, suffix = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    room, stride = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 12))
    inner = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=4))
    first = [sorted(data.draw(st.sets(st.integers(0, max(0, length - 1)), max_size=length))) for length in inner]
    lost = [data.draw(st.lists(st.booleans(), min_size=len(each), max_size=len(each))) for each in first]
    full = np.array(inner, np.int64) + prefix + suffix
    places = [-1 if gone else prefix + at for row, flags in zip(first, lost, strict=True) for at, gone in zip(row, flags, strict=True)]
    bounds = offsets_of(np.array(list(map(len, first)), np.int64))
    ids = np.arange(full.sum(), dtype=np.int32)
    whole = Encoded(ids, offsets_of(full), full, unit_places=np.array(places, np.int64), unit_bounds=bounds)
    found = cut_windows(whole, room + prefix + suffix, stride, prefix, suffix)
    assert found.sequences is not None and found.unit_places is not None and found.unit_bounds is not None
    assert found.row_units.tolist() == bounds.tolist() and (np.diff(found.unit_bounds) >= 0).all()
    owner = np.repeat(np.arange(len(found.offsets) - 1), np.diff(found.unit_bounds))
    for row, length in enumerate(inner):
        for unit in range(bounds[row], bounds[row + 1]):
            place, sequence = whole.unit_places[unit], owner[unit]  # type: ignore[index]
            assert found.sequences[row] <= sequence < found.sequences[row + 1]
            if place < 0:
                assert found.unit_places[unit] == -1
                continue
            assert found.ids[found.offsets[sequence] + found.unit_places[unit]] == ids[whole.offsets[row] + place]
            step = room - min(stride, room // 2)
            assert sequence - found.sequences[row] == window_by_hand(int(place) - prefix, length, room, step)


@pytest.mark.parametrize("stride", [0, 3, 5])
def test_every_unit_is_read_once_in_order_by_the_first_of_its_tokens(tagger: SimpleNamespace, stride: int) -> None:
    found, whole = encoded_in(tagger, stride=stride), encode_units(tagger.tokenizer, TEXTS, max_length=2**40)
    assert found.sequences is not None and np.diff(found.sequences).min() == 1 and np.diff(found.sequences).max() >= 6
    assert unread(found).tolist() == unread(whole).tolist() == [0, 0, 0, 0, 0, 18]
    assert not found.truncated.any() and encoded_in(tagger, stride=None).truncated.any()
    lines, positions = read_places(found)
    told = tagger.tokenizer.convert_ids_to_tokens(found.ids[found.offsets[lines] + positions].tolist())
    words = [word for text in TEXTS for word in unit_texts(text, units(text))]
    read = [word for word, place in zip(words, whole.unit_places, strict=True) if place >= 0]  # type: ignore[arg-type]
    assert len(told) == len(read) > 100 and all(word.startswith(token) for word, token in zip(read, told, strict=True))
    assert max(len(tagger.tokenizer.tokenize(word)) for word in words) > LENGTH  # one word is longer than a window
    assert unit_texts(TEXTS[4], units(TEXTS[4]))[:5] == ["北", "京", "good", "京", "北"]


def test_a_text_that_fits_is_read_as_without_windows(tagger: SimpleNamespace) -> None:
    plain, windowed = (encoded_in(tagger, length=128, stride=stride) for stride in (None, 40))
    assert windowed.sequences is None
    for name in ("ids", "offsets", "full_lengths", "unit_places", "unit_bounds"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(windowed, name))


def test_rows_are_taken_and_joined_with_the_units_of_all_their_windows(tagger: SimpleNamespace) -> None:
    whole = encoded_in(tagger)
    again = joined([whole.take([row]) for row in range(len(whole))])
    mixed = joined([encode_units(tagger.tokenizer, [text], max_length=LENGTH, stride=STRIDE) for text in TEXTS])  # some are one sequence
    for name in ("ids", "offsets", "full_lengths", "sequences", "unit_places", "unit_bounds", "row_units", "lost"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(again, name), err_msg=name)
        np.testing.assert_array_equal(getattr(whole, name), getattr(mixed, name), err_msg=name)
    part = whole.take([4, 0, 4])
    assert np.diff(part.row_units).tolist() == [35, 60, 35]
    flat = part.flat
    assert flat.sequences is None and flat.row_units is flat.unit_bounds and len(flat) == len(pad(whole, [4, 0, 4], 0)["input_ids"])


def logits_by_hand(tagger: SimpleNamespace, encoded: Encoded) -> list[np.ndarray]:
    """Window by window through the model as transformers has it."""
    found: list[list[np.ndarray]] = [[] for _ in range(len(encoded))]
    assert encoded.sequences is not None
    rows = np.repeat(np.arange(len(encoded)), np.diff(encoded.sequences))
    lines, positions = read_places(encoded)
    for line in range(len(encoded.offsets) - 1):
        ids = torch.from_numpy(encoded.ids[encoded.offsets[line] : encoded.offsets[line + 1]].astype(np.int64))
        with torch.no_grad():
            found[rows[line]] += list(tagger.model(input_ids=ids[None]).logits[0].numpy()[positions[lines == line]])
    return [np.stack(each) if each else np.zeros((0, len(TAGS))) for each in found]


@pytest.mark.parametrize("way", ["packed", "padded", "onnx"])
def test_every_runtime_answers_each_unit_once(tagger: SimpleNamespace, tmp_path: Path, way: str) -> None:
    if way == "onnx":
        export_onnx(tagger.model, tagger.tokenizer, tmp_path / "model.onnx", texts=TEXTS, max_length=LENGTH)
        runtime: Any = OnnxRuntime.open(tmp_path, tokenizer=tagger.tokenizer, max_length=LENGTH, stride=STRIDE)
    else:
        runtime = TorchRuntime(tagger.model, tagger.tokenizer, max_length=LENGTH, stride=STRIDE, packed=way == "packed")
        assert (runtime.path == "packed") == (way == "packed")
    encodings = runtime.prepare(TEXTS)
    wanted, read = logits_by_hand(tagger, encodings), np.split(encodings.unit_places >= 0, encodings.row_units[1:-1])
    for order in (np.arange(6), np.array([5, 0, 4, 2, 1, 3]), np.array([1]), np.array([0])):
        found = runtime.forward("unit_logits", encodings, order)
        assert [len(table) for table in found] == [len(units(TEXTS[row])) for row in order]
        for row, table in zip(order.tolist(), found, strict=True):
            np.testing.assert_allclose(table[read[row]], wanted[row], atol=3e-5)
    assert runtime.forward("embedding", encodings, np.array([0, 1])).shape[0] == 2


def test_training_sees_each_unit_once_whatever_is_frozen(tagger: SimpleNamespace, tmp_path: Path) -> None:
    encoded = encoded_in(tagger)
    wanted = logits_by_hand(tagger, encoded)
    tags = ragged(np.arange(len(units(text))) % len(TAGS) for text in TEXTS)
    read = [each >= 0 for each in np.split(encoded.unit_places, encoded.row_units[1:-1])]  # type: ignore[arg-type]
    own = [torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(tags[row][read[row]])) if len(logits) else 0.0
           for row, logits in enumerate(wanted)]  # fmt: skip
    shape: dict[str, Any] = {"sequences": encoded.sequences, "together": encoded.together}
    parts = (encoded.ids, encoded.offsets, np.zeros(len(TEXTS), np.int64), 0)
    whole = Forward(tagger.model, precision="fp32", device="cpu", seed=0)
    quick = Forward(tagger.model, precision="fp32", device="cpu", seed=0)
    rows = UnitRows(TokenRows(*parts, **shape), encoded, tags)
    assert "agrees" in quick.try_quick(rows)
    features = frozen_features(tagger.model, encoded.flat, pad_id=0)
    head = Forward(head_only(tagger.model), precision="fp32", device="cpu", seed=0)
    built = TOKEN_CLASSIFICATION.build(resolve_base(str(tagger.folder)), LABELS, seed=3)
    half: Any = adapt(built, AdaptOptions(method="frozen", layers=1), seed=0)
    half.load_state_dict(tagger.model.state_dict())
    cut = cut_of(half)
    assert cut is not None
    kept = frozen_states(half, cut, encoded.flat, pad_id=0, dtype=torch.float32, folder=tmp_path)
    upper = UnitRows(StateRows(*parts, states=kept.states, **shape), encoded, tags)
    ways = [
        (rows, whole),
        (rows, quick),
        (UnitFeatureRows(features, encoded, tags), head),
        (upper, Forward(half, precision="fp32", device="cpu", seed=0, cut=cut)),
    ]
    for order in (np.arange(6), np.array([4, 2, 0]), np.array([3])):
        for material, forward in ways:
            batch = material.take(order, "cpu")
            assert batch.pooling is None and material.size(order) == batch.tokens
            with torch.no_grad():
                logits = forward.score(batch)
                losses = tokens(forward.score, batch)["label"].tolist()
            np.testing.assert_allclose(logits, np.concatenate([wanted[row] for row in order]), atol=5e-5)
            np.testing.assert_allclose(losses, [float(own[row]) for row in order], atol=5e-5)
            tables = material.by_row(order, logits.numpy().astype(np.float64))
            assert [len(table) for table in tables] == [len(tags[row]) for row in order]
