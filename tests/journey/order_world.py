"""Texts whose number and labels hang on which of two names stands first, which no count of words or word pairs shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tiny import tiny_bert

FILLER = ("the", "film", "was", "a", "and", "service", "food", "old", "as", "is", "fine", "works")
NAMES = ("anna", "boris")

NUMBER = """
task: regression
base: base
data: {{train: rows.jsonl, text: text, label: price, groups: [sex]}}
train: {{epochs: {epochs}, learning_rate: 2e-3, batch_tokens: 256, max_length: 16, precision: fp32, seed: 0}}
release: {{runtime: {runtime}, precision: fp32}}
audit: [quality, fairness, efficiency]
gates: {{quality.rmse: "<= {limit}", quality.interval_coverage: ">= 0.5"}}
"""

LABELS = """
task: multi-label-classification
base: base
data: {{train: rows.jsonl, text: text, label: tags, groups: [sex]}}
train: {{epochs: {epochs}, learning_rate: 2e-3, batch_tokens: 256, max_length: 16, precision: fp32, seed: 0}}
release: {{runtime: {runtime}, precision: fp32}}
decision: {{threshold: auto}}
audit: [quality, fairness, efficiency]
gates: {{quality.micro_f1: ">= {limit}"}}
"""


def write_rows(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Rows with columns text, price (140 where anna stands first, else 60, and noise of 5), tags (a list: lead, fine), sex."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as handle:
        for number in range(rows):
            first = int(rng.integers(2))
            words = [str(word) for word in rng.choice(FILLER, 7)]
            places = sorted(rng.choice(range(1, 7), 2, replace=False).tolist())
            if places[1] - places[0] < 2:  # neighbours would be a word pair
                places = [1, 5]
            words[places[0]], words[places[1]] = NAMES[first], NAMES[1 - first]
            tags = [name for name, has in (("fine", "fine" in words), ("lead", first == 0)) if has]
            price = (140.0 if first == 0 else 60.0) + rng.normal(0, 5)
            sex = "f" if rng.random() < 0.5 else "m"
            handle.write(
                json.dumps({"text": f"{' '.join(words)} {number % 10}", "price": round(price, 2), "tags": tags, "sex": sex}) + "\n"
            )
    return path


def write_order_world(folder: Path, recipe: str, *, rows: int = 600, epochs: int = 8, runtime: str = "torch", limit: float) -> Path:
    """Base, rows and recipe in one folder; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "base", (*FILLER, *NAMES))
    write_rows(folder / "rows.jsonl", rows)
    path = folder / "order.yaml"
    path.write_text(recipe.format(epochs=epochs, runtime=runtime, limit=limit), encoding="utf-8")
    return path
