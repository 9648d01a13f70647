"""A small model that writes Chinese: how its perplexity falls, 50 unselected texts, and how much of them stood in the training text.

    python benchmarks/writer_zh.py [--folder runs/writer-zh] [--json FILE]

The model is that of recipes/writer-zh.yaml. Texts are drawn from its distribution as it is (temperature 1, nothing cut off), one after
another from one seed, and all are printed. Overlap is the share of runs of n characters that also stand in the training documents; beside
it stands that of held-out documents of the newspaper, which were written by people who had not seen it either.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

import trustbase
from trustbase.data.corpus.store import CorpusStore
from trustbase.model.extension import load_whole
from trustbase.model.tokenizer import load_tokenizer
from trustbase.seeds import stream_seed

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "writer-zh.yaml"
RUNS = (4, 8, 13)


@torch.inference_mode()
def written(folder: Path, count: int, length: int, seed: int) -> list[str]:
    """Texts drawn from the model, from its start token on."""
    model, tokenizer = load_whole(folder), load_tokenizer(folder)
    torch.manual_seed(stream_seed(seed, "benchmark", "writer"))
    start = torch.full((count, 1), tokenizer.bos_token_id)
    ids = model.generate(
        start,
        attention_mask=torch.ones_like(start),
        max_length=length,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        pad_token_id=tokenizer.pad_token_id,
    )
    return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]


def runs_of(texts: Iterable[str], n: int) -> list[str]:
    """All runs of n characters without spaces."""
    plain = ("".join(text.split()) for text in texts)
    return [text[start : start + n] for text in plain for start in range(len(text) - n + 1)]


def overlap(texts: list[str], known: dict[int, set[str]]) -> dict[str, float]:
    """Share of the runs of each length that stand in the training documents."""
    return {str(n): float(np.mean([run in known[n] for run in runs_of(texts, n)])) for n in RUNS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/writer-zh"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/writer_zh.json"))
    options = parser.parse_args()
    result = trustbase.run(RECIPE, out=options.folder)
    events = [json.loads(line) for line in (result.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    course = [(event["step"], round(event["quality.perplexity"], 1)) for event in events if event["event"] == "evaluation"]
    texts = written(result.folder / "artifact", 50, 128, seed=0)
    store = CorpusStore.open(result.folder / "corpus" / "documents")
    known = {n: set(runs_of(store.train, n)) for n in RUNS}
    found = {id: result.audit.find(id).to_json() for id in ("quality.perplexity", "quality.token_accuracy", "efficiency.training_seconds")}
    for number, text in enumerate(texts, start=1):
        print(f"{number:2d}  {text}")
    summary = {
        "findings": found,
        "held_out_perplexity_by_step": course,
        "overlap_of_50_texts": overlap(texts, known),
        "overlap_of_held_out_documents": overlap(list(store.held_out), known),
        "characters": sum(map(len, texts)),
        "texts": texts,
    }
    options.json.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in summary.items() if key != "texts"}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
