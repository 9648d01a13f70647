"""A tiny classification job for the tests of training: a linear bag of words, and a tiny BERT."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from trustbase.records import LabelSchema, Split
from trustbase.train.forward import Forward
from trustbase.train.labelled import TokenRows
from trustbase.train.loop import train
from trustbase.train.objectives.classification import classification
from trustbase.train.options import TrainOptions
from trustbase.train.update import plain
from trustbase.train.world import World

LABELS = LabelSchema(("bad", "good"), "good", "good")


class Toy(nn.Module):
    """Embedding, dropout, norm, head: small, but with everything whose state a resumption must carry."""

    def __init__(self, seed: int = 0, words: int = 50, width: int = 8) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.table = nn.Embedding(words, width)
            self.drop = nn.Dropout(0.2)
            self.norm = nn.LayerNorm(width)
            self.classifier = nn.Linear(width, 2)

    def forward(self, input_ids, attention_mask):
        x = self.table(input_ids) * attention_mask[..., None]
        return SimpleNamespace(logits=self.classifier(self.norm(self.drop(x.sum(1)))))


def rows(count: int = 60, seed: int = 0) -> TokenRows:
    """Texts of 2–12 tokens whose label is whether token 7 occurs."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 13, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(8, 50, offsets[-1]).astype(np.int32)
    labels = rng.integers(0, 2, count)
    ids[offsets[:-1][labels == 1]] = 7
    return TokenRows(ids, offsets, labels, 0)


def split(count: int, name: str, seed: int = 0) -> Split:
    """Short texts that hold "good" or "bad"."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    words = np.array(["the", "film", "is", "a", "very"])
    texts = [" ".join([*rng.choice(words, rng.integers(1, 12)), ("bad", "good")[label]]) for label in labels]
    return Split(name, texts, labels, {}, None, np.arange(count) + 1, "test", f"sha256:{name}{seed}")


class Log(list):
    """An `Emit` that keeps what it is told."""

    def __call__(self, event, /, **fields):
        self.append((event, fields))

    def of(self, event):
        return [fields for name, fields in self if name == event]


def job(
    folder: Path,
    *,
    model=None,
    material=None,
    validation=None,
    emit=None,
    update=plain,
    objective=classification,
    fingerprint=None,
    world=None,
    **options,
):
    """Train a toy; returns the model, its progress and the events."""
    model = model or Toy()
    log = emit if emit is not None else Log()
    settings = TrainOptions(**{"epochs": 3, "batch_tokens": 48, "max_length": 16, "learning_rate": 0.01, "precision": "fp32", **options})
    forward = Forward(model, precision="fp32", device="cpu", seed=settings.seed)
    arguments = {
        "options": settings,
        "folder": folder,
        "forward": forward,
        "validation": validation,
        "emit": log,
        "fingerprint": fingerprint,
        "world": world or World(),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small that a second thread only waits
    try:
        return model, train(model, objective, update, material or rows(), **arguments), log
    finally:
        torch.set_num_threads(threads)


def weights(model) -> bytes:
    """All parameters, as bytes."""
    return b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())
