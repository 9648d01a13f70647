"""Scoring rows in two processes of one core each, beside one process of one core: what spreading an audit's askers gains.

    python benchmarks/askers.py [--rows 4000] [--rounds 3] [--on machine|ray] [--out FILE]

The same sentences (those of `forward.py`: log-normal lengths, median 28 tokens) are scored by MiniLM in fp32 as an audit scores its test
rows. Runs alternate. What counts is the time from the first question to the last answer, with every process up; before it each
process is asked once about one text of its own, and what that took stands apart as start-up. Caches hold nothing of the sentences: each
round opens its processes anew. One process with two threads is the other use of two cores, and stands beside. A machine of two cores with
nothing else to do is asked for; `load` shows what others did meanwhile. Hardly dependent on those is the processor time of all processes
together: two that need as much as one can be twice as fast, but waiting does not show in it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import psutil

from forward import sentences, write_minilm
from trustbase import files
from trustbase.audit.artifact import score_rows
from trustbase.audit.askers.asking import Alone
from trustbase.audit.askers.spread import open_askers
from trustbase.machine import machine_key
from trustbase.model.artifact import read_artifact
from trustbase.model.predict import Predictor
from trustbase.train.cluster import ClusterOptions

SIDES = ("one process, one thread", "one process, two threads", "two processes, one thread each")
WANTED = 1.8  # of two cores; the sum of what both do beside asking, and an uneven end


def measure(info, texts, side, on):
    """Seconds of start-up, of scoring and of processor time in scoring, and the scores."""
    began = time.perf_counter()
    if side == SIDES[2]:
        with open_askers(info, ClusterOptions(workers=2, cpus=1, ray=on, gpus=False)) as askers:
            askers.ask("class_scores", ["warm " * 4000, "warmer " * 4000], what="warming up")  # so long that each is a part of its own
            return timed(askers, texts, began)
    threads = 1 if side == SIDES[0] else 2
    with Predictor.open(info, threads=threads, device="cpu") as predictor:
        predictor.class_scores(["a text to warm up"])
        return timed(Alone(predictor), texts, began)


def timed(askers, texts, began):
    started, busy = time.perf_counter(), processor_seconds()
    scores = score_rows(askers, texts)
    return started - began, time.perf_counter() - started, processor_seconds() - busy, scores


def processor_seconds():
    """Of this process and all it started."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--on", choices=["machine", "ray"], default="machine")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "askers.json")
    options = parser.parse_args()
    ray = "auto" if options.on == "ray" else None
    runs, scores = [], {}
    with TemporaryDirectory() as place:
        write_minilm(Path(place) / "model")
        info = read_artifact(Path(place) / "model")
        with Predictor.open(info) as predictor:
            texts, _ = sentences(predictor.tokenizer, options.rows, seed=2)
        print(f"{'round':>5} {'side':32} {'seconds':>8} {'rows/s':>7} {'cpu s':>7} {'start-up':>8} {'load':>5}")
        for number in range(options.rounds):
            for side in SIDES:
                start_up, seconds, busy, scores[side] = measure(info, texts, side, ray)
                run = {"round": number, "side": side, "seconds": seconds, "processor_seconds": busy, "start_up_seconds": start_up}
                runs.append({**run, "load": os.getloadavg()[0]})
                shown = f"{seconds:>8.2f} {options.rows / seconds:>7.0f} {busy:>7.2f} {start_up:>8.1f} {runs[-1]['load']:>5.1f}"
                print(f"{number:>5} {side:32} {shown}", flush=True)
    table = summary(runs, scores)
    print(
        f"processor time allows {table['growth_that_processor_time_allows']:.2f}; scores differ by at most "
        f"{table['largest_difference']:.1e}, labels in {table['label_flips']} rows"
    )
    print(
        f"two processes: {table['growth']:.2f} times one (rounds {table['least']:.2f} to {table['most']:.2f}), wanted {WANTED}; one with "
        f"two threads: {table['growth_of_threads']:.2f}"
    )
    about = {"benchmark": "askers", "on": options.on, "rows": options.rows, "machine": machine_key()}
    files.write_json(options.out, {**about, "summary": table, "runs": runs})


def summary(runs, scores):
    by = {(run["round"], run["side"]): run["seconds"] for run in runs}
    busy = {side: statistics.median(run["processor_seconds"] for run in runs if run["side"] == side) for side in SIDES}
    rounds = sorted({run["round"] for run in runs})
    threads, processes = ([by[n, SIDES[0]] / by[n, side] for n in rounds] for side in SIDES[1:])
    return {
        "growth": statistics.median(processes),
        "least": min(processes),
        "most": max(processes),
        "reached": statistics.median(processes) >= WANTED,
        "growth_of_threads": statistics.median(threads),
        "growth_that_processor_time_allows": 2 * busy[SIDES[0]] / busy[SIDES[2]],
        "start_up_seconds": {side: statistics.median(run["start_up_seconds"] for run in runs if run["side"] == side) for side in SIDES},
        "largest_difference": max(float(np.abs(scores[side] - scores[SIDES[0]]).max()) for side in SIDES[1:]),
        "label_flips": max(int((scores[side].argmax(1) != scores[SIDES[0]].argmax(1)).sum()) for side in SIDES[1:]),
    }


if __name__ == "__main__":
    main()
