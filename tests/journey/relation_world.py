"""Relations that hang on which of two people is the head, which no sum over words, sides and order shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tiny import tiny_bert

FILLER = ("today", "the", "report", "says", "that", "again", "quite", "clearly", "in", "town")
NAMES = ("anna", "boris", "clara", "david", "elena", "felix", "greta", "henry")
VERBS = ("taught", "followed", "met")  # the first: who stands first is the teacher; the second: who stands second is; the third: nobody

RECIPE = """
task: relation-extraction
base: base
data: {{train: rows.jsonl, text: text, head: head, tail: tail, label: relation, no_relation: none, groups: [source]}}
train: {{epochs: {epochs}, learning_rate: 1e-3, batch_tokens: 512, max_length: {max_length}, precision: fp32, seed: 0}}
release: {{runtime: {runtime}, precision: fp32}}
audit: [quality, fairness, efficiency]
gates: {{quality.relation_f1: ">= {limit}"}}
"""


def write_relations(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Rows with columns text, head, tail, relation (teacher, pupil, none), source; entities in each of the three forms of a cell."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as handle:
        for _ in range(rows):
            verb, (one, two) = int(rng.integers(3)), rng.choice(NAMES, 2, replace=False).tolist()
            before, after = (" ".join(rng.choice(FILLER, int(rng.integers(1, 4)))) for _ in range(2))
            text = f"{before} {one} {VERBS[verb]} {two} {after}"
            first = [len(before) + 1, len(before) + 1 + len(one)]
            second = [text.index(two, first[1]), text.index(two, first[1]) + len(two)]
            turned = rng.random() < 0.5
            head, tail = (second, first) if turned else (first, second)
            relation = "none" if verb == 2 else ("teacher" if (verb == 0) != turned else "pupil")
            row = {"text": text, "head": {"start": head[0], "end": head[1], "type": "person"}, "tail": tail, "relation": relation}
            if rng.random() < 0.3:
                row["tail"] = f"{tail[0]}:{tail[1]}"
            handle.write(json.dumps({**row, "source": str(rng.choice(["press", "letter"]))}) + "\n")
    return path


def write_relation_world(
    folder: Path, *, rows: int = 900, epochs: int = 8, runtime: str = "torch", limit: float = 0.5, max_length: int = 32
) -> Path:
    """Base, rows and recipe in one folder; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "base", (*FILLER, *NAMES, *VERBS, "person"), hidden=64)
    write_relations(folder / "rows.jsonl", rows)
    recipe = folder / "relations.yaml"
    recipe.write_text(RECIPE.format(epochs=epochs, runtime=runtime, limit=limit, max_length=max_length), encoding="utf-8")
    return recipe
