"""Sentences whose names say nothing of their type: a word at the beginning does, too far away for a window of neighbours to see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

CUES = {"PER": ("meet", "greet", "phone"), "LOC": ("visit", "leave", "reach"), "ORG": ("join", "found", "audit")}
NAMES = ("Marlow", "Carter", "Lincoln", "Houston", "Madison", "Jordan", "Austin", "Wesley", "Harper", "Sutton", "Dalton", "Preston")
SECOND = ("North", "Ward", "Stone")
FILL = ("as we all said", "in the end now", "one more time please", "with some friends here")
AFTER = ("today", "before noon", "this week", "again")
GROUPS = ("a", "b")

RECIPE = """
task: token-classification
base: {base}
data: {{train: names.jsonl, text: text, label: entities, groups: [origin]}}
train: {{epochs: {epochs}, learning_rate: {rate}, max_length: 32, batch_tokens: 512, precision: fp32, seed: 0}}
release: {{runtime: {runtime}, precision: fp32}}
audit: [quality, fairness, efficiency]
gates: {{quality.entity_f1: ">= {limit}"}}
"""


def sentence(rng: np.random.Generator) -> tuple[str, list[dict[str, object]]]:
    """A sentence and its one or two entities."""
    parts: list[str] = []
    entities: list[dict[str, object]] = []
    for _ in range(1 + (rng.random() < 0.3)):
        kind = str(rng.choice(list(CUES)))
        name = str(rng.choice(NAMES)) + (f" {rng.choice(SECOND)}" if rng.random() < 0.3 else "")
        before = " ".join([*parts, str(rng.choice(CUES[kind])), str(rng.choice(FILL))])
        entities.append({"start": len(before) + 1, "end": len(before) + 1 + len(name), "label": kind})
        parts = [before, name, str(rng.choice(AFTER)), "."]
    return " ".join(parts), entities


def write_names(path: Path, rows: int, *, seed: int = 0, empty: int = 5) -> Path:
    """Rows of text, entities and origin; every `empty`-th row has no entity."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as handle:
        for row in range(rows):
            text, entities = sentence(rng)
            if row % empty == 0:
                text, entities = f"{rng.choice(FILL)} {rng.choice(AFTER)} {rng.choice(FILL)}", []
            handle.write(json.dumps({"text": text, "entities": entities, "origin": str(rng.choice(GROUPS))}) + "\n")
    return path


def long_text(rng: np.random.Generator) -> tuple[str, list[dict[str, object]]]:
    """Five to eight sentences and the entities of all; the recipe's models read about a third of these at once."""
    text, entities = "", []
    for _ in range(int(rng.integers(5, 9))):
        said, found = sentence(rng)
        start = len(text) + bool(text)
        entities += [{**each, "start": start + each["start"], "end": start + each["end"]} for each in found]  # type: ignore[operator]
        text = f"{text} {said}".lstrip()
    return text, entities


def write_long_names(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Rows of long texts with entities all over, and origin."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as handle:
        for _ in range(rows):
            text, entities = long_text(rng)
            handle.write(json.dumps({"text": text, "entities": entities, "origin": str(rng.choice(GROUPS))}) + "\n")
    return path


def write_entity_world(
    folder: Path, *, base: str, rows: int = 700, epochs: int = 4, rate: float = 3e-4, runtime: str = "torch", limit: float = 0.5
) -> Path:
    """Rows and recipe in one folder; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    write_names(folder / "names.jsonl", rows)
    recipe = folder / "names.yaml"
    recipe.write_text(RECIPE.format(base=base, epochs=epochs, rate=rate, runtime=runtime, limit=limit), encoding="utf-8")
    return recipe
