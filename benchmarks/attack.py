"""Figure 2: our attack through the Predictor against the same search asking a transformers pipeline, one text after another.

    python benchmarks/attack.py MODEL --data FILE --text COL --label COL [--texts 50] [--queries 100] [--threads 2] [--json FILE]

Same model, texts, candidates (nearest among the judge's input embeddings, computed once for both) and budget; the same code searches.
TextAttack cannot be installed beside this stack; it asks a model as the pipeline is asked here, one text after another, where no batch size
is set. Both search for a first success alone, without a filter. Texts that are answered wrongly are left out by both, as both say which.

The two take turns: ours as a whole, a part of the texts through the pipeline, ours again (nothing kept), and so on, so that what else the
machine does meets both. Told are seconds on the clock and of the processor: the median of ours, the sum over the parts of the pipeline.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from trustbase.audit.robustness.attack import Broken, Margins, Outcome, Target, attack, margins, search

PARTS = 5


@contextmanager
def timed(into: list[tuple[float, float]]) -> Iterator[None]:
    """Seconds on the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    yield
    into.append((time.perf_counter() - clock, time.process_time() - processor))


def prepared(arguments: argparse.Namespace) -> tuple[list[Target], list[int], list[str]]:
    """Targets with their candidates, and the true labels, of rows drawn by the seed; and the names of the labels."""
    from trustbase.audit.robustness.candidates import neighbours
    from trustbase.audit.robustness.judge import open_judge
    from trustbase.audit.robustness.targets import word_spans
    from trustbase.model.artifact import read_artifact

    names = list(read_artifact(Path(arguments.model)).labels.names)
    rows = [json.loads(line) for line in Path(arguments.data).read_text(encoding="utf-8").splitlines()]
    chosen = [rows[place] for place in np.random.default_rng(arguments.seed).permutation(len(rows))[: arguments.texts]]
    texts = [str(row[arguments.text]) for row in chosen]
    spans = [word_spans(text) for text in texts]
    with open_judge(None) as judge:
        assert not isinstance(judge, str), judge
        words = dict.fromkeys(text[slice(*span)] for text, own in zip(texts, spans, strict=True) for span in own)
        near = neighbours(judge.space, words, lexicon=words)
    targets = [
        Target(text, own, {place: near[word] for place, span in enumerate(own) if (word := text[slice(*span)]) in near}, {}, 1)
        for text, own in zip(texts, spans, strict=True)
    ]
    return targets, [names.index(str(row[arguments.label])) for row in chosen], names


def ours(predictor: Any, targets: Sequence[Target], truth: Sequence[int], budget: int) -> list[Outcome | None]:
    """All at once; None for a row that is answered wrongly."""
    predictor.clear_cache()
    info = predictor.info
    scores = predictor.class_scores([target.text for target in targets])
    one = attack(predictor, budget=budget, labels=info.labels.to_json(), decision=info.decision.to_json())
    right = np.flatnonzero(scores.argmax(axis=1) == np.array(truth)).tolist()
    items = [
        {"target": targets[row].to_json(), "truth": truth[row], "margin": float(margins(scores[[row]], truth[row])[0])} for row in right
    ]
    found = dict(zip(right, map(Outcome.of, predictor.gather(one(item) for item in items)), strict=True))
    return [found.get(row) for row in range(len(targets))]


def theirs(pipe: Any, targets: Sequence[Target], truth: Sequence[int], names: Sequence[str], budget: int) -> list[Outcome | None]:
    """One text after another."""

    def scored(text: str) -> np.ndarray[Any, Any]:
        answer = pipe(text)
        told = {one["label"]: one["score"] for one in (answer[0] if isinstance(answer[0], list) else answer)}
        return np.array([told[name] for name in names])

    def one(target: Target, label: int) -> Outcome | None:
        first = scored(target.text)
        if int(first.argmax()) != label:
            return None

        async def judge(texts: Sequence[str]) -> tuple[Margins, Broken]:
            scores = np.stack([scored(text) for text in texts])
            return margins(scores, label), scores.argmax(axis=1) != label

        return asyncio.run(search(judge, target, float(margins(first[None], label)[0]), budget))

    return [one(target, label) for target, label in zip(targets, truth, strict=True)]


def told(outcomes: Sequence[Outcome | None]) -> dict[str, Any]:
    """What searches came to."""
    made = [outcome for outcome in outcomes if outcome is not None]
    broken = [outcome for outcome in made if outcome.changes is not None]
    queries = sum(outcome.queries for outcome in made)
    return {
        "attacked": len(made),
        "broken": len(broken),
        "queries": queries,
        "queries_per_success": round(queries / max(len(broken), 1), 1),
        "queries_of_a_success": round(float(np.mean([outcome.queries for outcome in broken])), 1) if broken else None,
    }


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both sides, in turns."""
    import torch
    from transformers import pipeline

    from trustbase.model.predict import Predictor

    torch.set_num_threads(arguments.threads)
    targets, truth, names = prepared(arguments)
    pipe = pipeline(
        "text-classification", model=arguments.model, top_k=None, device="cpu", truncation=True, max_length=arguments.max_length
    )
    pipe(targets[0].text)
    ends = np.linspace(0, len(targets), PARTS + 1).astype(int).tolist()
    found: dict[str, Any] = {name: getattr(arguments, name) for name in ("texts", "queries", "threads", "seed")}
    by_precision: dict[str, list[tuple[float, float]]] = {precision: [] for precision in ("fp32", "bf16")}
    with (
        Predictor.open(arguments.model, precision="fp32", threads=arguments.threads) as whole,
        Predictor.open(arguments.model, precision="bf16", threads=arguments.threads) as half,
    ):
        found["shipped"] = whole.info.precision
        opened = {"fp32": whole, "bf16": half}
        pipeline_seconds: list[tuple[float, float]] = []
        own: dict[str, list[Outcome | None]] = {}
        other: list[Outcome | None] = []
        for predictor in opened.values():
            ours(predictor, targets[:5], truth[:5], 20)
        for first, last in pairwise(ends):
            for precision, predictor in opened.items():
                with timed(by_precision[precision]):
                    own[precision] = ours(predictor, targets, truth, arguments.queries)
            with timed(pipeline_seconds):
                other += theirs(pipe, targets[first:last], truth[first:last], names, arguments.queries)
    clock, processor = (sum(each[side] for each in pipeline_seconds) for side in (0, 1))
    found["pipeline"] = {**told(other), "seconds": clock, "processor_seconds": processor}
    for precision, seconds in by_precision.items():
        changes = [[outcome and outcome.changes for outcome in side] for side in (own[precision], other)]
        same = sum(a == b for a, b in zip(*changes, strict=True))
        best = (min(each[0] for each in seconds), min(each[1] for each in seconds))
        middle = (float(np.median([each[0] for each in seconds])), float(np.median([each[1] for each in seconds])))
        found[precision] = {
            **told(own[precision]),
            "seconds": middle[0],
            "processor_seconds": middle[1],
            "smallest_seconds": best[0],
            "smallest_processor_seconds": best[1],
            "times_faster": clock / middle[0],
            "times_less_processor": processor / middle[1],
            "same_outcome": same,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    for name in ("data", "text", "label"):
        parser.add_argument(f"--{name}", required=True)
    for name, value in (("texts", 50), ("queries", 100), ("threads", 2), ("seed", 0), ("max_length", 64)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    found = measured(arguments)
    print(f"{'':10} {'attacked':>9} {'broken':>7} {'queries':>8} {'s':>8} {'cpu s':>8} {'faster':>7} {'cpu':>6} {'same':>5}")
    for side in ("pipeline", "fp32", "bf16"):
        row = found[side]
        print(
            f"{side:10} {row['attacked']:9} {row['broken']:7} {row['queries']:8} {row['seconds']:8.2f} {row['processor_seconds']:8.2f} "
            f"{row.get('times_faster', 1):6.1f}x {row.get('times_less_processor', 1):5.1f}x {row.get('same_outcome', found['texts']):5}"
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
