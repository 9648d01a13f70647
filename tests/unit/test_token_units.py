"""Units of texts, their places among tokens, and answers that are a table for each text: the same by every runtime and from every cache."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tiny import WORDS, tiny_bert
from trustbase.compress.candidates import Asked
from trustbase.compress.graph import export_onnx
from trustbase.data.units import apart, ends_at_units, touched, unit_texts, units
from trustbase.model.encoded import Encoded
from trustbase.model.predict import Predictor
from trustbase.model.questions import UNREAD, Answer, Failure, Question
from trustbase.model.ragged import largest_difference, ragged
from trustbase.model.runtime_onnx import OnnxRuntime
from trustbase.model.runtime_torch import TorchRuntime
from trustbase.model.token_units import by_row, encode_units, read_places, unread
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.model.unit_tokenizer import unit_tokenizer
from trustbase.records import ArtifactInfo, LabelSchema

pytestmark = pytest.mark.usefixtures("one_thread")

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LABELS = LabelSchema(TAGS, TAGS[-1], TAGS[-1])
TEXTS = ["good film", "the, very-bad service!", "a", "not fine and poor as food " * 8, "old\u200b years", "北京good", "xyz works"]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    from transformers import BertForTokenClassification

    folder = tiny_bert(tmp_path_factory.mktemp("tagger") / "base", (*WORDS, "北", "京"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = BertForTokenClassification.from_pretrained(folder, num_labels=len(TAGS)).eval()
        torch.nn.init.normal_(model.classifier.weight, std=0.5)
    return SimpleNamespace(folder=folder, model=model, tokenizer=load_tokenizer(folder))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Obama's U.S.-deal", ["Obama", "'", "s", "U", ".", "S", ".", "-", "deal"]),
        ("习近平在iPhone12。", ["习", "近", "平", "在", "iPhone12", "。"]),
        ("cafe\u0301 नमस्ते a_b", ["cafe\u0301", "नमस्ते", "a", "_", "b"]),
        ("トヨタ 3M", ["ト", "ヨ", "タ", "3M"]),
        (" \t\n", []),
    ],
)
def test_units_follow_from_the_text_alone(text: str, wanted: list[str]) -> None:
    bounds = units(text)
    assert unit_texts(text, bounds) == wanted
    spaced, places = apart(text, bounds)
    assert spaced == " ".join(wanted) and unit_texts(spaced, places) == wanted
    covered = {place for start, end in bounds.tolist() for place in range(start, end)}
    assert covered == {place for place, char in enumerate(text) if not char.isspace()}


def test_ascii_texts_take_no_other_way_than_the_rest() -> None:
    for text in ("It's 3M_x, A-b.c!", "a  b\tc"):
        assert unit_texts(text, units(text)) == unit_texts(text + "é", units(text + " é"))[: len(units(text))]


def test_spans_and_units() -> None:
    bounds = units("ab cd, ef")
    assert touched(bounds, 3, 5) == (1, 2) and touched(bounds, 4, 8) == (1, 4) and touched(bounds, 2, 3) == (1, 1)
    assert ends_at_units(bounds, [(0, 2), (0, 6), (1, 5), (3, 8)]) == [True, True, False, False]


def test_places_are_those_that_transformers_finds_for_words(tagger: SimpleNamespace) -> None:
    """`is_split_into_words` and `word_ids` of the library say which token is a word's first."""
    encoded = encode_units(tagger.tokenizer, TEXTS, max_length=24)
    plain = encode(tagger.tokenizer, TEXTS, max_length=24)
    np.testing.assert_array_equal(encoded.ids, plain.ids)
    assert encoded.unit_places is not None and encoded.unit_bounds is not None
    for row, text in enumerate(TEXTS):
        words = unit_texts(text, units(text))
        told = tagger.tokenizer(words, is_split_into_words=True, truncation=True, max_length=24)
        firsts = {word: place for place, word in reversed(list(enumerate(told.word_ids()))) if word is not None}
        found = encoded.unit_places[encoded.unit_bounds[row] : encoded.unit_bounds[row + 1]].tolist()
        assert found == [firsts.get(word, -1) for word in range(len(words))], text
    assert unread(encoded).tolist() == [0, 0, 0, 48 - 22, 1, 0, 0]


def test_left_truncation_and_byte_level_tokens_keep_their_units(tagger: SimpleNamespace) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tagger.tokenizer.truncation_side = "left"
    try:
        encoded = encode_units(tagger.tokenizer, ["good bad fine poor the a"], max_length=5)
        assert encoded.unit_places is not None and encoded.unit_places.tolist() == [-1, -1, -1, 1, 2, 3]
    finally:
        tagger.tokenizer.truncation_side = "right"
    letters = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary = {**letters, "go": len(letters), "Ġgo": len(letters) + 1}
    inner = Tokenizer(models.BPE(vocabulary, [("g", "o"), ("Ġ", "go")]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    bytewise = SimpleNamespace(backend_tokenizer=inner, truncation_side="right", bos_token_id=None, eos_token_id=0, pad_token_id=0)
    encoded = encode_units(bytewise, ["go,go a"], max_length=64)
    assert encoded.unit_places is not None and encoded.unit_places.tolist() == [0, 1, 2, 4]  # "Ġ" alone is no part of a word


def test_a_tokenizer_that_joins_han_characters_is_split_and_shown_no_blanks() -> None:
    """As sentencepiece has it: a sign for a blank before every word, and pieces of several characters."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    signs = "中国人民银行在北京江泽民主席、。deals.,'()-_AUSObm3Mcopiafhn12发布カタナe"
    pieces = dict.fromkeys(["<unk>", "\u2581", "中国", "人民", "\u2581中国", "\u2581deal", *signs])
    joins = Tokenizer(models.Unigram([(piece, -float(len(pieces) - place)) for place, piece in enumerate(pieces)], unk_id=0))
    joins.pre_tokenizer = pre_tokenizers.Metaspace()
    way = unit_tokenizer(joins)
    (found,), (bounds,) = way.encoded(["中国人民. deal"])
    assert found.tokens == ["\u2581", "中", "国", "人", "民", ".", "\u2581deal"] and not way.blanks and len(bounds) == 6
    assert joins.encode("中国人民").tokens == ["\u2581中国", "人民"] and unit_tokenizer(joins) is way
    like = SimpleNamespace(backend_tokenizer=joins, truncation_side="right", bos_token_id=None, eos_token_id=0, pad_token_id=0)
    encoded = encode_units(like, ["中国人民. deal"], max_length=64)
    assert encoded.unit_places is not None and encoded.unit_places.tolist() == [1, 2, 3, 4, 5, 6]


def test_taking_and_joining_rows_takes_their_units_along(tagger: SimpleNamespace) -> None:
    encoded = encode_units(tagger.tokenizer, TEXTS, max_length=24)
    part, again = encoded.take([3, 0]), encode_units(tagger.tokenizer, [TEXTS[3], TEXTS[0]], max_length=24)
    for name in ("ids", "offsets", "unit_places", "unit_bounds"):
        np.testing.assert_array_equal(getattr(part, name), getattr(again, name))
    tables = by_row(part, np.arange(len(read_places(part)[0]), dtype=np.float32)[:, None])
    assert [len(table) for table in tables] == [48, 2] and (tables[0][22:] == UNREAD).all() and tables[1].ravel().tolist() == [22, 23]


def wanted_logits(tagger: SimpleNamespace, text: str, max_length: int) -> Any:
    words = unit_texts(text, units(text))
    told = tagger.tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        logits = tagger.model(**told).logits[0].numpy()
    firsts = {word: place for place, word in reversed(list(enumerate(told.word_ids()))) if word is not None}
    return np.stack([logits[firsts[word]] if word in firsts else np.full(len(TAGS), UNREAD) for word in range(len(words))])


@pytest.mark.parametrize("way", ["packed", "padded", "onnx"])
def test_every_runtime_gives_the_logits_of_each_unit(tagger: SimpleNamespace, tmp_path: Path, way: str) -> None:
    if way == "onnx":
        export_onnx(tagger.model, tagger.tokenizer, tmp_path / "model.onnx", texts=TEXTS, max_length=24)
        runtime: Any = OnnxRuntime.open(tmp_path, tokenizer=tagger.tokenizer, max_length=24)
    else:
        runtime = TorchRuntime(tagger.model, tagger.tokenizer, max_length=24, packed=way == "packed")
        assert (runtime.path == "packed") == (way == "packed")
    assert runtime.outputs == ("unit_logits", "embedding")
    encodings = runtime.prepare(TEXTS)
    order = np.array([4, 0, 3, 6, 1, 2, 5])
    found = runtime.forward("unit_logits", encodings, order)
    for row, table in zip(order.tolist(), found, strict=True):
        np.testing.assert_allclose(table, wanted_logits(tagger, TEXTS[row], 24), atol=2e-5)
    asked = Asked("token_scores", LABELS).scores(runtime, TEXTS)
    assert asked.dtype == object and [len(table) for table in asked] == [len(units(text)) for text in TEXTS]
    assert asked[3][40, 2:].tolist() == [1, 0, 0, 0, 0]  # cut off: in no entity that the model knows of


def info(folder: Path) -> ArtifactInfo:
    return ArtifactInfo(folder, "sha256:0", "token-classification", "tokens", LABELS, "torch", "fp32", 24, "base", "local")


def test_the_engine_asks_once_keeps_tables_and_counts_their_bytes(tagger: SimpleNamespace) -> None:
    runtime = TorchRuntime(tagger.model, tagger.tokenizer, max_length=24)
    with Predictor(info(tagger.folder), runtime, tokenizer=tagger.tokenizer, batch_tokens=64) as predictor:
        first = predictor.ask_all([Question("token_scores", text) for text in [*TEXTS, TEXTS[1]]])
        again = predictor.ask_all([Question("token_scores", TEXTS[1])])[0]
        cache = predictor._engine._cache
        assert predictor.counters.unique == len(TEXTS) and isinstance(again, Answer) and again.cached
        assert cache._bytes == sum(4 * len(TAGS) * len(units(text)) for text in TEXTS)
        np.testing.assert_array_equal(again.value, first[1].value)
        np.testing.assert_allclose(first[3].value[:, 2:].sum(1), 1)
        refused = predictor.ask_all([Question("class_scores", "good")])[0]
        assert isinstance(refused, Failure) and "tokens" in refused.reason


class Odd:
    """A runtime whose tables are wrong in one way."""

    name, precision, outputs = "odd", "fp32", ("unit_logits",)

    def __init__(self, tables: Any) -> None:
        self._tables = tables

    def prepare(self, inputs: Any) -> Encoded:
        count = len(inputs)
        return Encoded(np.zeros(count, np.int32), np.arange(count + 1), np.ones(count, np.int64))

    def computed_tokens(self, lengths: Any) -> int:
        return int(lengths.sum())

    def forward(self, output: str, encodings: Any, rows: Any) -> Any:
        return self._tables(len(rows))


@pytest.mark.parametrize(
    ("tables", "code", "said"),
    [
        (lambda n: [np.zeros((2, 5), np.float32)] * (n + 1), "runtime", "tables for 1 rows"),
        (lambda n: [np.zeros(5, np.float32)] * n, "runtime", "tables for 1 rows"),
        (lambda n: [np.full((2, 5), np.nan, np.float32)] * n, "not_finite", "NaN"),
    ],
)
def test_a_table_that_is_none_is_a_failure_of_that_question(tables: Any, code: str, said: str) -> None:
    with Predictor(info(Path("nowhere")), Odd(tables)) as predictor:
        (found,) = predictor.ask_all([Question("token_scores", "good")])
    assert isinstance(found, Failure) and found.code == code and said in found.reason


def test_rows_of_equal_length_are_not_stacked() -> None:
    rows = ragged([np.zeros((2, 3)), np.ones((2, 3))])
    assert rows.shape == (2,) and rows[[1]].shape == (1,) and json.dumps([row.tolist() for row in rows])
    assert largest_difference(rows, ragged([np.zeros((2, 3)), np.full((2, 3), 0.5)])).tolist() == [0.0, 0.5]
    with pytest.raises(ValueError, match="different shapes"):
        largest_difference(rows, ragged([np.zeros((2, 3)), np.zeros((3, 3))]))
