"""Two trainings of one recipe go the whole way as one model: stopped in the second, taken up again, released, asked and compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import write_world
from typer.testing import CliRunner

from hurry import time_quickly
from trustbase import compare, files, recheck
from trustbase.cli.main import app
from trustbase.data.save import load_dataset
from trustbase.errors import UsageError
from trustbase.flow import RunResult, run
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import TASKS
from trustbase.recipe.read import read_recipe
from trustbase.train.fit import fit
from trustbase.train.members import member_seed

SETTINGS = ["train.members=2", "train.epochs=2"]


@dataclass
class World:
    recipe: Path
    result: RunResult
    first: dict[str, str]  # digests of member 0 after the run was stopped in member 1


def weights(folder: Path) -> dict[str, str]:
    return {path.name: files.sha256_file(path) for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Any:
    folder = tmp_path_factory.mktemp("members")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TRUSTBASE_HOME", str(folder / "home"))
        time_quickly(monkeypatch)
        recipe = write_world(folder, rows=700)

        def stop(record: dict[str, Any]) -> None:
            if record["event"] == "step" and record.get("member") == 1 and record["step"] >= 4:
                raise KeyboardInterrupt

        with pytest.raises(BaseException) as stopped:
            run(recipe, SETTINGS, out=folder / "run", listeners=[stop])
        assert not isinstance(stopped.value, AssertionError)
        first = weights(folder / "run" / "checkpoints" / "member-0" / "trained")
        assert not (folder / "run" / "checkpoints" / "member-1" / "trained").exists()
        yield World(recipe, run(recipe, SETTINGS, out=folder / "run"), first)


def test_members_are_the_trainings_of_their_seeds_bit_by_bit(world: World, tmp_path: Path) -> None:
    """The first is the training that there is without members, the second was stopped and taken up again."""
    checkpoints, plan = world.result.folder / "checkpoints", read_recipe(world.recipe, SETTINGS)
    data, recipe = load_dataset(world.result.folder / "data"), plan.finetune
    assert weights(checkpoints / "member-0" / "trained") == world.first, "what was finished was trained again"
    for place in range(2):
        options = recipe.train.model_copy(update={"members": 1, "seed": member_seed(recipe.train.seed, place)})
        found = fit(
            resolve_base(str(world.recipe.parent / "base")),
            load(TASKS[recipe.task]),
            data.labels,
            data.splits["train"],
            data.splits["validation"],
            adapt=recipe.adapt,
            options=options,
            folder=tmp_path / str(place),
        )
        name = "model.safetensors"
        assert files.sha256_file(found.folder / name) == files.sha256_file(checkpoints / f"member-{place}" / "trained" / name)


def test_one_artefact_is_audited_and_counts_both(world: World) -> None:
    result, bundle = world.result, world.result.folder / "bundle"
    assert result.exit_code == 0 and not [finding.id for finding in result.audit.findings if finding.status == "failed"]
    found = {finding.id: finding for finding in result.audit.findings}
    evidence = files.read_json(bundle / "evidence" / "seeds.json")
    values = [member["value"] for member in evidence["members"]]
    seeds = found["quality.accuracy#seeds"]
    assert seeds.n == 2 and evidence["together"] == found["quality.accuracy"].value
    assert (seeds.status == "insufficient") if values[0] == values[1] else (seeds.value == pytest.approx(np.mean(values)))
    data = load_dataset(result.folder / "data").splits["test"]
    scores, parameters = [], []
    for place in range(2):
        with Predictor.open(bundle / "model" / f"member-{place}", device="cpu") as predictor:
            scores.append(predictor.scores(data.texts))
        from safetensors import safe_open

        with safe_open(str(bundle / "model" / f"member-{place}" / "model.safetensors"), framework="np") as handle:
            parameters.append(sum(int(np.prod(handle.get_slice(key).get_shape())) for key in list(handle.keys())))
    assert found["efficiency.parameters"].value == sum(parameters)
    assert found["efficiency.artifact_bytes"].value == sum(path.stat().st_size for path in (bundle / "model").rglob("*") if path.is_file())
    with Predictor.open(bundle / "model", device="cpu") as predictor:
        np.testing.assert_allclose(predictor.scores(data.texts), np.mean(scores, axis=0), atol=1e-5)


def test_the_bundle_is_checked_asked_and_measured_again(world: World, tmp_path: Path) -> None:
    bundle = world.result.folder / "bundle"
    assert CliRunner().invoke(app, ["verify", str(bundle)]).exit_code == 0
    (tmp_path / "in.csv").write_text("text\nthe film was good\nthe food was awful\n", encoding="utf-8")
    asked = ["predict", str(bundle), "--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.jsonl")]
    assert CliRunner().invoke(app, asked).exit_code == 0
    told = [list(json.loads(line)["probabilities"].values()) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    alone = []
    for place in range(2):
        with Predictor.open(bundle / "model" / f"member-{place}", device="cpu") as predictor:
            alone.append(predictor.scores(["the film was good", "the food was awful"]))
    np.testing.assert_allclose(told, np.mean(alone, axis=0), atol=1e-5)
    assert recheck(bundle, data=world.recipe.parent / "rows.csv").exit_code == 0
    assert recheck(world.result.folder).exit_code == 0


def test_it_is_compared_like_any_and_begins_no_training(world: World, tmp_path: Path) -> None:
    bundle, one = world.result.folder / "bundle", world.result.folder / "checkpoints" / "member-0" / "trained"
    named: dict[str, Any] = {"data": world.recipe.parent / "rows.csv", "label": "label", "text": "text", "positive": "yes", "calls": 0}
    found = compare(bundle, one, out=tmp_path / "compared", **named)
    assert found.contrast("accuracy") is not None
    for place in (bundle, world.result.folder, bundle / "model"):
        with pytest.raises(UsageError, match="training begins from one"):
            resolve_base(str(place))


def test_a_finished_run_is_done(world: World) -> None:
    assert run(world.recipe, SETTINGS, out=world.result.folder).computed == ()
