"""Terms are those of scikit-learn's own analysers; columns are told apart by their values."""

from __future__ import annotations

from typing import Any

import pytest

from trustbase.data.columns import kind_of_column, number_of
from trustbase.data.pair import join
from trustbase.data.terms import Manner, _segment, finder, manner_of

TEXTS = ["The film was GOOD: 7 hours,  and\n\nmore.", "", "x", "Café, naïve — I'm 1st", "这家酒店的服务非常好 really", "a  b"]
SHAPES: list[tuple[Manner, dict[str, Any]]] = [
    ("words", {"token_pattern": r"(?u)\b\w+\b"}),
    ("segmented", {"tokenizer": _segment, "token_pattern": None}),
    ("characters", {"analyzer": "char"}),
]


@pytest.mark.parametrize("longest", [1, 2, 3])
@pytest.mark.parametrize(("manner", "shape"), SHAPES, ids=[manner for manner, _ in SHAPES])
def test_terms_are_those_of_scikit_learn(manner: Manner, shape: dict[str, Any], longest: int) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    pytest.importorskip("jieba")
    oracle = CountVectorizer(ngram_range=(1, longest), **shape).build_analyzer()
    find = finder(manner, longest=longest)
    assert sum(len(find(text)) for text in TEXTS) > 15
    assert [find(text) for text in TEXTS] == [list(oracle(text)) for text in TEXTS]


def test_terms_of_a_pair_say_where_they_stand() -> None:
    found = finder("words", longest=1, pairs=True)(join("a red car", "the red bus"))
    assert sorted(set(found)) == ["0 a", "0 car", "0 red", "1 bus", "1 red", "1 the", "both red", "shared 2"]


def test_manner_follows_the_letters() -> None:
    assert manner_of(["plain English"]) == "words" and manner_of(["这家酒店的服务"]) in ("segmented", "characters")


def test_columns_are_told_apart_by_their_values() -> None:
    assert kind_of_column(["1", None, "2.5e3"]) == "numbers"
    assert kind_of_column(["1", "x", ""]) == "categories" and kind_of_column([None, None]) == "categories"
    assert kind_of_column([f"a text of row {row}" for row in range(30)]) == "texts"
    assert kind_of_column([str(row / 7) for row in range(30)]) == "numbers"
    assert [number_of(value) for value in ("1", " 2 ", "inf", "nan", "", None)] == [1.0, 2.0, None, None, None, None]
