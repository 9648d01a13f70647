"""Two workers that divide a model's state (`cluster: {shard: true}`) beside two that each hold all of it: memory and speed.

    python benchmarks/shard.py [--steps N] [--rounds R] [--layers L] [--tokens T] [--out FILE]

The same updates of two batches (1,024 tokens each where not said otherwise; causal, GPT-2, 512 wide, 8,000 tokens, context 128, fp32) in
both, in workers of one thread each on this machine, by Gloo. Runs alternate. `state` is what a worker holds of parameters, gradients
and moments after the backward pass of an update; `peak` is the most memory that its process had at any time, imports and activations
included. Seconds are the median of an update from the third on; processor seconds depend less on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from ray_train import CONTEXT, SKIPPED, WORDS, Corpus
from trustbase import files
from trustbase.machine import machine_key
from trustbase.train.cluster import ClusterOptions
from trustbase.train.spread import spread

WIDTH = 512


def work(emit, *, folder: str, steps: int, layers: int, tokens: int, shard: bool) -> dict:
    """One pretraining of so many updates, in a worker; what each worker held is left in a file."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from trustbase.train import pretrain as module
    from trustbase.train.options import TrainOptions
    from trustbase.train.parts import bytes_here
    from trustbase.train.update import plain

    torch.set_num_threads(1)
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>"}
    names = [*special.values(), *(f"w{i}" for i in range(WORDS - len(special)))]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=WORDS, n_positions=CONTEXT, n_embd=WIDTH, n_layer=layers, n_head=8, bos_token_id=2, eos_token_id=2)
    model = GPT2LMHeadModel(config)
    held: dict = {"parameters": sum(parameter.numel() for parameter in model.parameters()), "state": 0}
    spent, seconds = [], []

    def measured(tools, batches, step, **named):
        def look() -> None:  # gradients are there, and from the second update on the moments
            held["state"] = max(held["state"], bytes_here(tools.parameters, tools.optimizer))

        tools.cleanups.append(look)
        began = time.monotonic()
        result = plain(tools, batches, step, **named)
        seconds.append(time.monotonic() - began)
        spent.append(time.process_time())
        tools.cleanups.remove(look)
        return result

    module.plain = measured
    options = TrainOptions(
        max_steps=steps, tokens=10**9, batch_tokens=tokens, accumulation=2, learning_rate=5e-4, threads=1, precision="fp32"
    )
    done = module.pretrain(
        model, "causal", Corpus(), tokenizer, context=CONTEXT, options=options, folder=Path(folder), shard=shard, emit=emit
    )  # fmt: skip
    held |= {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "seconds": statistics.median(seconds[SKIPPED:]),
        "processor": (spent[-1] - spent[SKIPPED - 1]) / (len(spent) - SKIPPED),
    }
    files.write_json(Path(folder) / f"held-{os.environ['RANK']}.json", held)
    return {"processes": done.facts["processes"], "shard": done.facts["shard"]}


def measure(steps: int, layers: int, tokens: int, shard: bool) -> dict:
    folder = Path(tempfile.mkdtemp(prefix="shard-"))
    losses = []

    def hear(event, /, **fields) -> None:
        if event == "step":
            losses.append(fields["loss"])

    try:
        call = partial(work, folder=str(folder), steps=steps, layers=layers, tokens=tokens, shard=shard)
        about = spread(call, ClusterOptions(workers=2, gpus=False), folder, hear)
        workers = [files.read_json(folder / f"held-{rank}.json") for rank in range(2)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert about == {"processes": 2, "shard": shard} and len(losses) == steps
    return {"shard": shard, "workers": workers, "losses": losses, "load": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "shard.json")
    options = parser.parse_args()
    runs = []
    for number in range(options.rounds):
        for shard in (False, True):
            run = {"round": number, **measure(options.steps, options.layers, options.tokens, shard)}
            runs.append(run)
            for rank, worker in enumerate(run["workers"]):
                print(
                    f"round {number} {'divided' if shard else 'copied ':<7} worker {rank}: state {worker['state'] / 1e6:7.1f} MB, "
                    f"peak {worker['peak'] / 1e6:7.1f} MB, {worker['seconds']:.2f} s and {worker['processor']:.2f} processor s an update, "
                    f"load {run['load']:.1f}",
                    flush=True,
                )
    table = summary(runs)
    print("; ".join(f"{name} {value:.3g}" for name, value in table.items()))
    about = {"steps": options.steps, "layers": options.layers, "batch_tokens": options.tokens}
    files.write_json(options.out, {"benchmark": "shard", "machine": machine_key(), **about, "summary": table, "runs": runs})


def summary(runs: list[dict]) -> dict[str, float]:
    """What dividing is to copying, as medians over rounds and workers; and how far losses of the same updates lie apart."""

    def middle(name: str, shard: bool) -> float:
        return statistics.median(worker[name] for run in runs if run["shard"] == shard for worker in run["workers"])

    found = {f"{name} divided / copied": middle(name, True) / middle(name, False) for name in ("state", "peak", "seconds", "processor")}
    pairs = zip(runs[::2], runs[1::2], strict=True)
    apart = max(abs(a - b) for one, other in pairs for a, b in zip(one["losses"], other["losses"], strict=True))
    return {"parameters": float(runs[0]["workers"][0]["parameters"]), **found, "largest difference of losses": apart}


if __name__ == "__main__":
    main()
