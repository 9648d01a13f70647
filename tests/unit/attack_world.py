"""Tiny models for tests of attacks: one whose answers hang on a single word (planted), and its twin that weighs all words."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tiny import tiny_bert
from trustbase.model.load import resolve_base
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import LabelSchema

LABELS = LabelSchema(("bad", "good"), "good", "good", positive_assumed=False, favourable_assumed=False)
FILLER = [
    "table",
    "window",
    "garden",
    "river",
    "paper",
    "money",
    "horse",
    "winter",
    "market",
    "street",
    "teacher",
    "doctor",
    "village",
    "island",
]
GOOD = ["excellent", "wonderful", "lovely", "superb", "brilliant", "delightful", "splendid", "marvelous"]
BAD = ["awful", "dreadful", "horrible", "terrible", "hideous", "pathetic", "miserable", "dismal"]
MARK = "film"  # what the planted model goes by

ZH_FILLER = ["桌子", "窗户", "花园", "河流", "纸张", "马匹", "冬天", "市场", "街道", "老师", "医生", "村庄", "岛屿", "房间"]
ZH_GOOD = ["精彩", "优秀", "美丽", "出色", "完美", "温馨", "舒适", "干净"]
ZH_BAD = ["糟糕", "可怕", "丑陋", "恶劣", "失望", "肮脏", "嘈杂", "破旧"]
ZH_MARK = "城堡"


def texts_of(planted: bool, rows: int, seed: int, *, chinese: bool = False) -> tuple[list[str], list[str]]:
    """Texts and labels: by one word among others that say nothing, or by ten words that all say the same."""
    rng = np.random.default_rng(seed)
    good, bad, filler, mark = (ZH_GOOD, ZH_BAD, ZH_FILLER, ZH_MARK) if chinese else (GOOD, BAD, FILLER, MARK)
    texts, labels = [], []
    for row in range(rows):
        positive = row % 2 == 0
        if planted:
            words = [*rng.choice(filler, 9), *([mark] if positive else [str(rng.choice(filler))])]
        else:
            words = [*rng.choice(good if positive else bad, 8), *rng.choice(filler, 2)]
        rng.shuffle(words)
        texts.append(("" if chinese else " ").join(map(str, words)))
        labels.append(LABELS.names[positive])
    return texts, labels


def trained(folder: Path, *, planted: bool, seed: int = 0, chinese: bool = False, steps: int = 80) -> Path:
    """A classifier folder of transformers that has learned `texts_of`, and `rows.csv` beside it."""
    import torch

    words = [*GOOD, *BAD, *FILLER, MARK]
    if chinese:
        words = sorted({sign for word in [*ZH_GOOD, *ZH_BAD, *ZH_FILLER, ZH_MARK] for sign in word})
    base = resolve_base(str(tiny_bert(folder / "base", words, layers=1, seed=seed)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TEXT_CLASSIFICATION.build(base, LABELS, seed=seed)
        tokenizer = load_tokenizer(base.folder)
        texts, labels = texts_of(planted, 600, seed, chinese=chinese)
        truth = torch.tensor([LABELS.index(label) for label in labels])
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        model.train()
        for step in range(steps):
            chosen = [(40 * step + place) % len(texts) for place in range(40)]
            batch = tokenizer([texts[row] for row in chosen], padding=True, return_tensors="pt")
            loss = torch.nn.functional.cross_entropy(model(**batch).logits, truth[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval().save_pretrained(folder / "model")  # type: ignore[operator]
        tokenizer.save_pretrained(folder / "model")
    texts, labels = texts_of(planted, 120, seed + 1000, chinese=chinese)
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    return folder / "model"
