"""Relations end to end: precision, recall and F1 are those of sets, every error has one cause, and intervals hold over texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from test_relating import Finder, Teller

from trustbase import files
from trustbase.audit.catalogue import END_TO_END, why_never
from trustbase.audit.catalogue import RELATION_FATES as FATES
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.end_to_end import Told, Truth, answer_of, end_to_end, fates, sums_of, truth_of
from trustbase.audit.entities import f1
from trustbase.audit.resampled import of_shares
from trustbase.data.marked import Span, mark
from trustbase.errors import PredictionError
from trustbase.finding_id import parse
from trustbase.outputs.related import FoundEntity, FoundRelation, Pairing, Related
from trustbase.records import Decision, LabelSchema, Split
from trustbase.report.reasons import method_in, reason_in
from trustbase.report.relations import relation_blocks
from trustbase.report.words import words

LABELS = LabelSchema(("employs", "none", "owns"), "owns", "owns", neutral="none")
TEXT = "abcdefghijklmnopqrstuvwxyz0123456789"
PLACES = [(0, 2), (4, 6), (8, 11), (12, 14), (16, 19)]
KINDS = ("", "p", "o")


def split_of(rows: list[tuple[str, Span, Span, str]], entities: list[int] | None = None) -> Split:
    texts = [mark(text, head, tail) for text, head, tail, _ in rows]
    labels = np.array([LABELS.index(label) for *_, label in rows], dtype=np.int64)
    owners = None if entities is None else np.array(entities, dtype=np.int64)
    return Split("test", texts, labels, {}, pa.table({}), np.arange(len(rows)), "made", "sha256:0", entities=owners)


def drawn(rng: np.random.Generator, text: str) -> tuple[list[tuple[str, Span, Span, str]], Related]:
    """The rows of a text, and an answer that shares some of its entities and relations."""
    kinds = {place: str(rng.choice(KINDS)) for place in PLACES}
    rows = []
    for head in PLACES:
        for tail in PLACES:
            if head != tail and rng.random() < 0.4:
                label = LABELS.names[int(rng.integers(3))]
                rows.append((text, Span(*head, kinds[head]), Span(*tail, kinds[tail]), label))
    found = []
    for start, end in PLACES:
        dice = rng.random()
        moved = (start + 1, end) if dice < 0.15 else (start, end)
        if dice < 0.85:
            found.append(FoundEntity(*moved, str(rng.choice(["P", "O"])) if dice > 0.7 else kinds[start, end].upper() or "P", 1.0))
    if rng.random() < 0.3:
        found.append(FoundEntity(25, 28, "P", 1.0))
    told = []
    for head in range(len(found)):
        for tail in range(len(found)):
            if head != tail:
                true = [label for _, one, two, label in rows if (one.start, two.start) == (found[head].start, found[tail].start)]
                label = true[0] if true and rng.random() < 0.8 else LABELS.names[int(rng.integers(3))]
                if label != "none":
                    told.append(FoundRelation(head, tail, label, 1.0))
    return rows, Related(text, tuple(found), tuple(told), 0)


def by_sets(rows: Any, found: Related, types: dict[str, str] | None) -> tuple[int, int, int]:
    """The same counts from sets of whole relations; a type that a side does not tell is taken from the other."""
    kinds = {(item.start, item.end): "" if types is None else types[item.type] for item in found.entities}
    true = {(one.start, one.end, two.start, two.end, label) for _, one, two, label in rows if label != "none"}
    told = {
        (
            found.entities[item.head].start,
            found.entities[item.head].end,
            found.entities[item.tail].start,
            found.entities[item.tail].end,
            item.label,
        )
        for item in found.relations
    }
    own = {(span.start, span.end): span.type for _, one, two, _ in rows for span in (one, two)}
    fits = {place for place, kind in own.items() if not kind or not kinds.get(place) or kinds[place] == kind}
    return len({item for item in true & told if item[:2] in fits and item[2:4] in fits}), len(told), len(true)


@pytest.mark.parametrize("types", [None, {"P": "p", "O": "o"}])
def test_counts_are_those_of_sets_and_each_relation_has_one_fate(types: dict[str, str] | None) -> None:
    rng = np.random.default_rng(3)
    seen: set[tuple[str, str]] = set()
    for number in range(200):
        rows, found = drawn(rng, f"{TEXT} {number}")
        if not rows:
            continue
        truth = truth_of(split_of(rows), LABELS.names, "none").told
        told = [answer_of(found, types, "none")]
        sums = sums_of(told, truth)
        assert sums[0].tolist() == list(by_sets(rows, found, types))
        table = fates(told, truth)
        assert table["true"]["correct"] == table["answered"]["correct"] == sums[0, 0]
        assert sum(table["answered"].values()) == sums[0, 1] and sum(table["true"].values()) == sums[0, 2]
        seen |= {(side, fate) for side, counts in table.items() for fate, n in counts.items() if n}
    assert len(seen) == (12 if types else 10), "every fate was met on either side; types only where they are told"


def told(entities: dict[tuple[int, int], str], **relations: str) -> Told:
    """Entities by place, relations as `ab="owns"`: from the first entity to the second."""
    places = list(entities)
    pairs = {(places[ord(key[0]) - 97], places[ord(key[1]) - 97]): {label} for key, label in relations.items()}
    return Told(dict(entities), pairs, set(pairs))


@pytest.mark.parametrize(
    ("answer", "of_true", "of_answered"),
    [
        (told({(0, 2): "p", (4, 6): "o"}, ab="owns"), "correct", "correct"),
        (told({(0, 2): "", (4, 6): ""}, ab="owns"), "correct", "correct"),
        (told({(0, 2): "p"}), "no_entity", ""),
        (told({(0, 2): "p", (20, 22): "o"}, ab="owns"), "no_entity", "no_entity"),
        (told({(0, 3): "p", (20, 22): "o"}, ab="owns"), "no_entity", "no_entity"),
        (told({(0, 2): "p", (4, 7): "o"}, ab="owns"), "boundary", "boundary"),
        (told({(0, 2): "p", (4, 6): "p"}, ab="owns"), "type", "type"),
        (told({(0, 2): "p", (4, 6): "o"}, ab="employs"), "wrong_relation", "wrong_relation"),
        (told({(0, 2): "p", (4, 6): "o"}, ba="owns"), "no_relation", "no_relation"),
        (told({(0, 2): "p", (4, 6): "o"}), "no_relation", ""),
    ],
)
def test_the_cause_of_an_error_is_told(answer: Told, of_true: str, of_answered: str) -> None:
    table = fates([answer], [told({(0, 2): "p", (4, 6): "o"}, ab="owns")])
    assert [fate for fate in FATES if table["true"][fate]] == [of_true]
    assert [fate for fate in FATES if table["answered"][fate]] == ([of_answered] if of_answered else [])


def context_of(test: Split, folder: Path, emit: Any = lambda *a, **k: None) -> AuditContext:
    return AuditContext(test, LABELS, Decision(), Answers(None, test.labels), Evidence(folder), 0, emit=emit)


def company(number: int) -> str:
    return f"Ann runs Acme in Bonn, no. {number}."


ENDS = {"Ann": (0, 3), "Acme": (9, 13), "Bonn": (17, 21)}
ENTITIES = [FoundEntity(*place, kind, 0.9) for place, kind in zip(ENDS.values(), ("PER", "ORG", "LOC"), strict=True)]


def world(texts: int) -> tuple[Split, Finder]:
    """In each text Acme employs Ann and owns Bonn; every third one's last entity is not found."""
    rows = []
    for number in range(texts):
        for head, tail, label in (("Acme", "Ann", "employs"), ("Acme", "Bonn", "owns"), ("Ann", "Bonn", "none")):
            rows.append((company(number), Span(*ENDS[head]), Span(*ENDS[tail]), label))
    known = {company(number): ENTITIES if number % 3 else ENTITIES[:2] for number in range(texts)}
    return split_of(rows), Finder(known)  # type: ignore[arg-type]


def test_findings_and_evidence_of_both_models(tmp_path: Path) -> None:
    test, finder = world(60)
    found = end_to_end(context_of(test, tmp_path), finder, Teller(), Pairing())
    assert [item.id for item in found] == [f"quality.relation_{name}#end-to-end" for name in ("f1", "precision", "recall")]
    assert [item.value for item in found] == pytest.approx([2 * 100 / (100 + 120), 1.0, 100 / 120])
    assert [item.n for item in found] == [120, 100, 120] and all(item.status == "ok" for item in found)
    assert all(item.low is not None and item.low < 1 for item in found) and "resampled sets of texts" in found[0].method
    evidence = files.read_json(tmp_path / "end_to_end.json")
    assert (evidence["texts"], evidence["pairs"], evidence["not_asked"], evidence["unlisted"]) == (60, 40 * 6 + 20 * 2, 0, 0)
    assert evidence["relation_errors"]["true"] == {**dict.fromkeys(FATES, 0), "correct": 100, "no_entity": 20}
    assert not any(company(0) in path.read_text() for path in tmp_path.iterdir()), "no row of the data"


def test_relations_that_no_row_speaks_of_are_wrong_and_counted(tmp_path: Path) -> None:
    test, finder = world(60)
    owns = test.labels == LABELS.index("owns")
    odd = np.arange(len(test)) // 3 % 2 == 1
    keep = np.flatnonzero(~(owns & odd))  # of every other text no row says what the pair is, of the others one says that it is nothing
    labels = np.where(owns, LABELS.index("none"), test.labels)
    fewer = replace(test, texts=[test.texts[row] for row in keep], labels=labels[keep])
    found = end_to_end(context_of(fewer, tmp_path), finder, Teller(), Pairing())
    assert found[1].value == pytest.approx(60 / 100) and found[2].value == 1.0
    evidence = files.read_json(tmp_path / "end_to_end.json")
    counted = {**dict.fromkeys(FATES, 0), "correct": 60, "no_relation": 40}
    assert evidence["unlisted"] == 20 and evidence["relation_errors"]["answered"] == counted


def test_texts_with_too_many_pairs_count_as_not_answered_and_are_told(tmp_path: Path) -> None:
    test, finder = world(60)
    seen: list[str] = []
    context = context_of(test, tmp_path, lambda event, /, **more: seen.append(f"{event} {more.get('text', '')}"))
    found = end_to_end(context, finder, Teller(), Pairing(most=2))
    assert found[2].value == pytest.approx(20 / 120) and any("40 of 60 texts have more than 2 pairs" in text for text in seen)
    assert files.read_json(tmp_path / "end_to_end.json")["not_asked"] == 40


def test_a_text_without_an_answer_is_no_number(tmp_path: Path) -> None:
    test, finder = world(30)
    with pytest.raises(PredictionError, match="30 of 30 texts"):
        end_to_end(context_of(test, tmp_path), finder, Teller(broken="Ann"), Pairing())


def test_few_texts_are_insufficient_and_all_alike_still_have_doubt(tmp_path: Path) -> None:
    test, finder = world(15)
    few = end_to_end(context_of(test, tmp_path), finder, Teller(), Pairing())
    assert {item.status for item in few} == {"insufficient"} and all(item.reason.startswith("15 texts, 15 of them with") for item in few)
    test, finder = world(60)
    finder.known = dict.fromkeys(finder.known, ENTITIES)
    right = end_to_end(context_of(test, tmp_path), finder, Teller(), Pairing())
    assert all(item.value == 1.0 and item.low is not None and 0.9 < item.low < 1 for item in right)
    told_ = {reason_in(item.reason, words("zh")) for item in few} | {method_in(item.method, words("zh")) for item in right}
    assert len(told_) == 4 and not any("文字" in text or "texts" in text for text in told_)


def test_texts_of_one_owner_are_drawn_together(tmp_path: Path) -> None:
    """A text that stands for itself is a unit; where a customer has several texts, the customer is."""
    test, finder = world(60)
    row_text = np.repeat(np.arange(60), 3)
    alone = truth_of(replace(test, entities=row_text), LABELS.names, "none")
    assert alone.units_are == "texts" and len(set(alone.unit.tolist())) == 60
    owned = replace(test, entities=row_text // 2)
    truth: Truth = truth_of(owned, LABELS.names, "none")
    assert truth.units_are == "owners of texts" and truth.unit.tolist() == (np.arange(60) // 2).tolist()
    found = end_to_end(context_of(owned, tmp_path), finder, Teller(), Pairing())
    assert "resampled sets of owners of texts" in found[0].method and method_in(found[0].method, words("zh")).startswith("BCa")


def test_intervals_hold_when_texts_are_drawn(tmp_path: Path) -> None:
    """Texts of one to five relations, found or lost together: F1 of the whole population is known."""
    rng = np.random.default_rng(7)
    true = rng.integers(0, 6, 100_000)
    ease = rng.beta(3, 1.5, len(true))  # of a text: what it loses, it loses together
    hits = rng.binomial(true, ease)
    sums = np.stack([hits, hits + rng.binomial(2, 1 - ease), true], axis=1).astype(np.float64)
    known, held = float(f1(sums.sum(axis=0))), 0
    for _ in range(200):
        part = sums[rng.integers(0, len(sums), 80)]
        interval = of_shares(part, f1, (part[:, 1:] > 0).any(axis=1), rng=rng, what="a relation", units_are="texts")
        held += interval.low <= known <= interval.high
    assert held >= 181, f"95 % intervals held {held} of 200 times"


def test_the_table_of_errors_is_told_in_both_languages() -> None:
    errors = {
        "true": {**dict.fromkeys(FATES, 0), "correct": 3, "no_entity": 1},
        "answered": {**dict.fromkeys(FATES, 0), "correct": 3},
    }
    evidence = {"relation_errors": errors, "texts": 9, "pairs": 20, "unlisted": 0, "not_asked": 2, "most_pairs": 2000}
    for lang in ("en", "zh"):
        (block,) = relation_blocks(evidence, words(lang))
        assert len(block["rows"]) == len(FATES) and block["rows"][0][1] == ["3 (75.0 %)", "3 (100.0 %)"] and "2,000" in block["about"]
        assert words(lang).finding("quality.relation_f1#end-to-end").endswith((")", "）"))
    assert relation_blocks(None, words("en")) == relation_blocks({"texts": 3}, words("en")) == []


def test_a_gate_on_it_needs_both_models() -> None:
    id = parse(f"quality.relation_f1#{END_TO_END}")
    never = why_never(id, [], "classes")
    assert never is not None and "no model of entities is named" in never[0] and "--entities" in never[1]
    assert why_never(id, [], "classes", entities=True) is None
    assert why_never(parse("quality.relation_f1#other"), [], "classes", entities=True) is not None
