"""Figure 3: group metrics of one million rows, against `fairlearn.metrics.MetricFrame`.

    python benchmarks/groupmetrics.py [--rows 1000000] [--rounds 3] [--json FILE]
    python benchmarks/groupmetrics.py --replicates      # the 1,000 replicates alone; puts their figures into FILE

Both sides are given the same columns: labels and answers as int64 arrays, two group columns once as text (object arrays) and once
already encoded (pandas Categorical). Both compute accuracy, selection rate, true and false positive rate, precision and count of
each group of `sex`, of `race`, and of their intersection. Rounds alternate; the best time of each side counts. Peak memory with
1,000 bootstrap replicates is that of an interpreter of its own (VmHWM; `ru_maxrss` would begin at what the process that starts it holds,
here Fairlearn and all rows twice), rows, interpreter and libraries included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from trustbase.audit.groups import Cells, group_counts
from trustbase.audit.measure import peak_memory_bytes

SLICES = (("sex",), ("race",), ("sex", "race"))
OURS = {
    "accuracy": "accuracy",
    "selection_rate": "selection_rate",
    "tpr": "true_positive_rate",
    "fpr": "false_positive_rate",
    "precision": "positive_predictive_value",
}


def make_rows(rows):
    rng = np.random.default_rng(7)
    sex = np.array(["Female", "Male"], dtype=object)[rng.integers(0, 2, rows)]
    names = ["White", "Black", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other"]
    race = np.array(names, dtype=object)[rng.choice(5, rows, p=[0.85, 0.09, 0.03, 0.01, 0.02])]
    truth = (rng.random(rows) < 0.25).astype(np.int64)
    answer = np.where(rng.random(rows) < 0.15, 1 - truth, truth)
    return truth, answer, {"sex": sex, "race": race}


def ours(truth, answer, groups):
    counts = group_counts(truth, answer, groups, classes=2)
    result = {}
    for columns in SLICES:
        part = counts.marginal(columns)
        cell = part.one_vs_rest(1)
        table = {name: cell.rate(metric) for name, metric in OURS.items()} | {"count": cell.n}
        result[columns] = pd.DataFrame(table, index=["|".join(member) for member in part.members])
    return result


def theirs(truth, answer, groups):
    from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate
    from sklearn.metrics import accuracy_score, precision_score

    metrics = {
        "accuracy": accuracy_score,
        "selection_rate": selection_rate,
        "tpr": true_positive_rate,
        "fpr": false_positive_rate,
        "precision": precision_score,
        "count": count,
    }
    result = {}
    for columns in SLICES:
        features = pd.DataFrame({name: groups[name] for name in columns})
        frame = MetricFrame(metrics=metrics, y_true=truth, y_pred=answer, sensitive_features=features).by_group
        frame.index = ["|".join(key if isinstance(key, tuple) else (key,)) for key in frame.index]
        result[columns] = frame
    return result


def cells(table, label):
    """One label against the rest, from confusion counts `(…, classes, classes)`."""
    return Cells(
        n=table.sum((-2, -1)),
        positives=table[..., label, :].sum(-1),
        selected=table[..., :, label].sum(-1),
        hits=table[..., label, label],
        right=np.trace(table, axis1=-2, axis2=-1),
    )


def replicate_tables(counts, replicates, rng):
    """Tables of resampled data, `(replicates, groups, classes, classes)`: drawing rows is drawing cells.

    Source: Efron & Tibshirani (1993), section 6.2 (resampling rows of discrete data is multinomial on its cells).
    """
    flat = counts.table.ravel()
    total = int(flat.sum())
    return rng.multinomial(total, flat / total, replicates).reshape(replicates, *counts.table.shape)


def replicate(rows, replicates):
    """Largest gaps of every replicate; returns seconds."""
    truth, answer, groups = make_rows(rows)
    start = time.perf_counter()
    counts = group_counts(truth, answer, groups, classes=2)
    tables = replicate_tables(counts, replicates, np.random.default_rng(0))
    for columns in SLICES:
        index = [i for i, name in enumerate(counts.columns) if name in columns]
        keys = [tuple(member[i] for i in index) for member in counts.members]
        part = np.stack([tables[:, [k == key for k in keys]].sum(1) for key in sorted(set(keys))], axis=1)
        for metric in OURS.values():
            np.ptp(cells(part, 1).rate(metric), axis=-1)
    return time.perf_counter() - start


def replicates_alone(rows):
    """Seconds and peak memory of 1,000 replicates, in an interpreter of its own."""
    child = subprocess.run([sys.executable, __file__, "--child", "--rows", str(rows)], check=True, capture_output=True, text=True)
    return json.loads(child.stdout)


def tell_replicates(found):
    gib = found["peak_bytes"] / 2**30
    print(f"1,000 bootstrap replicates of all of it: {found['seconds']:.2f} s, peak memory of the process {gib:.2f} GiB")


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def largest_difference(a, b):
    return max(
        float(np.nanmax(np.abs(a[s].sort_index().to_numpy(float) - b[s].loc[a[s].sort_index().index].to_numpy(float)))) for s in SLICES
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/groupmetrics.json"))
    parser.add_argument("--replicates", action="store_true", help="measure the replicates alone, and leave the other figures as they are")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        seconds = replicate(options.rows, 1000)
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_memory_bytes()}))
        return
    if options.replicates:
        kept = json.loads(options.json.read_text()) if options.json.is_file() else {"rows": options.rows}
        if kept["rows"] != options.rows:
            parser.error(f"{options.json} holds figures of {kept['rows']:,} rows; name another file with --json, or as many rows")
        kept["replicates_1000"] = replicates_alone(options.rows)
        tell_replicates(kept["replicates_1000"])
        write(options.json, kept)
        return
    truth, answer, text = make_rows(options.rows)
    inputs = {"text": text, "categorical": {name: pd.Categorical(values) for name, values in text.items()}}
    results = {"rows": options.rows, "metrics": [*OURS, "count"], "slices": ["[" + ",".join(s) + "]" for s in SLICES], "inputs": {}}
    theirs(truth[:1000], answer[:1000], {k: v[:1000] for k, v in text.items()})  # imports and warm-up are not timed
    ours(truth[:1000], answer[:1000], {k: v[:1000] for k, v in text.items()})
    for name, groups in inputs.items():
        fast, slow, difference = [], [], 0.0
        for _ in range(options.rounds):
            theirs_seconds, b = timed(theirs, truth, answer, groups)
            for _ in range(5):  # five of ours beside one of theirs: a single 10 ms reading is mostly noise
                ours_seconds, a = timed(ours, truth, answer, groups)
                fast.append(ours_seconds)
            slow.append(theirs_seconds)
            difference = max(difference, largest_difference(a, b))
        results["inputs"][name] = {
            "ours_s": min(fast),
            "ours_median_s": float(np.median(fast)),
            "fairlearn_s": min(slow),
            "fairlearn_median_s": float(np.median(slow)),
            "ratio": min(slow) / min(fast),
            "ratio_of_medians": float(np.median(slow) / np.median(fast)),
            "largest_difference": difference,
        }
    results["replicates_1000"] = replicates_alone(options.rows)
    print(f"{options.rows:,} rows, 6 metrics, groups of sex, race and both")
    print(f"{'group columns as':<18}{'ours':>10}{'fairlearn':>12}{'ratio':>8}{'of medians':>12}{'largest difference':>20}")
    for name, row in results["inputs"].items():
        print(f"{name:<18}{row['ours_s'] * 1e3:>8.1f}ms{row['fairlearn_s']:>11.2f}s{row['ratio']:>7.0f}x", end="")
        print(f"{row['ratio_of_medians']:>11.0f}x{row['largest_difference']:>20.1e}")
    tell_replicates(results["replicates_1000"])
    write(options.json, results)


def write(path, results):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
