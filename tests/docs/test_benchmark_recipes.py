"""Recipes of public data sets: no hub is reached from a test, so toys with the documented columns stand in for the data."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from benchmark_world import CHARACTERS, EMOTIONS, MADE, RELATIONS, SHAPES, fill, script_of, write_chosen
from hub_kit import COMMIT, stand_in
from hurry import time_quickly
from tiny import WORDS, tiny_bert, tiny_roberta
from trustbase.data.load import load
from trustbase.recipe.lookup import TASKS
from trustbase.recipe.read import read_recipe

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
OTHERS = ("cmrc2018", "squad", "swag", "msra-ner", "relations", "go-emotions")
RECIPES = sorted([*FOLDER.glob("glue-*.yaml"), *FOLDER.glob("clue-*.yaml"), *(FOLDER / f"{name}.yaml" for name in OTHERS)])
BY_SCRIPT = {"clue-c3": "clue-c3", "relations": "semeval-relations"}  # whose rows a script makes first, and where
BY_ID = [path for path in RECIPES if path.stem not in BY_SCRIPT]
_AUDIT = "audit=[quality, fairness, efficiency]"  # the other dimensions have tests of their own
SMALL = ("train.max_steps=4", "train.precision=fp32", "train.max_length=64", "release.runtime=torch", _AUDIT)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with a hub of toys and a tiny base model."""
    import torch

    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    hub = stand_in(tmp_path / "hub", monkeypatch)
    for name in (*SHAPES, *MADE):
        fill(hub, name, 300, 100)
    tiny_bert(tmp_path / "base", (*WORDS, *CHARACTERS))
    time_quickly(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def test_each_says_what_was_published_and_that_it_was_never_run() -> None:
    assert len(RECIPES) == 14
    for path in RECIPES:
        comment = " ".join(line.strip("# ") for line in path.read_text("utf-8").splitlines() if line.startswith("#"))
        assert re.search(r"Published: [^.]*\d\.\d\d", comment), path.name
        assert "validation part" in comment or "on the test part" in comment
        assert re.search(r"README\.md \(read at commit [0-9a-f]{8}\)", comment) or re.search(r"arXiv \d{4}\.\d{5}, ", comment), path.name
        assert "same measure" in comment.lower() or "another measure" in comment.lower()
        assert ("Never run on these data" in comment and "Not the same training" in comment) or path.stem == "cmrc2018"


def test_every_task_has_one() -> None:
    assert {read["task"] for path in RECIPES if (read := yaml.safe_load(path.read_text("utf-8")))} == set(TASKS)


def make_rows(path: Path, world: Path) -> None:
    """Run what the comment of a recipe has one run first."""
    (world / "runs" / BY_SCRIPT[path.stem]).mkdir(parents=True)
    exec(compile(script_of(path), path.name, "exec"), {})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_its_columns_are_those_of_the_data_set(path: Path, world: Path) -> None:
    if path in BY_ID:
        root = path.parent
    else:
        make_rows(path, world)
        root = world / "recipes"
        root.mkdir()
        path = Path(shutil.copy(path, root))
    recipe = read_recipe(path, [f"base={world / 'base'}"]).recipe
    data = load(recipe.data, root=root, seed=0, answers=TASKS[recipe.task].answers)
    sizes = {name: len(split) for name, split in data.splits.items()}
    own = recipe.data.validation is not None
    assert sizes["test"] == 100 and sizes["train"] + sizes["validation"] == (400 if own else 300)
    assert data.facts["bad_rows"]["count"] == (2 if path.stem == "msra-ner" else 0)
    if path.stem not in BY_SCRIPT:
        assert {source["revision"] for source in data.facts["sources"].values()} == {COMMIT}
    if recipe.data.positive is not None:
        assert recipe.data.positive in data.labels.names
    named = [found[1] for gate in recipe.gates.root if (found := re.search(r"label=([^\]]+)", gate))]
    assert set(named) <= set(data.labels.names)
    known = {"go-emotions": EMOTIONS, "relations": RELATIONS}.get(path.stem)
    assert known is None or data.labels.names == tuple(sorted(known))


@pytest.mark.parametrize("name", ["glue-mrpc", "glue-stsb", "cmrc2018", "clue-c3", "go-emotions", "swag", "msra-ner"])
def test_it_runs_at_toy_size(name: str, world: Path) -> None:
    from trustbase import run

    shutil.copytree(FOLDER, world / "recipes")
    path = world / "recipes" / f"{name}.yaml"
    if name == "clue-c3":
        make_rows(path, world)
        write_chosen(world / "same.jsonl", 300)
        assert (world / "runs" / "clue-c3" / "train.jsonl").read_text() == (world / "same.jsonl").read_text()
    windows = ["data.stride=8", "train.max_length=32"] if name == "cmrc2018" else []
    base = tiny_roberta(world / "roberta") if name == "swag" else world / "base"  # swag.yaml names a RoBERTa
    result = run(path, [*SMALL, f"base={base}", *windows], out=world / name)
    assert result.exit_code in (0, 3)
    assert not [finding.id for finding in result.audit.findings if finding.status == "failed"]
    gates = yaml.safe_load(path.read_text(encoding="utf-8"))["gates"]
    assert {gate.gate.split(" ")[0] for gate in result.verdict.gates} == set(gates)
    found = {name: result.audit.find(name) for name in gates}  # F1 of a label that a toy never answers is insufficient
    assert all(finding is not None and finding.status in ("ok", "insufficient") for finding in found.values()), found
    assert found[next(iter(gates))].status == "ok"
    card = (result.folder / "data_card.md").read_text(encoding="utf-8")
    assert (f"commit `{COMMIT}`" in card) == (name != "clue-c3")
    if name == "go-emotions":
        rare = result.audit.find("quality.macro_f1")
        rows = json.loads((result.folder / "evidence" / "quality.json").read_text(encoding="utf-8"))["classes"]
        assert rare.status == "insufficient" and [row["label"] for row in rows] == sorted(EMOTIONS)
        assert all(0 <= row["f1"] <= 1 for row in rows)  # as its comment says
