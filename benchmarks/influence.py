"""Whether training rows that are told to have taught an answer did: told changes of scores beside those of models trained again.

    python benchmarks/influence.py [--seeds 3] [--parts 30] [--trainings 3] [--json FILE]

A tiny BERT with random weights learns, all of it, from 160 made-up sentences which kind of words they have more of; one label in ten is
wrong. It is trained again without each of 30 random parts of a fifth of the rows, three times by other seeds of the order of its batches,
whose scores are averaged. Told is the rank correlation, over the parts, of the real change of a test sentence's score with the sum of what
its rows were told to do: 0 by chance. The same for the foremost 16 rows beside random 16: by how much the log-odds fall.

Source: Park et al. (2023), TRAK, ICML, section 2.1 (linear datamodeling score).
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy import stats

ROWS, ASKED, FOREMOST = 160, 30, 16
DAMPINGS = (0.01, 0.05, 0.25, 1.0, 5.0)
GOOD, BAD = {"good", "fine", "very"}, {"bad", "poor", "not"}


def sentences(rng: np.random.Generator, count: int, words: Any) -> tuple[list[str], np.ndarray]:
    texts: list[str] = []
    labels: list[int] = []
    while len(texts) < count:
        drawn = [words[place] for place in rng.integers(0, len(words), rng.integers(4, 9))]
        lean = sum(word in GOOD for word in drawn) - sum(word in BAD for word in drawn)
        if lean:
            texts.append(" ".join(drawn))
            labels.append(int(lean > 0))
    return texts, np.array(labels)


def padded(tokens: Any) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, tokens))
    ids = torch.zeros(len(tokens), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, each in enumerate(tokens):
        ids[row, : len(each)], mask[row, : len(each)] = torch.from_numpy(each.ids), 1
    return ids, mask


def one_world(folder: Path, seed: int, parts: int, trainings: int) -> dict[str, Any]:
    from inside_kit import classifier, inside_of

    from tiny import WORDS
    from trustbase.audit.explain.gradient_features import gradient_features
    from trustbase.audit.explain.influence import Lessons, foremost, taught

    inside = inside_of(classifier(folder, seed=seed), packed=False)
    rng, start = np.random.default_rng(seed), inside.model
    (texts, labels), (asked, _) = sentences(rng, ROWS, WORDS), sentences(rng, ASKED, WORDS)
    labels = np.where(rng.random(ROWS) < 0.1, 1 - labels, labels)
    tokens, questions = inside.tokens(texts), inside.tokens(asked)
    (ids, mask), truth = padded(tokens), torch.from_numpy(labels)

    def train(kept: np.ndarray, order: int) -> Any:
        torch.manual_seed(order)
        model, drawn = copy.deepcopy(start).requires_grad_(True).train(), np.random.default_rng(order)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
        for _ in range(12):
            rows = drawn.permutation(ROWS)
            rows = rows[np.isin(rows, kept)]
            for batch in np.array_split(rows, max(1, len(rows) // 32)):
                logits = model(input_ids=ids[batch], attention_mask=mask[batch]).logits
                torch.nn.functional.cross_entropy(logits, truth[batch]).backward()
                optimizer.step()
                optimizer.zero_grad()
        return model.eval().requires_grad_(False)

    def scores(model: Any) -> np.ndarray:
        with torch.no_grad():
            logits = model(**dict(zip(("input_ids", "attention_mask"), padded(questions), strict=True))).logits
        return (logits[:, 1] - logits[:, 0]).numpy()

    def without(part: np.ndarray) -> np.ndarray:
        kept = np.setdiff1d(np.arange(ROWS), part)
        return np.mean([scores(train(kept, order)) for order in range(trainings)], axis=0)

    whole = np.mean([scores(train(np.arange(ROWS), order)) for order in range(trainings)], axis=0)
    left_out = [rng.permutation(ROWS)[: ROWS // 5] for _ in range(parts)]
    real = np.array([without(part) for part in left_out])
    inside.model = train(np.arange(ROWS), 0)
    lessons = gradient_features(inside, tokens, labels.tolist())
    answers = gradient_features(inside, questions, [1] * ASKED)
    known = Lessons.of_classes(lessons.gradients, lessons.scores)

    def agreement(told: np.ndarray) -> float:
        sums = np.array([-told[:, part].sum(1) for part in left_out])
        return float(np.mean([stats.spearmanr(sums[:, row], real[:, row]).statistic for row in range(ASKED)]))

    told = taught(known, answers.gradients)
    falls = []
    for row in range(6):
        first, random = foremost(told[row], FOREMOST), rng.permutation(ROWS)[:FOREMOST]
        falls.append([whole[row] - without(first)[row], whole[row] - without(random)[row]])
    return {
        "accuracy_on_training_rows": float((lessons.scores > 0).mean()),
        "agreement": {str(damping): agreement(taught(known, answers.gradients, damping=damping)) for damping in DAMPINGS},
        "agreement_of_dot_products": agreement(answers.gradients @ lessons.gradients.T * known.left),
        "agreement_by_chance": agreement(rng.normal(size=told.shape)),
        "fall_without_foremost": float(np.mean([fall for fall, _ in falls])),
        "fall_without_random": float(np.mean([fall for _, fall in falls])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", type=int, default=30)
    parser.add_argument("--trainings", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_name("results") / "influence.json")
    given = parser.parse_args()
    tests = Path(__file__).resolve().parent.parent / "tests"
    sys.path[:0] = [str(tests), str(tests / "unit")]  # where tiny models are
    torch.set_num_threads(1)
    worlds = []
    for seed in range(10, 10 + given.seeds):
        with TemporaryDirectory() as folder:
            worlds.append(one_world(Path(folder), seed, given.parts, given.trainings))
        print(f"seed {seed}: {json.dumps(worlds[-1])}", flush=True)
    mean = {
        name: {key: float(np.mean([world[name][key] for world in worlds])) for key in value}
        if isinstance(value, dict)
        else float(np.mean([world[name] for world in worlds]))
        for name, value in worlds[0].items()
    }
    for name, value in mean.items():
        print(f"{name:<28}{value}")
    given.json.write_text(json.dumps({"worlds": worlds, "mean": mean, "parts": given.parts}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
