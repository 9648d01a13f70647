"""Frozen layers and averaged weights go the whole way to a release, survive a kill to the bit, and are refused where they cannot be had."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from test_kill import events, start, steps, wait_for_checkpoint, weights
from toy import write_rows, write_world
from typer.testing import CliRunner

from hurry import time_quickly
from trustbase import files
from trustbase.cli.main import app
from trustbase.errors import RecipeError
from trustbase.flow import run
from trustbase.recipe.read import read_recipe

FROZEN = "{method: frozen, layers: 1}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_frozen_layers_and_an_average_reach_a_release(tmp_path: Path, runtime: str) -> None:
    recipe = write_world(tmp_path, rows=600, adapt=FROZEN, runtime=runtime, limit=0.6)
    settings = ["train.averaging={method: ema, decay: 0.9}", "train.epochs=6", "audit=[quality]", "gates={quality.accuracy: '>= 0.6'}"]
    result = run(recipe, settings, out=tmp_path / "run")
    assert result.exit_code == 0
    trained = files.read_json(tmp_path / "run" / "stages" / "train.json")["result"]
    assert trained["reload_difference"] == 0.0
    assert "outputs of the first layer were computed once" in trained["facts"]["route"] and "agrees" in trained["facts"]["route"]
    assert trained["facts"]["trained_parameters"] < 0.5 * trained["facts"]["parameters"]
    assert not list((tmp_path / "run" / "checkpoints").glob(".states*"))
    card = (tmp_path / "run" / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "`frozen`, the embeddings and the first layers (1); the weights are an average (`ema`)" in card
    write_rows(tmp_path / "new.csv", 40, seed=7)
    asked = ["predict", str(tmp_path / "run" / "bundle"), "--input", str(tmp_path / "new.csv"), "--output", str(tmp_path / "out.jsonl")]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0, told.output
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 40 and all(set(answer["probabilities"]) == {"no", "yes"} for answer in answers)


@pytest.mark.slow
def test_two_workers_make_the_same_updates_on_what_each_keeps(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=200, adapt=FROZEN)
    losses = []
    for name, cluster in (("one", "cluster=null"), ("two", "cluster={workers: 2}")):
        settings = ["train.averaging={method: last, count: 2}", "train.accumulation=2", "train.epochs=2", "train.threads=1", cluster]
        run(recipe, [*settings, "gates={quality.accuracy: '>= 0.1'}", "audit=[quality]"], out=tmp_path / name)
        facts = files.read_json(tmp_path / name / "stages" / "train.json")["result"]["facts"]
        losses.append([event[key] for event in facts["history"] for key in ("training_loss", "quality.log_loss")])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_a_kill_changes_no_bit_of_either(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=900, adapt=FROZEN, limit=0.5)
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("seed: 0,", "seed: 0, averaging: {method: ema, decay: 0.9},"))
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process = start(recipe, killed, tmp_path / "home")
    wait_for_checkpoint(process, killed)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    first = len(events(killed))
    both = [start(recipe, folder, tmp_path / "home") for folder in (killed, straight)]
    assert all(each.communicate(timeout=400) and each.returncode in (0, 3) for each in both)
    assert steps(events(killed)[first:], "resumed") and weights(killed) == weights(straight)


@pytest.mark.parametrize(
    ("settings", "where", "words"),
    [
        ([f"adapt={FROZEN}", "cluster={workers: 2, shard: true}"], "cluster.shard", "computes the outputs of the rest beforehand"),
        ([f"adapt={FROZEN}", "train.gradient_checkpointing=true"], "train.gradient_checkpointing", "keeps no activations"),
        (["cluster={workers: 2, shard: true}", "train.averaging=ema"], "train.averaging", "never tried with cluster.shard"),
        (["adapt=adalora", "train.averaging=ema"], "train.averaging", "bring back the ranks"),
        (["adapt={method: lora, layers: 1}"], "adapt", "belong to method frozen"),
        (["train.averaging={method: last, decay: 0.5}"], "train.averaging", "belongs to method ema"),
    ],
)
def test_what_cannot_go_together_with_them_is_refused(tmp_path: Path, settings: list[str], where: str, words: str) -> None:
    recipe = write_world(tmp_path, rows=40)
    with pytest.raises(RecipeError) as error:
        read_recipe(recipe, settings)
    assert any(words in problem.message for problem in error.value.problems), error.value.problems


def test_more_layers_than_there_are_is_said_before_training(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=120)
    with pytest.raises(RecipeError) as error:
        run(recipe, ["adapt={method: frozen, layers: 2}"], out=tmp_path / "run")
    assert [problem.where for problem in error.value.problems] == ["adapt.layers"] and not (tmp_path / "run" / "checkpoints").exists()
