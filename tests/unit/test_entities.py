"""Entities answered and true: decoding, counts, kinds of errors, intervals and rivals, against brute force."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from entity_world import CUES, sentence
from trustbase.audit.catalogue import CATALOGUE
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.entities import STATISTICS, f1, fates, interval, mixed_up, precision, recall, sums_of
from trustbase.audit.fairness_tokens import audit_tokens as audit_fairness
from trustbase.audit.quality_tokens import audit_tokens
from trustbase.audit.rivals import rival_answers
from trustbase.audit.stats import proportion
from trustbase.audit.window import Windows, shape
from trustbase.bundle.contents import _golden_problem
from trustbase.bundle.golden import check_golden
from trustbase.data.tags import entities_of, tag_names
from trustbase.data.units import units
from trustbase.errors import ModelError
from trustbase.model.decoding import best_tags, rules_of
from trustbase.model.ragged import ragged
from trustbase.outputs.answers.tokens import TOKENS
from trustbase.records import Decision, Finding, LabelSchema, Split

TAGS = tag_names(CUES)
LABELS = LabelSchema(TAGS, TAGS[-1], TAGS[-1])
RNG = np.random.default_rng(0)


def allowed(names: list[str]) -> bool:
    """BIO2 spelt out: I-X only after B-X or I-X."""
    before = "O"
    for name in names:
        if name.startswith("I-") and before[1:] != name[1:]:
            return False
        before = name
    return True


@pytest.mark.parametrize("seed", range(8))
def test_the_best_tags_are_the_likeliest_of_all_that_are_allowed(seed: int) -> None:
    names, rng = tag_names(["A", "B"]), np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(len(names), 0.4), size=5)
    paths = [path for path in itertools.product(range(len(names)), repeat=5) if allowed([names[tag] for tag in path])]
    best = max(paths, key=lambda path: sum(np.log(max(chances[unit, tag], 1e-12)) for unit, tag in enumerate(path)))
    assert best_tags(chances, names).tolist() == list(best)
    assert entities_of([names[tag] for tag in best_tags(chances, names)]).repaired == 0


def test_rules_of_other_schemes() -> None:
    bioes = rules_of(("O", "B-A", "I-A", "E-A", "S-A"))
    assert bioes.first.tolist() == [True, True, False, False, True] and bioes.last.tolist() == [True, False, False, True, True]
    assert bioes.follows[1].tolist() == [False, False, True, True, False]
    assert rules_of(("O", "I-A", "I-B")).follows.all() and rules_of(("O", "I-A")).first.all()
    assert best_tags(np.zeros((0, 3)), ("O", "B-A", "I-A")).shape == (0,)


def table(text: str, tags: list[str], sure: float = 0.9) -> Any:
    bounds = units(text)
    chances = np.full((len(bounds), len(TAGS)), (1 - sure) / (len(TAGS) - 1))
    chances[np.arange(len(bounds)), [TAGS.index(tag) for tag in tags]] = sure
    return np.concatenate([bounds, chances], axis=1)


def test_answers_are_spans_of_characters_with_a_probability() -> None:
    scores = ragged([table("in New York, today", ["O", "B-LOC", "I-LOC", "O", "O"]), table("no one", ["O", "O"]), table("", [])])
    assert TOKENS.decide(scores, LABELS, Decision()).tolist() == [((3, 11, "LOC"),), (), ()]
    one = {"start": 3, "end": 11, "label": "LOC", "score": pytest.approx(0.9)}
    assert TOKENS.line(scores[0], LABELS, Decision()) == {"entities": [one]}
    assert TOKENS.columns(TOKENS.decide(scores, LABELS, Decision()), LABELS).to_pylist()[0] == [{"start": 3, "end": 11, "label": "LOC"}]
    stored = pa.table(TOKENS.score_columns(scores, LABELS))
    again = TOKENS.read_scores(stored, LABELS)
    assert all(np.array_equal(one, other) for one, other in zip(scores, again, strict=True)) and again[2].shape == (0, 2 + len(TAGS))
    other = ragged([table("in New York, today", ["O", "B-LOC", "O", "O", "O"], 0.8), *scores[1:]])
    assert TOKENS.differences(scores, other, LABELS).round(3).tolist() == [0.867, 0, 0]
    assert TOKENS.flips(TOKENS.decide(scores, LABELS, Decision()), TOKENS.decide(other, LABELS, Decision())).tolist() == [
        True,
        False,
        False,
    ]
    assert TOKENS.near(scores, LABELS, Decision(), 0.1) == 0 and TOKENS.near(scores, LABELS, Decision(), 0.45) == 7


def entities(rng: np.random.Generator, shift: bool) -> tuple[Any, ...]:
    """Up to four entities of a row; shifted, as a model would err."""
    found, at = [], 0
    for _ in range(int(rng.integers(0, 5))):
        start = at + int(rng.integers(0, 4))
        end = start + int(rng.integers(1, 5))
        found.append((start, end, str(rng.choice(["A", "B"]))))
        at = end
    if shift:
        found = [(s, e + int(rng.random() < 0.2), n if rng.random() > 0.2 else "A") for s, e, n in found if rng.random() > 0.2]
        found = [one for one, after in zip(found, [*found[1:], (99, 99, "")], strict=False) if one[1] <= after[0]]
    return tuple(found)


def rows(count: int, seed: int = 0) -> tuple[Any, Any]:
    truth = [entities(np.random.default_rng([seed, row]), False) for row in range(count)]
    told = [entities(np.random.default_rng([seed, row]), True) for row in range(count)]
    return ragged(told), ragged(truth)


def test_counts_are_those_of_sets_of_whole_entities() -> None:
    told, truth = rows(200)
    flat_told = {(row, *entity) for row, found in enumerate(told) for entity in found}
    flat_true = {(row, *entity) for row, found in enumerate(truth) for entity in found}
    sums = sums_of(told, truth).sum(axis=0)
    hits = len(flat_told & flat_true)
    assert sums.tolist() == [hits, len(flat_told), len(flat_true)] and hits < len(flat_told)
    assert float(precision(sums)) == hits / len(flat_told) and float(recall(sums)) == hits / len(flat_true)
    p, r = hits / len(flat_told), hits / len(flat_true)
    assert float(f1(sums)) == pytest.approx(2 * p * r / (p + r))
    by_type = sum(sums_of(told, truth, name).sum(axis=0) for name in ("A", "B"))
    np.testing.assert_array_equal(by_type, sums)
    assert np.isnan(f1(np.zeros(3))) and np.isnan(precision(np.array([0.0, 0, 3])))


def test_every_entity_has_one_fate_on_its_side() -> None:
    told = ragged([((0, 3, "A"), (5, 8, "B"), (10, 12, "A"), (20, 22, "A"), (30, 33, "B"))])
    truth = ragged([((0, 3, "A"), (5, 8, "A"), (10, 13, "A"), (21, 25, "B"), (40, 42, "A"))])
    of_true, of_told = fates(told, truth)
    shared = {"correct": 1, "wrong_type": 1, "wrong_boundary": 1, "wrong_both": 1}
    assert of_true == {**shared, "missed": 1, "spurious": 0} and of_told == {**shared, "missed": 0, "spurious": 1}
    assert mixed_up(told, truth) == [{"truth": "A", "answer": "B", "n": 1}]
    told, truth = rows(200, seed=1)
    for side, each in zip(fates(told, truth), (truth, told), strict=True):
        assert sum(side.values()) == sum(map(len, each)) and side["correct"] == sums_of(told, truth)[:, 0].sum()


def test_intervals_cover_what_they_claim() -> None:
    """Rows drawn from one world: its own F1 is what a sample's interval must hold."""
    told, truth = rows(4000, seed=2)
    sums, rng, held = sums_of(told, truth), np.random.default_rng(5), dict.fromkeys(STATISTICS, 0)
    for _ in range(400):
        drawn = sums[rng.integers(0, len(sums), 80)]
        for name, statistic in STATISTICS.items():
            found = interval(drawn, statistic, rng=np.random.default_rng(0), confidence=0.9)
            held[name] += found.low <= float(statistic(sums.sum(axis=0))) <= found.high
    assert all(0.87 <= count / 400 <= 0.93 for count in held.values()), held  # two standard errors of the simulation


def test_where_all_is_right_the_interval_still_has_a_doubt() -> None:
    _, truth = rows(60)
    found = interval(sums_of(truth, truth), f1, rng=RNG, confidence=0.95)
    none = interval(sums_of(ragged([()] * 60), truth), recall, rng=RNG, confidence=0.95)
    assert found.value == found.high == 1.0 and 0.9 < found.low < 1.0 and none.value == none.low == 0.0 < none.high < 0.1
    with pytest.raises(ValueError, match="not defined"):
        interval(np.zeros((60, 3)), f1, rng=RNG, confidence=0.95)


def world(count: int, seed: int, name: str = "test") -> Split:
    rng = np.random.default_rng(seed)
    made = [sentence(rng) for _ in range(count)]
    texts = [text for text, _ in made]
    truth = ragged(tuple((e["start"], e["end"], e["label"]) for e in found) for _, found in made)
    groups = {"side": np.array(["left", "right"] * (count // 2), dtype=object)}
    return Split(name, texts, truth, groups, pa.table({"text": texts}), np.arange(1, count + 1), "made up", f"sha256:{name}")


def context(tmp_path: Path, **more: Any) -> AuditContext:
    test = world(200, 1)
    told = ragged(row if place % 5 else tuple((s, e, "PER") for s, e, _ in row) for place, row in enumerate(test.labels))
    answers = Answers(None, told)
    return AuditContext(test, LABELS, Decision(), answers, Evidence(tmp_path), 0, **more)


def test_audits_emit_what_the_catalogue_says_and_nothing_else(tmp_path: Path) -> None:
    train = world(300, 2, "train")
    rivals = rival_answers(train, world(200, 1), LABELS, 0, kind="tokens")
    asked = context(tmp_path, train=train, rivals=rivals)
    found: list[Finding] = [*audit_tokens(asked), *audit_fairness(asked)]
    assert {finding.status for finding in found} <= {"ok", "not_applicable", "insufficient"}
    for dimension in ("quality", "fairness"):
        said = {name for name, measure in CATALOGUE[dimension].items() if "tokens" in measure.kinds}
        assert {finding.parts.metric for finding in found if finding.parts.dimension == dimension} == said
    by_id = {finding.id: finding for finding in found}
    assert by_id["quality.log_loss"].status == by_id["quality.unread_units"].status == "not_applicable"
    assert by_id["quality.recall[label=PER]"].value == 1.0 and by_id["quality.entity_f1"].n == sum(map(len, asked.test.labels))
    kept = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    assert kept["entity_errors"]["true"]["wrong_type"] == sum(row["n"] for row in kept["entity_errors"]["mixed_up"]) > 20
    assert [row["name"] for row in kept["rivals"]] == ["model", "dictionary", "window"]
    gain = by_id["quality.gain_over_window"]
    ours, theirs = (f1(sums_of(each.predicted, asked.test.labels).sum(axis=0)) for each in (asked.answers, rivals["window"]))
    assert gain.value == pytest.approx(float(ours - theirs)) and gain.unit == "entity F1"


def test_a_rival_that_does_alike_on_every_row_leaves_doubt_of_the_gain(tmp_path: Path) -> None:
    plain = context(tmp_path, train=world(50, 0))
    asked = context(tmp_path, train=world(50, 0), rivals={"window": plain.answers})
    gain = next(finding for finding in audit_tokens(asked) if finding.id == "quality.gain_over_window")
    assert gain.value == 0.0 and gain.low is not None and gain.high is not None
    assert -0.1 < gain.low < 0 < gain.high < 0.1 and gain.low == -gain.high


def gain_over(tmp_path: Path, told: list[Any], rival: list[Any], truth: list[Any]) -> Finding:
    """The gain of one tagger over another, of rows whose texts do not matter."""
    texts = ["made up"] * len(truth)
    test = Split("test", texts, ragged(truth), {}, pa.table({"text": texts}), np.arange(1, len(truth) + 1), "made up", "sha256:test")
    rivals = {"window": Answers(None, ragged(rival))}
    asked = AuditContext(test, LABELS, Decision(), Answers(None, ragged(told)), Evidence(tmp_path), 0, train=test, rivals=rivals)
    return next(finding for finding in audit_tokens(asked) if finding.id == "quality.gain_over_window")


def test_a_better_rival_is_a_loss_and_few_rows_that_tell_it_apart_are_no_interval(tmp_path: Path) -> None:
    """Of 60 rows with one entity each the model misses some that the rival finds."""
    one = ((0, 4, "LOC"),)
    truth, missed = [one] * 60, {count: [()] * count + [one] * (60 - count) for count in (1, 19, 20, 30)}
    loss = gain_over(tmp_path, missed[30], truth, truth)
    assert loss.value == pytest.approx(2 * 30 / (30 + 60) - 1) and loss.low is not None and loss.high is not None
    assert -1 < loss.low < loss.value < loss.high < 0
    for count in (1, 19):
        for pair in ((missed[count], truth), (truth, missed[count])):
            few = gain_over(tmp_path, *pair, truth)
            assert (few.status, few.value, few.n) == ("insufficient", None, 60)
            assert few.reason == f"{count} rows tell model and rival apart, fewer than 20"
    assert gain_over(tmp_path, truth, missed[20], truth).status == "ok"


def test_rows_without_entities_say_nothing_of_two_taggers_that_do_alike(tmp_path: Path) -> None:
    one = ((0, 4, "LOC"),)
    alone, among = ([one] * 30 + [()] * empty for empty in (0, 300))
    bare, diluted = (gain_over(tmp_path, rows, rows, rows) for rows in (alone, among))
    assert (bare.low, bare.high) == (diluted.low, diluted.high) and "30 rows with an entity" in diluted.method
    assert diluted.high == proportion(0, 30).high


def test_fewer_than_twenty_rows_are_insufficient_whatever_they_hold(tmp_path: Path) -> None:
    for count, status in ((19, "insufficient"), (20, "ok")):
        plain = context(tmp_path)
        test = replace(
            plain.test, texts=plain.test.texts[:count], labels=plain.test.labels[:count], groups={}, table=plain.test.table[:count]
        )
        test = replace(test, row_numbers=test.row_numbers[:count])
        asked = replace(plain, test=test, answers=Answers(None, plain.answers.predicted[:count]))
        found = {finding.id: finding for finding in audit_tokens(asked)}
        assert found["quality.entity_f1"].status == status, found["quality.entity_f1"]
        assert status == "ok" or found["quality.entity_f1"].reason == "19 rows, fewer than 20"


def test_rivals_find_what_they_can_know() -> None:
    train, test = world(300, 2, "train"), world(100, 3)
    named = ragged(tuple((s, e, "LOC") for s, e, _ in row) for row in train.labels)  # every name always of one type
    train = Split("train", train.texts, named, {}, train.table, train.row_numbers, "made up", "sha256:named")
    wanted = ragged(tuple((s, e, "LOC") for s, e, _ in row) for row in test.labels)
    found = rival_answers(train, test, LABELS, 0, kind="tokens")
    scores = {name: float(f1(sums_of(answers.predicted, wanted).sum(axis=0))) for name, answers in found.items()}
    assert set(scores) == {"dictionary", "window"} and min(scores.values()) > 0.95, scores
    again = rival_answers(train, test, LABELS, 0, kind="tokens")
    assert all(list(found[name].predicted) == list(again[name].predicted) for name in found)


def test_windows_know_neighbours_and_ignore_what_training_did_not_show() -> None:
    windows = Windows(["a b c", "b a"])
    same, other = windows.of(["a b c"]), windows.of(["z a b"])
    assert same.shape[0] == other.shape[0] == 3 and same.shape[1] == other.shape[1]
    assert same[0].sum() > other[0].sum() > 0 and (windows.of(["a b"])[0] != same[0]).nnz > 0
    assert [shape(word) for word in ("McDonald", "USA", "42nd", "北京")] == ["AaAa", "A", "0a", "x"]


def test_golden_tables_are_checked_and_compared() -> None:
    made = table("in Rome", ["O", "B-LOC"])
    record = {"template": "text", "answers": "tokens", "tolerance": 1e-4}
    record |= {"inputs": [{"row": {"text": "in Rome"}, "text": "in Rome", "scores": made.tolist()}]}
    names = {"names": list(TAGS)}

    class Asked:
        def __init__(self, found: Any) -> None:
            self.found = found

        def scores(self, texts: Any) -> Any:
            return ragged([self.found])

    assert _golden_problem(record, names, kind="tokens") == "" and check_golden(record, Asked(made)) == 0
    assert check_golden(record, Asked(made + np.pad(np.full((2, 7), 1e-3), ((0, 0), (2, 0))))) == pytest.approx(1e-3)
    assert check_golden(record, Asked(np.full_like(made, np.nan))) == float("inf")
    with pytest.raises(ModelError, match="another form"):
        check_golden(record, Asked(made[:1]))
    for place, value in ((2, 1.5), (0, -1), (1, 0), (3, float("nan"))):
        broken = json.loads(json.dumps(record))
        broken["inputs"][0]["scores"][0][place] = value
        assert "bounds of each unit" in _golden_problem(broken, names, kind="tokens"), (place, value)
