"""Texts with an animal, a tool and a city (or not), and questions for one of them: nothing that is asked stands in the answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tiny import tiny_bert

KINDS = {"animal": ("dog", "cat", "horse", "mouse"), "tool": ("hammer", "saw", "drill", "axe"), "city": ("oslo", "lima", "cairo", "paris")}
COLOURS = ("red", "old", "big", "fine")
FILLER = ("was", "and", "with", "of", "in", "then", "there", "here", "we", "saw", "long", "very")
WORDS = (*(word for words in KINDS.values() for word in words), *KINDS, *COLOURS, *FILLER, "which", "the", "is", "told")

RECIPE = """
task: question-answering
base: base
data: {{train: rows.jsonl, text: context, question: question, label: answers, groups: [sex], stride: 6}}
train: {{epochs: {epochs}, learning_rate: 3e-3, batch_tokens: 512, max_length: 24, precision: fp32, seed: 0, warmup: 0.1}}
adapt: {adapt}
decision: {{threshold: auto, max_answer_tokens: 4}}
release: {{runtime: {runtime}, precision: fp32, max_difference: 0.05}}
audit: [quality, fairness, efficiency]
gates: {{quality.token_f1: ">= {limit}"}}
"""


def write_questions(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Rows question, context, answers (SQuAD's form and spans in turns), sex; a quarter have no answer, and most need several windows."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as handle:
        for number in range(rows):
            asked, words, spans = str(rng.choice(list(KINDS))), [], []
            there = [kind for kind in KINDS if kind != asked or rng.random() < 0.75]
            for kind in rng.permutation(there):
                words += [str(word) for word in rng.choice(FILLER, int(rng.integers(3, 9)))]
                at = len(" ".join(words)) + 1
                told = f"{rng.choice(COLOURS)} {rng.choice(KINDS[str(kind)])}"
                words.append(told)
                spans += [{"start": at, "text": told}] if kind == asked else []
            words += [str(word) for word in rng.choice(FILLER, int(rng.integers(1, 6)))]
            squad = {"text": [span["text"] for span in spans], "answer_start": [span["start"] for span in spans]}
            row = {
                "question": f"which {asked} is told",
                "context": " ".join(words),
                "answers": squad if number % 2 else spans,
                "sex": "f" if rng.random() < 0.4 else "m",
            }
            handle.write(json.dumps(row) + "\n")
    return path


def write_question_world(
    folder: Path, *, rows: int = 900, epochs: int = 6, adapt: str = "full", runtime: str = "torch", limit: float = 0.6
) -> Path:
    """Base, rows and recipe in one folder; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "base", WORDS)
    write_questions(folder / "rows.jsonl", rows)
    recipe = folder / "questions.yaml"
    recipe.write_text(RECIPE.format(epochs=epochs, adapt=adapt, runtime=runtime, limit=limit), encoding="utf-8")
    return recipe
