"""A whole pretraining step beside `transformers.Trainer` as `run_mlm` and `run_clm` set it up, and as a share of the matmul peak.

    python benchmarks/pretrain_step.py [--shape small|bert-base|gpt2-small] [--vocabulary N] [--rounds R] [--steps S] [--threads N]

Every system trains the same model (same weights at the start) on the same documents: random tokens (Zipf-distributed ids,
log-normal lengths with a median of 200 tokens), made from a seed. Rounds alternate. Timed are whole steps (making the batch,
forward, backward, clipping, optimiser), from the end of the first few steps to the end of the last; nothing is evaluated or
saved in between. Tokens are those of the documents: neither padding nor the [CLS] and [SEP] that a system adds count for anybody.

The peers:

* `Trainer, run_mlm defaults`: fp32, 8 rows a batch, documents joined and cut into chunks of the context (`group_texts`), head at
  all positions;
* `Trainer, run_mlm --line_by_line`: the same, each document (cut to the context) in a row, padded to the longest of its batch;
* `Trainer, best flags`: chunks, bf16, as many rows a batch as ours, fused AdamW; with `--compile` also `torch_compile`.

Utilisation is nominal operations (`trustbase.train.flops`: 6 × parameters outside the embeddings × tokens + attention + head at
predicted positions only) a second over the best matrix product of this machine in bf16. It is nominal: on a CPU our quicker route
asks the last layer for the predicted positions only, so the machine does less than is counted; `executed` counts, by torch's own
counter, the products that one of our steps really does. Peers, whose head runs at all positions, are counted by the same nominal
operations a token.
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
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch

from trustbase import files, seeds
from trustbase.device import choose_device, choose_precision
from trustbase.model.options import ModelOptions
from trustbase.model.scratch import build_model, size_of
from trustbase.train.flops import matmul_peak
from trustbase.train.options import TrainOptions
from trustbase.train.pretrain import pretrain
from trustbase.train.rehearsal import rehearsing

SHAPES = {  # model, objective, tokens of a batch
    "small": (ModelOptions(layers=4, width=512, heads=8, context=128), "masked", 8192),
    "bert-base": (ModelOptions(layers=12, width=768, heads=12, context=512), "masked", 65_536),
    "gpt2-small": (ModelOptions(family="decoder", layers=12, width=768, heads=12, context=1024), "causal", 65_536),
}
MEDIAN, SPREAD = 200, 1.0  # of the log-normal: tokens of a document at the median, sigma
WARM_UP = 2  # steps of each round that are not timed
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass
class Tokens:
    """Documents end to end, as a packed corpus has them."""

    ids: np.ndarray
    bounds: np.ndarray


@dataclass
class Corpus:
    train: Tokens
    held_out: Tokens
    digest: str = "sha256:random"


@dataclass
class Setting:
    """What all systems share."""

    model: ModelOptions
    objective: str
    batch_tokens: int
    vocabulary: int
    steps: int
    corpus: Corpus
    tokenizer: object
    peer_rows: int
    compiles: bool = False
    device: str = "cpu"

    def build(self) -> torch.nn.Module:
        return build_model(self.model, self.tokenizer, objectives=(self.objective,), seed=0)


def make_tokenizer(vocabulary: int, family: str):
    """A word for each id; nothing is ever tokenised with it, but collators ask it for its special tokens."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, *(f"w{i}" for i in range(len(SPECIAL), vocabulary))]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    if family == "decoder":
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[SEP]", "eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def make_corpus(tokens: int, vocabulary: int) -> Corpus:
    """At least so many random tokens, and a few documents held out."""
    rng = seeds.generator(0, "benchmark", "pretrain-step")
    lengths = np.clip(np.exp(rng.normal(np.log(MEDIAN), SPREAD, 4 * tokens // MEDIAN)), 8, 4096).astype(np.int64)
    lengths = lengths[: 1 + np.searchsorted(np.cumsum(lengths), tokens)]
    words = vocabulary - len(SPECIAL)
    chances = 1 / np.arange(10, words + 10)
    ids = rng.choice(words, int(lengths.sum()), p=chances / chances.sum()) + len(SPECIAL)
    held = np.zeros(0, np.int64)  # nothing held out: nothing is evaluated
    return Corpus(Tokens(ids.astype(np.uint16), np.concatenate([[0], np.cumsum(lengths)])), Tokens(held, np.zeros(1, np.int64)))


def options_of(setting: Setting) -> TrainOptions:
    return TrainOptions(
        max_steps=setting.steps + WARM_UP, epochs=1000, batch_tokens=setting.batch_tokens, learning_rate=1e-4, warmup=0.1, save_every=1e9,
        max_length=8, evaluate_every=10**9,
    )  # fmt: skip


def ours(setting: Setting) -> dict:
    """Trustbase: `pretrain` itself; seconds and tokens of its timed steps, from the events that it sends."""
    stamps: list[float] = []
    fields: list[dict] = []
    notes: list[str] = []

    def listen(event, /, **values):
        if event == "step":
            stamps.append(time.perf_counter())
            fields.append(values)
        elif event == "note":
            notes.append(values["text"])

    with tempfile.TemporaryDirectory() as folder:
        result = pretrain(
            setting.build(), setting.objective, setting.corpus, setting.tokenizer, context=setting.model.context,
            options=options_of(setting), folder=Path(folder), whole_words="none", emit=listen,
        )  # fmt: skip
    seconds = stamps[-1] - stamps[WARM_UP - 1]
    timed = fields[WARM_UP:]
    flops = sum(f["flops_per_second"] / f["tokens_per_second"] * f["tokens"] for f in timed)
    share = plain_share(setting)
    return {
        "seconds": seconds, "steps": len(timed), "tokens": sum(f["tokens"] for f in timed) * share, "flops": flops,
        "precision": result.facts["precision"], "ways": result.facts["ways"], "plain_share": share,
    }  # fmt: skip


def plain_share(setting: Setting) -> float:
    """Document tokens among all that stand in our rows, special ones and padding included."""
    with rehearsal_of(setting) as rehearsal:
        material = rehearsal.job.material
        plan = material.plan(batch_tokens=setting.batch_tokens, seed=0, epoch=0)
        sizes = sum(material.size(chosen) for chosen in plan)
    return float(setting.corpus.train.bounds[-1]) / sizes


def rehearsal_of(setting: Setting):
    return rehearsing(
        setting.build(), setting.objective, setting.corpus, setting.tokenizer, context=setting.model.context,
        options=options_of(setting), whole_words="none",
    )  # fmt: skip


def executed(setting: Setting) -> float:
    """Operations of the matrix products that one of our steps really does, as a share of the nominal ones, by torch's counter."""
    from torch.utils.flop_counter import FlopCounterMode

    with rehearsal_of(setting) as rehearsal, FlopCounterMode(display=False) as counter:
        result = rehearsal.step()
    return counter.get_total_flops() / result.flops


def peer(setting: Setting, flags: dict, *, chunks: bool) -> dict:
    """transformers.Trainer over the same documents."""
    from transformers import DataCollatorForLanguageModeling, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    stamps: list[float] = []
    seen: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            if setting.device == "cuda":
                torch.cuda.synchronize()
            stamps.append(time.perf_counter())

    masked = setting.objective == "masked"
    collator = DataCollatorForLanguageModeling(setting.tokenizer, mlm=masked, mlm_probability=0.15 if masked else None)

    def collate(rows):
        batch = collator([{name: row[name] for name in ("input_ids", "special_tokens_mask") if name in row} for row in rows])
        seen.append(sum(row["plain"] for row in rows))
        return batch

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=setting.steps + WARM_UP, use_cpu=setting.device == "cpu", seed=0, save_strategy="no", disable_tqdm=True,
            logging_strategy="no", report_to="none", remove_unused_columns=False, **flags,
        )  # fmt: skip
        rows = rows_of(setting, chunks=chunks)
        trainer = Trainer(setting.build(), arguments, train_dataset=rows, data_collator=collate, callbacks=[Clock()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    count = len(stamps) - WARM_UP  # the loader may have made a batch that no step read
    return {"seconds": stamps[-1] - stamps[WARM_UP - 1], "steps": count, "tokens": sum(seen[WARM_UP : WARM_UP + count])}


def rows_of(setting: Setting, *, chunks: bool) -> list[dict]:
    """Documents as the peer's script makes rows of them: joined and cut (`group_texts`), or each cut to the context."""
    train, context, masked = setting.corpus.train, setting.model.context, setting.objective == "masked"
    cls, sep = setting.tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
    documents = [train.ids[a:b].astype(np.int64) for a, b in zip(train.bounds[:-1], train.bounds[1:], strict=True)]
    if not chunks:
        documents = [ids[: context - 2] for ids in documents]
    framed = [np.concatenate([[cls], ids, [sep]]) if masked else np.append(ids, sep) for ids in documents]
    if chunks:
        whole = np.concatenate(framed)
        framed = list(whole[: len(whole) // context * context].reshape(-1, context))
    rows = []
    for ids in framed:
        special = (ids == cls) | (ids == sep)
        rows.append({"input_ids": ids.tolist(), "special_tokens_mask": special.astype(np.int64).tolist(), "plain": int((~special).sum())})
    order = seeds.generator(0, "benchmark", "rows").permutation(len(rows))
    return [{key: value for key, value in rows[i].items() if masked or key != "special_tokens_mask"} for i in order]


def systems_of(setting: Setting) -> dict:
    rows = setting.peer_rows or setting.batch_tokens // setting.model.context
    best = {"bf16": True, "per_device_train_batch_size": rows, "optim": "adamw_torch_fused"}
    name = "run_mlm" if setting.objective == "masked" else "run_clm"
    found = {"Trustbase": ours, f"Trainer, {name} defaults": lambda s: peer(s, {}, chunks=True)}
    if setting.objective == "masked":
        found["Trainer, run_mlm --line_by_line"] = lambda s: peer(s, {}, chunks=False)
    found["Trainer, best flags"] = lambda s: peer(s, best, chunks=True)
    if setting.compiles:
        found["Trainer, best flags, compiled"] = lambda s: peer(s, {**best, "torch_compile": True}, chunks=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="small")
    parser.add_argument("--layers", type=int, default=0, help="layers (0: the shape's)")
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--batch-tokens", type=int, default=0, help="tokens of a batch (0: the shape's)")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="tokens of the corpus, about")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each round")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's own choice)")
    parser.add_argument("--peer-rows", type=int, default=0, help="rows a batch of the peer's best flags (0: as many as ours)")
    parser.add_argument("--compile", action="store_true", help="also the best flags with torch_compile")
    parser.add_argument("--only", default="", help="systems whose name holds this text")
    parser.add_argument("--note", default="", help="what else the machine was doing; stands in the JSON")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pretrain_step.json"))
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    model, objective, batch_tokens = SHAPES[options.shape]
    model = model.model_copy(update={"layers": options.layers}) if options.layers else model
    corpus = make_corpus(options.tokens, options.vocabulary)
    tokenizer = make_tokenizer(options.vocabulary, model.family)
    setting = Setting(
        model, objective, options.batch_tokens or batch_tokens, options.vocabulary, options.steps, corpus, tokenizer,
        options.peer_rows, options.compile,
        choose_device(),
    )  # fmt: skip
    run(setting, options)


def run(setting: Setting, options) -> None:
    systems = {name: system for name, system in systems_of(setting).items() if options.only in name}
    rounds: dict[str, list[dict]] = {name: [] for name in systems}
    precision = "bf16" if choose_precision("auto", setting.device)[0] == "bf16" else "fp32"
    peaks = []
    for number in range(options.rounds):
        peaks.append(matmul_peak(precision, options.threads or None, device=setting.device))
        print(f"  round {number}: best matrix product in {precision}: {peaks[-1] / 1e9:,.0f} GFLOP/s", flush=True)
        for name, system in systems.items():
            found = system(setting)
            rounds[name].append(found)
            print(f"  round {number}: {name}: {found['tokens'] / found['seconds']:,.0f} tokens/s over {found['steps']} steps", flush=True)
    report(setting, options, rounds, peaks, precision)


def report(setting: Setting, options, rounds: dict[str, list[dict]], peaks: list[float], precision: str) -> None:
    peak = max(peaks)
    mine = rounds.get("Trustbase")
    each = sum(e["flops"] for e in mine) / sum(e["tokens"] for e in mine) if mine else float("nan")  # operations a document token
    rates = {name: [e["tokens"] / e["seconds"] for e in entries] for name, entries in rounds.items()}
    table = []
    for name, found in rates.items():
        ratios = [a / b for a, b in zip(rates["Trustbase"], found, strict=True)] if mine else [float("nan")]
        table.append(
            {
                "system": name, "tokens_per_second": float(np.median(found)), "best_tokens_per_second": max(found),
                "utilisation": float(np.median(found)) * each / peak, "best_utilisation": max(found) * each / peak,
                "ours / this": float(np.median(ratios)), "ours / this, each round": ratios,
            }
        )  # fmt: skip
    done = executed(setting)
    threads = torch.get_num_threads()
    print(f"\n{options.shape}, vocabulary {setting.vocabulary:,}, batch of {setting.batch_tokens:,} tokens, {threads} threads")
    print(f"best matrix product in {precision}: {peak / 1e9:,.0f} GFLOP/s")
    print(f"nominal {each / 1e6:.1f} MFLOP a token, of which {done:.2f} are executed")
    print(f"{'system':36s} {'tokens/s':>10s} {'utilisation':>12s} {'best':>7s} {'ours/this':>10s}")
    for row in table:
        numbers = f"{row['tokens_per_second']:10,.0f} {row['utilisation']:12.3f} {row['best_utilisation']:7.3f} {row['ours / this']:10.2f}"
        print(f"{row['system']:36s} {numbers}")
    print("limits on a CPU: utilisation >= 0.45, ours/defaults >= 3, ours/best flags >= 1.2; on a data-centre GPU: utilisation >= 0.40")
    machine = {
        "processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if setting.device == "cuda" else setting.device,
    }  # fmt: skip
    files.write_json(
        options.out,
        {
            "benchmark": "pretrain_step", "table": table, "rounds": rounds, "peaks": peaks, "precision": precision,
            "executed_share": done, "flops_per_token": each, "size": size_of(setting.build()),
            "model": setting.model.model_dump(mode="json"), "machine": machine, "note": options.note,
            "settings": {key: value for key, value in vars(options).items() if key != "out"},
        },
    )  # fmt: skip
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
