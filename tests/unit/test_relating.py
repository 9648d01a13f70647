"""Relations between entities that a model found: which pairs are asked, how they are marked, and what is told of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trustbase.data import marked
from trustbase.errors import DataError
from trustbase.records import Decision, LabelSchema
from trustbase.relating import FoundEntity, FoundRelation, entities_of, ordered_pairs, relate, relations

LABELS = LabelSchema(("employs", "none", "owns"), "owns", "owns", neutral="none")
TEXT = "Ann runs Acme in Bonn."
ANN, ACME, BONN = FoundEntity(0, 3, "PER", 0.9), FoundEntity(9, 13, "ORG", 0.8), FoundEntity(17, 21, "LOC", 0.7)


class Teller:
    """Says that Acme employs Ann and owns Bonn, and nothing of any other pair; remembers what it was asked."""

    def __init__(self, labels: LabelSchema = LABELS) -> None:
        self.info: Any = SimpleNamespace(labels=labels, decision=Decision(), answer_kind="classes")
        self.asked: list[str] = []
        self.calls = 0

    def scores(self, texts: Sequence[str]) -> NDArray[Any]:
        self.asked += texts
        self.calls += 1
        told = [marked.parts(text) for text in texts]
        held = {("Acme", "Ann"): 0, ("Acme", "Bonn"): 2}
        codes = [held.get((found.head, found.tail), 1) for found in told if found is not None]
        return np.eye(3)[codes] * 0.8 + 0.2 / 3


def test_every_ordered_pair_is_asked_and_what_holds_is_told() -> None:
    teller = Teller()
    (found,) = relate(teller, [TEXT], [[ANN, ACME, BONN]])
    assert found.pairs == len(teller.asked) == len(set(teller.asked)) == 6
    assert found.entities == (ANN, ACME, BONN) and found.text == TEXT
    assert found.relations == (
        FoundRelation(1, 0, "employs", pytest.approx(0.8 + 0.2 / 3)),
        FoundRelation(1, 2, "owns", pytest.approx(0.8 + 0.2 / 3)),
    )
    assert marked.mark(TEXT, marked.Span(9, 13), marked.Span(0, 3)) in teller.asked


def test_types_are_told_in_the_words_of_the_relation_rows_and_others_are_in_no_pair() -> None:
    teller = Teller()
    (found,) = relate(teller, [TEXT], [[ANN, ACME, BONN]], types={"PER": "person", "ORG": "company"})
    assert found.pairs == 2 and [item.label for item in found.relations] == ["employs"]
    told = [marked.parts(text) for text in teller.asked]
    assert [item.types for item in told if item is not None] == [("person", "company"), ("company", "person")]


def test_entities_that_stand_too_far_apart_are_in_no_pair() -> None:
    assert list(ordered_pairs([ANN, ACME, BONN], farthest=5)) == [(1, 2), (2, 1)]
    assert list(ordered_pairs([ANN, ACME, BONN], farthest=6)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert list(ordered_pairs([ANN])) == []


def test_texts_keep_their_order_and_need_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustbase.relating._AT_ONCE", 4)
    teller, seen = Teller(), []
    texts = ["nothing", TEXT, "Ann", TEXT]
    found = relate(
        teller, texts, [[], [ACME, BONN], [ANN], [ANN, ACME, BONN]], emit=lambda kind, **more: seen.append((more["done"], more["total"]))
    )
    assert [item.text for item in found] == texts and [item.pairs for item in found] == [0, 2, 0, 6]
    assert [len(item.relations) for item in found] == [0, 1, 0, 2]
    assert teller.calls == 2 and seen == [(0, 8), (4, 8), (8, 8)]
    assert [item.pairs for item in relate(Teller(), ["nothing"], [[]])] == [0]


def test_without_a_label_for_nothing_every_pair_is_told() -> None:
    (found,) = relate(Teller(LabelSchema(LABELS.names, "owns", "owns")), [TEXT], [[ANN, ACME]])
    assert sorted(item.label for item in found.relations) == ["employs", "none"]


def test_entities_are_those_of_the_tags() -> None:
    table = np.array([[0, 3, 0.1, 0.8, 0.1], [4, 8, 0.9, 0.05, 0.05], [9, 13, 0.2, 0.2, 0.6]])
    table[2, 2:] = 0.1, 0.7, 0.2
    scores = np.empty(1, dtype=object)
    scores[0] = table
    finder: Any = SimpleNamespace(info=SimpleNamespace(labels=LabelSchema(("O", "B-PER", "I-PER"), "O", "O")), scores=lambda texts: scores)
    (found,) = entities_of(finder, [TEXT])
    assert found == (FoundEntity(0, 3, "PER", pytest.approx(0.8)), FoundEntity(9, 13, "PER", pytest.approx(0.7)))


def test_texts_that_cannot_be_marked_are_all_named_before_any_bundle_is_opened(tmp_path: Path) -> None:
    texts: list[Any] = ["fine", 3, "a\x0eb", "a\x1fb\x02"]
    with pytest.raises(DataError) as caught:
        relations(tmp_path / "none", tmp_path / "none", texts)
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 3 and "texts[1]" in told[0] and "U+000E" in told[1] and "U+0002, U+001F" in told[2]
