"""Relations between entities that a model found: which pairs are asked, how they are marked, and what is told of the answers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trustbase.data import marked
from trustbase.errors import DataError, UsageError
from trustbase.model.questions import Answer, Failure, Question, Result
from trustbase.outputs.related import FoundEntity, FoundRelation, Pairing, Related, ask_both, entities_of, relate
from trustbase.records import ArtifactInfo, Decision, LabelSchema
from trustbase.relating import relations

LABELS = LabelSchema(("employs", "none", "owns"), "owns", "owns", neutral="none")
TEXT = "Ann runs Acme in Bonn."
ANN, ACME, BONN = FoundEntity(0, 3, "PER", 0.9), FoundEntity(9, 13, "ORG", 0.8), FoundEntity(17, 21, "LOC", 0.7)
TAGS = ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")


class Teller:
    """Says that Acme employs Ann and owns Bonn, and nothing of any other pair; remembers what it was asked."""

    def __init__(self, labels: LabelSchema = LABELS, broken: str = "") -> None:
        self.info: Any = SimpleNamespace(labels=labels, decision=Decision(), answer_kind="classes")
        self.asked: list[str] = []
        self.calls, self.broken = 0, broken

    def ask_all(self, questions: Sequence[Question]) -> list[Result]:
        texts = [question.input for question in questions]
        assert {question.kind for question in questions} == {"class_scores"}
        self.asked += texts
        self.calls += 1
        told = [marked.parts(text) for text in texts]
        held = {("Acme", "Ann"): 0, ("Acme", "Bonn"): 2}
        codes = [held.get((found.head, found.tail), 1) for found in told if found is not None]
        rows = np.eye(3)[codes] * 0.8 + 0.2 / 3
        bad = [self.broken != "" and self.broken in text for text in texts]
        return [Failure("not_finite", "a score is NaN") if no else Answer(row) for row, no in zip(rows, bad, strict=True)]


class Finder:
    """Finds in each text the entities that it was given for it."""

    def __init__(self, known: dict[str, Sequence[FoundEntity]]) -> None:
        self.info: Any = SimpleNamespace(labels=LabelSchema(TAGS, "O", "O"), answer_kind="tokens")
        self.known = known

    def ask_all(self, questions: Sequence[Question]) -> list[Result]:
        assert {question.kind for question in questions} <= {"token_scores"}
        return [Answer(self.table(self.known[question.input])) for question in questions]

    def table(self, entities: Sequence[FoundEntity]) -> np.ndarray:
        rows = []
        for item in entities:
            chances = np.full(len(TAGS), (1 - item.score) / (len(TAGS) - 1))
            chances[TAGS.index(f"B-{item.type}")] = item.score
            rows.append([item.start, item.end, *chances])
        return np.array(rows, dtype=np.float64).reshape(-1, 2 + len(TAGS))


def told_of(
    teller: Teller, texts: Sequence[str], entities: Sequence[Sequence[FoundEntity]], pairing: Pairing | None = None
) -> list[Related]:
    found = relate(teller, texts, entities, pairing or Pairing())
    return [item for item in found if isinstance(item, Related)]


def test_every_ordered_pair_is_asked_and_what_holds_is_told() -> None:
    teller = Teller()
    (found,) = told_of(teller, [TEXT], [[ANN, ACME, BONN]])
    assert found.pairs == len(teller.asked) == len(set(teller.asked)) == 6
    assert found.entities == (ANN, ACME, BONN) and found.text == TEXT
    assert found.relations == (
        FoundRelation(1, 0, "employs", pytest.approx(0.8 + 0.2 / 3)),
        FoundRelation(1, 2, "owns", pytest.approx(0.8 + 0.2 / 3)),
    )
    assert marked.mark(TEXT, marked.Span(9, 13), marked.Span(0, 3)) in teller.asked
    line = found.to_json()
    assert line["entities"][0] == {"start": 0, "end": 3, "label": "PER", "score": 0.9} and line["pairs"] == 6
    assert [(item["head"], item["tail"], item["label"]) for item in line["relations"]] == [(1, 0, "employs"), (1, 2, "owns")]
    assert sum(line["relations"][0]["probabilities"].values()) == pytest.approx(1.0)


def test_types_are_told_in_the_words_of_the_relation_rows_and_others_are_in_no_pair() -> None:
    teller = Teller()
    (found,) = told_of(teller, [TEXT], [[ANN, ACME, BONN]], Pairing({"PER": "person", "ORG": "company"}))
    assert found.pairs == 2 and [item.label for item in found.relations] == ["employs"]
    told = [marked.parts(text) for text in teller.asked]
    assert [item.types for item in told if item is not None] == [("person", "company"), ("company", "person")]


def test_entities_that_stand_too_far_apart_are_in_no_pair() -> None:
    assert list(Pairing(farthest=5).pairs([ANN, ACME, BONN])) == [(1, 2), (2, 1)]
    assert list(Pairing(farthest=6).pairs([ANN, ACME, BONN])) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert list(Pairing().pairs([ANN])) == list(Pairing({}).pairs([ANN, ACME])) == []
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = np.cumsum(rng.integers(3, 20, 12))
        row = [FoundEntity(int(start), int(start) + 2, str(rng.choice(["A", "B"])), 1.0) for start in starts]
        near = int(rng.integers(0, 60))
        every = [(h, t) for h, one in enumerate(row) for t, other in enumerate(row) if h != t and one.type == other.type == "A"]
        apart = [(h, t) for h, t in every if max(row[h].start, row[t].start) - min(row[h].end, row[t].end) <= near]
        assert list(Pairing({"A": "a"}, near).pairs(row)) == apart


def test_a_text_with_too_many_pairs_is_refused_alone_and_its_pairs_are_never_made() -> None:
    crowd = [FoundEntity(3 * at, 3 * at + 2, "PER", 1.0) for at in range(20_000)]
    teller = Teller()
    many, few = relate(teller, ["ab " * 20_000, TEXT], [crowd, [ANN, ACME, BONN]], Pairing(most=6))
    assert isinstance(many, Failure) and many.code == "too_many_pairs" and "20,000 entities" in many.reason and "6 pairs" in many.reason
    assert isinstance(few, Related) and few.pairs == len(teller.asked) == 6
    (one,) = relate(Teller(), [TEXT], [[ANN, ACME, BONN]], Pairing(most=5))
    assert isinstance(one, Failure)


def test_pairs_of_many_crowded_texts_are_not_held_at_once() -> None:
    """30 entities in each: 870 pairs, of which none holds."""
    crowd = tuple(FoundEntity(3 * at, 3 * at + 2, "PER", 1.0) for at in range(30))

    class Silent(Teller):
        def ask_all(self, questions: Sequence[Question]) -> list[Result]:
            nothing = Answer(np.array([0.0, 1.0, 0.0]))
            return [nothing] * len(questions)

    def most_held(texts: int) -> int:
        tracemalloc.start()
        found = relate(Silent(), ["ab " * 30] * texts, [crowd] * texts, Pairing())
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert all(isinstance(item, Related) and item.pairs == 870 and not item.relations for item in found)
        return held

    few, many = most_held(5), most_held(40)
    assert many < 1.3 * few, (few, many)


def test_texts_keep_their_order_and_need_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustbase.outputs.related._AT_ONCE", 4)
    teller = Teller()
    texts = ["nothing", TEXT, "Ann", TEXT]
    found = told_of(teller, texts, [[], [ACME, BONN], [ANN], [ANN, ACME, BONN]])
    assert [item.text for item in found] == texts and [item.pairs for item in found] == [0, 2, 0, 6]
    assert [len(item.relations) for item in found] == [0, 1, 0, 2]
    assert teller.calls == 2
    assert [item.pairs for item in told_of(Teller(), ["nothing"], [[]])] == [0]


def test_what_one_text_cannot_be_asked_about_leaves_the_others_alone() -> None:
    entities = [[ANN, ACME], Failure("bad_input", "no text"), [ANN, ACME], [FoundEntity(0, 1, "PER", 1.0)] * 1]
    found = relate(Teller(broken="ruin"), [TEXT, "x", "Ann ruin Acme", "a\x0e"], entities, Pairing())
    assert [item.code if isinstance(item, Failure) else item.pairs for item in found] == [2, "bad_input", "not_finite", "bad_input"]
    assert isinstance(found[3], Failure) and "U+000E" in found[3].reason


def test_without_a_label_for_nothing_every_pair_is_told() -> None:
    (found,) = told_of(Teller(LabelSchema(LABELS.names, "owns", "owns")), [TEXT], [[ANN, ACME]])
    assert sorted(item.label for item in found.relations) == ["employs", "none"]


def test_entities_are_those_of_the_tags_and_both_models_are_asked_in_turn() -> None:
    finder = Finder({TEXT: [ANN, ACME]})
    (found,) = entities_of(finder, [TEXT])
    assert found == (FoundEntity(0, 3, "PER", pytest.approx(0.9)), FoundEntity(9, 13, "ORG", pytest.approx(0.8)))
    (both,) = ask_both(finder, Teller(), [TEXT], Pairing())
    assert isinstance(both, Related) and [item.label for item in both.relations] == ["employs"]


def test_marked_texts_are_told_apart_again_and_their_types_are_known() -> None:
    text = "Ann runs Acme in Bonn, Ann says."
    for head, tail in ((marked.Span(0, 3, "person"), marked.Span(9, 13)), (marked.Span(23, 26), marked.Span(0, 3, "x"))):
        assert marked.unmark(marked.mark(text, head, tail)) == (text, head, tail)
    told = [marked.mark(text, marked.Span(0, 3, kind), marked.Span(9, 13, other)) for kind, other in (("p", "o"), ("", "p"))]
    assert marked.types_in(told) == ("o", "p") and marked.types_in(["plain"]) == ()
    with pytest.raises(ValueError, match="no two entities"):
        marked.unmark("plain")


def info(task: str, labels: LabelSchema, **more: Any) -> ArtifactInfo:
    kind = "tokens" if task == "token-classification" else "classes"
    return ArtifactInfo(Path(), "", task, kind, labels, "torch", "fp32", 32, "b", "r", **more)


FINDER = info("token-classification", LabelSchema(TAGS, "O", "O"))


@pytest.mark.parametrize(
    ("known", "types", "meant", "why"),
    [
        (None, None, None, ""),  # an artefact of an earlier version, which does not say
        ((), None, None, ""),
        (("LOC", "ORG", "PER", "WORK"), None, {"LOC": "LOC", "ORG": "ORG", "PER": "PER"}, ""),
        (("person", "PER"), None, None, "finds LOC, ORG, which relations were never trained on: their rows told person, PER"),
        (("person",), {"PER": "person"}, {"PER": "person"}, ""),
        (None, {"PER": "anything"}, {"PER": "anything"}, ""),
        (("person",), {"PER": "persona"}, None, "says persona, which relations were never trained on"),
        ((), {"PER": "person"}, None, "their rows told no types"),
        (("person",), {"PRE": "person"}, None, "names PRE, and the model of entities finds LOC, ORG, PER"),
        (("person",), {}, None, "names no type"),
    ],
)
def test_types_of_both_models_must_meet(known: tuple[str, ...] | None, types: Any, meant: Any, why: str) -> None:
    teller = info("relation-extraction", LABELS, entity_types=known)
    if why:
        with pytest.raises(UsageError) as told:
            Pairing.of(FINDER, teller, types=types)
        assert why in str(told.value)
    else:
        assert Pairing.of(FINDER, teller, types=types).types == meant


def test_models_of_other_tasks_are_refused_with_all_that_stands_against_them() -> None:
    teller = info("relation-extraction", LABELS)
    with pytest.raises(UsageError) as told:
        Pairing.of(teller, FINDER, farthest=-1, most=0)
    assert [problem.where for problem in told.value.problems] == ["entities", "relations", "farthest", "most_pairs"]
    with pytest.raises(UsageError, match="also reads columns: age"):
        Pairing.of(FINDER, info("relation-extraction", LABELS, columns=("age",)))


def test_texts_that_cannot_be_marked_are_all_named_before_any_bundle_is_opened(tmp_path: Path) -> None:
    texts: list[Any] = ["fine", 3, "a\x0eb", "a\x1fb\x02"]
    with pytest.raises(DataError) as caught:
        relations(tmp_path / "none", tmp_path / "none", texts)
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 3 and "texts[1]" in told[0] and "U+000E" in told[1] and "U+0002, U+001F" in told[2]
