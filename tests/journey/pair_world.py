"""Pairs of texts whose label no linear model can tell from words: whether both speak of the same kind of thing, in other words."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

KINDS = (
    ("dog", "puppy", "hound"),
    ("car", "automobile", "vehicle"),
    ("doctor", "physician", "surgeon"),
    ("rain", "storm", "downpour"),
    ("money", "cash", "coins"),
    ("king", "queen", "monarch"),
    ("bread", "loaf", "toast"),
    ("river", "stream", "creek"),
)
FRAMES = ("there was a {} here", "everybody saw the {}", "we spoke of a {}", "it was about the {}")

RECIPE = """
task: text-pair-classification
base: {base}
data: {{train: pairs.csv, text: first, text_pair: second, label: same, positive: "yes", groups: [origin]}}
train: {{epochs: {epochs}, learning_rate: {rate}, max_length: 32, precision: fp32, seed: 0}}
release: {{runtime: {runtime}, precision: fp32}}
audit: [quality, fairness, efficiency]
gates: {{quality.accuracy: ">= {limit}"}}
"""


def write_pairs(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Rows with columns first, second, same (no/yes), origin; both texts never share the word that counts."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["first", "second", "same", "origin"])
        for _ in range(rows):
            kind = int(rng.integers(len(KINDS)))
            same = rng.random() < 0.5
            other = kind if same else int((kind + 1 + rng.integers(len(KINDS) - 1)) % len(KINDS))
            first = str(rng.choice(KINDS[kind]))
            second = str(rng.choice([word for word in KINDS[other] if word != first]))
            texts = [str(rng.choice(FRAMES)).format(word) for word in (first, second)]
            writer.writerow([*texts, "yes" if same else "no", str(rng.choice(["a", "b"]))])
    return path


def write_pair_world(
    folder: Path, *, base: str, rows: int = 900, epochs: int = 4, rate: float = 3e-4, runtime: str = "torch", limit: float = 0.5
) -> Path:
    """Rows and recipe in one folder; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pairs(folder / "pairs.csv", rows)
    recipe = folder / "pairs.yaml"
    recipe.write_text(RECIPE.format(base=base, epochs=epochs, rate=rate, runtime=runtime, limit=limit), encoding="utf-8")
    return recipe
