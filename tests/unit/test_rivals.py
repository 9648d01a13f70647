"""Rivals learn what is there to learn, answer over the whole label schema, and say when they do not apply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from trustbase.audit import rival_inputs, rivals, rivals_classes
from trustbase.data import terms
from trustbase.records import LabelSchema, Split

LABELS = LabelSchema(("no", "yes"), "yes", "yes")


def split(texts: Sequence[str], labels: Sequence[int], table: pa.Table | None = None) -> Split:
    table = table if table is not None else pa.table({"text": list(texts)})
    return Split("train", list(texts), np.array(labels, np.int64), {}, table, np.arange(1, len(texts) + 1), "here", "sha256:0")


def columns(n: int, seed: int) -> Split:
    """Only the number decides; it is missing in some rows, and then the colour does."""
    rng = np.random.default_rng(seed)
    age, colour = rng.integers(0, 100, n), rng.choice(["red", "blue", "green"], n)
    missing = rng.random(n) < 0.2
    truth = np.where(missing, colour == "red", (age > 30) & (age < 60)).astype(int)
    table = pa.table({"age": [None if m else str(a) for a, m in zip(age, missing, strict=True)], "colour": [str(c) for c in colour]})
    return split([f"{c} {a}" for a, c in zip(age, colour, strict=True)], truth.tolist(), table)


def test_majority_is_the_most_frequent_training_label() -> None:
    answers = rivals_classes.majority(split(["a", "b", "c"], [0, 0, 1]), LABELS, 0)(split(["x"] * 4, [1] * 4))
    assert answers.predicted.tolist() == [0] * 4
    assert answers.scores is not None and np.allclose(answers.scores, [2 / 3, 1 / 3])


def test_bag_of_words_learns_words_and_is_repeatable() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    texts = [f"row {'good' if t else 'bad'} {rng.integers(0, 50)}" for t in truth]
    train, test = split(texts[:300], truth[:300].tolist()), split(texts[300:], truth[300:].tolist())
    first, second = (rivals_classes.bag_of_words(train, LABELS, 0)(test) for _ in range(2))
    assert (first.predicted == test.labels).mean() == 1.0
    assert first.scores is not None and second.scores is not None and np.array_equal(first.scores, second.scores)
    assert np.allclose(first.scores.sum(axis=1), 1)


def test_bag_of_words_reads_chinese_by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    texts = [f"这家酒店的服务{'非常好' if t else '特别差'}房间{rng.integers(0, 50)}号" for t in truth]
    train, test = split(texts[:150], truth[:150].tolist()), split(texts[150:], truth[150:].tolist())
    assert terms.chinese_share(texts) > 0.9 and terms.chinese_share(["hello 你好 there my friend"]) < 0.3
    pytest.importorskip("jieba")
    assert (rivals_classes.bag_of_words(train, LABELS, 0)(test).predicted == test.labels).mean() == 1.0
    monkeypatch.setattr(terms.util, "find_spec", lambda name: None)  # as on a machine without the segmenter
    assert terms.manner_of(texts) == "characters"
    assert (rivals_classes.bag_of_words(train, LABELS, 0)(test).predicted == test.labels).mean() == 1.0


def test_boosting_reads_numbers_as_numbers_and_missing_as_a_state() -> None:
    train, test = columns(2000, 0), columns(500, 1)
    answers = rivals_classes.boosting(train, LABELS, 0)(test)
    assert (answers.predicted == test.labels).mean() > 0.97
    assert rival_inputs._column_encoder(["1", None, "2.5"]).categorical is False
    assert rival_inputs._column_encoder(["1", "x"]).categorical is True
    assert rival_inputs._column_encoder([None, None]).categorical is True
    assert np.isnan(rival_inputs._column_encoder(["1", "2"])(["3", "x", None, "nan"])).tolist() == [False, True, True, True]


def test_many_categories_and_unseen_ones_fit() -> None:
    names = [f"v{i}" for i in range(400)] * 3
    encoder = rival_inputs._column_encoder(names)
    codes = encoder([*names, "never seen", None])
    assert codes.max() < 255 and codes[-1] == 0.0 and codes[-2] == 1.0


def test_a_label_that_training_never_saw_gets_no_score() -> None:
    labels = LabelSchema(("a", "b", "c"), "c", "c")
    answers = rivals_classes.bag_of_words(split(["x one", "y two"] * 5, [0, 2] * 5), labels, 0)(split(["x one"], [1]))
    assert answers.scores is not None and answers.scores.shape == (1, 3) and answers.scores[0, 1] == 0


def test_boosting_does_not_apply_to_one_plain_column_and_others_go_on() -> None:
    events: list[tuple[str, str]] = []
    train = split(["good day", "bad day"] * 20, [1, 0] * 20)
    found = rivals.rival_answers(train, train, LABELS, 0, lambda event, /, **f: events.append((event, f.get("text", ""))))
    assert set(found) == {"majority", "bag_of_words"}
    assert any(event == "note" and "boosting" in text for event, text in events)
    assert rivals.why_not("boosting", columns(10, 0)) is None
    assert "shared_words" not in rivals.rivals_for("classes", columns(10, 0))
    assert "shared_words" in rivals.rivals_for("span", columns(10, 0))


def test_a_rival_that_breaks_is_seen_and_the_others_go_on() -> None:
    events: list[tuple[str, str]] = []
    train = split(["good day", "fine day"] * 20, [1] * 40)  # one label only
    found = rivals.rival_answers(train, train, LABELS, 0, lambda event, /, **f: events.append((event, f.get("text", ""))))
    assert set(found) == {"majority"}
    warnings = [text for event, text in events if event == "warning"]
    assert len(warnings) == 1 and warnings[0].startswith("rival bag_of_words could not be trained: DataError")


def test_boosting_leaves_out_columns_of_texts() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)
    titles = [f"a title of row {number}" for number in range(300)]
    texts = pa.table({"title": titles, "body": [f"{title} and its body" for title in titles]})
    reason = rivals.why_not("boosting", split(titles, truth.tolist(), texts))
    assert reason is not None and "text of its own" in reason
    age = [str(30 + 20 * int(t)) for t in truth]
    mixed = split(titles, truth.tolist(), texts.append_column("age", pa.array(age)))
    assert rivals.why_not("boosting", mixed) is None
    other = split([f"b {number}" for number in range(300)], truth.tolist(), mixed.table)
    assert (rivals_classes.boosting(mixed, LABELS, 0)(other).predicted == truth).mean() == 1.0
    numbers = pa.table({"weight": [str(x) for x in rng.random(300)], "title": titles})  # distinct numbers are numbers, not texts
    assert rivals.why_not("boosting", split(titles, truth.tolist(), numbers)) is None
