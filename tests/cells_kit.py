"""Every task with every adaptation and runtime, and what may stand beside them: as recipes over toy rows, and how such a run is judged.

`tools/cells.py` runs them all and writes docs/reference/cells.md; tests/contract/test_cells.py holds that page to the code.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tiny import tiny_bert
from trustbase import files
from trustbase.errors import RecipeError, TrustbaseError
from trustbase.recipe.lookup import ADAPTATIONS, TASKS
from trustbase.recipe.read import read_recipe

sys.path.insert(0, str(Path(__file__).parent / "journey"))  # where the worlds of single tasks are

import long_world
import order_world
import pair_world
import question_world
import relation_world
import toy

import entity_world

ROWS = 260
LAYERS = "frozen, layers: 1"
ADAPTS = [name for method in ADAPTATIONS for name in ((method, LAYERS) if method == "frozen" else (method,))]
RUNTIMES = ("torch", "onnx")
CHANNELS = ("shop", "web", "phone")
#: What may stand beside task, adaptation and runtime: its settings, by name.
BESIDE: dict[str, tuple[str, ...]] = {
    "": (),
    "table columns": ("data.features={numeric: [amount], categorical: [channel]}",),
    "windows": ("data.stride=6",),
    "streamed rows": ("data.train=rows.parquet", "data.memory=stream"),
    "two members": ("train.members=2",),
    "averaged weights": ("train.averaging={method: ema, decay: 0.5}",),
    "adapter alone": ("base=toy/bert", "release.weights=adapter"),
    "two workers": ("cluster={workers: 2}",),
}
_TRAIN = {
    "epochs": 1,
    "max_steps": 4,
    "learning_rate": 2e-3,
    "batch_tokens": 512,
    "max_length": 24,
    "precision": "fp32",
    "seed": 0,
    "threads": 1,
}
_TEXT = {"train": "rows.jsonl", "text": "text", "label": "label", "groups": ["sex"]}
#: The `data` section of each task.
DATA: dict[str, dict[str, Any]] = {
    "text-classification": {**_TEXT, "positive": "yes"},
    "text-pair-classification": {**_TEXT, "text": "first", "text_pair": "second", "label": "same", "groups": ["origin"]},
    "relation-extraction": {**_TEXT, "head": "head", "tail": "tail", "label": "relation", "no_relation": "none", "groups": ["source"]},
    "multi-label-classification": {**_TEXT, "label": "tags"},
    "token-classification": {**_TEXT, "label": "entities", "groups": ["origin"]},
    "regression": {**_TEXT, "label": "price"},
    "question-answering": {**_TEXT, "text": "context", "question": "question", "label": "answers"},
    "multiple-choice": {**_TEXT, "text": "question", "choices": ["first", "second", "third"], "label": "answer"},
}
_WRITE: dict[str, Callable[[Path, int], Path]] = {
    "text-classification": toy.write_rows,
    "text-pair-classification": pair_world.write_pairs,
    "relation-extraction": relation_world.write_relations,
    "multi-label-classification": order_world.write_rows,
    "token-classification": entity_world.write_names,
    "regression": order_world.write_rows,
    "question-answering": question_world.write_questions,
    "multiple-choice": long_world.write_questions,
}


@dataclass(frozen=True)
class Cell:
    """One combination."""

    task: str
    adapt: str  # a method, or LAYERS
    runtime: str
    beside: str = ""  # a key of BESIDE

    @property
    def name(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", f"{self.task} {self.adapt} {self.runtime} {self.beside}").strip("-")

    @property
    def settings(self) -> list[str]:
        adapt = "{method: frozen, layers: 1}" if self.adapt == LAYERS else self.adapt
        return [f"adapt={adapt}", f"release.runtime={self.runtime}", *BESIDE[self.beside]]


def cells() -> list[Cell]:
    """All of them but what nothing new can be seen of.

    How rows are read and weights averaged is over before there is a runtime. What merges leaves the graph of `full`, so that of
    those adaptations `full` alone is exported with something beside it. Several processes train every adaptation of one task, and
    one of every task.
    """
    found = [Cell(*parts) for parts in product(TASKS, ADAPTS, RUNTIMES, [name for name in BESIDE if name != "two workers"]) if _new(*parts)]
    workers = [Cell(task, "full", "torch", "two workers") for task in TASKS]
    return [*found, *workers, *(Cell("text-classification", adapt, "torch", "two workers") for adapt in ADAPTS if adapt != "full")]


def _new(task: str, adapt: str, runtime: str, beside: str) -> bool:
    if runtime == "torch" or beside in ("", "adapter alone"):
        return True
    left = adapt == "full" or not ADAPTATIONS[adapt.split(",")[0]].merges
    return left and beside in ("table columns", "windows", "two members")


def write_worlds(folder: Path) -> dict[str, Path]:
    """A folder with rows, base and recipe for each task; the recipes, by task. `hub` is a cache of the hub, with the base."""
    words = {
        *toy.WORDS,
        *long_world.WORDS,
        *question_world.WORDS,
        *(*order_world.FILLER, *order_world.NAMES),
        *(*relation_world.FILLER, *relation_world.NAMES, *relation_world.VERBS, "person"),
        *(word for kind in pair_world.KINDS for word in kind),
    }
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "base", sorted(words))
    cached, revision = folder / "hub" / "models--toy--bert", "a" * 40
    shutil.copytree(folder / "base", cached / "snapshots" / revision, dirs_exist_ok=True)
    (cached / "refs").mkdir(exist_ok=True)
    (cached / "refs" / "main").write_text(revision, encoding="utf-8")
    return {task: _write_world(folder / task, task) for task in TASKS}


def _write_world(folder: Path, task: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = with_columns(rows_of(_WRITE[task](folder / "raw", ROWS)))
    (folder / "raw").unlink()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    flat = [{name: cell if isinstance(cell, str) else json.dumps(cell) for name, cell in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(flat), folder / "rows.parquet", row_group_size=90)
    recipe = {
        "task": task,
        "base": "../base",
        "data": DATA[task],
        "train": _TRAIN,
        "release": {"precision": "fp32", "max_difference": 0.05},
        "audit": ["quality"],
        "gates": {"quality.unknown_tokens": "<= 1"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder / "recipe.yaml"


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV or JSONL file, whatever its name."""
    text = path.read_text(encoding="utf-8")
    if text.startswith("{"):
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(text.splitlines()))


def with_columns(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows with two columns of a table, amount and channel; a tenth of the amounts is empty."""
    rng = np.random.default_rng(1)
    return [
        {**row, "amount": "" if rng.random() < 0.1 else f"{rng.gamma(2.0, 50.0):.2f}", "channel": str(rng.choice(CHANNELS))} for row in rows
    ]


@dataclass(frozen=True)
class Outcome:
    """What came of a cell: "works", "refused" (when the recipe was read) or "failed", and why."""

    state: str
    why: tuple[str, ...] = ()


def refusal(cell: Cell, recipe: Path) -> Outcome | None:
    """Why a cell is refused when its recipe is read, every problem and its way out; None where it is not."""
    try:
        read_recipe(recipe, cell.settings)
    except RecipeError as error:
        return Outcome("refused", tuple(f"{problem.message} ({problem.hint})" for problem in error.problems))
    return None


def try_cell(cell: Cell, recipe: Path, out: Path) -> Outcome:
    """Run a cell the whole way, unless it is refused, and ask what was released; `hub` is what the hub's cache is."""
    from trustbase.flow import run

    refused = refusal(cell, recipe)
    if refused is not None:
        return refused
    try:
        result = run(recipe, cell.settings, out=out)
        faults = [*faults_of(cell, result), *faults_of_answers(recipe, out)]
    except TrustbaseError as error:
        return Outcome("failed", (_told(error),))
    except Exception as error:  # the one place that is there to see what no one foresaw
        return Outcome("failed", (_told(error),))
    return Outcome("failed", tuple(faults)) if faults else Outcome("works")


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}"[:600].split())


def faults_of(cell: Cell, result: Any) -> list[str]:
    """What is not as the cell asked for, or not as any run should be."""
    folder = result.folder
    trained = files.read_json(folder / "stages" / "train.json")["result"]
    failed = [f"{finding.id}: {finding.reason}" for finding in result.audit.findings if finding.status == "failed"]
    checks = {
        "it was not released": result.exit_code == 0,
        f"findings failed: {'; '.join(failed)}": not failed,
        f"the reload difference is {trained['reload_difference']}": trained["reload_difference"] == 0.0,
    }
    if result.exit_code == 0:
        artifact = files.read_json(folder / "bundle" / "model" / "artifact.json")
        card = (folder / "bundle" / "README.md").read_text(encoding="utf-8")
        rows = files.read_json(folder / "data" / "dataset.json")["splits"].values()
        checks |= {
            f"the runtime is {artifact['runtime']}": artifact["runtime"] == cell.runtime,
            "the card does not name the adaptation": f"`{cell.adapt.split(',')[0]}`" in card,
        }
        kept = {
            "table columns": artifact.get("columns") == ["amount", "channel"],
            "windows": artifact.get("stride") == 6,
            "streamed rows": all(part.get("stored") for part in rows),
            "two members": artifact.get("members") == 2,
            "averaged weights": "the weights are an average (`ema`)" in card,
            "adapter alone": artifact["facts"].get("weights") == "adapter",
            "two workers": trained["facts"].get("processes") == 2,
        }
        checks[f"{cell.beside} was ignored"] = kept.get(cell.beside, True)
    return [fault for fault, fine in checks.items() if not fine]


def faults_of_answers(recipe: Path, out: Path) -> list[str]:
    """What is wrong with answers of the released bundle to a few of its own rows."""
    from trustbase import predict

    if not (out / "bundle").is_dir():
        return []
    lines = (recipe.parent / "rows.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    asked = out / "asked.jsonl"
    asked.write_text("\n".join(lines) + "\n", encoding="utf-8")
    told = predict(out / "bundle", input=asked, output=out / "answers.jsonl")
    return [f"{told.failed} of {told.rows} rows were not answered"] if told.failed or told.rows != len(lines) else []
