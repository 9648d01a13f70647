"""Trained tokenizers: whole folders that transformers reads as we do, the same in every process, in Chinese and English."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trustbase.errors import DataError, UsageError
from trustbase.model.fertility import fertility, tokenizer_report
from trustbase.model.options import TOKENIZER_KINDS
from trustbase.model.shape import least_vocabulary
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.model.vocabulary import train_tokenizer

WRITTEN = [
    "The service was good, but the food took an hour to arrive and it was cold.",
    "We paid 25 dollars for the room; the rooms upstairs are better and cheaper.",
    "今天天气很好，我们去公园散步，看见很多人在湖边钓鱼。",
    "酒店的服务很好，房间干净，价格便宜，下次还会再来。",
    "这部电影不好看，故事太长，音乐也不好听。2024年的电影更好看。",
    "Deep learning 模型需要很多数据，数据的质量很重要。",
]
TEXTS = WRITTEN * 5
SIZES = {"wordpiece": 180, "characters": 170, "bpe": 250, "byte_bpe": 400, "unigram": 220}
FAMILY = {"wordpiece": "encoder", "characters": "encoder", "bpe": "decoder", "byte_bpe": "decoder", "unigram": "encoder-decoder"}


def make(folder: Path, kind: str, family: str | None = None, size: int | None = None, lower: bool | None = None, texts=TEXTS):
    family = family or FAMILY[kind]
    lower = family == "encoder" if lower is None else lower
    return train_tokenizer(kind, texts, vocab_size=size or SIZES[kind], lower_case=lower, folder=folder, family=family, max_length=64)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("vocabularies")
    return {kind: make(root / kind, kind) for kind in TOKENIZER_KINDS}


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_both_loaders_read_the_same_ids(made, kind):
    from transformers import AutoTokenizer

    ours, theirs = load_tokenizer(made[kind].folder), AutoTokenizer.from_pretrained(made[kind].folder)
    texts = [*WRITTEN, "", "完全没见过的字：龘 Ünseen", " leading", "a\nb", "[MASK] <|endoftext|> </s>"]
    encoded = encode(ours, texts, max_length=64)
    wanted = theirs(texts, truncation=True, max_length=64)["input_ids"]
    for row, ids in enumerate(wanted):
        if ids:  # without special tokens transformers makes nothing of an empty text; encode puts one token there
            assert encoded.take([row]).ids.tolist() == ids
    assert len(ours) == len(theirs) == made[kind].size == SIZES[kind]
    assert ours.special_tokens_map == theirs.special_tokens_map and theirs.model_max_length == 64
    assert theirs.pad_token_id is not None


@pytest.mark.parametrize("kind", ["bpe", "byte_bpe", "unigram"])
def test_what_models_write_is_the_text_again(made, kind):
    tokenizer = load_tokenizer(made[kind].folder)
    for text in WRITTEN:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_a_byte_level_vocabulary_writes_any_text(made):
    tokenizer = load_tokenizer(made["byte_bpe"].folder)
    text = " 龘𠀀 ½\t\n émoji 🙂 ＡＢＣ，"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text and tokenizer.unk_token is None


@pytest.mark.parametrize("kind", ["wordpiece", "characters"])
def test_han_characters_stand_alone_and_width_is_folded(made, kind):
    tokenizer = load_tokenizer(made[kind].folder)
    assert tokenizer.tokenize("酒店很好") == ["酒", "店", "很", "好"]
    assert tokenizer.tokenize("ＴＨＥ ｆｏｏｄ，") == tokenizer.tokenize("the food,")
    digits = tokenizer.tokenize("2024")
    assert (digits == ["2", "0", "2", "4"]) == (kind == "characters")


def test_word_pieces_are_those_that_transformers_bert_makes_of_the_same_vocabulary(made, tmp_path):
    from transformers import BertTokenizer

    ours = load_tokenizer(made["wordpiece"].folder)
    vocabulary = sorted(ours.get_vocab(), key=ours.get_vocab().get)
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    oracle = BertTokenizer.from_pretrained(tmp_path)
    texts = [text.replace("，", ",") for text in WRITTEN]  # BERT does not fold Chinese signs; everything else is the same
    assert [ours(text)["input_ids"] for text in texts] == oracle(texts)["input_ids"]


def test_merges_are_those_of_the_library_itself(made):
    from tokenizers import ByteLevelBPETokenizer

    oracle = ByteLevelBPETokenizer()
    oracle.train_from_iterator(TEXTS, vocab_size=400, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False)
    assert load_tokenizer(made["byte_bpe"].folder).get_vocab() == oracle.get_vocab()


def test_special_tokens_are_those_of_the_family(made):
    encoder, decoder, both = (load_tokenizer(made[kind].folder) for kind in ("wordpiece", "byte_bpe", "unigram"))
    assert encoder.convert_ids_to_tokens(encoder("好", "天")["input_ids"]) == ["[CLS]", "好", "[SEP]", "天", "[SEP]"]
    assert encoder("好", "天")["token_type_ids"] == [0, 0, 0, 1, 1] and encoder.mask_token == "[MASK]"
    assert decoder.eos_token == decoder.bos_token == "<|endoftext|>" and "token_type_ids" not in decoder("a")
    assert both("天")["input_ids"][-1] == both.eos_token_id and both.pad_token_id == 0
    assert both.convert_tokens_to_ids("<extra_id_0>") == len(both) - 1 and both.convert_tokens_to_ids("<extra_id_99>") == len(both) - 100
    assert both.tokenize("天<extra_id_3>") == [*both.tokenize("天"), "<extra_id_3>"]
    assert both.mask_token == "<mask>" and len(both.extra_special_tokens) == 100


_ANEW = """
import json, sys
from pathlib import Path
from trustbase.model.vocabulary import train_tokenizer
texts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
for kind, size, family in json.loads(sys.argv[2]):
    lower = family == "encoder"
    made = train_tokenizer(kind, texts, vocab_size=size, lower_case=lower, folder=Path(sys.argv[3]) / kind, family=family, max_length=64)
    print(made.digest)
"""


def test_another_process_makes_the_same_bytes(made, tmp_path):
    """The library hashes words in another order each time it is started; nothing may depend on it."""
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS), encoding="utf-8")
    wanted = json.dumps([[kind, SIZES[kind], FAMILY[kind]] for kind in TOKENIZER_KINDS])
    command = [sys.executable, "-c", _ANEW, str(tmp_path / "texts.json"), wanted, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == [made[kind].digest for kind in TOKENIZER_KINDS]


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_a_vocabulary_larger_than_the_corpus_supports_is_refused_with_the_size_that_works(tmp_path, kind):
    with pytest.raises(UsageError, match="larger than the corpus supports") as refused:
        make(tmp_path / "large", kind, size=5000)
    assert not (tmp_path / "large").exists()
    most = int(refused.value.hint.split("vocab_size: ")[1].split()[0])
    assert make(tmp_path / "most", kind, size=most).size == most


def test_what_cannot_be_trained_is_refused(tmp_path):
    with pytest.raises(UsageError, match="at least 257"):
        make(tmp_path, "byte_bpe", size=200)
    with pytest.raises(DataError, match="no text"):
        make(tmp_path, "wordpiece", texts=[" ", "\n"])
    with pytest.raises(TypeError, match="anew"):
        make(tmp_path, "wordpiece", texts=iter(TEXTS))


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_the_least_vocabulary_can_be_made(tmp_path, kind):
    least = least_vocabulary(kind, FAMILY[kind])
    texts = ["天 气 天 气", "abc"] * 3
    assert make(tmp_path / kind, kind, size=least, texts=texts).size == len(load_tokenizer(tmp_path / kind)) == least


def test_rare_characters_give_way_and_the_share_of_covered_ones_is_said(tmp_path):
    made = make(tmp_path / "a", "characters", size=60)
    assert 0.3 < made.covered_characters < 0.95
    tokenizer = load_tokenizer(made.folder)
    lost = fertility(tokenizer, TEXTS).covered_characters
    assert lost <= made.covered_characters + 1e-9  # a word with one lost letter is lost as a whole
    full = make(tmp_path / "b", "characters")
    assert full.covered_characters > 0.95 and full.documents == len(TEXTS) and full.to_json()["kind"] == "characters"


def test_case_is_folded_only_where_asked(tmp_path):
    folded, kept = (load_tokenizer(make(tmp_path / str(lower), "bpe", lower=lower).folder) for lower in (True, False))
    assert folded.tokenize("The") == folded.tokenize("the") and kept.tokenize("The") != kept.tokenize("the")


def test_a_report_counts_what_can_be_counted_by_hand(made, tmp_path):
    pytest.importorskip("jieba")
    tokenizer = load_tokenizer(made["characters"].folder)
    found = fertility(tokenizer, ["酒店很好", "龘"])  # 3 or 4 tokens of one character each, and one unknown
    assert found.tokens == 5 and found.characters == 5 and found.unknown_tokens == 0.2 and found.covered_characters == 0.8
    assert found.words == 4 and found.whole_words == 0.5  # 酒店 | 很 | 好 | 龘: 很 and 好 are one known token each


def test_a_report_stands_beside_that_of_the_base(made, tiny_folder):
    pytest.importorskip("jieba")
    ours, base = load_tokenizer(made["characters"].folder), load_tokenizer(tiny_folder)
    report = tokenizer_report(ours, {"zh": iter(WRITTEN[2:5]), "en": WRITTEN[:2]}, base=base)
    mine, theirs = report["languages"]["zh"], report["base"]["languages"]["zh"]
    assert mine["unknown_tokens"] < 0.2 < theirs["unknown_tokens"] and mine["covered_characters"] > theirs["covered_characters"]
    assert report["languages"]["en"]["tokens_per_word"] >= 1 and report["vocab_size"] == 170
    json.dumps(report, allow_nan=False)
    with pytest.raises(DataError, match="fr: 1 texts hold no word"):
        tokenizer_report(ours, {"fr": ["…"]})
