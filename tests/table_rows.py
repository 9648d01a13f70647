"""Rows of a text and two table columns, of which one has empty cells."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from trustbase.data.options import FeatureOptions

CHANNELS = ("shop", "web", "phone")
FEATURES = FeatureOptions(numeric=["amount"], categorical=["channel"])


def columns(rows: int, *, seed: int = 0, channels: Sequence[str] = CHANNELS) -> dict[str, list[str]]:
    """Columns text, amount (a tenth is empty), channel, label (no/yes), sex; word, amount and channel together tell the label."""
    rng = np.random.default_rng(seed)
    good = rng.random(rows) < 0.5
    amount, channel = np.round(rng.gamma(2.0, 50.0, rows), 2), rng.choice(list(channels), rows)
    points = np.where(good, 2.0, -2.0) + np.where(amount > 80, 2.0, -2.0) + np.where(channel == "web", 1.0, -1.0)
    label, empty = rng.random(rows) < 1 / (1 + np.exp(-2 * points)), rng.random(rows) < 0.1
    return {
        "text": [f"the film was {'good' if is_good else 'bad'} {number}" for number, is_good in enumerate(good)],
        "amount": ["" if gone else f"{value:g}" for gone, value in zip(empty, amount, strict=True)],
        "channel": channel.tolist(),
        "label": ["yes" if is_yes else "no" for is_yes in label],
        "sex": ["f" if is_f else "m" for is_f in rng.random(rows) < 0.4],
    }


def table(rows: int, *, seed: int = 0) -> pa.Table:
    """The same as a table of strings, null for an empty cell."""
    found = columns(rows, seed=seed)
    return pa.table({name: pa.array([cell or None for cell in cells], pa.string()) for name, cells in found.items()})


def write_rows(path: Path, rows: int, *, seed: int = 0, channels: Sequence[str] = CHANNELS, sex: bool = False) -> Path:
    """The same as a csv file; with `sex` that column too."""
    found = columns(rows, seed=seed, channels=channels)
    names = [name for name in found if sex or name != "sex"]
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(names)
        writer.writerows(zip(*(found[name] for name in names), strict=True))
    return path
