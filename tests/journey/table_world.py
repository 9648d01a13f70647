"""Rows whose label hangs on a word and on two table columns together, so that neither text nor columns alone tell it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tiny import tiny_bert

WORDS = ("good", "bad", "film", "was", "the", "a", "very", "old")
KINDS = ("shop", "web", "phone")

RECIPE = """
task: text-classification
base: base
data:
  train: rows.csv
  text: text
  features: {{numeric: [amount], categorical: [channel]}}
  label: label
  positive: "yes"
  groups: [sex]
train: {{epochs: {epochs}, learning_rate: 2e-3, batch_tokens: 512, max_length: 32, precision: fp32, seed: 0, feature_epochs: 3}}
adapt: {adapt}
release: {{runtime: {runtime}, precision: fp32}}
gates: {{quality.accuracy: ">= {limit}"}}
"""


def write_table(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Columns text, amount (missing in some rows), channel, label (no/yes), sex."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "amount", "channel", "label", "sex"])
        for number in range(rows):
            good, amount, channel = rng.random() < 0.5, float(np.round(rng.gamma(2.0, 50.0), 2)), str(rng.choice(KINDS))
            points = (2.0 if good else -2.0) + (2.0 if amount > 80 else -2.0) + (1.0 if channel == "web" else -1.0)
            label = rng.random() < 1 / (1 + np.exp(-2 * points))
            text = f"the {rng.choice(['old', 'very'])} film was {'good' if good else 'bad'} {number}"
            cell = "" if rng.random() < 0.1 else f"{amount:g}"
            writer.writerow([text, cell, channel, "yes" if label else "no", "f" if rng.random() < 0.4 else "m"])
    return path


def write_table_world(
    folder: Path, *, rows: int = 700, adapt: str = "full", runtime: str = "torch", epochs: int = 2, limit: float = 0.6
) -> Path:
    """Base model, rows and recipe in one folder; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "base", WORDS)
    write_table(folder / "rows.csv", rows)
    recipe = folder / "table.yaml"
    recipe.write_text(RECIPE.format(adapt=adapt, runtime=runtime, epochs=epochs, limit=limit), encoding="utf-8")
    return recipe
