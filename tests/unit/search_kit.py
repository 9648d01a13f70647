"""A small raw corpus and a recipe whose trainings take seconds, for the tests of sweeps and scaling fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SYLLABLES = [first + last for first in ("ka", "lo", "mi", "ne", "su", "ta") for last in ("ra", "ni", "to", "pel", "sun")]
RECIPE = """
stage: pretrain
corpus: {{files: texts.txt, held_out: 0.1, licence: made up, deduplicate: exact}}
tokenizer: {{train: wordpiece, vocab_size: 64}}
model: {{family: encoder, layers: 1, width: 16, heads: 1, context: 32}}
objective: {objective}
train: {{tokens: 100k, batch_tokens: 512, learning_rate: 3e-3, precision: fp32, seed: 0, threads: 1}}
gates: {{quality.perplexity: "<= 60"}}
"""


def write_texts(path: Path, documents: int = 400, *, seed: int = 0) -> Path:
    """Documents of sentences in which each word allows three others to follow it; blank lines between documents."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(documents):
        sentences = []
        for _ in range(int(rng.integers(2, 5))):
            word, words = int(rng.integers(len(SYLLABLES))), []
            for _ in range(int(rng.integers(5, 10))):
                words.append(SYLLABLES[word])
                word = (word * 3 + int(rng.integers(3))) % len(SYLLABLES)
            sentences.append(" ".join(words).capitalize() + ".")
        found.append(" ".join(sentences))
    path.write_text("\n\n".join(found) + "\n", encoding="utf-8")
    return path


def write_world(folder: Path, *, objective: str = "masked", documents: int = 400) -> Path:
    """Texts and recipe in one folder; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    write_texts(folder / "texts.txt", documents)
    recipe = folder / "raw.yaml"
    recipe.write_text(RECIPE.format(objective=objective), encoding="utf-8")
    return recipe
