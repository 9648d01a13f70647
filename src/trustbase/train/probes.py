"""Probes: a linear classifier over a model's embeddings of a small labelled set. It tells what the model knows of a task unasked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.data.options import DataOptions
from trustbase.events import Emit, ignore
from trustbase.train.pretrain_options import ProbeOptions

Embed = Callable[[Sequence[str]], NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """A labelled set, cut down to what a probe reads.

    Attributes:
        name: as the finding calls it.
        train, test: texts and label numbers that the classifier is fitted on, and asked about.
        labels: names of the labels.
        digest: of the rows that were taken.
    """

    name: str
    train: tuple[list[str], NDArray[np.int64]]
    test: tuple[list[str], NDArray[np.int64]]
    labels: tuple[str, ...]
    digest: str


def data_options(options: ProbeOptions) -> DataOptions:
    """The probe's set as a fine-tuning recipe would name it, so that both mean the same rows by train and validation."""
    return DataOptions.model_validate({"train": options.data, "text": options.text, "label": options.label})


def read_probe(options: ProbeOptions, *, root: Path, seed: int, emit: Emit = ignore) -> ProbeSet:
    """Read a labelled set and take a seeded part of its training and its validation rows: its test rows are for whoever is judged by them.

    Raises:
        DataError: it cannot be read.
    """
    from trustbase.data.digest import digest_positions
    from trustbase.data.load import load

    dataset = load(data_options(options), root=root, seed=seed, emit=emit)
    parts = {}
    for name in ("train", "validation"):
        split = dataset.splits[name]
        order = seeds.generator(seed, "probe", options.name, name).permutation(len(split))[: options.rows]
        rows = np.sort(order)
        parts[name] = ([split.texts[row] for row in rows], split.labels[rows], split.row_numbers[rows])
    names = dataset.labels.names
    digests = [digest_positions(dataset.digest, numbers, [names[label] for label in labels]) for _, labels, numbers in parts.values()]
    return ProbeSet(options.name, parts["train"][:2], parts["validation"][:2], names, files.digest_json(digests))


def probe_hits(embed: Embed, probe: ProbeSet) -> NDArray[np.bool_]:
    """Which test rows a logistic regression on standardised embeddings gets right, `(rows,)`.

    Source: Alain & Bengio (2017), Understanding intermediate layers using linear classifier probes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(np.asarray(embed(probe.train[0]), dtype=np.float64), probe.train[1])
    found: NDArray[np.int64] = model.predict(np.asarray(embed(probe.test[0]), dtype=np.float64))
    return np.asarray(found == probe.test[1])


def live_probe(model: Any, tokenizer: Any, probes: Sequence[ProbeSet], *, context: int, device: str) -> Mapping[str, float]:
    """Probe accuracies of a model in training, by finding id; it is read in eval mode and left as it was."""
    import torch

    from trustbase.model.encoded import pad
    from trustbase.model.evaluating import evaluating
    from trustbase.model.runtime_torch import mean_hidden
    from trustbase.model.scratch import kept_model
    from trustbase.model.tokenizer import encode

    kept = kept_model(model)
    pad_id = int(tokenizer.pad_token_id or 0)

    def embed(texts: Sequence[str]) -> NDArray[np.floating]:
        found = encode(tokenizer, texts, max_length=context)
        order = np.argsort(found.lengths, kind="stable")
        result: NDArray[np.float32] | None = None
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            batch = {name: torch.from_numpy(array).to(device) for name, array in pad(found, rows, pad_id).items()}
            values = mean_hidden(kept, batch).float().cpu().numpy()
            result = np.empty((len(order), values.shape[1]), np.float32) if result is None else result
            result[rows] = values
        assert result is not None
        return result

    with torch.inference_mode(), evaluating(kept):
        return {f"quality.probe_accuracy[{probe.name}]": float(probe_hits(embed, probe).mean()) for probe in probes}
