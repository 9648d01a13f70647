"""A recipe that regularises its training goes the whole way, and what cannot go together is refused when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy import write_world

from hurry import time_quickly
from trustbase import files
from trustbase.errors import RecipeError
from trustbase.flow import run
from trustbase.recipe.read import read_recipe

ALL = ["train.label_smoothing=0.1", "train.class_weights=balanced", "train.r_drop=1.0", "train.layer_decay=0.9", "audit=[quality]"]
GATES = "gates={quality.accuracy: '>= 0.6'}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


def test_all_of_it_at_once(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=600)
    result = run(recipe, [*ALL, GATES], out=tmp_path / "run")
    assert result.exit_code == 0
    facts = files.read_json(tmp_path / "run" / "stages" / "train.json")["result"]["facts"]
    first, last = facts["history"][0], facts["history"][-1]
    assert last["training_loss"] < first["training_loss"] and last["training_loss"] > 0.2, "softened labels leave a loss"
    assert "agrees" in facts["route"], "the quicker route serves both passes"


def test_two_workers_make_the_same_updates(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=300)
    weights = []
    for name, cluster in (("one", "cluster=null"), ("two", "cluster={workers: 2}")):
        settings = [*ALL, GATES.replace("0.6", "0.1"), "train.accumulation=2", "train.epochs=1", "train.threads=1", cluster]
        run(recipe, settings, out=tmp_path / name)
        losses = [
            event["training_loss"] for event in files.read_json(tmp_path / name / "stages" / "train.json")["result"]["facts"]["history"]
        ]
        weights.append(losses)
    assert weights[0] == pytest.approx(weights[1], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "where", "words"),
    [
        (["adapt=frozen", "train.layer_decay=0.9"], "train.layer_decay", "trains the head alone"),
        (["cluster={workers: 2, shard: true}", "train.r_drop=1"], "train.r_drop", "never tried with cluster.shard"),
        (["train.class_weights=inverse"], "train.class_weights", "balanced"),
    ],
)
def test_what_cannot_go_together_is_refused(tmp_path: Path, settings: list[str], where: str, words: str) -> None:
    recipe = write_world(tmp_path, rows=40)
    with pytest.raises(RecipeError) as error:
        read_recipe(recipe, settings)
    assert any(words in problem.message for problem in error.value.problems), error.value.problems


def test_weights_of_labels_that_are_not_there_are_refused(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=120)
    with pytest.raises(RecipeError) as error:
        run(recipe, ["train.class_weights={perhaps: 2}"], out=tmp_path / "run")
    assert [(problem.message, problem.hint) for problem in error.value.problems] == [("'perhaps' is no label", "labels: no, yes")]
