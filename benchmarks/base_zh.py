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

import trustbase
from paired import accuracies, difference, means, over_seeds, right_rows
from trustbase.flow import RunResult

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def trained(name: str, seed: int, base: Path, folder: Path) -> RunResult:
    """A recipe's classifier, with a seed."""
    key = "base" if name == "reviews-zh" else "base.tokenizer.from"
    sets = [f"train.seed={seed}", f"{key}={base.resolve()}", "audit=[quality]"]
    return trustbase.run(RECIPES / f"{name}.yaml", sets, out=folder / f"{name}-{seed}")


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
    rows, pairs = [], []
    for seed in options.seeds:
        one, other = (trained(name, seed, base.bundle.folder, options.folder) for name in ("reviews-zh", "reviews-zh-scratch"))
        said, beside = accuracies(one), accuracies(other)
        pairs.append((right_rows(one), right_rows(other)))
        rows.append({"seed": seed, "pretrained": said["accuracy"], "scratch": beside["accuracy"], "bag_of_words": said["bag_of_words"]})
        rows[-1] |= difference(*pairs[-1])
        print(json.dumps(rows[-1]), flush=True)
    summary = {
        "seconds_of_the_base_run": took,
        "base": facts,
        "rows": rows,
        "mean": means(rows),
        **over_seeds(pairs, "base-zh"),
    }
    options.json.write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps({name: summary[name] for name in ("seconds_of_the_base_run", "mean", "over_rows", "over_seeds")}, indent=1))


if __name__ == "__main__":
    main()
