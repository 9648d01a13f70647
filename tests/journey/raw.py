"""A small language that a tiny model can learn, as raw text; and a recipe that pretrains on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SYLLABLES = [first + last for first in ("ka", "lo", "mi", "ne", "su", "ta", "vi", "re") for last in ("ra", "ni", "to", "pel", "sun")]

RECIPE = """
stage: pretrain
corpus: {{files: texts.txt, held_out: 0.1, licence: made up}}
tokenizer: {{train: {tokenizer}, vocab_size: {vocabulary}}}
model: {{family: {family}, layers: 1, width: 32, heads: 2, context: 32}}
objective: {objective}
train: {{tokens: {tokens}, batch_tokens: 512, learning_rate: 3e-3, precision: fp32, seed: 0, threads: 1}}
estimate: {{seconds: 0.1}}
gates: {{quality.perplexity: "<= {limit}"}}
"""


def write_texts(path: Path, documents: int, *, seed: int = 0) -> Path:
    """Documents of sentences in which each word allows three others to follow it; blank lines between documents."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as stream:
        for _ in range(documents):
            for _ in range(int(rng.integers(2, 5))):
                word = int(rng.integers(len(SYLLABLES)))
                words = []
                for _ in range(int(rng.integers(5, 10))):
                    words.append(SYLLABLES[word])
                    word = (word * 3 + int(rng.integers(3))) % len(SYLLABLES)
                stream.write(" ".join(words) + ". ")
            stream.write("\n\n")
    return path


def write_raw_world(
    folder: Path,
    *,
    objective: str = "masked+next_sentence",
    family: str = "encoder",
    tokenizer: str = "wordpiece",
    vocabulary: int = 80,
    tokens: int = 20_000,
    limit: float = 200,
) -> Path:
    """Texts and recipe in one folder; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    write_texts(folder / "texts.txt", 1200)
    recipe = folder / "raw.yaml"
    text = RECIPE.format(objective=objective, family=family, tokenizer=tokenizer, vocabulary=vocabulary, tokens=tokens, limit=limit)
    recipe.write_text(text, encoding="utf-8")
    return recipe
