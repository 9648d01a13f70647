"""Is pretraining worth it? Recipes base-zh, reviews-zh and reviews-zh-scratch: 2,000 Chinese labels, with and without a pretrained base.

    python benchmarks/base_zh.py [--seeds 0 1 2] [--folder runs/base-zh-benchmark] [--json FILE]

The base is pretrained once (recipes/base-zh.yaml). Then the classifier is trained on it, and on random weights of the same shape with the
same tokenizer, with each seed: the seed chooses the 2,000 rows, the order, the head and the random weights. Both are asked about the same
test reviews, as is a bag of words trained on the same rows. Printed are the accuracies, the difference for each seed with its paired
interval (Tango), and the mean difference with two intervals: over test rows (bootstrap, seeds kept), and over seeds (t, three of them).
Epochs and learning rates of both were chosen on validation rows, with a BERT of the same shape.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import t

import trustbase
from trustbase import seeds as streams
from trustbase.audit.stats import paired_difference

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def trained(name: str, seed: int, base: Path, folder: Path) -> tuple[np.ndarray, dict[str, float]]:
    """Which test rows a recipe's classifier gets right, `(rows,)` in the order of the rows, and its accuracies."""
    key = "base" if name == "reviews-zh" else "base.tokenizer.from"
    result = trustbase.run(
        RECIPES / f"{name}.yaml", [f"train.seed={seed}", f"{key}={base.resolve()}", "audit=[quality]"], out=folder / f"{name}-{seed}"
    )
    table = pq.read_table(result.folder / "scores.parquet", columns=["row", "label", "predicted"]).to_pandas().sort_values("row")
    accuracy, gain = (result.audit.find(id) for id in ("quality.accuracy", "quality.gain_over_bag_of_words"))
    return (table.label.astype(str) == table.predicted.astype(str)).to_numpy(), {
        "accuracy": accuracy.value,
        "bag_of_words": accuracy.value - gain.value,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/base-zh-benchmark"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/base_zh.json"))
    options = parser.parse_args()
    started = time.perf_counter()
    base = trustbase.run(RECIPES / "base-zh.yaml", out=options.folder / "base-zh")
    took = time.perf_counter() - started
    facts = {
        id: base.audit.find(id).to_json() for id in ("quality.perplexity", "quality.masked_accuracy", "quality.next_sentence_accuracy")
    }
    facts |= {id: base.audit.find(id).to_json() for id in ("quality.contamination[reviews]", "quality.probe_accuracy[reviews]")}
    facts["training_seconds"] = base.audit.find("efficiency.training_seconds").value
    rows, differences = [], []
    for seed in options.seeds:
        (right, said), (other, beside) = (
            trained(name, seed, base.bundle.folder, options.folder) for name in ("reviews-zh", "reviews-zh-scratch")
        )
        paired = paired_difference(right, other)
        rows.append({"seed": seed, "pretrained": said["accuracy"], "scratch": beside["accuracy"], "bag_of_words": said["bag_of_words"]})
        rows[-1] |= {"difference": paired.value, "low": paired.low, "high": paired.high}
        differences.append(right.astype(float) - other.astype(float))
        print(json.dumps(rows[-1]), flush=True)
    each = np.mean(differences, axis=0)
    rng = streams.generator(0, "benchmark", "base-zh")
    drawn = np.array([each[rng.integers(len(each), size=len(each))].mean() for _ in range(4000)])
    by_seed = np.array([row["difference"] for row in rows])
    half = float(t.ppf(0.975, len(by_seed) - 1) * by_seed.std(ddof=1) / len(by_seed) ** 0.5) if len(by_seed) > 1 else None
    summary = {
        "seconds_of_the_base_run": took,
        "base": facts,
        "test_rows": len(each),
        "rows": rows,
        "mean": {name: float(np.mean([row[name] for row in rows])) for name in ("pretrained", "scratch", "bag_of_words", "difference")},
        "over_rows": np.quantile(drawn, [0.025, 0.975]).tolist(),
        "over_seeds": None if half is None else [float(by_seed.mean()) - half, float(by_seed.mean()) + half],
    }
    options.json.write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps({name: summary[name] for name in ("seconds_of_the_base_run", "mean", "over_rows", "over_seeds")}, indent=1))


if __name__ == "__main__":
    main()
