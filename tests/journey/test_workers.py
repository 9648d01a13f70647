"""A recipe with `cluster:` is the same journey: its workers train and ask in the audit, and everything else is done once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from raw import write_raw_world
from toy import write_rows, write_world

from hurry import time_quickly
from trustbase import files
from trustbase.errors import RecipeError
from trustbase.flow import run
from trustbase.recipe.read import read_recipe


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    patch = pytest.MonkeyPatch()
    patch.setenv("TRUSTBASE_HOME", str(tmp_path_factory.mktemp("home")))
    time_quickly(patch)
    yield
    patch.undo()


def test_two_workers_leave_the_model_of_one_process(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=400)
    shared = ["train.accumulation=2", "train.epochs=2", "audit=[quality]", "gates={quality.accuracy: '>= 0.2'}"]
    one = run(recipe, shared, out=tmp_path / "one")
    two = run(recipe, [*shared, "cluster={workers: 2}"], out=tmp_path / "two")
    assert (one.exit_code, two.exit_code) == (0, 0)
    records = [files.read_json(folder / "stages" / "train.json") for folder in (tmp_path / "one", tmp_path / "two")]
    facts = [record["result"]["facts"] for record in records]
    assert [each["processes"] for each in facts] == [1, 2] and facts[0]["tokens"] == facts[1]["tokens"]
    assert "cluster" not in records[0]["inputs"] and records[1]["inputs"]["cluster"]["workers"] == 2
    losses = [_losses(folder) for folder in (tmp_path / "one", tmp_path / "two")]
    assert len(losses[0]) > 4 and losses[0] == pytest.approx(losses[1], abs=1e-5)
    asked = [[event["text"] for event in _events(tmp_path / name) if "asking in" in event.get("text", "")] for name in ("one", "two")]
    assert asked == [[], ["asking in 2 processes of this machine"]], "the audit's askers are spread as the training was"
    values = [{finding.id: finding.value for finding in result.audit.findings} for result in (one, two)]
    assert len(values[0]) > 10 and values[0] == pytest.approx(values[1], abs=0.02, nan_ok=True)
    assert run(recipe, [*shared, "cluster={workers: 2}"], out=tmp_path / "two").computed == ()


def _losses(folder: Path) -> list[float]:
    return [event["loss"] for event in _events(folder) if event["event"] == "step"]


def _events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_batches_that_cannot_be_shared_are_named_where_they_stand(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=40)
    with pytest.raises(RecipeError) as error:
        read_recipe(recipe, ["cluster={workers: 16}"])
    with pytest.raises(RecipeError, match="more than it can hold"):
        read_recipe(recipe, ["cluster={workers: 4000}"])
    (problem,) = error.value.problems
    assert "16 workers share an update of 1 x 256 tokens" in problem.message and "at least 512" in problem.hint


def test_workers_that_divide_the_state_leave_a_released_model_too(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=400)
    shared = ["train.accumulation=2", "train.epochs=2", "train.dropout=0.0", "audit=[quality]", "gates={quality.accuracy: '>= 0.2'}"]
    parted = run(recipe, [*shared, "cluster={workers: 2, shard: true}"], out=tmp_path / "two")
    assert parted.exit_code == 0
    facts = files.read_json(tmp_path / "two" / "stages" / "train.json")["result"]["facts"]
    assert (facts["processes"], facts["shard"]) == (2, True) and "divided" in facts["route"]
    copied = run(recipe, [*shared, "cluster={workers: 2}"], out=tmp_path / "copied", reuse=tmp_path / "two")
    assert "train" in copied.computed, "the other route may draw other masks, so a model is not taken over"
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "copied"), abs=1e-5)
    with pytest.raises(RecipeError, match="adapt: frozen computes the outputs"):
        read_recipe(recipe, [*shared, "cluster={workers: 2, shard: true}", "adapt=frozen"])


def test_a_divided_pretraining_goes_the_whole_way(tmp_path: Path) -> None:
    recipe = write_raw_world(tmp_path, tokens=4_000)
    write_rows(tmp_path / "rows.csv", 600)
    more = ["cluster={workers: 2, shard: true}", "probes=[{name: words, data: rows.csv, rows: 100, live: true}]"]
    result = run(recipe, more, out=tmp_path / "run")
    assert result.exit_code == 0
    assert "whole model in one process" in files.read_json(tmp_path / "run" / "estimate.json")["left_out"]
    trained = files.read_json(tmp_path / "run" / "stages" / "train.json")["result"]["facts"]
    assert trained["shard"] and all("divided" in way for way in trained["ways"].values())
    finding = result.audit.find("quality.perplexity")
    assert finding is not None and finding.value == pytest.approx(trained["held_out"]["quality.perplexity"], rel=1e-3)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any("quality.probe_accuracy[words]" in event for event in log if event["event"] == "evaluation")
    with pytest.raises(RecipeError, match=r"estimate\.range_test: trains a copy in one process"):
        read_recipe(recipe, [*more, "estimate.range_test=true"])


@pytest.mark.slow
def test_a_state_is_divided_on_ray_as_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    recipe = write_raw_world(tmp_path, tokens=4_000)
    weights = []
    for where in ("{workers: 2, shard: true}", "{workers: 2, shard: true, ray: auto}"):
        out = tmp_path / str(len(weights))
        assert run(recipe, [f"cluster={where}", "audit=[quality]"], out=out).exit_code == 0
        assert files.read_json(out / "stages" / "train.json")["result"]["facts"]["shard"]
        weights.append(files.sha256_file(out / "checkpoints" / "trained" / "model.safetensors"))
    assert weights[0] == weights[1]
