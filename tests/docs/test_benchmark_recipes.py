"""Recipes of GLUE and CLUE: no hub is reached from a test, so toys with the documented columns stand in for the data."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from benchmark_world import SHAPES, fill, script_of, write_chosen
from hub_kit import COMMIT, stand_in
from hurry import time_quickly
from tiny import tiny_bert
from trustbase.data.load import load
from trustbase.recipe.lookup import TASKS
from trustbase.recipe.read import read_recipe

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
RECIPES = sorted([*FOLDER.glob("glue-*.yaml"), *FOLDER.glob("clue-*.yaml"), FOLDER / "cmrc2018.yaml"])
BY_ID = [path for path in RECIPES if path.stem != "clue-c3"]
SMALL = ("train.max_steps=4", "train.precision=fp32", "train.max_length=64", "release.runtime=torch")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with a hub of toys and a tiny base model."""
    import torch

    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    hub = stand_in(tmp_path / "hub", monkeypatch)
    for name in (*SHAPES, "clue/clue/cmrc2018", "clue/clue/c3"):
        fill(hub, name, 300, 100)
    tiny_bert(tmp_path / "base")
    time_quickly(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def test_each_says_what_was_published_and_that_it_was_never_run() -> None:
    assert len(RECIPES) == 9
    for path in RECIPES:
        comment = " ".join(line.strip("# ") for line in path.read_text("utf-8").splitlines() if line.startswith("#"))
        assert re.search(r"Published: [^.]*\d\d\.\d\d", comment), path.name
        assert "validation part" in comment and re.search(r"README\.md \(read at commit [0-9a-f]{8}\)", comment)
        assert "same measure" in comment.lower() or "another measure" in comment.lower()
        assert ("Never run on these data" in comment and "Not the same training" in comment) or path.stem == "cmrc2018"


@pytest.mark.parametrize("path", BY_ID, ids=lambda path: path.stem)
def test_its_columns_are_those_of_the_data_set(path: Path, world: Path) -> None:
    recipe = read_recipe(path, [f"base={world / 'base'}"]).recipe
    data = load(recipe.data, root=path.parent, seed=0, answers=TASKS[recipe.task].answers)
    assert len(data.splits["test"]) == 100 and len(data.splits["train"]) + len(data.splits["validation"]) == 300
    assert not data.facts["bad_rows"]["count"]
    assert {source["revision"] for source in data.facts["sources"].values()} == {COMMIT}
    if recipe.data.positive is not None:
        assert recipe.data.positive in data.labels.names
    named = [found[1] for gate in recipe.gates.root if (found := re.search(r"label=([^\]]+)", gate))]
    assert set(named) <= set(data.labels.names)


@pytest.mark.parametrize("name", ["glue-mrpc", "glue-stsb", "cmrc2018", "clue-c3"])
def test_it_runs_at_toy_size(name: str, world: Path) -> None:
    from trustbase import run

    shutil.copytree(FOLDER, world / "recipes")
    path = world / "recipes" / f"{name}.yaml"
    if name == "clue-c3":
        (world / "runs" / "clue-c3").mkdir(parents=True)
        exec(compile(script_of(path), path.name, "exec"), {})
        write_chosen(world / "same.jsonl", 300)
        assert (world / "runs" / "clue-c3" / "train.jsonl").read_text() == (world / "same.jsonl").read_text()
    windows = ["data.stride=8", "train.max_length=32"] if name == "cmrc2018" else []
    result = run(path, [*SMALL, f"base={world / 'base'}", *windows], out=world / name)
    assert result.exit_code in (0, 3)
    assert not [finding.id for finding in result.audit.findings if finding.status == "failed"]
    gates = yaml.safe_load(path.read_text(encoding="utf-8"))["gates"]
    assert {gate.gate.split(" ")[0] for gate in result.verdict.gates} == set(gates)
    found = {name: result.audit.find(name) for name in gates}  # F1 of a label that a toy never answers is insufficient
    assert all(finding is not None and finding.status in ("ok", "insufficient") for finding in found.values()), found
    assert found[next(iter(gates))].status == "ok"
    card = (result.folder / "data_card.md").read_text(encoding="utf-8")
    assert (f"commit `{COMMIT}`" in card) == (name != "clue-c3")
