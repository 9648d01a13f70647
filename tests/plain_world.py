"""Rows that a model of few questions can learn: numbers, names, a word in a text, and empty cells; and how a plain model is learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trustbase.data.columns import kind_of_column
from trustbase.data.pair import join
from trustbase.data.template import TextTemplate
from trustbase.model.plain.options import PLAIN_OPTIONS
from trustbase.records import LabelSchema, Split, Trained
from trustbase.train.plain.fit import fit_plain

TEMPLATE = TextTemplate.parse("{age} years, {job}: {note}", ["age", "job", "note"])
TEXT = TextTemplate.parse("text", ["text"])
CHINESE = {"good": "非常好", "bad": "特别差", "odd": "很奇怪"}


def labels(classes: int) -> LabelSchema:
    names = ("no", "yes", "odd")[:classes]
    return LabelSchema(names, "yes", "yes")


def table_rows(count: int, seed: int, *, classes: int = 2) -> Split:
    """Yes over 40 unless a cook; a third label follows from a word. Some cells are empty, one label in twenty is wrong."""
    rng = np.random.default_rng(seed)
    age, job = rng.integers(18, 80, count), rng.choice(["cook", "clerk", "nurse"], count)
    words = rng.choice(["good", "bad", "odd"], count)
    truth = ((age > 40) & (job != "cook")).astype(np.int64)
    if classes == 3:
        truth[words == "odd"] = 2
    wrong = rng.random(count) < 0.05
    truth[wrong] = rng.integers(0, classes, int(wrong.sum()))
    empty = rng.random((2, count)) < 0.05
    table = pa.table(
        {
            "age": [None if gone else str(value) for gone, value in zip(empty[0], age, strict=True)],
            "job": [None if gone else str(value) for gone, value in zip(empty[1], job, strict=True)],
            "note": [f"a {word} note {number}" for number, word in enumerate(words)],
        }
    )
    return Split("train", TEMPLATE.render_table(table), truth, {}, table, np.arange(1, count + 1), "made", "sha256:0")


def text_rows(count: int, seed: int, *, classes: int = 2, chinese: bool = False, pairs: bool = False) -> Split:
    """Texts (or pairs, which are alike or not) whose label follows from what they say, one in twenty wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    told = np.where(rng.random(count) < 0.05, rng.integers(0, classes, count), truth)
    words = [("bad", "good", "odd")[one] for one in told]
    texts = [f"这家酒店{CHINESE[word]}房间{n}号" if chinese else f"the film was {word}, row {n}" for n, word in enumerate(words)]
    if pairs:
        animals = ["cat", "dog", "cow", "hen", "owl"]
        first = rng.integers(0, 5, count)
        second = np.where(told == 1, first, (first + 1 + rng.integers(0, 4, count)) % 5)
        texts = [join(f"a {animals[a]} of {n}", f"the {animals[b]} at {n}") for n, (a, b) in enumerate(zip(first, second, strict=True))]
    return Split("train", texts, truth, {}, pa.table({"text": texts}), np.arange(1, count + 1), "made", "sha256:0")


def learned(kind: str, train: Split, validation: Split, folder: Path, *, classes: int = 2, seed: int = 0, **options: Any) -> Trained:
    """A plain model of these rows, saved in `folder/trained`."""
    template = TEMPLATE if "age" in train.table.column_names else TEXT
    columns = {name: kind_of_column(train.table.column(name).to_pylist()) for name in template.apart}
    wanted = PLAIN_OPTIONS[kind](kind=kind, **options)
    return fit_plain(wanted, labels(classes), train, validation, columns=columns, folder=folder, seed=seed)


def turned(split: Split) -> Split:
    """The same rows with the labels the other way round."""
    return replace(split, labels=1 - split.labels)
