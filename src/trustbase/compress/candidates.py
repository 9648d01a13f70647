"""Ways to run one model: built, compared with fp32 torch on real texts, timed; the fastest that agrees is taken.

Candidates run on the device that will be asked (`choose_device`; ONNX Runtime on the CPU). The decision comes first: it is
chosen on the validation scores of fp32, and label flips are counted under it. The artefact then gets the decision that its
own scores choose, unless that would turn more labels against fp32 than the recipe allows (a threshold picked from few rows
can jump between two that are as good): then it keeps the one under which agreement was shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.compress.graph import export_onnx
from trustbase.compress.options import ReleaseOptions
from trustbase.data.batch import plan_batches
from trustbase.device import bf16_support
from trustbase.errors import ModelError
from trustbase.events import Emit, ignore
from trustbase.model.artifact import ONNX_FILE
from trustbase.model.ensemble import parts_of
from trustbase.model.opening import together
from trustbase.model.predict import BATCH_TOKENS
from trustbase.model.questions import KINDS, Question
from trustbase.model.ragged import ragged
from trustbase.model.runtime import Runtime
from trustbase.model.runtime_onnx import OnnxRuntime
from trustbase.model.runtime_torch import TorchRuntime, load_model
from trustbase.model.sequencer import Sequencer
from trustbase.model.tokenizer import load_tokenizer
from trustbase.outputs.answers.base import answering
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Decision, LabelSchema

_ROUNDS = 3
_TIMED_ROWS = 256  # rows per timing round; agreement is judged on the whole sample
Decide = Callable[[NDArray[Any]], Decision]  # scores of the sample, such as class probabilities `(rows, classes)` → its decision


@dataclass(frozen=True)
class Candidate:
    """One way to run the model, what it cost, and how it agrees with fp32."""

    runtime: str
    precision: str
    device: str
    seconds: float
    parity: dict[str, Any]
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "runtime": self.runtime,
            "precision": self.precision,
            "device": self.device,
            "seconds": self.seconds,
            "parity": self.parity,
            "accepted": not self.refused,
            "reason": self.refused,
        }


@dataclass(frozen=True)
class Choice:
    """What came of comparing the candidates."""

    candidates: list[Candidate]
    chosen: Candidate
    why: str
    decision: Decision
    settled: dict[str, Any]  # how the decision was settled


def parity(
    reference: NDArray[Any], scores: NDArray[Any], *, labels: LabelSchema, decision: Decision, kind: str = "classes"
) -> dict[str, Any]:
    """How scores `(rows, width)` agree with those of fp32 torch on the same rows; flips are answers that differ under `decision`."""
    way = answering(kind)
    difference = way.differences(scores, reference, labels)
    flips = int(way.flips(way.decide(scores, labels, decision), way.decide(reference, labels, decision)).sum())
    return {
        "threshold": decision.threshold,
        "unit": way.unit,
        "n": len(reference),
        "against": "torch fp32",
        "max_difference": float(difference.max()),
        "difference_p999": float(np.quantile(difference, 0.999)),
        "mean_difference": float(difference.mean()),
        "label_flips": flips,
        "label_flip_share": flips / len(reference),
    }


def choose(
    folder: Path,
    options: ReleaseOptions,
    sample: Sequence[str],
    sequencer: Sequencer,
    labels: LabelSchema,
    decide: Decide,
    device: str,
    emit: Emit,
    kind: str = "classes",
) -> Choice:
    """Build what the recipe allows, compare each with fp32 torch, take the fastest that agrees, and settle its decision."""
    wanted, notes = _wanted(options, device)
    runtimes = _build(folder, options, sample, sequencer, device, wanted, notes, emit, kind)
    texts = sample[: options.sample]
    asked = Asked(ANSWER_KINDS[kind].question, labels)
    whole = asked.scores(runtimes["torch", "fp32"], sample, emit)
    first = decide(whole)
    scores = {
        key: whole[: len(texts)] if key == ("torch", "fp32") else asked.scores(runtime, texts, emit) for key, runtime in runtimes.items()
    }
    seconds = _time(runtimes, texts, asked, emit)
    candidates = []
    for key in runtimes:
        agreement = parity(scores["torch", "fp32"], scores[key], labels=labels, decision=first, kind=kind)
        where = "cpu" if key[0] == "onnx" else device
        candidates.append(Candidate(*key, where, seconds[key], agreement, _refusal(agreement, options)))
        emit("note", text=f"candidate {key[0]} {key[1]}: {seconds[key]:.2f} s, largest difference {agreement['max_difference']:.1e}")
    chosen = _fastest([candidate for candidate in candidates if (candidate.runtime, candidate.precision) in wanted])
    shipped = (chosen.runtime, chosen.precision)
    own = whole if shipped == ("torch", "fp32") else asked.scores(runtimes[shipped], sample, emit)
    decision, settled = _settle(whole, own, labels, first, decide(own), options, kind)
    return Choice(candidates, chosen, _why(candidates, chosen, wanted, notes, len(texts)), decision, settled)


def _settle(
    reference: NDArray[Any],
    own: NDArray[Any],
    labels: LabelSchema,
    first: Decision,
    second: Decision,
    options: ReleaseOptions,
    kind: str,
) -> tuple[Decision, dict[str, Any]]:
    """The decision that ships: the artefact's own, unless it turns more labels against fp32 (with its own) than is allowed."""
    way = answering(kind)
    flips = int(way.flips(way.decide(own, labels, second), way.decide(reference, labels, first)).sum())
    taken = flips <= options.max_label_flips * len(own)
    return second if taken else first, {
        "chosen_on": "scores of the artefact" if taken else "scores of torch fp32, as the artefact's own would turn too many labels",
        "threshold_of_fp32": first.threshold,
        "threshold_of_artifact": second.threshold,
        "label_flips_with_its_own": flips,
        "n": len(own),
    }


def _build(
    folder: Path,
    options: ReleaseOptions,
    sample: Sequence[str],
    sequencer: Sequencer,
    device: str,
    wanted: set[tuple[str, str]],
    notes: list[str],
    emit: Emit,
    kind: str,
) -> dict[tuple[str, str], Runtime]:
    """The runtimes to compare, fp32 torch first, each of all members; what cannot be exported is taken out of `wanted` and noted."""
    said, total = "building the candidates", len(wanted | {("torch", "fp32")})
    emit("progress", what=said, done=0, total=total)
    parts = parts_of(folder)
    tokenizer = load_tokenizer(parts[0])
    reading: dict[str, Any] = {"max_length": sequencer.max_length, **sequencer.unusual}

    def torch_in(precision: str) -> Runtime:
        settings: dict[str, Any] = {"precision": precision, "device": device, **reading}
        return together([TorchRuntime(load_model(part), tokenizer, **settings) for part in parts], kind, sequencer.answer_tokens)

    runtimes = {("torch", "fp32"): torch_in("fp32")}
    if ("torch", "bf16") in wanted:
        runtimes["torch", "bf16"] = torch_in("bf16")
    if ("onnx", "fp32") in wanted:
        emit("progress", what=said, done=len(runtimes), total=total)
        try:
            for part in parts:
                export_onnx(load_model(part), tokenizer, part / ONNX_FILE, texts=sample[:2], max_length=sequencer.max_length)
            graphs: list[Runtime] = [OnnxRuntime.open(part, tokenizer=tokenizer, **reading) for part in parts]
            runtimes["onnx", "fp32"] = together(graphs, kind, sequencer.answer_tokens)
        except ModelError as error:
            if options.runtime == "onnx":
                raise
            wanted.discard(("onnx", "fp32"))
            notes.append(f"onnx was tried and left out: {error.message}")
    emit("progress", what=said, done=total, total=total)
    return runtimes


def _why(candidates: Sequence[Candidate], chosen: Candidate, wanted: set[tuple[str, str]], notes: Sequence[str], rows: int) -> str:
    others = ", ".join(
        f"{c.runtime} {c.precision} {c.seconds:.2f} s" + (f" ({c.refused})" if c.refused else "") for c in candidates if c is not chosen
    )
    first = "the only one asked for" if len(wanted) == 1 else "the fastest that agrees with fp32"
    why = f"{first}: {chosen.seconds:.2f} s for {min(rows, _TIMED_ROWS)} validation rows; beside it {others or 'nothing'}"
    return "; ".join([why, *notes])


def _wanted(options: ReleaseOptions, device: str) -> tuple[set[tuple[str, str]], list[str]]:
    """Runtimes and precisions that the recipe allows on this machine, and what must be said about that."""
    notes = []
    has_bf16, reason = bf16_support(device.split(":")[0])
    allowed = {("torch", "fp32"), ("torch", "bf16"), ("onnx", "fp32")}
    if options.runtime != "auto":
        allowed = {pair for pair in allowed if pair[0] == options.runtime}
    if options.precision != "auto":
        allowed = {pair for pair in allowed if pair[1] == options.precision}
    if not has_bf16 and ("torch", "bf16") in allowed:
        if options.precision == "bf16" and not device.startswith("mps"):
            notes.append(f"bf16 was asked for, but is emulated and slow here: {reason}")
        else:
            allowed.discard(("torch", "bf16"))
            notes.append(f"bf16 was not tried: {reason}")
    if options.weights == "adapter":
        allowed.discard(("onnx", "fp32"))
        notes.append("onnx was not tried: the adapter is not merged")
    return allowed, notes


def _fastest(candidates: Sequence[Candidate]) -> Candidate:
    accepted = [candidate for candidate in candidates if not candidate.refused]
    if not accepted:
        listed = "; ".join(f"{candidate.runtime} {candidate.precision}: {candidate.refused}" for candidate in candidates)
        raise ModelError(
            f"nothing that the recipe allows agrees with fp32 on validation rows: {listed}",
            hint="set release: {precision: auto}, or widen its limits",
        )
    return min(accepted, key=lambda candidate: candidate.seconds)


def _refusal(agreement: dict[str, Any], options: ReleaseOptions) -> str:
    """Why a candidate may not ship, or nothing."""
    checks = (
        ("largest |Δ probability|", agreement["max_difference"], options.max_difference),
        ("99.9 % quantile of |Δ probability|", agreement["difference_p999"], options.max_difference_p999),
        ("share of label flips", agreement["label_flip_share"], options.max_label_flips),
    )
    return "; ".join(f"{name} {value:.2g} is over {limit:g}" for name, value, limit in checks if not value <= limit)


@dataclass(frozen=True)
class Asked:
    """The question whose values are scores, put straight to a runtime."""

    question: str
    labels: LabelSchema

    def scores(self, runtime: Runtime, texts: Sequence[str], emit: Emit = ignore) -> NDArray[Any]:
        """Scores of texts, `(rows, width)`; of ragged kinds `(rows,)` of tables.

        Raises:
            ModelError: some are no finite numbers.
        """
        kind = KINDS[self.question]
        encodings = runtime.prepare(texts)
        batches = plan_batches(encodings.lengths, batch_tokens=BATCH_TOKENS)
        found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(texts)
        said = f"scoring with {runtime.name} {runtime.precision}"
        for done, rows in enumerate(batches):
            emit("progress", what=said, done=done, total=len(batches))
            for row, values in zip(rows.tolist(), runtime.forward(kind.output, encodings, rows), strict=True):
                found[row] = values
        emit("progress", what=said, done=len(batches), total=len(batches))
        if not all(np.isfinite(values).all() for values in found):
            raise ModelError(
                f"{runtime.name} {runtime.precision} gives NaN or infinities on validation rows",
                hint="train again; a lower learning rate may help",
            )
        scores = list(kind.finish(kind.rows(found), [Question(kind.name, text) for text in texts], self.labels))
        return ragged(scores) if kind.ragged else np.stack(scores)


def _time(runtimes: dict[tuple[str, str], Runtime], texts: Sequence[str], asked: Asked, emit: Emit) -> dict[tuple[str, str], float]:
    """Median seconds for the first rows of the sample, in alternating rounds (they are warm: scored once before)."""
    rows = texts[:_TIMED_ROWS]
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in runtimes}
    said, total = "timing the candidates", _ROUNDS * len(runtimes)
    for turn in range(_ROUNDS):
        for place, (key, runtime) in enumerate(runtimes.items()):
            emit("progress", what=said, done=turn * len(runtimes) + place, total=total)
            started = time.perf_counter()
            asked.scores(runtime, rows)
            taken[key].append(time.perf_counter() - started)
    emit("progress", what=said, done=total, total=total)
    return {key: float(np.median(values)) for key, values in taken.items()}
