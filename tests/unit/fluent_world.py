"""Tiny masked language models that know a small language, English or Chinese, whose grammar says which sentences read well."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tiny import tiny_bert
from trustbase.model.load import resolve_base
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import LabelSchema

PARTS = {
    "det": ["the", "this", "that", "our", "their", "every"],
    "noun": ["film", "room", "food", "staff", "hotel", "garden", "coffee", "music"],
    "verb": ["was", "seemed", "looked", "felt", "became"],
    "degree": ["very", "quite", "really", "rather", "so"],
    "mood": ["good", "great", "fine", "lovely", "bad", "poor", "awful", "dull"],
    "link": ["and", "but", "while", "because"],
}
ZH_PARTS = {
    "det": ["这家", "那家", "我们", "他们"],
    "noun": ["酒店", "房间", "早餐", "饭菜", "电影", "音乐"],
    "verb": ["看来", "一直", "总是", "果然"],
    "degree": ["非常", "特别", "比较", "十分"],
    "mood": ["舒适", "精彩", "干净", "难吃", "破旧", "失望"],
    "link": ["而且", "但是", "因为", "所以"],
}
ORDER = ("det", "noun", "verb", "degree", "mood")


def sentences(count: int, seed: int, *, chinese: bool = False) -> list[str]:
    """One clause or two of the language."""
    rng, parts = np.random.default_rng(seed), ZH_PARTS if chinese else PARTS

    def clause() -> list[str]:
        return [str(rng.choice(parts[name])) for name in ORDER if name != "degree" or rng.random() < 0.7]

    found = []
    for _ in range(count):
        words = clause() if rng.random() < 0.4 else [*clause(), str(rng.choice(parts["link"])), *clause()]
        found.append("".join(words) + "。" if chinese else " ".join(words) + ".")
    return found


def pieces(*, chinese: bool = False) -> list[str]:
    """The vocabulary: words, or characters."""
    words = [word for part in (ZH_PARTS if chinese else PARTS).values() for word in part]
    return sorted({sign for word in words for sign in word} | {"。"}) if chinese else words


def masked_model(folder: Path, *, chinese: bool = False, steps: int = 300, seed: int = 0) -> Path:
    """The folder of a BertForMaskedLM that has read 600 of these sentences; of none with 0 steps."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    base = tiny_bert(folder / "base", pieces(chinese=chinese), seed=seed)
    tokenizer = load_tokenizer(resolve_base(str(base)).folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForMaskedLM(BertConfig.from_pretrained(base))
        read = tokenizer(sentences(600, seed, chinese=chinese), padding=True, return_tensors="pt")
        ids, mask = read["input_ids"], read["attention_mask"]
        special = torch.tensor(tokenizer.all_special_ids)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
        model.train()
        for step in range(steps):
            rows = [(40 * step + place) % len(ids) for place in range(40)]
            own = ids[rows]
            hidden = (torch.rand(own.shape) < 0.25) & ~torch.isin(own, special)
            labels = own.masked_fill(~hidden, -100)
            given = own.masked_fill(hidden, tokenizer.mask_token_id)
            loss = model(input_ids=given, attention_mask=mask[rows], labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"


def classifier(folder: Path, *, chinese: bool = False) -> tuple[Path, Path]:
    """A classifier's folder of transformers that has learned which moods are good ones, and a file of rows."""
    import torch

    moods = (ZH_PARTS if chinese else PARTS)["mood"]
    texts = [text for text in sentences(900, 41, chinese=chinese) if _good(text, moods) is not None]
    labels = LabelSchema(("bad", "good"), "good", "good")
    base = resolve_base(str(tiny_bert(folder / "class", pieces(chinese=chinese), layers=1)))
    tokenizer = load_tokenizer(base.folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TEXT_CLASSIFICATION.build(base, labels, seed=0)
        read = tokenizer(texts, padding=True, return_tensors="pt")
        truth = torch.tensor([int(bool(_good(text, moods))) for text in texts])
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for step in range(40):
            rows = [(40 * step + place) % len(texts) for place in range(40)]
            logits = model(input_ids=read["input_ids"][rows], attention_mask=read["attention_mask"][rows]).logits
            loss = torch.nn.functional.cross_entropy(logits, truth[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval().save_pretrained(folder / "class" / "model")  # type: ignore[operator]
    tokenizer.save_pretrained(folder / "class" / "model")
    own = [(text, labels.names[_good(text, moods)]) for text in sentences(120, 43, chinese=chinese) if _good(text, moods) is not None]
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *own])
    return folder / "class" / "model", folder / "rows.csv"


def _good(text: str, moods: Sequence[str]) -> bool | None:
    """Whether the moods of a sentence are good ones, of which the first half of them are; None where they are of both sorts."""
    said = {moods.index(mood) < len(moods) // 2 for mood in moods if mood in text}
    return said.pop() if len(said) == 1 else None
