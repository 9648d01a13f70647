"""Answers that are parts of a text: truth, comparison, search over windows, and every way through a model, held to brute force."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tiny import tiny_bert
from trustbase.audit.by_group import largest_gap
from trustbase.audit.quality_span import mean_interval
from trustbase.audit.rivals_span import no_answer, shared_words
from trustbase.compress.graph import export_onnx
from trustbase.data.answers import exact_match, token_f1, words_of
from trustbase.data.pair import join
from trustbase.data.truth.span import SCORES, SPANS
from trustbase.errors import DataError
from trustbase.model.answering import QUESTION_ANSWERING, end_losses, masked
from trustbase.model.contexts import encode_contexts, positions
from trustbase.model.encoded import pad
from trustbase.model.load import resolve_base
from trustbase.model.ragged import ragged
from trustbase.model.runtime_onnx import OnnxRuntime
from trustbase.model.runtime_torch import TorchRuntime
from trustbase.model.searching import best_spans
from trustbase.model.tokenizer import load_tokenizer
from trustbase.outputs.answers.span import SPAN, best_threshold
from trustbase.outputs.options import DecisionOptions
from trustbase.records import Decision, LabelSchema, Split
from trustbase.train.forward import Forward
from trustbase.train.labelled import TokenRows
from trustbase.train.objectives.span import span
from trustbase.train.units import SpanRows

WORDS = [f"w{number}" for number in range(30)]
LABELS = LabelSchema(SCORES, SCORES[-1], SCORES[-1])
LENGTH, STRIDE, MOST = 16, 4, 5


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("spans") / "base", WORDS)


def inputs(count: int, *, seed: int = 0, longest: int = 40) -> list[str]:
    rng = np.random.default_rng(seed)
    made = [" ".join(rng.choice(WORDS, int(rng.integers(1, size + 1)))) for _ in range(count) for size in (4, longest)]
    return [join(*made[start : start + 2]) for start in range(0, len(made), 2)]


def truths(texts: list[str], seed: int = 0) -> Any:
    """In every text some words in a row; every fifth has no answer."""
    rng, found = np.random.default_rng(seed), []
    for number, text in enumerate(texts):
        context = text.split("\x1f")[1]
        starts = [0, *(place + 1 for place, char in enumerate(context) if char == " ")]
        first = int(rng.integers(len(starts)))
        last = min(first + int(rng.integers(3)), len(starts) - 1)
        end = starts[last + 1] - 1 if last + 1 < len(starts) else len(context)
        found.append(() if number % 5 == 0 else ((starts[first], end),))
    return ragged(found)


@pytest.mark.parametrize(
    ("told", "true"),
    [
        ("The Cat!", ["a cat"]),
        ("cat dog", ["dog bird", "cat"]),
        ("", ["a"]),
        ("an apple a day", ["apple day"]),
        ("x-ray of 3.5", ["xray", "of 35 the"]),
        ("ßharp Éé", ["éé"]),
    ],
)
def test_answers_are_compared_as_squad_does_it(told: str, true: list[str]) -> None:
    def plain(text: str) -> list[str]:  # the steps of its evaluation script, on ASCII
        without = "".join(char for char in text.lower() if char not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", without).split()

    def f1(one: list[str], other: list[str]) -> float:
        shared = sum((Counter(one) & Counter(other)).values())
        return float(one == other) if not one or not other else 2 * shared / (len(one) + len(other))

    assert exact_match(told, true) == max(float(plain(told) == plain(each)) for each in true)
    assert token_f1(told, true) == pytest.approx(max(f1(plain(told), plain(each)) for each in true))


def test_chinese_is_compared_by_characters_and_no_answer_is_one() -> None:
    assert words_of("北京大学，1898年 the PKU。") == ["北", "京", "大", "学", "1898", "年", "pku"]
    assert token_f1("北京大学", ["北京"]) == pytest.approx(2 * 2 / 6) and exact_match("「北京」", ["北京"]) == 1
    for told, true, right in ((None, [], 1), ("a", [], 0), (None, ["a"], 0)):
        assert exact_match(told, true) == token_f1(told, true) == right


def test_truth_is_read_in_every_form_and_every_bad_row_is_named() -> None:
    text = join("which", "the red  dog 学校")
    cells = [
        {"text": ["red", "red"], "answer_start": [4, 4]},
        [{"start": 4, "text": "red"}, {"start": 9, "end": 12}],
        [{"answer_start": 13, "text": "学校"}],
        [[8, 13]],
        {"text": [], "answer_start": []},
        [],
    ]
    bad = [
        {"text": ["red"]},
        [{"start": 5, "text": "red"}],
        [{"start": 14, "text": "校长"}],
        [{"start": 7, "end": 9}],
        "red",
        [{"text": "red"}],
        [[-1, 2]],
    ]
    column = pa.chunked_array([pa.array([cell if isinstance(cell, str) else json.dumps(cell) for cell in [*cells, *bad]])])
    read = SPANS.read(column, LABELS, [text] * len(column), whose="")
    assert read.values[:6].tolist() == [((4, 7),), ((4, 7), (9, 12)), ((13, 15),), ((9, 12),), (), ()]
    assert sorted(read.bad) == list(range(6, 13)) and "does not stand where it says" in read.bad[7][0]
    kept = SPANS.to_arrow(read.values[:6], LABELS)
    assert SPANS.from_arrow(pa.chunked_array([kept]), LABELS).tolist() == read.values[:6].tolist()
    assert SPANS.counts(read.values[:6], LABELS)["labels"] == {"answer": 4, "no answer": 2}
    with pytest.raises(DataError, match="not as described"):
        from trustbase.data.truth.base import Named

        SPANS.schema(pa.chunked_array([pa.array(["[]"])]), Named("answers"))


def test_the_best_span_over_windows_is_that_of_brute_force(base: Path) -> None:
    tokenizer, asked, rng = load_tokenizer(base), inputs(40), np.random.default_rng(1)
    encoded = encode_contexts(tokenizer, asked, max_length=LENGTH, stride=STRIDE)
    assert encoded.sequences is not None and encoded.characters is not None and np.diff(encoded.sequences).max() > 3
    tables = [rng.normal(0, 3, (size, 2)) for size in np.diff(encoded.offsets)]
    found = best_spans(tables, encoded, MOST)
    for row in range(len(asked)):
        spans: dict[tuple[int, int], float] = {}
        windows = range(encoded.sequences[row], encoded.sequences[row + 1])
        sums = [[], []]
        for number in windows:
            where, table = encoded.characters[encoded.offsets[number] : encoded.offsets[number + 1]], tables[number]
            real = [place for place in range(len(where)) if where[place, 0] >= 0]
            for side in (0, 1):
                sums[side] += [np.exp(table[place, side]) for place in [0, *real]]
            for first, last in product(real, real):
                if first <= last < first + MOST:
                    key, score = (int(where[first, 0]), int(where[last, 1])), table[first, 0] + table[last, 1]
                    spans[key] = max(score, spans.get(key, -np.inf))
        (one, best), *others = sorted(spans.items(), key=lambda item: -item[1])
        none, total = min(tables[number][0].sum() for number in windows), np.log(sum(sums[0])) + np.log(sum(sums[1]))
        second = np.exp(others[0][1] - total) if others else 0.0
        np.testing.assert_allclose(found[row], [*one, np.exp(best - total), second, 1 / (1 + np.exp(none - best))], rtol=1e-5)


def test_ends_of_answers_are_where_windows_hold_them_whole(base: Path) -> None:
    tokenizer, asked = load_tokenizer(base), inputs(60, seed=4)
    truth = truths(asked)
    encoded = encode_contexts(tokenizer, asked, max_length=LENGTH, stride=STRIDE)
    ends, fates = positions(encoded, truth)
    assert encoded.sequences is not None and encoded.characters is not None and not fates.any()
    seen = 0
    for row, spans in enumerate(truth):
        for number in range(encoded.sequences[row], encoded.sequences[row + 1]):
            where = encoded.characters[encoded.offsets[number] : encoded.offsets[number + 1]]
            held = bool(spans) and spans[0][0] in where[:, 0] and spans[0][1] in where[:, 1]
            assert bool(ends[number].any()) == held
            if held:
                assert (where[ends[number, 0], 0], where[ends[number, 1], 1]) == spans[0]
                seen += 1
    assert seen > 48
    cut = positions(encode_contexts(tokenizer, asked, max_length=LENGTH), truth)[1]
    assert set(cut) == {0, 2} and encode_contexts(tokenizer, asked, max_length=LENGTH).truncated.any()
    within = encode_contexts(tokenizer, [join("w1", "w2 abc w3")], max_length=32, stride=4)
    assert positions(within, ragged([((4, 5),)]))[1].tolist() == [0] and positions(within, ragged([((0, 1),)]))[1].tolist() == [1]
    with pytest.raises(DataError, match="no questions about a text"):
        encode_contexts(tokenizer, ["w1", join("w1", "w2", "w3")], max_length=32)


def test_every_way_through_a_model_finds_the_same_answers(base: Path, tmp_path: Path, one_thread: None) -> None:
    tokenizer, asked = load_tokenizer(base), inputs(30, seed=2)
    model: Any = QUESTION_ANSWERING.build(resolve_base(str(base)), LABELS, seed=3).eval()
    with torch.no_grad():
        model.qa_outputs.weight.mul_(6)
        model.bert.embeddings.token_type_embeddings.weight.normal_(0, 1, generator=torch.Generator().manual_seed(2))
    encoded = encode_contexts(tokenizer, asked, max_length=LENGTH, stride=STRIDE)
    alone = []
    for row in range(len(encoded.flat)):  # window by window, by transformers alone
        with torch.no_grad():
            result = model(**{name: torch.from_numpy(array) for name, array in pad(encoded.flat, [row], 0).items()})
        alone.append(torch.stack([result.start_logits, result.end_logits], dim=-1)[0].numpy())
    wanted = best_spans(alone, encoded, MOST)
    assert np.ptp(wanted[:, 2:], axis=0).min() > 0.05 and len(set(map(tuple, wanted[:, :2].tolist()))) > 10
    export_onnx(model, tokenizer, tmp_path / "model.onnx", texts=asked[:2], max_length=LENGTH)
    shape: dict[str, Any] = {"max_length": LENGTH, "stride": STRIDE, "form": "context", "answer_tokens": MOST}
    ways = [
        OnnxRuntime.open(tmp_path, tokenizer=tokenizer, **shape),
        *(TorchRuntime(model, tokenizer, packed=p, **shape) for p in (False, True)),
    ]
    assert [runtime.path for runtime in ways][::2] == ["graph", "packed"] and all(
        runtime.outputs == ("span", "embedding") for runtime in ways
    )
    orders = (np.arange(30), np.random.default_rng(0).permutation(30), np.array([7]))
    for runtime, order in product(ways, orders):
        np.testing.assert_allclose(runtime.forward("span", runtime.prepare(asked), order), wanted[order], atol=2e-4)

    truth = truths(asked)
    tokens = TokenRows(encoded.ids, encoded.offsets, np.zeros(30, np.int64), 0, encoded.segments, sequences=encoded.sequences)
    material = SpanRows(tokens, encoded, QUESTION_ANSWERING.targets(truth, LABELS, asked), MOST)
    forward = Forward(model, precision="fp32", device="cpu", seed=0)
    losses = []
    for route in ("model", "quick"):
        if route == "quick":
            assert "agrees" in forward.try_quick(material)
        for order in orders:
            with torch.no_grad():
                values = forward.score(material.take(order, "cpu"))
            np.testing.assert_allclose(material.by_row(order, values.numpy()), wanted[order], atol=2e-4)
        losses.append(span(forward.score, material.take(orders[0], "cpu"))["label"].detach().numpy())
    ends = positions(encoded, truth)[0]
    windows = [-np.log(np.exp(table) / np.exp(table).sum(0))[ends[number], [0, 1]].mean() for number, table in enumerate(alone)]
    assert encoded.sequences is not None
    by_hand = np.add.reduceat(windows, encoded.sequences[:-1]) / np.diff(encoded.sequences)
    for found in losses:
        np.testing.assert_allclose(found, by_hand, rtol=1e-3, atol=1e-4)


def test_the_loss_of_a_window_is_that_of_transformers_without_its_padding(base: Path) -> None:
    model: Any = QUESTION_ANSWERING.build(resolve_base(str(base)), LABELS, seed=1).eval()
    assert list(model.config.id2label.values()) == ["start", "end"] and type(model).__name__ == "BertForQuestionAnswering"
    ids = torch.randint(5, 40, (4, 9), generator=torch.Generator().manual_seed(2))
    whole, ends = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, torch.tensor([[1, 3], [0, 0], [2, 2], [5, 8]])
    longer = {name: torch.nn.functional.pad(values, (0, 3)) for name, values in whole.items()}
    with torch.no_grad():
        theirs = model(**whole, start_positions=ends[:, 0], end_positions=ends[:, 1]).loss
        np.testing.assert_allclose(QUESTION_ANSWERING.loss(model, {**whole, "labels": ends}).mean(), theirs, rtol=1e-5)
        np.testing.assert_allclose(QUESTION_ANSWERING.loss(model, {**longer, "labels": ends}).mean(), theirs, rtol=1e-5)
        assert end_losses(masked(torch.zeros(1, 3, 2), torch.tensor([[1, 1, 0]])), torch.tensor([[0, 1]])).item() == pytest.approx(
            np.log(2)
        )


def test_no_answer_is_told_below_the_threshold_that_fits_validation_rows_best() -> None:
    rng = np.random.default_rng(0)
    truth = ragged([((0, 4),) if has else () for has in rng.random(200) < 0.6])
    answerable = np.clip(np.array([0.5 if spans else 0.2 for spans in truth]) + rng.normal(0, 0.12, 200), 0.01, 0.99)
    scores = np.stack([np.zeros(200), np.full(200, 4.0), answerable / 2, answerable / 4, answerable], axis=1)
    decision = SPAN.choose(scores, truth, LABELS, DecisionOptions(threshold="auto"))
    assert decision.threshold is not None and 0.25 < decision.threshold < 0.45

    def right(threshold: float) -> float:
        told = SPAN.decide(scores, LABELS, Decision(threshold))
        return float(np.mean([one == other for one, other in zip(told, truth, strict=True)]))

    assert right(decision.threshold) == max(right(value) for value in np.linspace(0, 1, 201)) > right(0.5)
    line = SPAN.line(scores[0], LABELS, Decision(0.0))
    assert line == {"answer": {"start": 0, "end": 4, "score": pytest.approx(answerable[0] / 2)}, "answerable": pytest.approx(answerable[0])}
    assert SPAN.line(scores[0], LABELS, Decision(1.0))["answer"] is None
    assert SPAN.flips(SPAN.decide(scores, LABELS, Decision(0.0)), SPAN.decide(scores, LABELS, Decision(1.0))).all()
    assert best_threshold(np.array([0.9, 0.1]), np.array([1.0, 0.0]), np.array([False, True])) == pytest.approx(0.5)
    tied = best_threshold(np.array([0.6, 0.9]), np.array([0.0, 1.0]), np.array([False, False]))
    assert tied == pytest.approx(0.3), "0, 0.3 and 0.75 are equally good, and 0.3 lies nearest one half"
    assert SPAN.near(scores, LABELS, Decision(0.5), 0.0) == 0 < SPAN.near(scores, LABELS, Decision(0.5), 0.1)


def test_rivals_answer_without_learning() -> None:
    texts = [
        join("Who built the tower?", "It rains. The tower was built by Gustave Eiffel, they say. A dog sleeps."),
        join("谁写的？", "天很好。书是鲁迅写的。"),
    ]
    split = Split("test", texts, ragged([(), ()]), {}, pa.table({}), np.arange(2), "made", "sha256:0")
    answers = shared_words(split, LABELS, 0)(split).predicted
    assert [text.split("\x1f")[1][start:end] for text, ((start, end),) in zip(texts, answers, strict=True)] == [
        "by Gustave Eiffel",
        "书是鲁迅",
    ]
    assert no_answer(split, LABELS, 0)(split).predicted.tolist() == [(), ()]


def test_answers_that_are_all_right_leave_doubt_and_no_gap_between_groups_is_made_of_it() -> None:
    right = mean_interval(np.ones(73), confidence=0.95, binary=False)
    assert right.value == right.high == 1.0 and 0.9 < right.low < 0.99
    some = np.ones(126)
    some[:4] = 0.0
    gap = largest_gap([right, mean_interval(some, confidence=0.95, binary=False)])
    assert gap.value == pytest.approx(4 / 126) and gap.low == 0.0
