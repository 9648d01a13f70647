"""A small world that a tiny model can learn: texts with a tell-tale word, two groups, a recipe over them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tiny import tiny_bert

GOOD = ("good", "fine", "lovely", "bright")
BAD = ("bad", "poor", "awful", "dull")
FILLER = ("the", "film", "was", "very", "a", "and", "service", "food", "old", "long", "short", "with", "of", "in")
WORDS = (*GOOD, *BAD, *FILLER)


def write_rows(path: Path, rows: int, *, seed: int = 0, noise: float = 0.05) -> Path:
    """Rows with columns text, label (no/yes), sex; the label follows one word but for some noise."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label", "sex"])
        for number in range(rows):
            good = rng.random() < 0.5
            words = list(rng.choice(FILLER, size=int(rng.integers(3, 12))))
            words.insert(int(rng.integers(0, len(words))), str(rng.choice(GOOD if good else BAD)))
            label = good if rng.random() > noise else not good
            writer.writerow([f"{' '.join(words)} {number}", "yes" if label else "no", "f" if rng.random() < 0.4 else "m"])
    return path


RECIPE = """
task: text-classification
base: base
data:
  train: rows.csv
  text: text
  label: label
  positive: "yes"
  groups: [sex]
train: {{epochs: 3, learning_rate: 2e-3, batch_tokens: 256, max_length: 32, precision: fp32, seed: 0, save_every: 0.2}}
adapt: {adapt}
release: {{runtime: {runtime}, precision: fp32}}
purpose: {{intended_use: tests, owner: nobody}}
audit: [quality, fairness, efficiency]
gates:
  quality.accuracy: ">= {limit}"
  fairness.demographic_parity_difference[sex]: "<= 0.5"
"""


def write_world(folder: Path, *, rows: int = 900, adapt: str = "full", runtime: str = "torch", limit: float = 0.7) -> Path:
    """Base model, rows and recipe in one folder; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "base", WORDS)
    write_rows(folder / "rows.csv", rows)
    recipe = folder / "toy.yaml"
    recipe.write_text(RECIPE.format(adapt=adapt, runtime=runtime, limit=limit), encoding="utf-8")
    return recipe
