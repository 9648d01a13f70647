"""Ensembles of taggers and of answerers of questions: the mean of each row's tables against plain arithmetic, and what must not move it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from tiny import tiny_bert
from trustbase.compress.graph import export_onnx
from trustbase.data.pair import join
from trustbase.data.tags import OUTSIDE, tag_names
from trustbase.data.truth.span import SCORES
from trustbase.model.answering import QUESTION_ANSWERING
from trustbase.model.contexts import encode_contexts
from trustbase.model.encoded import Encoded
from trustbase.model.ensemble import mean_of_spans, mean_of_tags
from trustbase.model.load import resolve_base
from trustbase.model.opening import together
from trustbase.model.questions import KINDS, UNREAD, Question
from trustbase.model.runtime import MEMBER_OUTPUT
from trustbase.model.runtime_onnx import OnnxRuntime
from trustbase.model.runtime_torch import TorchRuntime
from trustbase.model.searching import SPAN, TABLES, best_spans, row_tables, window_tables
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import LabelSchema

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = [f"w{number}" for number in range(30)]
LENGTH, STRIDE, MOST = 16, 4, 5
TAGS = tag_names(["PER"])
LABELS = LabelSchema(SCORES, SCORES[-1], SCORES[-1])
RNG = np.random.default_rng(0)
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5))


def tables(shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Scores as fp32 gives them."""
    return np.random.default_rng(seed).normal(0, 6, shape).astype(np.float32).astype(np.float64)


# --- means ----------------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_the_mean_of_tags_is_that_of_each_units_probabilities(shape: tuple[int, int, int], seed: int) -> None:
    logits = tables(shape, seed)
    told = np.exp(mean_of_tags(logits))
    wanted = (np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(told, wanted, rtol=1e-9)
    np.testing.assert_allclose(told.sum(axis=1), 1.0, rtol=1e-9)
    np.testing.assert_allclose(mean_of_tags(logits[:1]), special.log_softmax(logits[0], axis=1), rtol=1e-9, atol=1e-12)
    alike = np.repeat(logits[:1], 3, axis=0)
    np.testing.assert_allclose(mean_of_tags(alike), mean_of_tags(logits[:1]), rtol=1e-9, atol=1e-12)


def test_what_no_member_read_stays_unread_to_the_bit() -> None:
    logits = tables((3, 5, 4), 1)
    logits[:, [1, 4]] = UNREAD
    told = mean_of_tags(logits).astype(np.float32)
    assert (told[[1, 4]] == UNREAD).all() and (told[[0, 2, 3]] > UNREAD).all()
    scores = KINDS["token_scores"]
    (chances,) = scores.finish([told.astype(np.float64)], [Question("token_scores", "a b c d e")], LabelSchema((*TAGS, "x"), "x", "x"))
    assert chances[[1, 4], 2 + TAGS.index(OUTSIDE)].tolist() == [1.0, 1.0]
    assert mean_of_tags(np.empty((2, 0, 4))).shape == (0, 4), "a text without units"


@settings(deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_the_mean_of_spans_is_that_of_where_they_begin_and_of_where_they_end(shape: tuple[int, int, int], seed: int) -> None:
    scores = tables((*shape[:2], 2), seed)
    told = np.exp(mean_of_spans(scores))
    for side in range(2):
        each = np.exp(scores[:, :, side])
        np.testing.assert_allclose(told[:, side], (each / each.sum(axis=1, keepdims=True)).mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(told.sum(axis=0), 1.0, rtol=1e-9)


# --- rows of several windows ----------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    folder: Path
    tokenizer: Any
    texts: list[str]
    encoded: Encoded


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Questions about texts of one window and of several."""
    folder = tiny_bert(tmp_path_factory.mktemp("spans") / "base", WORDS)
    tokenizer, rng = load_tokenizer(folder), np.random.default_rng(3)
    texts = [join(*(" ".join(rng.choice(WORDS, int(rng.integers(1, most)))) for most in (5, 40))) for _ in range(24)]
    encoded = encode_contexts(tokenizer, texts, max_length=LENGTH, stride=STRIDE)
    assert encoded.sequences is not None and {1, 4} < set(np.diff(encoded.sequences).tolist())
    return Asked(folder, tokenizer, texts, encoded)


def windows(encoded: Encoded, seed: int) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 3, (size, 2)).astype(np.float32) for size in np.diff(encoded.offsets)]


def by_hand(members: list[list[NDArray[np.float32]]], encoded: Encoded) -> NDArray[np.float64]:
    """Start, end, share and answerable of each row, from the members' probabilities token by token and every span that there may be."""
    assert encoded.sequences is not None and encoded.characters is not None
    found = []
    for row in range(len(encoded)):
        own = range(encoded.sequences[row], encoded.sequences[row + 1])
        where = [encoded.characters[encoded.offsets[number] : encoded.offsets[number + 1]] for number in own]
        kept = [[place for place in range(len(each)) if place == 0 or each[place, 0] >= 0] for each in where]
        mean = [np.zeros((len(each), 2)) for each in where]
        for member, side in product(members, range(2)):
            raw = [np.exp(member[number][:, side].astype(np.float64)) for number in own]
            total = sum(float(values[places].sum()) for values, places in zip(raw, kept, strict=True))
            for table, values in zip(mean, raw, strict=True):
                table[:, side] += values / total / len(members)
        spans: dict[tuple[int, int], float] = {}
        for table, characters, places in zip(mean, where, kept, strict=True):
            for first, last in product(places[1:], places[1:]):
                if first <= last < first + MOST:
                    key = (int(characters[first, 0]), int(characters[last, 1]))
                    spans[key] = max(table[first, 0] * table[last, 1], spans.get(key, 0.0))
        (best, share), none = max(spans.items(), key=lambda item: item[1]), min(table[0].prod() for table in mean)
        found.append([*best, share, share / (share + none)])
    return np.array(found)


class Said:
    """A member whose scores are given."""

    name, precision, outputs = "torch", "fp32", (SPAN, "embedding")

    def __init__(self, given: list[NDArray[np.float32]]) -> None:
        self.given = given

    def forward(self, output: str, encodings: Encoded, rows: NDArray[np.int64]) -> Any:
        part, own = encodings.take(rows), [self.given[number] for number in encodings.of_rows(rows)]
        return row_tables(own, part) if output == TABLES else best_spans(own, part, MOST)


def test_rows_are_taken_apart_as_they_were_put_together(asked: Asked) -> None:
    given, part = windows(asked.encoded, 0), asked.encoded
    rows = row_tables(given, part)
    assert part.characters is not None and [len(row) for row in rows] == part.lengths.tolist()
    counts = part.characters[:, 0] >= 0
    counts[part.offsets[:-1]] = True
    for table, own, kept in zip(window_tables(rows, part), given, np.split(counts, part.offsets[1:-1]), strict=True):
        np.testing.assert_array_equal(table[kept], own[kept])
        assert (table[~kept] < -1e29).all()


@pytest.mark.parametrize("rows", [np.arange(24), RNG.permutation(24), np.array([7])], ids=["all", "shuffled", "one"])
def test_answers_of_the_mean_are_those_of_brute_force(asked: Asked, rows: NDArray[np.int64]) -> None:
    members = [windows(asked.encoded, seed) for seed in range(3)]
    whole = together([Said(each) for each in members], "span", MOST)  # type: ignore[list-item]
    told, wanted = np.asarray(whole.forward(SPAN, asked.encoded, rows)), by_hand(members, asked.encoded)[rows]
    np.testing.assert_allclose(told[:, [0, 1, 2, 4]], wanted, rtol=1e-5)
    own = np.asarray(whole.forward(MEMBER_OUTPUT, asked.encoded, rows)).reshape(len(rows), 3, 5)
    for place, member in enumerate(members):
        np.testing.assert_array_equal(own[:, place], best_spans(member, asked.encoded, MOST)[rows])
    assert len(rows) == 1 or ((own[:, 0] != told).any(axis=1).any() and (own[:, 0, :2] != own[:, 1, :2]).any())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.floats(-50, 50))
def test_members_that_are_alike_give_what_each_gives(asked: Asked, seed: int, count: int, shift: float) -> None:
    """Also where their scores differ by a number that no probability knows of."""
    given, rows = windows(asked.encoded, seed), np.arange(len(asked.encoded))
    alone = best_spans(given, asked.encoded, MOST)
    alike = [Said([(table + np.float32(shift * place)).astype(np.float32) for table in given]) for place in range(count)]
    runtime = together([*alike, alike[0]], "span", MOST)  # type: ignore[list-item]
    np.testing.assert_allclose(np.asarray(runtime.forward(SPAN, asked.encoded, rows)), alone, rtol=1e-3, atol=1e-6)


def test_every_runtime_gives_the_scores_that_the_mean_is_made_of(asked: Asked, tmp_path: Path) -> None:
    shape: dict[str, Any] = {"max_length": LENGTH, "stride": STRIDE, "form": "context", "answer_tokens": MOST}
    ways: dict[str, list[Any]] = {"graph": [], "packed": [], "padded": []}
    for seed in range(2):
        model: Any = QUESTION_ANSWERING.build(resolve_base(str(asked.folder)), LABELS, seed=seed).eval()
        with torch.no_grad():
            model.qa_outputs.weight.mul_(6)
        (tmp_path / str(seed)).mkdir()
        export_onnx(model, asked.tokenizer, tmp_path / str(seed) / "model.onnx", texts=asked.texts[:2], max_length=LENGTH)
        ways["graph"].append(OnnxRuntime.open(tmp_path / str(seed), tokenizer=asked.tokenizer, **shape))
        for name in ("packed", "padded"):
            ways[name].append(TorchRuntime(model, asked.tokenizer, packed=name == "packed", **shape))
    rows = RNG.permutation(len(asked.texts))
    encoded = ways["padded"][0].prepare(asked.texts)
    found = []
    for members in ways.values():
        given = [member.forward(TABLES, encoded, np.arange(len(asked.texts))) for member in members]
        assert all(np.abs(one - other).max() > 0.1 for one, other in zip(*given, strict=True)), "the members are too much alike"
        wanted = by_hand([window_tables(each, encoded) for each in given], encoded)[rows]
        told = np.asarray(together(members, "span", MOST).forward(SPAN, encoded, rows))
        np.testing.assert_allclose(told[:, [0, 1, 2, 4]], wanted, rtol=1e-4)
        found.append(told)
    for told in found[1:]:
        np.testing.assert_allclose(told, found[0], atol=2e-4)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("token", [0, -2], ids=["no answer", "the last of the text"])
def test_a_score_that_is_no_number_is_never_an_answer(asked: Asked, number: float, token: int) -> None:
    """Of one model, and of one member of several: the row fails, and no other does."""
    good, spoilt = windows(asked.encoded, 0), windows(asked.encoded, 1)
    assert asked.encoded.sequences is not None
    spoilt[asked.encoded.sequences[3]][token] = number
    rows = np.arange(len(asked.encoded))
    for runtime in (Said(spoilt), together([Said(good), Said(spoilt)], "span", MOST)):  # type: ignore[list-item]
        with np.errstate(invalid="ignore"):
            told = np.asarray(runtime.forward(SPAN, asked.encoded, rows))
        assert np.isnan(told[3]).all() and np.isfinite(np.delete(told, 3, axis=0)).all()
