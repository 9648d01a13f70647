"""The engine on a fake runtime: sharing, failures that stay alone, askers of every sort, and no hang."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from trustbase.errors import PredictionError
from trustbase.model.predict import Answer, Failure, Predictor, Question
from trustbase.model.questions import KINDS, TEXT, Kind
from trustbase.records import ArtifactInfo, LabelSchema

LABELS = LabelSchema(("no", "yes"), positive="yes", favourable="yes")


@dataclass
class FakeEncodings:
    texts: list[str]

    @property
    def lengths(self):
        return np.array([len(text) + 1 for text in self.texts])


@dataclass
class FakeRuntime:
    """Logits (0, hash-like number of the text): every text has its own answer, so a swap would be seen."""

    name: str = "fake"
    precision: str = "fp32"
    outputs: tuple[str, ...] = ("logits", "embedding")
    batches: list[list[str]] = field(default_factory=list)
    gate: threading.Event | None = None

    def prepare(self, inputs):
        if any("untokenizable" in text for text in inputs):
            raise ValueError("cannot tokenise")
        return FakeEncodings(list(inputs))

    def computed_tokens(self, lengths):
        return int(lengths.max()) * len(lengths)

    def forward(self, output, encodings, rows):
        if self.gate is not None:
            self.gate.wait(10)
        texts = [encodings.texts[row] for row in rows]
        self.batches.append(texts)
        if any(text == "die" for text in texts):
            raise SystemExit("no more")
        if any(text == "boom" for text in texts):
            raise RuntimeError("boom")
        return np.array([[0.0, np.nan if text == "nan" else logit(text)] for text in texts], dtype=np.float32)


def logit(text: str) -> float:
    return float(sum(text.encode()) % 97) / 20.0 - 2.0


def expected(text: str) -> float:
    return 1.0 / (1.0 + np.exp(-np.float64(np.float32(logit(text)))))


def info() -> ArtifactInfo:
    return ArtifactInfo(Path("nowhere"), "sha256:0", "text-classification", "classes", LABELS, "fake", "fp32", 64, "b", "r")


@pytest.fixture
def runtime():
    return FakeRuntime()


@pytest.fixture
def predictor(runtime):
    with Predictor(info(), runtime, batch_tokens=64) as opened:
        yield opened


def test_scores_are_in_order_and_never_swapped(predictor):
    texts = [f"text {i * 7919 % 1000}" * (i % 5 + 1) for i in range(300)]
    scores = predictor.class_scores(texts)
    assert scores.shape == (300, 2) and scores.dtype == np.float64
    np.testing.assert_allclose(scores[:, 1], [expected(text) for text in texts], rtol=1e-12)
    assert predictor.class_scores([]).shape == (0, 2)


def test_duplicates_and_known_answers_cost_nothing(predictor, runtime):
    predictor.class_scores(["a", "b", "a", "a"])
    predictor.class_scores(["b", "c"])
    asked = [text for batch in runtime.batches for text in batch]
    assert sorted(asked) == ["a", "b", "c"]
    counters = predictor.counters
    assert (counters.questions, counters.unique, counters.duplicates, counters.cache_hits) == (6, 3, 2, 1)
    results = predictor.ask_all([Question("class_scores", "new"), Question("class_scores", "new"), Question("class_scores", "a")])
    assert [result.cached for result in results] == [False, True, True]


def test_loss_and_scores_of_a_text_share_one_forward_pass(predictor, runtime):
    losses = predictor.losses(["a", "b", "a"], ["yes", 0, 0])
    predictor.class_scores(["a", "b"])
    assert sum(len(batch) for batch in runtime.batches) == 2
    p = np.array([expected("a"), 1 - expected("b"), 1 - expected("a")])
    np.testing.assert_allclose(losses, -np.log(p), rtol=1e-9)


def test_batches_hold_the_budget_and_are_sorted(predictor, runtime):
    predictor.class_scores([f"{i}" + "x" * (i % 40) for i in range(200)])
    longest = [max(len(text) + 1 for text in batch) for batch in runtime.batches]
    assert all(length * len(batch) <= 64 or len(batch) == 1 for length, batch in zip(longest, runtime.batches, strict=True))
    assert longest == sorted(longest)
    assert predictor.counters.padded_tokens <= 64 * len(runtime.batches)
    assert 0 <= predictor.counters.padding_share < 0.2


POISON = [
    (Question("class_scores", "half \ud800 pair"), "bad_input"),
    (Question("class_scores", 7), "bad_input"),
    (Question("class_scores", None), "bad_input"),
    (Question("class_scores", "nan"), "not_finite"),
    (Question("class_scores", "boom"), "runtime"),
    (Question("class_scores", "untokenizable"), "bad_input"),
    (Question("loss", "x"), "bad_question"),
    (Question("loss", "x", {"label": "maybe"}), "bad_question"),
    (Question("loss", "x", {"label": True}), "bad_question"),
    (Question("class_scores", "x", {"temperature": 2}), "bad_question"),
    (Question("generation", "x"), "bad_question"),
    (Question(["class_scores"], "x"), "bad_question"),  # type: ignore[arg-type]
    ("not a question", "bad_question"),
]


@pytest.mark.parametrize(("poison", "code"), POISON, ids=lambda value: str(value)[:40])
def test_a_poisoned_question_fails_alone(predictor, poison, code):
    neighbours = [f"neighbour {i}" for i in range(40)]
    questions = [Question("class_scores", text) for text in neighbours]
    results = predictor.ask_all([*questions[:20], poison, *questions[20:]])
    failure = results.pop(20)
    assert isinstance(failure, Failure) and failure.code == code and failure.reason
    with pytest.raises(PredictionError, match=code):
        _ = failure.value
    np.testing.assert_allclose([result.value[1] for result in results], [expected(text) for text in neighbours], rtol=1e-12)
    assert predictor.counters.failures == 1


def test_a_failure_is_not_remembered_as_an_answer(predictor):
    for _ in range(2):
        assert isinstance(predictor.ask_all([Question("class_scores", "nan")])[0], Failure)
    with pytest.raises(PredictionError, match="1 of 2") as caught:
        predictor.class_scores(["fine", "nan"])
    assert "row 1" in str(caught.value)


def test_answers_cannot_be_written_to(predictor):
    first, second = predictor.ask_all([Question("class_scores", "a")] * 2)
    with pytest.raises(ValueError, match="read-only"):
        first.value[0] = 1.0
    assert second.value[1] == pytest.approx(expected("a"), rel=1e-12)


def test_500_askers_share_batches(runtime):
    async def asker(number: int, predictor: Predictor) -> list[float]:
        seen = []
        for step in range(4):  # each next question depends on the answer before
            text = f"asker {number % 250} step {step} {round(seen[-1], 3) if seen else ''}"
            result = await predictor.ask(Question("class_scores", text))
            assert isinstance(result, Answer) and result.value[1] == pytest.approx(expected(text), rel=1e-12)
            seen.append(float(result.value[1]))
        return seen

    with Predictor(info(), runtime, batch_tokens=4096) as predictor:
        answers = predictor.gather(asker(i, predictor) for i in range(500))
        assert answers[:250] == answers[250:]
        assert predictor.counters.questions == 2000
        assert predictor.counters.unique == 1000  # two askers ask each question
        assert predictor.counters.batches <= 4 * 4  # four rounds, each of few batches


def test_askers_in_a_running_loop_and_a_failure_among_them(predictor):
    async def main() -> list[object]:
        assert predictor.class_scores(["sync inside a loop"]).shape == (1, 2)
        inner = predictor.gather([predictor.ask(Question("class_scores", "from a notebook"))])
        texts = ["one", "nan", "three"]
        return [*inner, *await asyncio.gather(*(predictor.ask(Question("class_scores", text)) for text in texts))]

    results = asyncio.run(main())
    assert [type(result) for result in results] == [Answer, Answer, Failure, Answer]


def test_many_threads_and_loops_at_once(predictor):
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            texts = [f"t{(number + i) % 40}" for i in range(40)]
            for _ in range(5):
                scores = predictor.class_scores(texts)
                np.testing.assert_allclose(scores[:, 1], [expected(text) for text in texts], rtol=1e-12)
                asyncio.run(_ask_some(predictor, texts))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not problems and not any(thread.is_alive() for thread in threads)


async def _ask_some(predictor: Predictor, texts: list[str]) -> None:
    results = await asyncio.gather(*(predictor.ask(Question("class_scores", text)) for text in texts))
    for text, result in zip(texts, results, strict=True):
        assert result.value[1] == pytest.approx(expected(text), rel=1e-12)


def test_an_exception_of_an_asker_is_its_own(predictor):
    async def bad() -> None:
        await predictor.ask(Question("class_scores", "x"))
        raise KeyError("asker")

    with pytest.raises(KeyError, match="asker"):
        predictor.gather([bad(), predictor.ask(Question("class_scores", "y"))])
    assert predictor.class_scores(["still alive"]).shape == (1, 2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_engine_fails_everybody_and_nobody_hangs(runtime):
    predictor = Predictor(info(), runtime, batch_tokens=8)
    results = predictor.ask_all([Question("class_scores", text) for text in ["a", "die", "something longer"]])
    assert isinstance(results[1], Failure) and results[1].code == "engine" and "SystemExit" in results[1].reason
    assert isinstance(predictor.ask_all([Question("class_scores", "later")])[0], Failure)
    with pytest.raises(PredictionError, match="engine"):
        predictor.class_scores(["later"])
    predictor.close()


def test_close_drains_then_refuses(runtime):
    runtime.gate = threading.Event()
    predictor = Predictor(info(), runtime, batch_tokens=8)
    got: list[object] = []
    asker = threading.Thread(target=lambda: got.extend(predictor.ask_all([Question("class_scores", f"q{i}") for i in range(30)])))
    asker.start()
    while not predictor.counters.questions:
        time.sleep(0.001)
    closer = threading.Thread(target=predictor.close)
    closer.start()
    runtime.gate.set()
    asker.join(10)
    closer.join(10)
    assert len(got) == 30 and all(isinstance(result, Answer) for result in got)
    refused = predictor.ask_all([Question("class_scores", "late")])[0]
    assert isinstance(refused, Failure) and refused.code == "closed"
    predictor.close()


def test_a_small_question_does_not_wait_for_the_end_of_a_large_job(runtime):
    runtime.gate = threading.Event()
    with Predictor(info(), runtime, batch_tokens=8) as predictor:
        large = threading.Thread(target=lambda: predictor.class_scores([f"large {i}" for i in range(200)]))
        large.start()
        while not predictor.counters.questions:
            time.sleep(0.001)
        small = threading.Thread(target=lambda: predictor.class_scores(["small"]))
        small.start()
        time.sleep(0.05)  # the small question is in the queue before the first batch ends
        runtime.gate.set()
        small.join(10)
        large.join(10)
    assert [batch == ["small"] for batch in runtime.batches].index(True) < 5


def test_a_forked_child_is_refused(predictor):
    child = os.fork()
    if child == 0:
        try:
            predictor.class_scores(["x"])
        except PredictionError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert predictor.class_scores(["x"]).shape == (1, 2)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(predictor)


def test_a_deadline_collects_questions_of_different_times(runtime):
    async def main(predictor: Predictor) -> None:
        async def late(i: int) -> object:
            await asyncio.sleep(0.005 * i)
            return await predictor.ask(Question("class_scores", f"q{i}"))

        await asyncio.gather(*(late(i) for i in range(5)))

    with Predictor(info(), runtime, batch_tokens=4096, deadline=0.3) as predictor:
        asyncio.run(main(predictor))
    assert len(runtime.batches) == 1 and len(runtime.batches[0]) == 5


def test_the_cache_forgets_the_least_recently_used_and_can_be_off(runtime):
    with Predictor(info(), runtime, cache_size=16) as predictor:  # two rows of two float32
        for text in ["a", "b", "a", "c", "a", "b"]:
            predictor.class_scores([text])
        assert [batch[0] for batch in runtime.batches] == ["a", "b", "c", "b"]
        predictor.clear_cache()
        predictor.class_scores(["b"])
        assert len(runtime.batches) == 5
    runtime.batches.clear()
    with Predictor(info(), runtime, cache_size=0) as predictor:
        predictor.class_scores(["a", "a"])
        predictor.class_scores(["a"])
    assert len(runtime.batches) == 2


def test_the_table_of_kinds_is_open_and_sampled_kinds_are_never_shared(runtime):
    def finish(rows, questions, labels):
        if any(question.input == "broken kind" for question in questions):
            raise ArithmeticError("wrong")
        return [float(row[1]) for row in rows]

    kind = Kind("draw", "a number", ("classes",), "logits", lambda question, labels: None, finish, TEXT, sampled=True)
    with Predictor(info(), runtime, kinds={**KINDS, "draw": kind}) as predictor:
        results = predictor.ask_all([Question("draw", "a"), Question("draw", "a"), Question("draw", "broken kind")])
    assert results[0].value == pytest.approx(logit("a"), rel=1e-6) and not results[1].cached
    assert isinstance(results[2], Failure)
    assert sorted(text for batch in runtime.batches for text in batch) == ["a", "a", "broken kind"]
