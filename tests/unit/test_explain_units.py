"""Inputs in units: what is left when some are left out, in English and Chinese, of pairs, entities, templates and columns."""

import numpy as np
import pytest

from trustbase.audit.explain.units import fields, words
from trustbase.data.cells import Reading
from trustbase.data.pair import CELL, join
from trustbase.data.template import TextTemplate


def without(units, *left_out):
    mask = np.ones((1, len(units)), bool)
    mask[0, [units.names.index(name) for name in left_out]] = False
    return units.texts(mask)[0]


TEXTS = [
    "A well-made film, isn't it? I paid 3.50 for it.",
    "  two  blanks, and (marks) — and… ",
    "这部电影真的很好看，我推荐给大家。",
    "iPhone 13 的屏幕不错，price 5,999 元",
    "",
    "!!!",
    "ünïcödé καλό 日本語のテキスト",
]


@pytest.mark.parametrize("characters", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_its_units_and_what_stands_between(text, characters):
    units = words(text, characters=characters)
    assert units.texts(np.ones((1, len(units)), bool)) == [text]
    assert [text[start:end] for start, end in units.spans] == list(units.names)
    assert len(units.breaks) == max(len(units) - 1, 0)
    bare = units.texts(np.zeros((1, len(units)), bool))[0]
    assert not any(sign.isalnum() for sign in bare)  # nothing is left but marks
    for place in range(len(units)):
        mask = np.ones((1, len(units)), bool)
        mask[0, place] = False
        assert units.texts(mask)[0].replace(" ", "") == (text[: units.spans[place][0]] + text[units.spans[place][1] :]).replace(" ", "")


def test_words_of_english():
    units = words(TEXTS[0])
    assert units.names == ("A", "well-made", "film", "isn't", "it", "I", "paid", "3.50", "for", "it") and units.kind == "words"
    assert without(units, "film", "paid") == "A well-made , isn't it? I 3.50 for it."
    assert units.breaks[:5] == (0, 0, 1, 0, 3)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("यह फिल्म बहुत अच्छी है।", ("यह", "फिल्म", "बहुत", "अच्छी", "है")),
        ("cafe\u0301 noir, isn't", ("cafe\u0301", "noir", "isn't")),
        ("كَانَ الفيلم جيدًا", ("كَانَ", "الفيلم", "جيدًا")),
    ],
)
def test_marks_that_combine_with_letters_go_with_their_word(text, names):
    assert words(text).names == names
    for characters in (False, True):
        units = words(text, characters=characters)
        assert not units.texts(np.zeros((1, len(units)), bool))[0].strip(" ,।'")


def test_words_of_chinese_are_segmented():
    pytest.importorskip("jieba")
    units = words(TEXTS[2])
    assert "电影" in units.names and "推荐" in units.names and units.kind == "words"
    assert without(units, "电影") == TEXTS[2].replace("电影", "")
    assert words(TEXTS[2], characters=True).names == tuple("这部电影真的很好看我推荐给大家")


def test_chinese_without_a_segmenter_is_read_by_characters(monkeypatch):
    monkeypatch.setattr("trustbase.audit.explain.units.util.find_spec", lambda name: None)
    assert words("电影很好").names == tuple("电影很好") and words("电影很好").kind == "characters"


def test_the_boundary_of_a_pair_stays():
    units = words(join("is it good", "yes it is"))
    assert without(units, "good", "yes") == join("is it ", "it is") and units.texts(np.zeros((1, 6), bool)) == ["\x1f"]


def test_entities_that_a_relation_is_asked_of_are_never_left_out():
    text = "Dr \x0ePER\x02Ann Lee\x0e works for \x0f\x02Acme\x0f today"
    units = words(text)
    assert units.names == ("Dr", "works", "for", "today")
    assert units.texts(np.zeros((1, 4), bool)) == ["\x0ePER\x02Ann Lee\x0e \x0f\x02Acme\x0f "]
    assert words("good \x0efilm bad\x0e more").names == ("good", "film", "bad", "more")  # no entities: nothing is kept back


def test_columns_beside_a_text_are_units_that_can_be_empty():
    units = words(f"good film{CELL}42{CELL}blue", columns=("age", "colour"))
    assert units.names == ("good", "film", "age", "colour") and units.spans[2:] == (None, None)
    assert without(units, "film", "age") == f"good {CELL}{CELL}blue"


def test_fields_of_a_template_are_left_out_as_empty_cells():
    reading = Reading(TextTemplate.parse("age {age}, works as {job|nothing}", None), ("income",))
    units = fields({"age": "42", "job": "smith", "income": "9", "other": "x"}, reading)
    assert units.names == ("age", "job", "income") and units.kind == "fields"
    assert units.texts(np.ones((1, 3), bool)) == [f"age 42, works as smith{CELL}9"]
    assert without(units, "job", "income") == f"age 42, works as nothing{CELL}" and without(units, "age").startswith("age unknown")
