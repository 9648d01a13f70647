"""Quality of answers that are parts of a text, over many random rows, against SQuAD's evaluation script written out plainly."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats as scipy_stats
from scipy.stats import binom
from sklearn import metrics

from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.quality_span import audit_span
from trustbase.data.pair import join
from trustbase.model.ragged import ragged
from trustbase.records import Decision, Finding, LabelSchema, Split

WORDS = ["The", "cat", "sat,", "on", "a", "mat", "and", "an", "owl.", "Cat", "(mat)", "x-ray", "cat", "dog"]
LABELS = LabelSchema(("start", "end"), "start", "start")
Span = tuple[tuple[int, int], ...]


def normal(text: str) -> list[str]:
    """`normalize_answer` of the evaluation script, cut into words."""
    plain = "".join(char for char in text.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def squad(told: str | None, true: list[str]) -> tuple[float, float]:
    """Exact match and F1 of one question, the best over its true answers; no answer is an answer of its own (SQuAD 2.0)."""
    if not true or told is None:
        return (1.0, 1.0) if not true and told is None else (0.0, 0.0)
    exact = f1 = 0.0
    for answer in true:
        ours, theirs = normal(told), normal(answer)
        exact = max(exact, float(ours == theirs))
        same = sum((Counter(ours) & Counter(theirs)).values())
        if not ours or not theirs:  # only articles and marks
            f1 = max(f1, float(ours == theirs))
        elif same:
            precision, recall = same / len(ours), same / len(theirs)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return exact, f1


class World:
    """Random contexts, true answers (none, one or two) and answers of a model and of two rivals."""

    def __init__(self, seed: int, rows: int, *, none: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        self.texts, self.truth = [], []
        self.told: dict[str, list[Span]] = {"model": [], "shared_words": [], "no_answer": [()] * rows}
        for _ in range(rows):
            words = rng.choice(WORDS, 9).tolist()
            self.texts.append(" ".join(words))
            ends = np.cumsum([len(word) + 1 for word in words]) - 1

            def span() -> tuple[int, int]:
                first = int(rng.integers(6))
                return int(ends[first] - len(words[first])), int(ends[first + int(rng.integers(1, 4))])  # noqa: B023

            true = () if rng.random() < none else tuple(span() for _ in range(int(rng.integers(1, 3))))
            self.truth.append(true)
            for name, right in (("model", 0.5), ("shared_words", 0.2)):
                fits = rng.random() < right
                self.told[name].append(true[-1:] if fits else () if rng.random() < 0.3 else (span(),))

    def context(self, folder: Path, **more: Any) -> AuditContext:
        rows = len(self.texts)
        texts = [join("which?", text) for text in self.texts]
        test = Split("test", texts, ragged(self.truth), {}, pa.table({"text": texts}), np.arange(1, rows + 1), "made", "sha256:0")
        answers = {name: Answers(None, ragged(told)) for name, told in self.told.items()}
        model = answers.pop("model")
        return AuditContext(test, LABELS, Decision(), model, Evidence(folder), 0, rivals=answers, **more)

    def scores(self, name: str) -> Any:
        """`(rows, 2)`: exact match and F1."""
        return np.array(
            [
                squad(text[told[0][0] : told[0][1]] if told else None, [text[start:end] for start, end in true])
                for text, told, true in zip(self.texts, self.told[name], self.truth, strict=True)
            ]
        )


def of(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.id.removeprefix("quality."): finding for finding in findings}


@pytest.mark.parametrize("seed", range(4))
def test_every_number_is_that_of_the_evaluation_script(seed: int, tmp_path: Path) -> None:
    world = World(seed, 150 + 90 * seed)
    found, scores = of(audit_span(world.context(tmp_path))), world.scores("model")
    has = np.array([len(true) > 0 for true in world.truth])
    assert 40 < has.sum() < len(has) - 20 and len(set(scores[has, 1])) > 5
    wanted = {
        "exact_match": scores[:, 0],
        "token_f1": scores[:, 1],
        "has_answer_exact_match": scores[has, 0],
        "has_answer_token_f1": scores[has, 1],
        "no_answer_accuracy": scores[~has, 0],
    }
    for name, values in wanted.items():
        item = found[name]
        assert (item.value, item.n) == (pytest.approx(values.mean()), len(values)), name
        assert (item.direction, item.unit, item.status) == ("higher", "share", "ok")
        low, high = scipy_stats.t.interval(0.95, len(values) - 1, values.mean(), scipy_stats.sem(values))
        assert (item.low, item.high) == pytest.approx((low, high), abs=0.12 * (high - low)), name
    assert found["no_answer_accuracy"].value == pytest.approx(
        metrics.recall_score(~has, [not told for told in world.told["model"]])  # of what has no answer, how much is told so
    )


@pytest.mark.parametrize("tail", [0.025, 0.1])
def test_shares_of_whole_answers_have_the_bounds_of_counts(tail: float, tmp_path: Path) -> None:
    """Mid-P: half the chance of the count seen and all of those beyond make the tail at either bound, for any confidence."""
    world = World(9, 200)
    found, has = of(audit_span(world.context(tmp_path, confidence=1 - 2 * tail))), np.array([bool(true) for true in world.truth])
    for name, exact in (("exact_match", world.scores("model")[:, 0]), ("no_answer_accuracy", world.scores("model")[~has, 0])):
        item, hits, n = found[name], int(exact.sum()), len(exact)
        assert item.low is not None and item.high is not None
        assert binom.sf(hits, n, item.low) + binom.pmf(hits, n, item.low) / 2 == pytest.approx(tail, rel=1e-4)
        assert binom.cdf(hits - 1, n, item.high) + binom.pmf(hits, n, item.high) / 2 == pytest.approx(tail, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_a_gain_is_the_mean_difference_in_f1_of_each_row(seed: int, tmp_path: Path) -> None:
    world = World(20 + seed, 300)
    found, ours = of(audit_span(world.context(tmp_path))), world.scores("model")[:, 1]
    for name in ("shared_words", "no_answer"):
        apart, item = ours - world.scores(name)[:, 1], found[f"gain_over_{name}"]
        assert (item.value, item.n, item.unit, item.direction) == (pytest.approx(apart.mean()), 300, "token F1", "higher")
        low, high = scipy_stats.t.interval(0.95, 299, apart.mean(), scipy_stats.sem(apart))
        assert (item.low, item.high) == pytest.approx((low, high), abs=0.05 * (high - low))
    assert found["gain_over_shared_words"].low > 0  # type: ignore[operator]
    worse = World(20 + seed, 300)
    worse.told["model"], worse.told["shared_words"] = worse.told["shared_words"], worse.told["model"]
    turned = of(audit_span(worse.context(tmp_path)))["gain_over_shared_words"]
    one = found["gain_over_shared_words"]
    assert (turned.low, turned.value, turned.high) == pytest.approx((-one.high, -one.value, -one.low), abs=1e-6)  # type: ignore[operator]


def test_the_evidence_counts_rows_by_what_was_told_and_what_is_true(tmp_path: Path) -> None:
    world = World(4, 260)
    found = of(audit_span(world.context(tmp_path)))
    told = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    table = metrics.confusion_matrix([bool(true) for true in world.truth], [bool(answer) for answer in world.told["model"]])
    assert len(set(table.ravel())) == 4
    assert told["answers"] == {
        "told_and_true": table[1, 1],
        "told_where_none_is": table[0, 1],
        "none_told_where_one_is": table[1, 0],
        "none_told_and_none_true": table[0, 0],
    }
    for name, row in told["measured"].items():
        assert row == {"value": found[name].value, "low": found[name].low, "high": found[name].high, "n": found[name].n}
    assert [row["name"] for row in told["rivals"]] == ["model", "shared_words", "no_answer"]
    for row in told["rivals"]:
        exact, f1 = world.scores(row["name"]).mean(axis=0)
        assert (row["exact_match"], row["token_f1"]) == pytest.approx((exact, f1)) and row["low"] < f1 < row["high"]
        gain = found.get(f"gain_over_{row['name']}")
        wanted = (None,) * 3 if gain is None else (gain.value, gain.low, gain.high)
        assert (row.get("gain"), row.get("gain_low"), row.get("gain_high")) == wanted


def test_few_rows_of_a_kind_claim_nothing(tmp_path: Path) -> None:
    """All rows need 20; those with an answer and those without each a cell of 30."""
    found = of(audit_span(World(1, 19).context(tmp_path)))
    assert {item.status for name, item in found.items() if "gain" not in name and "unknown" not in name} == {"insufficient"}
    assert found["token_f1"].reason == "19 rows, fewer than 20" and found["token_f1"].n == 19
    world = World(0, 60, none=0.0)
    world.truth[:29], world.truth[29:] = [()] * 29, world.truth[29:]
    found = of(audit_span(world.context(tmp_path)))
    assert found["no_answer_accuracy"].reason == "29 rows have none, fewer than 30" and found["no_answer_accuracy"].n == 29
    assert found["has_answer_token_f1"].status == found["has_answer_exact_match"].status == "ok"
    world.truth = [world.truth[-1]] * 29 + [()] * 31
    found = of(audit_span(world.context(tmp_path)))
    assert found["has_answer_token_f1"].reason == "29 rows have an answer, fewer than 30"
    assert found["no_answer_accuracy"].status == "ok" and found["no_answer_accuracy"].n == 31
    assert of(audit_span(World(1, 20).context(tmp_path)))["token_f1"].status == "ok"
