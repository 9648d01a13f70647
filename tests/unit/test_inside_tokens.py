"""Where tokens stand in an input: of texts, pairs, marked entities and templates, in English and Chinese; and what cannot be told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tiny import WORDS, tiny_bert, tiny_roberta
from trustbase.audit.explain.tokens import Tokens, places_of, shares_of, tokens_of
from trustbase.audit.explain.units import fields, words
from trustbase.data.cells import Reading
from trustbase.data.marked import columns_of
from trustbase.data.pair import join
from trustbase.data.template import TextTemplate
from trustbase.model.sequencer import Sequencer
from trustbase.model.tokenizer import load_tokenizer

SPANS = Reading(TextTemplate.parse(columns_of("text", "head", "tail"), None))


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pieces = tiny_bert(tmp_path_factory.mktemp("bert"), [*WORDS, "电", "影", "很", "好", "看"])
    return {"wordpiece": load_tokenizer(pieces), "bytes": load_tokenizer(tiny_roberta(tmp_path_factory.mktemp("roberta")))}


def placed(tokenizer: Any, text: str, **how: Any) -> Tokens:
    (found,) = tokens_of(tokenizer, Sequencer(how.get("max_length", 64), how.get("stride")), [text])
    assert isinstance(found, Tokens), found
    assert found.ids.tolist() == Sequencer(how.get("max_length", 64)).encode(tokenizer, [text]).ids.tolist()
    return found


TEXTS = [
    "Good film, isn't it?  Not 3.50!",
    "这部电影很好看 and fine",
    join("the film is good", "was it  bad?"),
    SPANS.render({"text": "Ann Lee works for Acme today", "head": "0:7", "tail": "18:22"}),
    SPANS.render({"text": "at Acme, Ann Lee works", "head": '{"start": 9, "end": 16, "type": "person"}', "tail": "3:7"}),
]


@pytest.mark.parametrize("kind", ["wordpiece", "bytes"])
@pytest.mark.parametrize("text", TEXTS)
def test_every_token_stands_where_its_characters_do(tokenizers: dict[str, Any], kind: str, text: str) -> None:
    found = placed(tokenizers[kind], text)
    names = tokenizers[kind].convert_ids_to_tokens(found.ids.tolist())
    for name, (start, end) in zip(names, found.places.tolist(), strict=True):
        if start >= 0 and name not in ("[UNK]", "<unk>") and text.isascii():
            assert name.replace("##", "").replace("Ġ", " ").strip().lower() in text[start:end].lower()
    units = words(text)
    shares = shares_of(found, places_of(units, SPANS, None))
    assert ((shares.sum(1) == 0) | np.isclose(shares.sum(1), 1)).all()
    assert (shares.sum(0) > 0).all(), units.names  # every word is some token's
    for token, unit in np.argwhere(shares > 0).tolist():
        start, end = units.spans[unit]  # type: ignore[misc]
        assert found.places[token, 0] < end and start < found.places[token, 1]


def test_a_column_is_every_place_where_the_template_shows_it(tokenizers: dict[str, Any]) -> None:
    reading = Reading(TextTemplate.parse("{age} years old, works as {job}; not {age|none} years", None))
    for row in ({"age": "41", "job": "good cook"}, {"age": "", "job": None}, {"age": None, "job": "a"}):
        units, text = fields(row, reading), reading.render(row)
        places = places_of(units, reading, row)
        said = [[text[start:end] for start, end in spans] for spans in places]
        assert said == [[row["age"] or "unknown", row["age"] or "none"], [row["job"] or "unknown"]]
        shares = shares_of(placed(tokenizers["wordpiece"], text), places)
        assert (shares.sum(0) > 0).all() and (shares.sum(1) == 0).sum() >= 8  # the template's own words are nobody's
    with pytest.raises(ValueError, match="row alone"):
        places_of(units, reading, None)


def test_the_fields_of_a_pair_stand_on_their_sides(tokenizers: dict[str, Any]) -> None:
    reading = Reading(TextTemplate.parse(join("{a} and {b}", "the {b}"), None))
    row = {"a": "good", "b": "bad film"}
    text = reading.render(row)
    places = places_of(fields(row, reading), reading, row)
    assert [[text[start:end] for start, end in spans] for spans in places] == [["good"], ["bad film", "bad film"]]
    found = placed(tokenizers["wordpiece"], text)
    assert found.segments is not None and found.segments.sum() == 4  # the, bad, film and a special token
    assert np.isclose(shares_of(found, places).sum(0), [1, 4]).all()


def test_a_token_over_two_units_is_shared_by_characters() -> None:
    tokens = Tokens(np.arange(3), None, np.array([[-1, -1], [0, 4], [4, 6]]))
    assert shares_of(tokens, (((0, 3),), ((3, 4),))).tolist() == [[0, 0], [0.75, 0.25], [0, 0]]
    assert shares_of(tokens, (((2, 3), (5, 6)), ())).tolist() == [[0, 0], [1, 0], [1, 0]]
    assert shares_of(tokens, ()).shape == (3, 0)


def test_of_a_text_that_is_cut_the_tokens_that_are_read_are_told(tokenizers: dict[str, Any]) -> None:
    text = "good film " * 20
    found = placed(tokenizers["wordpiece"], text, max_length=12)
    assert found.places[1:-1, 0].tolist() == [5 * place for place in range(10)] and found.places[-1, 0] == -1
    assert shares_of(found, places_of(words(text), SPANS, None)).sum() == 10


@pytest.mark.parametrize(
    ("text", "why"), [("good film " * 20, "windows"), (join("good film " * 20, "bad"), "two texts"), (TEXTS[3] + " good" * 60, "entities")]
)
def test_what_cannot_be_told_is_said(tokenizers: dict[str, Any], text: str, why: str) -> None:
    (found,) = tokens_of(tokenizers["wordpiece"], Sequencer(20, 5 if why == "windows" else None), [text])
    assert isinstance(found, str) and why in found
