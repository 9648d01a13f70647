"""Pretraining in two Ray Train workers of one core each, beside one such worker: figure 3 of pretraining.

    python benchmarks/ray_train.py [--steps N] [--rounds R] [--batches B] [--on ray|machine] [--out FILE]

The same updates of 16,384 tokens (two batches of 8,192, or as many as `--batches` says; masked tokens; 4 layers, 256 wide, 8,000 tokens,
context 128) in both: in one worker one batch after the other, in two half of them each. Documents are drawn at random. Runs alternate.
What counts is the time from the third update to the last; everything before (Ray itself, imports, the workers finding each other, trial
batches) stands apart as start-up. A two-core machine with nothing else to do is asked for: the second worker has no core of its own
otherwise, and the column `load` shows what others did meanwhile. Hardly dependent on those is the processor time that the first worker
takes for an update: half of one worker's would be ideal, but waiting does not show in it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

from trustbase import files
from trustbase.machine import machine_key
from trustbase.train.cluster import ClusterOptions
from trustbase.train.spread import spread

WORDS, CONTEXT, TOKENS, SKIPPED = 8000, 128, 8192, 2
IDEAL_SHARE = 0.85


class Tokens:
    """Documents as the loop reads them: about 200 tokens each, frequent ones first."""

    def __init__(self, documents: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.bounds = np.concatenate([[0], np.cumsum(rng.integers(50, 350, documents))]).astype(np.int64)
        self.ids = np.minimum(5 + rng.zipf(1.3, int(self.bounds[-1])), WORDS - 1).astype(np.uint16)


class Corpus:
    digest = "sha256:drawn"

    def __init__(self) -> None:
        self.train, self.held_out = Tokens(4000, 0), Tokens(0, 1)


def work(emit, *, folder: str, steps: int, batches: int) -> dict:
    """One pretraining of so many updates, in a worker."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    from trustbase.train.options import TrainOptions
    from trustbase.train.pretrain import pretrain

    torch.set_num_threads(1)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    names = [*special.values(), *(f"w{i}" for i in range(WORDS - len(special)))]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]")), **special
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=CONTEXT,
    )
    spent = []

    def timed(event, /, **fields) -> None:
        if event == "step":
            spent.append(time.process_time())
        emit(event, **fields)

    options = TrainOptions(max_steps=steps, tokens=10**9, batch_tokens=TOKENS, accumulation=batches, learning_rate=5e-4, threads=1)
    done = pretrain(
        BertForMaskedLM(config),
        "masked",
        Corpus(),
        tokenizer,
        context=CONTEXT,
        options=options,
        folder=Path(folder),
        whole_words="none",
        emit=timed,
    )
    processor = (spent[-1] - spent[SKIPPED - 1]) / (len(spent) - SKIPPED) if spent else 0.0
    return {"precision": done.facts["precision"], "processes": done.facts["processes"], "processor": processor}


class Clock:
    """When each update was done, by the first worker's own measure of it."""

    def __init__(self) -> None:
        self.began, self.first, self.seconds, self.tokens, self.losses = time.monotonic(), 0.0, [], [], []

    def __call__(self, event, /, **fields) -> None:
        if event == "step":
            self.first = self.first or time.monotonic() - self.began
            self.seconds.append(fields["tokens"] / fields["tokens_per_second"])
            self.tokens.append(fields["tokens"])
            self.losses.append(fields["loss"])


def measure(workers: int, steps: int, batches: int, ray: str | None) -> dict:
    folder = Path(tempfile.mkdtemp(prefix="ray-train-"))
    clock = Clock()
    try:
        about = spread(
            partial(work, folder=str(folder), steps=steps, batches=batches),
            ClusterOptions(workers=workers, ray=ray, gpus=False),
            folder,
            clock,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert about["processes"] == workers and len(clock.tokens) == steps
    took = clock.seconds[SKIPPED:]
    return {
        "workers": workers,
        "tokens_per_second": sum(clock.tokens[SKIPPED:]) / sum(took),
        "tokens_per_second_of_the_median_update": statistics.median(t / s for t, s in zip(clock.tokens[SKIPPED:], took, strict=True)),
        "tokens_per_update": statistics.mean(clock.tokens),
        "start_up_seconds": clock.first - clock.seconds[0],
        "total_seconds": time.monotonic() - clock.began,
        "processor_seconds_of_an_update": about["processor"],
        "precision": about["precision"],
        "load": os.getloadavg()[0],
        "losses": clock.losses,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=2, help="batches of 8,192 tokens in an update")
    parser.add_argument("--on", choices=["ray", "machine"], default="ray")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ray_train.json")
    options = parser.parse_args()
    ray = "auto" if options.on == "ray" else None
    runs = []
    print(f"{'round':>5} {'workers':>7} {'tokens/s':>9} {'median':>9} {'cpu s':>6} {'start-up s':>10} {'total s':>8} {'load':>5}")
    for number in range(options.rounds):
        for workers in (1, 2):
            run = {"round": number, **measure(workers, options.steps, options.batches, ray)}
            runs.append(run)
            print(
                f"{number:>5} {workers:>7} {run['tokens_per_second']:>9.0f} {run['tokens_per_second_of_the_median_update']:>9.0f} "
                f"{run['processor_seconds_of_an_update']:>6.2f} {run['start_up_seconds']:>10.1f} "
                f"{run['total_seconds']:>8.1f} {run['load']:>5.1f}",
                flush=True,
            )
    table = summary(runs)
    print(
        f"two workers: {table['speed_up']:.2f} times one (rounds {table['least']:.2f} to {table['most']:.2f}), "
        f"{table['of_ideal']:.2f} of ideal ({table['of_ideal_in_processor_time']:.2f} by processor time); "
        f"wanted {IDEAL_SHARE}; losses of the same updates differ by at most {table['largest_difference_of_losses']:.1e}"
    )
    files.write_json(options.out, {"benchmark": "ray_train", "on": options.on, "machine": machine_key(), "summary": table, "runs": runs})


def summary(runs: list[dict]) -> dict:
    """The speed of two over that of one: the median over rounds, and how far rounds lie apart."""
    by = {(run["round"], run["workers"]): run for run in runs}
    rounds = sorted({run["round"] for run in runs})
    ratios = [by[n, 2]["tokens_per_second"] / by[n, 1]["tokens_per_second"] for n in rounds]
    apart = [abs(a - b) for n in rounds for a, b in zip(by[n, 1]["losses"], by[n, 2]["losses"], strict=True)]
    ratio = statistics.median(ratios)
    return {
        "speed_up": ratio,
        "least": min(ratios),
        "most": max(ratios),
        "of_ideal": ratio / 2,
        "of_ideal_in_processor_time": statistics.median(
            by[n, 1]["processor_seconds_of_an_update"] / by[n, 2]["processor_seconds_of_an_update"] / 2 for n in rounds
        ),
        "reached": ratio / 2 >= IDEAL_SHARE,
        "largest_difference_of_losses": max(apart),
    }


if __name__ == "__main__":
    main()
