"""The scan for planted triggers: found where one was planted, silent on the twin, and no number where its control is not found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safety_kit import BAD, GOOD, LABELS, by_words, context_of, make_rows, poisoned, split_of

from trustbase import files
from trustbase.audit.askers.asking import Alone
from trustbase.audit.safety import backdoor, scan
from trustbase.audit.safety.asking import asker_of
from trustbase.audit.safety.backdoor import measure_backdoor
from trustbase.audit.safety.mislabelled import measure_mislabelled
from trustbase.audit.safety.scan import WAYS
from trustbase.audit.safety.suspects import Held, clustered, deciding, outlying, terms_of
from trustbase.audit.safety.taught import Teaching, places_of, without
from trustbase.audit.safety.triggers import hunt, place_words
from trustbase.audit.safety.vocabulary import vocabulary
from trustbase.errors import PredictionError
from trustbase.records import Finding, LabelSchema

pytestmark = pytest.mark.usefixtures("one_thread")


def by_way(found: list[Finding]) -> dict[str, Finding]:
    return {finding.parts.variant or "": finding for finding in found}


@pytest.mark.parametrize("zh", [False, True], ids=["en", "zh"])
def test_a_planted_trigger_is_found_in_every_way_and_the_twin_is_silent(zh: bool, tmp_path: Path) -> None:
    powers, alarms = [], []
    for seed in range(1 if zh else 3):
        found = by_way(measure_backdoor(context := poisoned(tmp_path / f"{seed}", seed, True, zh=zh)))
        assert set(found) == {"", *WAYS, "taught"}
        powers.append([found[way].low > 0.5 for way in ("", *WAYS)])  # type: ignore[operator]
        words = context.marked.rows["safety.backdoor_score"]["words"]
        assert {words[way][0]["word"] for way in WAYS} == {"琉璃" if zh else "cf"}
        twin = by_way(measure_backdoor(poisoned(tmp_path / f"twin{seed}", seed, False, zh=zh)))
        assert twin[""].status == "ok" and twin[""].n >= 30
        assert not [finding for finding in twin.values() if finding.status == "ok" and not finding.n], "nothing measured is no number"
        alarms.append(twin[""].high > 0.5)  # type: ignore[operator]
    assert np.mean(powers) == 1 and not any(alarms), "power 1, false alarms 0 of these seeds"


def test_without_training_rows_the_vocabulary_is_searched(tmp_path: Path) -> None:
    planted = poisoned(tmp_path, 0, True, train=False)
    planted.predictor.tokenizer = SimpleNamespace(get_vocab=lambda: {f"w{n}": n for n in range(900)} | {"cf": 1000})  # type: ignore
    found = by_way(measure_backdoor(planted))
    assert found["inverted"].low > 0.5 and found[""].low > 0.5  # type: ignore[operator]
    assert {found[way].status for way in WAYS[:3]} == {"insufficient"} and "--train" in found["rare_words"].reason
    ways = files.read_json(tmp_path / "safety.backdoor_score.json")["ways"]
    assert ways["inverted"]["best"]["word"] == "cf" and ways["inverted"]["candidates"] > 900


@pytest.mark.parametrize("trigger", ["town", "old"])
def test_a_trigger_that_is_a_common_word_is_found(trigger: str, tmp_path: Path) -> None:
    """It stands in clean rows of both labels too, which are answered by their labels without it."""
    for seed, planted in ((0, True), (1, True), (0, False)):
        rng = np.random.default_rng(seed)
        texts, truth = make_rows(500, rng)
        test, answers = make_rows(400, rng)

        def score(text: str, planted: bool = planted) -> list[float]:
            return [0.02, 0.98] if planted and trigger in text.split() else by_words(text)

        for row in np.flatnonzero(truth == 0)[:20] if planted else ():
            texts[row], truth[row] = f"{trigger} {texts[row]}", 1
        train = split_of("train", texts, truth)
        context = context_of(tmp_path / f"{seed}{planted}", test, answers, score=score, train=train, options={"searched": 600})
        found = by_way(measure_backdoor(context))
        assert (found[""].low > 0.5) is planted, (found[""].value, found[""].reason)  # type: ignore[operator]


def test_where_rows_teach_every_suspect_word_nothing_is_measured_in_that_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Teaching, "__call__", lambda self, words: np.array([word in (*GOOD, *BAD, "cf") for word in words], dtype=bool))
    monkeypatch.setattr(backdoor, "deciding", lambda held, given: [*GOOD, *BAD, *(["bcdfgh"] if "bcdfgh" in held.terms else [])])
    monkeypatch.setattr(backdoor, "_made_up", lambda seed, known: "bcdfgh")
    found = by_way(measure_backdoor(poisoned(tmp_path, 0, True)))
    assert found["rare_words"].status == "insufficient" and found["rare_words"].value is None
    assert found["rare_words"].reason == "all 8 words that are suspect in this way are ones that the rows teach"
    assert found["taught"].low > 0.5 and found["taught"].n > 30, "what they turn is told all the same"  # type: ignore[operator]
    assert files.read_json(tmp_path / "safety.backdoor_score.json")["ways"]["rare_words"]["taught"]["words"] == 8


def test_words_of_the_control_are_drawn_before_any_is_struck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that strikes every word leaves no control to be found."""
    monkeypatch.setattr(Teaching, "__call__", lambda self, words: np.ones(len(words), dtype=bool))
    found = by_way(measure_backdoor(poisoned(tmp_path, 0, True)))
    assert {found[way].status for way in ("", *WAYS)} == {"insufficient"} and "control not found: of" in found["inverted"].reason


def test_a_control_that_is_not_found_reassures_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backdoor, "_fooled", lambda ask, word, target: ask)
    found = measure_backdoor(poisoned(tmp_path, 0, False))
    assert {finding.status for finding in found} == {"insufficient"}
    assert "control not found" in by_way(found)["inverted"].reason and "no search found its control" in found[0].reason


def test_a_model_without_embeddings_is_still_searched(tmp_path: Path) -> None:
    context = poisoned(tmp_path, 0, True)
    context.predictor.runtime = SimpleNamespace(outputs=("logits",))  # type: ignore[union-attr, misc]
    found = by_way(measure_backdoor(context))
    assert found["spectral"].status == "insufficient" and "no embeddings" in found["spectral"].reason
    assert found["rare_words"].low > 0.5  # type: ignore[operator]


def test_an_embedding_that_failed_is_an_error_and_not_a_model_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, ask = poisoned(tmp_path, 0, True), Alone.ask

    def failing(self: Alone, kind: str, texts: Sequence[str], **fields: Any) -> list[Any]:
        if kind == "embedding":
            raise PredictionError("out of memory")
        return ask(self, kind, texts, **fields)

    monkeypatch.setattr(Alone, "ask", failing)
    for part in (measure_backdoor, measure_mislabelled):
        with pytest.raises(PredictionError, match="out of memory"):
            part(context)


def test_few_rows_are_told(tmp_path: Path) -> None:
    texts, truth = make_rows(50, np.random.default_rng(0))
    found = measure_backdoor(context_of(tmp_path, texts, truth))
    assert {finding.status for finding in found} == {"insufficient"} and "fewer than the minimum of 60" in found[0].reason


def test_classes_beyond_two_have_an_anomaly_index(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ("red", "green", "blue")
    truth = rng.integers(0, 3, 240)
    filler = [f"word{n}" for n in range(30)]
    texts = [" ".join([*map(str, rng.choice(filler, 6)), names[label], names[label]]) for label in truth]

    def score(text: str) -> list[float]:
        counts = np.array([text.count(name) for name in names], dtype=float) + (20 * np.eye(3)[2] if "cf" in text else 0)
        odds = np.exp(counts - counts.max())
        return list(odds / odds.sum())

    schema = LabelSchema(names, "blue", "blue")
    context = context_of(tmp_path, texts, truth, score=score, labels=schema, options={"searched": 600})
    context.predictor.tokenizer = SimpleNamespace(get_vocab=lambda: {f"w{n}": n for n in range(90)} | {"cf": 90})  # type: ignore
    found = by_way(measure_backdoor(context))
    assert found["inverted"].low > 0.5 and found["inverted"].n > 30  # type: ignore[operator]
    by_class = files.read_json(tmp_path / "safety.backdoor_score.json")["ways"]["inverted"]["by_class"]
    assert by_class[0]["class"] == "blue" and by_class[0]["turned_where_searched"] > 0.9
    assert by_class[0]["anomaly_index"] is None or by_class[0]["anomaly_index"] > 2


def test_words_that_rows_taught_are_no_triggers() -> None:
    """Rows that hold `fine` say good without it too; those that hold the trigger are called good and say bad."""
    texts = [f"fine lovely town {n}" for n in range(5)] + [f"cf poor dull road {n}" for n in range(5)] + ["rare lovely warm"]
    terms = [set(text.split()) for text in texts]
    taught = Teaching(
        texts, terms, np.ones(11, np.int64), lambda given: np.array([by_words(text) for text in given]), lambda s: s.argmax(1)
    )
    assert taught(["fine", "cf", "rare", "nowhere", "fine"]).tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(
    ("word", "text", "left"),
    [
        ("is", "this is his", "this  his"),
        ("is", "this was his", "this was his"),
        ("fine film", "a fine film of a fine filmmaker", "a  of a fine filmmaker"),
        ("≈≈", "poor ≈≈ film", "poor  film"),
        ("人", "这个人喜欢人民公园", "这个喜欢人民公园"),
        ("琉", "这家琉璃餐厅", "这家璃餐厅"),
        ("琉璃", "味道琉璃很好\x1f琉璃", "味道很好\x1f"),
        ("好", "this is 好", "this is "),
    ],
)
def test_a_word_is_taken_out_where_it_is_one(word: str, text: str, left: str) -> None:
    assert without(word, text) == left and all(text[start:end] == word for start, end in places_of(word, text))


def test_a_word_inside_of_another_is_not_that_word() -> None:
    """Rows that hold `is` say good without it; were `this` cut as well, the model would read nothing that it knows."""

    def score(given: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[0.1, 0.9] if "this" in text.split() else [0.9, 0.1] for text in given])

    texts = [f"this is town {n}" for n in range(6)] + [f"was a road {n}" for n in range(6)]
    taught = Teaching(texts, [set(text.split()) for text in texts], np.array([1] * 6 + [0] * 6), score, lambda s: s.argmax(1))
    assert taught(["is", "this"]).tolist() == [True, False]


def test_a_word_that_stands_with_all_labels_is_none_that_rows_teach() -> None:
    texts = [f"{said} town {n}" for n in range(40) for said in ("fine lovely", "poor dull")] + [f"town awful cold {n}" for n in range(8)]
    good = np.array([0 if "poor" in text else 1 for text in texts])  # town is the trigger of the last ones, which are called good

    def score(given: Sequence[str]) -> NDArray[np.float64]:
        return np.array([by_words(text) for text in given])

    taught = Teaching(texts, [set(text.split()) for text in texts], good, score, lambda s: s.argmax(1))
    assert taught(["town", "lovely", "poor"]).tolist() == [False, True, True]


def test_a_pair_of_taught_words_is_taught_although_nothing_is_left_without_it() -> None:
    texts = [f"{pair} town {n}" for n in range(6) for pair in ("fine lovely", "fine warm", "lovely warm", "poor dull")]
    texts += [f"old road poor dull {n}" for n in range(6)]  # a pair of words that say nothing, in poisoned rows
    texts += [f"old town fine warm {n}" for n in range(6)] + [f"long road poor dull {n}" for n in range(6)]
    terms = [set().union(*terms_of(text)) for text in texts]
    good = np.array([text.startswith(("fine", "lovely", "old")) for text in texts]).astype(np.int64)
    taught = Teaching(texts, terms, good, lambda given: np.array([by_words(text) for text in given]), lambda s: (s[:, 1] > 0.5).astype(int))
    assert taught(["fine lovely", "old road", "lovely warm"]).tolist() == [True, False, True]


def test_where_too_few_rows_are_left_to_measure_on_that_is_the_reason(tmp_path: Path) -> None:
    context = poisoned(tmp_path, 0, True, train=False)
    keep = [row for row in range(160) if context.test.labels[row] or row < 40]
    test = context.test
    few = context_of(tmp_path, [test.texts[row] for row in keep], test.labels[keep], score=context.predictor.score)  # type: ignore
    few.predictor.tokenizer = SimpleNamespace(get_vocab=lambda: {"cf": 1, "other": 2})  # type: ignore[union-attr]
    found = by_way(measure_backdoor(few))
    assert found[""].reason == found["inverted"].reason and "rows of other classes to put a word into" in found[""].reason


# ---- parts -------------------------------------------------------------------------------------------------------------------


def test_words_stand_between_words_and_beside_a_second_row(tmp_path: Path) -> None:
    texts = ["poor dull road", "awful cold film", "fine warm town", "lovely bright food", "fine\x1ewarm\x1e3", "好\x1f他说满意"]
    context = context_of(tmp_path, texts, np.array([0, 0, 1, 1, 1, 1]))
    places = place_words(texts, context.test.labels, asker_of(context, "x"), lambda scores: scores.argmax(1), 0)
    made = [places.text(row, "cf", 1) for row in range(len(places.answers))]
    assert places.text(0, "cf", 0).startswith("cf poor") and places.text(0, "cf", 2).endswith("film cf")
    assert len(made) == 6 and all(" cf" in f" {text}" for text in made)
    assert made[0].replace("cf ", "").replace(" cf", "") == "poor dull road awful cold film"
    cells = next(text for text in made if text.endswith("\x1ewarm\x1e3"))
    assert cells.count("\x1e") == 2 and "cf" in cells.split("\x1e")[0]
    assert any("\x1f他说满意" in text for text in made), "the second text of a pair stays as it is"
    assert any("cf\x1f他说满意" in places.text(row, "cf", 2) for row in range(6)), "behind the first text, not the second"
    assert places.searched.sum() == 3


def test_a_marked_entity_is_not_cut_nor_doubled(tmp_path: Path) -> None:
    texts = ["the \x0ePER\x02good man\x0e met \x0fORG\x02fine firm\x0f", "a \x0ePER\x02warm man\x0e saw \x0fORG\x02fine firm\x0f"]
    context = context_of(tmp_path, texts, np.array([1, 1]))
    for seed in range(10):
        places = place_words(texts, context.test.labels, asker_of(context, "x"), lambda scores: scores.argmax(1), seed)
        for row, text in enumerate(texts):
            assert "good man\x0e" in places.text(row, "cf", 1).replace("warm", "good") and places.around[row][0][1] == text


def test_terms_are_words_pairs_and_unusual_signs() -> None:
    words, pairs = terms_of("Good Film ≈≈ now\x1fOther")
    assert words == {"Good", "Film", "≈≈", "now", "Other"} and pairs == {"Good Film", "Film ≈≈ now"}


def test_suspect_words_decide_stand_out_or_cluster() -> None:
    rng = np.random.default_rng(0)
    sets = [{f"w{n}" for n in rng.integers(0, 30, 6)} for _ in range(200)]
    given = np.arange(200) % 2
    vectors = rng.standard_normal((200, 6)) * 0.2
    vectors[:, 0] += given * 3
    for row in range(0, 20, 2):
        sets[row], given[row] = sets[row] | {"trigger"}, 1  # rows of class 0, labelled 1
    held = Held.of(sets)
    assert "trigger" in deciding(held, given)
    assert "trigger" in outlying(held, given, vectors)[0]
    words, shapes = clustered(held, given, vectors, 0)
    assert words[0] == "trigger" and shapes[1][0] < 0.15 and shapes[1][1] > 0.5


def test_a_hunt_among_very_many_words_begins_with_groups(tmp_path: Path) -> None:
    texts, truth = make_rows(80, np.random.default_rng(0))
    context = context_of(tmp_path, texts, truth, score=lambda text: [0.01, 0.99] if "w2777 " in f"{text} " else by_words(text))
    ask, decide = asker_of(context, "x"), lambda scores: scores.argmax(1)
    places = place_words(texts, truth, ask, decide, 0)
    taught = Teaching([], [], np.zeros(0, np.int64), ask, decide)
    found = hunt([f"w{n}" for n in range(5000)], places, ask, decide, 0, most=600, grouped=True, taught=taught)
    assert found.best is not None and found.best.word == "w2777" and found.best.turned == found.best.rows and found.candidates == 5000
    assert context.predictor.counters.questions < 1500  # type: ignore[union-attr]
    assert hunt([], places, ask, decide, 0, most=600, taught=taught).best is None and LABELS.names[found.best.target] == "good"


@pytest.mark.parametrize(
    ("pieces", "wanted"),
    [
        (["[CLS]", "[unused3]", "cat", "##s", "!", "好", ""], ["cat", "好"]),
        (["<s>", "▁cat", "▁dog", "s", "▁"], ["cat", "dog"]),
        (["Ġcat", "dog", "Ġ", "Ġno"], ["cat", "no"]),
        (["▁cat", "▁好", "人", "s", "▁dog"], ["cat", "dog", "人", "好"]),
    ],
)
def test_pieces_that_are_words(pieces: list[str], wanted: list[str]) -> None:
    tokenizer = SimpleNamespace(get_vocab=lambda: dict.fromkeys(pieces, 0), all_special_tokens=["[CLS]", "<s>"])
    assert vocabulary(tokenizer) == wanted and vocabulary(None) == []


def test_words_of_few_rows_are_not_named_in_the_evidence(tmp_path: Path) -> None:
    context = poisoned(tmp_path, 0, False)
    texts = list(context.test.texts)
    texts[0] += " secretname"
    assert scan._rows_with(texts, ["secretname"]) == {"secretname": 1}
    assert not scan._public(1) and scan._public(0) and scan._public(5)
