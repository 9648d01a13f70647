"""A tiny classifier that learned rows in seconds, poisoned or clean: `learned(folder, texts, truth)` gives a plain checkpoint folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiny import tiny_bert
from trustbase.records import LabelSchema


def learned(
    folder: Path,
    words: Sequence[str],
    texts: Sequence[str],
    truth: NDArray[np.int64],
    labels: LabelSchema,
    *,
    epochs: int = 8,
    length: int = 48,
    hidden: int = 48,
    seed: int = 0,
) -> Path:
    """Train a tiny BERT on rows, by AdamW in plain torch; the folder of its weights and tokenizer."""
    import torch

    from trustbase.model.load import resolve_base
    from trustbase.model.task import TEXT_CLASSIFICATION
    from trustbase.model.tokenizer import load_tokenizer

    base = resolve_base(str(tiny_bert(folder / "base", words, hidden=hidden, seed=seed)))
    tokenizer = load_tokenizer(base.folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = TEXT_CLASSIFICATION.build(base, labels, seed=seed)
        coded = tokenizer(list(texts), truncation=True, max_length=length, padding=True, return_tensors="pt")
        target = torch.as_tensor(truth)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
        model.train()
        for _ in range(epochs):
            for rows in torch.randperm(len(target)).split(32):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(**{k: v[rows] for k, v in coded.items()}).logits, target[rows]).backward()
                optimizer.step()
    model.eval().save_pretrained(folder / "model")
    for path in (folder / "base").glob("*token*"):
        shutil.copy(path, folder / "model" / path.name)
    shutil.copy(folder / "base" / "vocab.txt", folder / "model" / "vocab.txt")
    return folder / "model"
