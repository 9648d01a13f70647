"""Each of the tasks as a world that is trained for two updates: what stands on disk afterwards is that of any run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from long_world import write_choice_world
from order_world import LABELS, NUMBER, write_order_world
from pair_world import write_pair_world
from question_world import write_question_world
from relation_world import write_relation_world
from toy import write_world

from entity_world import write_entity_world
from tiny import tiny_bert

ROWS = 240


def _pairs(folder: Path) -> Path:
    tiny_bert(folder / "base")
    return write_pair_world(folder, base="base", rows=ROWS, limit=0.0)


def _entities(folder: Path) -> Path:
    tiny_bert(folder / "base")
    return write_entity_world(folder, base="base", rows=ROWS, limit=0.0)


def _texts(folder: Path) -> Path:
    recipe = write_world(folder, rows=ROWS, limit=0.0)
    lines = recipe.read_text(encoding="utf-8").splitlines()  # its limit on groups needs more test rows than these
    recipe.write_text("\n".join(line for line in lines if "fairness." not in line), encoding="utf-8")
    return recipe


@dataclass(frozen=True)
class World:
    """How to write a task's toy world, and which file and column hold its rows and their truth."""

    write: Callable[[Path], Path]
    rows: str
    label: str
    main: str  # the number that compare tells first


WORLDS: dict[str, World] = {
    "text-classification": World(_texts, "rows.csv", "label", "accuracy"),
    "text-pair-classification": World(_pairs, "pairs.csv", "same", "accuracy"),
    "relation-extraction": World(lambda folder: write_relation_world(folder, rows=ROWS, limit=0.0), "rows.jsonl", "relation", "accuracy"),
    "multi-label-classification": World(
        lambda folder: write_order_world(folder, LABELS, rows=ROWS, limit=0.0), "rows.jsonl", "tags", "exact_match"
    ),
    "token-classification": World(_entities, "names.jsonl", "entities", "entity_f1"),
    "regression": World(lambda folder: write_order_world(folder, NUMBER, rows=ROWS, limit=1e9), "rows.jsonl", "price", "mae"),
    "question-answering": World(lambda folder: write_question_world(folder, rows=ROWS, limit=0.0), "rows.jsonl", "answers", "token_f1"),
    "multiple-choice": World(lambda folder: write_choice_world(folder, rows=ROWS, limit=0.0), "rows.csv", "answer", "accuracy"),
}
#: Two updates, no timing, and nothing that would keep the toy from being released.
SHORT = ["train.max_steps=2", "audit=[quality, fairness]"]
