"""What attacks put in place of words: of masked language models, and by the gradient of the model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attack_world import LABELS, MARK, trained

from tiny import tiny_bert
from trustbase.audit.masked_words import open_masked
from trustbase.audit.robustness.gradient_swap import Lexicon, _tokens_of, gradients
from trustbase.audit.robustness.targets import word_spans
from trustbase.audit.robustness.words_attack import space_of
from trustbase.errors import UsageError
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.tokenizer import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = ["good", "great", "bad", "food", "service", "was", "the", "好", "坏", "酒", "店", "很"]


@pytest.fixture(scope="module")
def masked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("masked")
    base = tiny_bert(folder / "base", WORDS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, tokenizer = BertForMaskedLM(BertConfig.from_pretrained(base)), load_tokenizer(base)
        with torch.no_grad():  # of untrained scores the likeliest few may hold no word at all
            model.cls.predictions.bias[tokenizer.convert_tokens_to_ids(WORDS)] += 1
        model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


def test_a_masked_model_puts_whole_words(masked_folder: Path) -> None:
    filler = open_masked(str(masked_folder / "model"), option="robustness.candidates")
    text = "The Food was unseen"
    spans = word_spans(text)
    found = filler.options(text, spans, range(len(spans)))
    assert set(found) == {0, 1, 2, 3}  # the last one is of several pieces, and hidden as one
    assert all(
        word.casefold() in WORDS and word.casefold() != text[slice(*spans[place])].casefold() for place in found for word in found[place]
    )
    assert all(word[0].isupper() for word in found[0]) and all(word.islower() for word in found[2])
    assert filler.options(text, spans, range(len(spans))) == found
    chinese = filler.options("酒店很好", [(0, 2), (2, 3), (3, 4)], [0, 1, 2])
    assert all(len(word) == 2 and word != "酒店" for word in chinese[0]) and len(chinese[0]) > 3
    assert all(len(word) == 1 for place in (1, 2) for word in chinese[place])


def test_a_model_that_predicts_no_hidden_words_gives_no_candidates(masked_folder: Path) -> None:
    with pytest.raises(UsageError, match="predicts no hidden words"):
        open_masked(str(masked_folder / "base"), option="robustness.candidates")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Predictor.open(trained(tmp_path_factory.mktemp("world"), planted=True, steps=60), threads=1) as opened:
        yield opened


def test_gradients_are_those_of_the_embeddings(predictor: Predictor) -> None:
    """The oracle hands the model embeddings of its own making."""
    import torch

    texts, truth = [f"table {MARK} window", "garden paper horse street river money"], np.array([1, 0])
    encoded = predictor.runtime.prepare(texts)
    with predictor.white_box() as box:
        found = dict(gradients(encoded, truth, box))
        for row, text in enumerate(texts):
            ids = box.tokenizer(text, return_tensors="pt")["input_ids"]
            with torch.enable_grad():
                own = box.model.get_input_embeddings()(ids).detach().requires_grad_(True)
                loss = torch.nn.functional.cross_entropy(box.model(inputs_embeds=own).logits, torch.tensor([truth[row]]))
                slope = torch.autograd.grad(loss, own)[0][0].numpy()
            np.testing.assert_allclose(found[row][: len(slope)], slope, atol=1e-5)


def test_the_gradient_proposes_the_word_that_the_model_goes_by(predictor: Predictor) -> None:
    text = "garden paper horse street river money"
    encoded = predictor.runtime.prepare([text])
    with predictor.white_box() as box:
        (_, slope), *_ = gradients(encoded, np.array([LABELS.index("bad")]), box)
    lexicon = Lexicon(space_of_model(predictor))
    space = space_of_model(predictor)
    words, gain = lexicon.proposals(["paper"], space.matrix[encoded.ids[2:3]], slope[2:3])[0]
    assert MARK in words and "paper" not in words and len(words) == len(set(words)) <= 10 and gain > 0


def space_of_model(predictor: Predictor) -> Any:
    class Holder:
        pass

    context: Any = Holder()
    context.predictor = predictor
    return space_of(context, None)


def test_words_are_found_among_the_tokens_of_a_pair(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve_base(str(tiny_bert(tmp_path, WORDS))).folder)
    text = "good food\x1fbad service zebra\x1ecell"
    spans = word_spans(text, ("column",))
    whole = tokenizer.backend_tokenizer.encode("good food", "bad service zebra").ids
    at = _tokens_of(text, spans, whole, tokenizer)
    assert {text[slice(*spans[place])]: token for place, token in at.items()} == {"good": 1, "food": 2, "bad": 4, "service": 5}
    assert _tokens_of(text, spans, whole[:3], tokenizer).keys() == {0, 1}  # what was cut off is no token
