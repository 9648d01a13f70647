"""The mean of several trainings against plain arithmetic, its interval against SciPy, and folders and recipes that cannot be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from tiny import tiny_bert
from trustbase.audit.seeds import mean_over_members
from trustbase.errors import ModelError, RecipeError
from trustbase.model.ensemble import mean_of_classes, mean_of_labels, mean_of_numbers, members_of, parts_of
from trustbase.model.opening import together
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.recipe.read import read_recipe
from trustbase.train.members import member_seed

RNG = np.random.default_rng(0)
RECIPE = """
task: {task}
base: base
data: {{train: {file}, text: text, label: label}}
train: {{members: {members}}}
audit: [quality, fairness, efficiency]
gates: {{{gate}: ">= 0.1"}}
"""


def test_the_mean_is_that_of_probabilities_and_not_of_logits() -> None:
    logits = RNG.normal(0, 4, (3, 50, 4))
    wanted = special.softmax(logits, axis=-1).mean(axis=0)
    np.testing.assert_allclose(special.softmax(mean_of_classes(logits), axis=-1), wanted, rtol=1e-12)
    assert np.abs(special.softmax(logits.mean(axis=0), axis=-1) - wanted).max() > 0.05, "the mean of logits would have been another"
    np.testing.assert_allclose(special.expit(mean_of_labels(logits)), special.expit(logits).mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(mean_of_numbers(logits[..., :1]), logits[..., :1].mean(axis=0))


class Said:
    """A member that says what it was given."""

    name, precision = "torch", "fp32"

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def forward(self, output: str, encodings: object, rows: np.ndarray) -> np.ndarray:
        return self.logits[rows]


@pytest.mark.parametrize(
    ("kind", "probability"),
    [("classes", lambda logits: special.softmax(logits, axis=-1)), ("labels", special.expit), ("number", lambda scores: scores)],
)
def test_members_opened_together_answer_with_the_mean_of_their_kind(kind: str, probability: Callable[[np.ndarray], np.ndarray]) -> None:
    """Of several labels each has a probability of its own, and those of a row need not sum to one."""
    each = RNG.normal(0, 2, (3, 20, 1 if kind == "number" else 4))
    found = together([Said(logits) for logits in each], kind, 30).forward("logits", None, np.arange(20))  # type: ignore[list-item]
    np.testing.assert_allclose(probability(np.asarray(found, dtype=np.float64)), probability(each).mean(axis=0), rtol=1e-5)


def test_nothing_is_lost_where_all_members_are_nearly_certain() -> None:
    """A probability of 1 - 1e-18 is 1 in doubles; its log-odds are not."""
    sure = np.array([[[40.0]], [[45.0]]])
    missing = (math.exp(-40) + math.exp(-45)) / 2
    assert mean_of_labels(sure)[0, 0] == pytest.approx(-math.log(missing), rel=1e-12)
    assert mean_of_labels(-sure)[0, 0] == pytest.approx(math.log(missing), rel=1e-12)
    far = np.array([[[800.0, 0.0]], [[-800.0, 0.0]]])  # exp(800) is no double
    np.testing.assert_allclose(special.softmax(mean_of_classes(far)), [[0.5, 0.5]])


@pytest.mark.parametrize("values", [[0.7, 0.74, 0.71], [4.1, 4.9], list(RNG.normal(0.5, 0.01, 12))])
def test_the_interval_over_members_is_students(values: list[float]) -> None:
    found = mean_over_members(np.array(values), 300, confidence=0.9)
    wanted = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    assert (found.value, found.n) == (pytest.approx(np.mean(values)), len(values))
    assert (found.low, found.high) == (pytest.approx(max(wanted.low, 0.0)), pytest.approx(wanted.high))
    assert "not of other rows" in found.method


def test_a_share_stays_one() -> None:
    found = mean_over_members(np.array([0.2, 0.9]), 300, most=1.0)
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_first_member_has_the_recipes_seed_and_every_other_its_own() -> None:
    assert member_seed(7, 0) == 7
    found = {member_seed(seed, place) for seed in (0, 1, 7) for place in range(20)}
    assert len(found) == 60, "two members of two recipes would be the same training"


def test_members_that_are_missing_or_read_otherwise_are_refused(tmp_path: Path) -> None:
    assert parts_of(tmp_path) == [tmp_path]
    for place, text in enumerate(("one", "one", "other")):
        (tmp_path / f"member-{place}").mkdir()
        (tmp_path / f"member-{place}" / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match="says 2 members, and 3 are there"):
        members_of(tmp_path, 2)
    with pytest.raises(ModelError, match=r"different tokenizer\.json"):
        members_of(tmp_path, 3)
    (tmp_path / "member-2" / "tokenizer.json").write_text("one")
    assert [path.name for path in members_of(tmp_path, 3)] == ["member-0", "member-1", "member-2"]
    with pytest.raises(ModelError, match="have no mean"):
        together([None, None], "language", 30)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("task", "members", "gate", "words"),
    [
        ("token-classification", 2, "'quality.entity_recall#seeds'", "has no variants"),
        ("token-classification", 1, "'quality.entity_f1#seeds'", "train.members is 1"),
        ("text-classification", 1, "'quality.accuracy#seeds'", "train.members is 1"),
        ("text-classification", 2, "'quality.macro_f1#seeds'", "has no variants"),
        ("text-classification", 2, "'quality.accuracy#rows'", "no variant but #seeds"),
        ("text-classification", 0, "quality.accuracy", "members"),
    ],
)
def test_what_cannot_be_is_said_when_the_recipe_is_read(tmp_path: Path, task: str, members: int, gate: str, words: str) -> None:
    tiny_bert(tmp_path / "base")
    (tmp_path / "rows.csv").write_text("text,label\n" + "good,a\nbad,b\n" * 20)
    (tmp_path / "rows.jsonl").write_text('{"text": "good", "label": []}\n' * 20)
    file = "rows.jsonl" if task.startswith("token") else "rows.csv"
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(task=task, members=members, gate=gate, file=file))
    with pytest.raises(RecipeError) as error:
        read_recipe(path)
    assert any(words in f"{problem.where} {problem.message}" for problem in error.value.problems), error.value.problems


def test_answers_of_which_nobody_has_said_how_they_are_averaged_have_no_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWER_KINDS, "classes", replace(ANSWER_KINDS["classes"], averaged=""))
    tiny_bert(tmp_path / "base")
    (tmp_path / "rows.csv").write_text("text,label\n" + "good,a\nbad,b\n" * 20)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(task="text-classification", members=2, gate="quality.accuracy", file="rows.csv"))
    with pytest.raises(RecipeError) as error:
        read_recipe(path)
    assert any("have none in this version" in problem.message for problem in error.value.problems)
    read_recipe(path, ["train.members=1"])


def test_several_processes_do_not_train_members(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "base")
    (tmp_path / "rows.csv").write_text("text,label\n" + "good,a\nbad,b\n" * 20)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(task="text-classification", members=2, gate="quality.accuracy", file="rows.csv"))
    read_recipe(path)
    with pytest.raises(RecipeError) as error:
        read_recipe(path, ["cluster={workers: 2}"])
    assert any("never trained by several processes" in problem.message for problem in error.value.problems)
