"""More tokens for a checkpoint: their ids, their embeddings, what stays as it was; and that the whole loads again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from trustbase.errors import ModelError, UsageError
from trustbase.model.extension import extend_vocabulary, load_whole
from trustbase.model.growth import grown, learn_growth
from trustbase.model.load import resolve_base
from trustbase.model.options import ModelOptions
from trustbase.model.pretrained import load_classifier
from trustbase.model.scratch import build_model, save_base, write_scratch_base
from trustbase.model.tokenizer import encode, load_tokenizer, token_stats
from trustbase.model.vocabulary import train_tokenizer

CHINESE = ["酒店的服务很好，房间很干净。", "电影不好看，故事很长。", "饭店的饭很好吃，服务也好。"] * 3
MEDICAL = ["myocarditis and carditis", "the patient has myocarditis", "pericarditis was found in a patient"] * 3


@pytest.fixture(scope="module")
def bert(tiny_folder):
    return resolve_base(str(tiny_folder))


def small(folder: Path, kind: str, family: str, size: int, objectives=()):
    """A tiny pretrained-like base with a tokenizer of its own, with heads."""
    texts = ["the film is good and the food was bad", "a very fine day for the film and the service"] * 6
    made = train_tokenizer(kind, texts, vocab_size=size, lower_case=False, folder=folder / "tokenizer", family=family, max_length=32)
    tokenizer = load_tokenizer(made.folder)
    options = ModelOptions(family=family, layers=1, width=16, heads=2, context=32)
    model = build_model(options, tokenizer, objectives=objectives, seed=0)
    described = {"reference": "scratch", "revision": "seed 0", "digest": "sha256:0", "licence": "unknown", "lineage": []}
    save_base(model, tokenizer, folder / "base", described=described, meta={}, context=32)
    return resolve_base(str(folder / "base"))


def test_an_english_base_learns_to_read_chinese(bert, tmp_path):
    """Half of the characters are asked for; new ids follow the old ones, old ids and rows stay, the whole loads as a base."""
    before = token_stats(load_tokenizer(bert.folder), CHINESE, 128).unknown_tokens
    made = extend_vocabulary(bert, CHINESE, 12, tmp_path / "zh", seed=1)
    old, new = load_tokenizer(bert.folder), load_tokenizer(made.folder)
    assert made.vocab_size == len(new) == len(old) + 12 and made.from_pieces + made.drawn == 12
    assert [new.convert_tokens_to_ids(token) for token in made.tokens] == list(range(len(old), len(old) + 12))
    assert {"好", "的", "，"} <= set(made.tokens)  # the most frequent first
    assert token_stats(new, CHINESE, 128).unknown_tokens < 0.7 * before
    english = ["the film was good", "a very bad service!"]
    assert np.array_equal(encode(new, english, max_length=32).ids, encode(old, english, max_length=32).ids)
    whole, first = load_whole(made.folder), load_whole(bert.folder)
    rows, known = (model.get_input_embeddings().weight.detach() for model in (whole, first))
    assert torch.equal(rows[: len(known)], known) and rows.shape[0] == whole.config.vocab_size == len(new)
    added = rows[len(known) :]
    assert len({tuple(row.tolist()) for row in added}) == 12  # no two start alike, or they could never differ
    assert float((added - known.mean(0)).norm(dim=1).max()) < float((known - known.mean(0)).norm(dim=1).mean())
    base = resolve_base(str(made.folder))
    assert bert.digest in base.lineage[-1] and base.digest == made.digest
    assert load_classifier(base.folder, label_names=["a", "b"])(**new(CHINESE[0], return_tensors="pt")).logits.shape == (1, 2)
    assert json.loads((made.folder / "trustbase.json").read_text())["meta"]["extended"]["new_tokens"] == 12


def test_embeddings_start_from_the_mean_of_the_pieces(bert, tmp_path):
    made = extend_vocabulary(bert, MEDICAL, 20, tmp_path / "med")
    old, new = load_tokenizer(bert.folder), load_tokenizer(made.folder)
    known, rows = (load_whole(folder).get_input_embeddings().weight for folder in (bert.folder, made.folder))
    words = [token for token in made.tokens if not token.startswith("##")]
    assert "patient" in words and any(token.startswith("##") for token in made.tokens)
    for token in words:
        pieces = old.convert_tokens_to_ids(old.tokenize(token))
        torch.testing.assert_close(rows[new.convert_tokens_to_ids(token)], known[pieces].mean(0))
    inner = next(token for token in made.tokens if token.startswith("##"))
    pieces = old.convert_tokens_to_ids(old.tokenize("x" + inner[2:])[1:])
    torch.testing.assert_close(rows[new.convert_tokens_to_ids(inner)], known[pieces].mean(0))
    assert len(new.tokenize("patient")) == 1 < len(old.tokenize("patient"))
    assert made.drawn == 0


@pytest.mark.parametrize(
    ("kind", "family", "size"), [("byte_bpe", "decoder", 290), ("unigram", "encoder-decoder", 124), ("bpe", "encoder", 60)]
)
def test_other_kinds_grow_too_and_models_keep_their_heads(tmp_path, kind, family, size):
    base = small(tmp_path, kind, family, size)
    texts = ["the filmstar filmed a filmstar"] * 4
    made = extend_vocabulary(base, texts, 3, tmp_path / "grown")
    old, new = load_tokenizer(base.folder), load_tokenizer(made.folder)
    assert len(new) == len(old) + 3 and len(new(texts[0])["input_ids"]) < len(old(texts[0])["input_ids"])
    if kind == "byte_bpe":
        text = "the filmstar 很好"
        assert new.decode(new(text)["input_ids"]) == text
    whole = load_whole(made.folder)
    assert type(whole) is type(load_whole(base.folder))
    output = whole.get_output_embeddings()
    assert output.weight is whole.get_input_embeddings().weight and output.weight.shape[0] == len(new)
    inputs = {"input_ids": torch.tensor([new(texts[0])["input_ids"]])}
    if family == "encoder-decoder":
        inputs["labels"] = inputs["input_ids"]
    assert whole(**inputs).logits.shape[-1] == len(new)


def test_bias_of_a_masked_head_grows_with_it(tmp_path):
    base = small(tmp_path, "wordpiece", "encoder", 50, ("masked", "next_sentence"))
    model = load_whole(base.folder)
    with torch.no_grad():
        model.cls.predictions.bias.copy_(torch.arange(50.0))
    described = {"reference": "x", "revision": "1", "digest": "sha256:0", "licence": "unknown", "lineage": []}
    save_base(model, load_tokenizer(base.folder), tmp_path / "biased", described=described, meta={}, context=32)
    made = extend_vocabulary(resolve_base(str(tmp_path / "biased")), [], ["filmed"], tmp_path / "grown")
    whole, old = load_whole(made.folder), load_tokenizer(base.folder)
    pieces = old.convert_tokens_to_ids(old.tokenize("filmed"))
    assert len(pieces) == 3
    assert whole.cls.predictions.bias.shape == (51,) and whole.cls.predictions.bias[50].item() == pytest.approx(np.mean(pieces))
    assert whole.cls.predictions.decoder.bias is whole.cls.predictions.bias


def test_an_untied_head_gets_rows_of_its_own(tmp_path):
    base = small(tmp_path, "byte_bpe", "decoder", 290)
    model = load_whole(base.folder)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(torch.randn(290, 16))
    described = {"reference": "x", "revision": "1", "digest": "sha256:0", "licence": "unknown", "lineage": []}
    save_base(model, load_tokenizer(base.folder), tmp_path / "untied", described=described, meta={}, context=32)
    made = extend_vocabulary(resolve_base(str(tmp_path / "untied")), [], ["filmstar"], tmp_path / "grown")
    whole, old = load_whole(made.folder), load_tokenizer(base.folder)
    row = load_tokenizer(made.folder).convert_tokens_to_ids("filmstar")
    pieces = old("filmstar")["input_ids"]
    torch.testing.assert_close(whole.lm_head.weight[row], model.lm_head.weight[pieces].mean(0))
    torch.testing.assert_close(whole.transformer.wte.weight[row], model.transformer.wte.weight[pieces].mean(0))


def test_a_word_with_a_letter_that_was_unknown_starts_from_the_letters_that_were_known(bert, tmp_path):
    made = extend_vocabulary(bert, [], ["caß"], tmp_path / "named")
    old, new = load_tokenizer(bert.folder), load_tokenizer(made.folder)
    assert old.tokenize("caß") == ["[UNK]"] and new.tokenize("caß") == ["caß"] and made.from_pieces == 1
    known, rows = (load_whole(folder).get_input_embeddings().weight for folder in (bert.folder, made.folder))
    torch.testing.assert_close(rows[-1], known[old.convert_tokens_to_ids(["c", "##a"])].mean(0))


def test_named_tokens_must_be_words_to_the_tokenizer(bert, tmp_path):
    made = extend_vocabulary(bert, [], ["Myocarditis", "龘"], tmp_path / "named")
    assert made.tokens == ("myocarditis", "龘") and (made.from_pieces, made.drawn) == (1, 1)
    with pytest.raises(UsageError, match="cannot be added") as refused:
        extend_vocabulary(bert, [], ["心肌炎", "good", "fine"], tmp_path / "no")
    said = [str(problem) for problem in refused.value.problems]
    assert "3 words (心 | 肌 | 炎)" in said[0] and "has it already" in said[1] and len(said) == 3
    assert not (tmp_path / "no").exists()


def test_more_tokens_than_the_texts_support_are_refused_with_the_number_that_works(bert, tmp_path):
    with pytest.raises(UsageError, match="more than the texts support") as refused:
        extend_vocabulary(bert, CHINESE, 500, tmp_path / "no")
    most = int(refused.value.hint.split("add: ")[1].split()[0])
    assert len(extend_vocabulary(bert, CHINESE, most, tmp_path / "most").tokens) == most


def test_merging_on_repeats_what_training_at_once_would_have_merged(tmp_path):
    """Oracle: BPE trained to 280 and grown to 300 is BPE trained to 300."""
    rng = np.random.default_rng(0)
    letters, chances = list("etaoins好天"), np.array([9, 8, 7, 6, 5, 4, 3, 2, 1]) / 45
    texts = [" ".join("".join(rng.choice(letters, rng.integers(2, 8), p=chances)) for _ in range(20)) for _ in range(100)]
    sizes = {}
    for size in (280, 300):
        folder = tmp_path / str(size)
        train_tokenizer("byte_bpe", texts, vocab_size=size, lower_case=False, folder=folder, family="decoder")
        sizes[size] = load_tokenizer(folder).backend_tokenizer
    bigger = grown(sizes[280], learn_growth(sizes[280], texts, 20))
    ours, wanted = (set(tokenizer.get_vocab()) for tokenizer in (bigger, sizes[300]))
    assert len(ours & wanted) >= 298  # pairs of equal frequency may come in another order
    first = list(json.loads(bigger.to_str())["model"]["merges"])
    oracle = json.loads(sizes[300].to_str())["model"]["merges"]
    assert first[: len(oracle) - 20] == oracle[:-20]


def test_a_vocabulary_that_cannot_grow_is_refused(bert):
    from tokenizers import Tokenizer, models

    with pytest.raises(ModelError, match="WordLevel"):
        learn_growth(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), ["a"], 1)


def test_the_base_itself_is_not_touched(bert, tmp_path):
    extend_vocabulary(bert, MEDICAL, 2, tmp_path / "med")
    assert resolve_base(str(bert.folder)).digest == bert.digest
    tokenizer = load_tokenizer(bert.folder)
    scratch = write_scratch_base(ModelOptions(layers=1, width=8, heads=1), tokenizer, tmp_path / "s", seed=0, tokenizer_from="tiny")
    assert extend_vocabulary(scratch, MEDICAL, 2, tmp_path / "two").vocab_size == len(tokenizer) + 2
