"""Table columns at the head on the census: text alone, columns alone, both, and the rival that learns from the columns (boosting).

    python benchmarks/features.py [--rows 29312] [--test-rows 16281] [--ways text columns both] [--json benchmarks/results/features.json]

All are trained on the same rows with the settings of recipes/census-features.yaml and asked about the same test rows. Beside accuracy and
AUROC with their intervals stand the differences from boosting, paired on the rows. Settings were chosen on validation rows and on training
rows held out; the test rows are asked about here alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustbase import files
from trustbase.audit.paired import auroc_gap
from trustbase.audit.ranks import auroc
from trustbase.audit.rivals_classes import boosting
from trustbase.audit.stats import Interval, paired_difference, proportion
from trustbase.data.batch import plan_batches
from trustbase.data.cells import inputs_of
from trustbase.data.dataset import Dataset
from trustbase.data.load import load
from trustbase.machine import machine_key
from trustbase.model.checkpoint import load_checkpoint
from trustbase.model.columns import ColumnEncoder
from trustbase.model.fused import fuse, network_of
from trustbase.model.load import resolve_base
from trustbase.model.runtime_torch import TorchRuntime
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.recipe.read import read_recipe
from trustbase.recipe.schema import Recipe
from trustbase.records import Split
from trustbase.train.columns import columns_of, learn_columns
from trustbase.train.fit import fit
from trustbase.train.objectives.classification import classification

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "census-features.yaml"
WAYS = ("text", "columns", "both")
Scores = NDArray[np.float64]


def trained(dataset: Dataset, recipe: Recipe, place: Path, *, columns: bool) -> Scores:
    """Class scores of the test rows by a model that reads the text, with or without the columns beside it."""
    parts = dataset.splits if columns else {name: replace(part, features=()) for name, part in dataset.splits.items()}
    features = recipe.data.features if columns else None
    made = fit(
        resolve_base(str(recipe.base)),
        TEXT_CLASSIFICATION,
        dataset.labels,
        parts["train"],
        parts["validation"],
        adapt=recipe.adapt,
        options=recipe.train,
        folder=place / f"columns-{columns}",
        features=features,
    )
    model, tokenizer, _ = load_checkpoint(made.folder)
    runtime, test = TorchRuntime(model, tokenizer, max_length=recipe.train.max_length), parts["test"]
    encodings = runtime.prepare(list(inputs_of(test, test.features)))
    logits = np.zeros((len(test), len(dataset.labels.names)))
    for rows in plan_batches(encodings.lengths, batch_tokens=4096):
        logits[rows] = runtime.forward("logits", encodings, rows)
    return chances(logits)


def columns_alone(dataset: Dataset, recipe: Recipe) -> Scores:
    """Class scores of the test rows by the network of columns, before it meets a text."""
    model = TEXT_CLASSIFICATION.build(resolve_base(str(recipe.base)), dataset.labels, seed=recipe.train.seed)
    fuse(model, ColumnEncoder.of(dataset.splits["train"].table, recipe.data.features), seed=recipe.train.seed)
    learn_columns(model, dataset.splits["train"], classification, recipe.train)
    network, columns = network_of(model), columns_of(model, dataset.splits["test"])
    assert network is not None and columns is not None
    with torch.inference_mode():
        return chances(network.eval()(torch.from_numpy(columns)).double().numpy())


def chances(logits: Scores) -> Scores:
    """Softmax of logits `(rows, classes)`."""
    return np.asarray(np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)))


def told(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"value": interval.value, "low": interval.low, "high": interval.high}


def facts(scores: Scores, rival: Scores, test: Split, positive: int, seconds: float) -> dict[str, Any]:
    """Accuracy and AUROC with their intervals, and how far they lie from the rival's."""
    truth = test.labels == positive
    right, rivals_right = scores.argmax(axis=1) == test.labels, rival.argmax(axis=1) == test.labels
    return {
        "accuracy": told(proportion(int(right.sum()), len(test))),
        "auroc": told(auroc(truth, scores[:, positive])),
        "accuracy_gain": told(paired_difference(right, rivals_right)),
        "auroc_gain": told(auroc_gap(truth, scores[:, positive], rival[:, positive])),
        "seconds": seconds,
    }


def line(name: str, found: dict[str, Any]) -> str:
    parts = []
    for key in ("accuracy", "auroc", "accuracy_gain", "auroc_gain"):
        item = found[key]
        parts.append("-" if item is None else f"{item['value']:.4f} [{item['low']:.4f}, {item['high']:.4f}]")
    return f"{name:<9}" + "".join(f"{part:<28}" for part in parts) + f"{found['seconds']:>8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="training rows; all by default")
    parser.add_argument("--test-rows", type=int, help="all by default")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, help="most updates, to try the script")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    recipe = read_recipe(RECIPE).finetune
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_steps": options.steps})})
    sample = recipe.data.sample.model_copy(update={"train": options.rows, "test": options.test_rows})
    dataset = load(recipe.data.model_copy(update={"sample": sample}), root=RECIPE.parent, seed=recipe.train.seed)
    test, positive = dataset.splits["test"], dataset.labels.index(dataset.labels.positive)
    results: dict[str, Any] = {}
    print(f"{'':<9}{'accuracy':<28}{'AUROC':<28}{'accuracy - boosting':<28}{'AUROC - boosting':<28}{'seconds':>8}")

    def keep(name: str, scores: Scores, began: float) -> None:
        results[name] = facts(scores, rival, test, positive, time.perf_counter() - began)
        print(line(name, results[name]), flush=True)

    began = time.perf_counter()
    rival = boosting(dataset.splits["train"], dataset.labels, recipe.train.seed)(test).scores
    keep("boosting", rival, began)
    with tempfile.TemporaryDirectory() as place:
        for way in options.ways:
            began = time.perf_counter()
            scores = columns_alone(dataset, recipe) if way == "columns" else trained(dataset, recipe, Path(place), columns=way == "both")
            keep(way, scores, began)
    if options.json:
        settings = {"rows": len(dataset.splits["train"]), "test_rows": len(test), "train": recipe.train.model_dump(mode="json")}
        files.write_json(options.json, {"benchmark": "features", "settings": settings, "machine": machine_key(), "runs": results})


if __name__ == "__main__":
    main()
