"""Figure 4: Integrated Gradients and attention relevance of English texts, ours beside Captum's LayerIntegratedGradients.

    python benchmarks/gradients.py [--folder FOLDER] [--texts 100] [--steps 50] [--rounds 2] [--threads 2] [--json FILE]

The model and the texts are those of benchmarks/explain.py: MiniLM, trained to tell from which of two packages a docstring is, and its test
rows of 30 to 60 tokens (kept in FOLDER for a next time). Captum explains one text after another, all steps of it at once (its default);
ours explains all texts together. Both take Gauss-Legendre points of the same path, from padding in the place of every word, in fp32. Sides
alternate over parts of the texts. Times are told as passed and as processor time; the ratio is of processor time, since other work may
run beside.

What a step must cost: products of matrices forth and back are counted, and how many a second each side makes of them, beside the most that
this machine makes of one product of the same shape. Ours leaves out what only other tokens than the first read in the last layer.
Threads that wait for each other sleep (OMP_WAIT_POLICY), since time that they would spend in turning round counts as processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch starts its threads

import numpy as np
import torch

from explain import long_texts, train

PARTS = 5
LIMITS = {"ratio": 5.0, "difference": 1e-4}


def captum_of(folder: Path, inside: Any, steps: int) -> Callable[[Any], np.ndarray]:
    """Captum as its users have it: a transformers model, one text, `n_steps`, everything else by default."""
    from captum.attr import LayerIntegratedGradients
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def forward(ids: Any, mask: Any) -> Any:
        logits = model(input_ids=ids, attention_mask=mask).logits
        return logits[:, 1] - logits[:, 0]

    follow = LayerIntegratedGradients(forward, model.get_input_embeddings())

    def explain(token: Any) -> np.ndarray:
        ids = torch.from_numpy(token.ids)[None]
        base = torch.where(torch.from_numpy(token.places[:, 0] >= 0), torch.full_like(ids, inside.nothing), ids)
        found = follow.attribute(ids, base, additional_forward_args=(torch.ones_like(ids),), n_steps=steps)
        return found.detach()[0].sum(-1).numpy()

    return explain


class Clock:
    def __init__(self) -> None:
        self.passed, self.processor = [], []

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: Any) -> None:
        self.passed.append(time.perf_counter() - self._began[0])
        self.processor.append(time.process_time() - self._began[1])

    def told(self, texts: int, rounds: int) -> dict[str, float]:
        return {"seconds_per_text": sum(self.passed) / texts / rounds, "processor_seconds_per_text": sum(self.processor) / texts / rounds}


def fastest_product(width: int, inner: int, tokens: int = 1024) -> float:
    """Operations a second of one processor, in the feed-forward product of this model."""
    from trustbase.model.packed import Linear

    layer, x = Linear(torch.randn(inner, width), torch.randn(inner), torch.float32), torch.randn(tokens, width)
    best = np.inf
    with torch.inference_mode():
        for _ in range(20):
            began = time.process_time()
            layer(x)
            best = min(best, time.process_time() - began)
    return 2 * tokens * width * inner / best


def compare(folder: Path, texts: list[str], steps: int, rounds: int, threads: int) -> dict[str, Any]:
    from trustbase.audit.explain.gradients import integrated, times_input
    from trustbase.audit.explain.inside import opened
    from trustbase.model.predict import Predictor

    clocks = {name: Clock() for name in ("captum", "integrated_gradients", "attention_relevance", "gradient_input")}
    theirs: dict[int, np.ndarray] = {}
    ours: dict[int, np.ndarray] = {}
    with Predictor.open(folder, threads=threads) as predictor, opened(predictor) as (inside, _):
        captum = captum_of(folder, inside, steps)
        tokens = inside.tokens(texts)
        inside.check(tokens[0], 1)
        captum(tokens[0])  # both once beforehand
        integrated(inside, tokens[:2], [1] * 2, steps=steps)
        for part in [np.arange(first, len(texts), PARTS) for first in range(PARTS)] * rounds:
            some, targets = [tokens[row] for row in part], [1] * len(part)
            with clocks["captum"]:
                theirs |= {row: captum(tokens[row]) for row in part}
            with clocks["integrated_gradients"]:
                ours |= dict(zip(part, (each.values for each in integrated(inside, some, targets, steps=steps)), strict=True))
            with clocks["attention_relevance"]:
                times_input(inside, some, targets, relevance=True)
            with clocks["gradient_input"]:
                times_input(inside, some, targets)
        config, path = inside.model.config, inside.path
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    length = float(np.mean([len(token) for token in tokens]))
    products = 2 * 2 * layers * (4 * width**2 + 2 * width * inner) * length * steps  # forth and back, of one text
    told = {name: clock.told(len(texts), rounds) for name, clock in clocks.items()}
    usual = told["captum"]["processor_seconds_per_text"]
    return {
        "texts": len(texts),
        "tokens": length,
        "steps": steps,
        "threads": threads,
        "path": path,
        "sides": {name: {**times, "ratio": usual / times["processor_seconds_per_text"]} for name, times in told.items()},
        "passed_ratio": told["captum"]["seconds_per_text"] / told["integrated_gradients"]["seconds_per_text"],
        "difference": max(float(np.abs(ours[row] - theirs[row]).max()) for row in range(len(texts))),
        "largest_value": max(float(np.abs(value).max()) for value in theirs.values()),
        "operations_per_text": products,
        "operations_per_processor_second": {
            "captum": products / usual,
            "integrated_gradients": products / told["integrated_gradients"]["processor_seconds_per_text"],
            "one product": fastest_product(width, inner),
        },
    }


def show(found: dict[str, Any]) -> None:
    how = f"{found['steps']} steps, {found['threads']} threads; ours goes {found['path']}"
    print(f"{found['texts']} texts of {found['tokens']:.1f} tokens, {how}")
    for name, side in found["sides"].items():
        seconds = f"{side['seconds_per_text']:.4f} s/text, {side['processor_seconds_per_text']:.4f} processor s/text"
        print(f"  {name:<22}{seconds}  {side['ratio']:8.2f}x")
    print(f"  by time passed {found['passed_ratio']:.2f}x; largest difference {found['difference']:.1e} of {found['largest_value']:.2f}")
    for name, speed in found["operations_per_processor_second"].items():
        print(f"  {name}: {speed / 1e9:.0f} GFLOP a processor second")
    met = {"attention_relevance": found["sides"]["attention_relevance"]["ratio"] >= LIMITS["ratio"]}
    met |= {"integrated_gradients": found["sides"]["integrated_gradients"]["ratio"] >= LIMITS["ratio"]}
    met |= {"difference": found["difference"] <= LIMITS["difference"]}
    print("  " + ", ".join(f"{name}: {'met' if good else 'missed'}" for name, good in met.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_name("results") / "gradients.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        artifact = folder / "run" / "artifact"
        artifact = artifact if artifact.is_dir() else train(folder)
        found = compare(artifact, long_texts(folder, given.texts), given.steps, given.rounds, given.threads)
    show(found)
    machine = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "limits": LIMITS}
    given.json.write_text(json.dumps({**machine, **found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
