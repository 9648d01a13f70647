"""Texts whose tell-tale word stands far behind what a model reads at once, and questions that one of their choices answers."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tiny import tiny_bert

GOOD, BAD = ("good", "fine", "lovely", "bright"), ("bad", "poor", "awful", "dull")
FILLER = ("the", "film", "was", "very", "a", "and", "service", "food", "old", "long", "short", "with", "of", "in")
THINGS = ("dog", "car", "rain", "king", "bread", "river")
ANSWERS = ("barks", "drives", "falls", "rules", "bakes", "flows")
WORDS = (*GOOD, *BAD, *FILLER, *THINGS, *ANSWERS, "what", "it")

LONG = """
task: {task}
base: base
data: {{train: rows.csv, text: text, label: label, groups: [sex]{stride}}}
train: {{epochs: 8, learning_rate: 2e-3, batch_tokens: 512, max_length: 24, precision: fp32, seed: 0}}
adapt: {adapt}
release: {{runtime: {runtime}, precision: fp32}}
audit: [quality, fairness, efficiency]
gates: {{quality.unknown_tokens: "<= 1"}}
"""

CHOICE = """
task: multiple-choice
base: base
data: {{train: rows.csv, text: question, choices: [first, second, "{{third}} it"], label: answer, groups: [sex]}}
train: {{epochs: {epochs}, learning_rate: 2e-3, batch_tokens: 512, max_length: 24, precision: fp32, seed: 0, warmup: 0.1}}
adapt: {adapt}
release: {{runtime: {runtime}, precision: fp32}}
audit: [quality, fairness, efficiency]
gates: {{quality.accuracy: ">= {limit}"}}
"""


def _write(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(names)
        writer.writerows(rows)
    return path


def write_long_rows(path: Path, rows: int, *, seed: int = 0, numbers: bool = False) -> Path:
    """Rows text, label, sex; the word that tells stands behind the 24th, the model reads 22. Numbers: 10 and 2."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(rows):
        good = rng.random() < 0.5
        words = [str(word) for word in rng.choice(FILLER, int(rng.integers(30, 44)))]
        words[int(rng.integers(24, len(words)))] = str(rng.choice(GOOD if good else BAD))
        label = (10 if good else 2) if numbers else ("yes" if good else "no")
        made.append([" ".join(words), label, "f" if rng.random() < 0.4 else "m"])
    return _write(path, ["text", "label", "sex"], made)


def write_questions(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Rows question, first, second, third, answer, sex: which choice says what the thing in question does; no word is shared."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(rows):
        thing = int(rng.integers(len(THINGS)))
        others = [int(other) for other in rng.permutation(len(THINGS)) if other != thing][:2]
        place = int(rng.integers(3))
        others.insert(place, thing)
        filler = [str(word) for word in rng.choice(FILLER, 4)]
        question = f"what {filler[0]} {filler[1]} the {THINGS[thing]} {filler[2]} {filler[3]}"
        told = ("first", "second", "third")[place] if number % 2 else "ABC"[place]
        made.append([question, *(ANSWERS[other] for other in others), told, "f" if rng.random() < 0.4 else "m"])
    return _write(path, ["question", "first", "second", "third", "answer", "sex"], made)


def write_long_world(
    folder: Path, *, stride: int | None, task: str = "text-classification", adapt: str = "full", runtime: str = "torch"
) -> Path:
    """Base, rows and recipe of long texts; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "base", WORDS)
    write_long_rows(folder / "rows.csv", 500, numbers=task == "regression")
    windows = "" if stride is None else f", stride: {stride}"
    (folder / "long.yaml").write_text(LONG.format(task=task, stride=windows, adapt=adapt, runtime=runtime), encoding="utf-8")
    return folder / "long.yaml"


def write_choice_world(
    folder: Path, *, rows: int = 700, epochs: int = 8, adapt: str = "full", runtime: str = "torch", limit: float = 0.7
) -> Path:
    """Base, rows and recipe of questions with choices; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "base", WORDS)
    write_questions(folder / "rows.csv", rows)
    (folder / "choices.yaml").write_text(CHOICE.format(epochs=epochs, adapt=adapt, runtime=runtime, limit=limit), encoding="utf-8")
    return folder / "choices.yaml"
