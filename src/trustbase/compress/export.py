"""The artefact that is shipped: weights, tokenizer, runtime and precision, chosen on measured speed and agreement with fp32."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files
from trustbase.compress.graph import export_onnx
from trustbase.compress.options import ReleaseOptions
from trustbase.device import bf16_support
from trustbase.errors import ModelError
from trustbase.events import Emit, ignore
from trustbase.model.adapt import merge
from trustbase.model.artifact import ONNX_FILE, set_decision, write_artifact
from trustbase.model.checkpoint import load_checkpoint, save_checkpoint
from trustbase.model.load import describe_base
from trustbase.model.questions import log_softmax
from trustbase.model.runtime import Runtime
from trustbase.model.runtime_onnx import OnnxRuntime
from trustbase.model.runtime_torch import TorchRuntime, load_model
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import ArtifactInfo, BaseModel, LabelSchema, Trained

__all__ = ["make_artifact", "parity", "set_decision"]

_ROUNDS = 3
_TIMED_ROWS = 256  # rows per timing round; agreement is judged on the whole sample
_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Candidate:
    """One way to run the model, what it cost, and how it agrees with fp32."""

    runtime: str
    precision: str
    seconds: float
    parity: dict[str, Any]
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "runtime": self.runtime,
            "precision": self.precision,
            "seconds": self.seconds,
            "parity": self.parity,
            "accepted": not self.refused,
            "reason": self.refused,
        }


def make_artifact(
    trained: Trained,
    folder: Path,
    *,
    options: ReleaseOptions,
    labels: LabelSchema,
    text: str,
    base: BaseModel,
    max_length: int,
    sample: Sequence[str],
    emit: Emit = ignore,
) -> ArtifactInfo:
    """Make the folder that is audited and served.

    Args:
        trained: a checkpoint that reloads equal.
        folder: where the artefact goes; replaced as a whole.
        options: what the recipe asks for.
        labels: the label schema, in score order.
        text: the recipe's text column or template.
        base: the base model, named by reference and revision in the artefact.
        max_length: tokens after which an input is cut.
        sample: real texts (validation), on which candidates are compared.
        emit: where choices are told.

    Returns:
        What was made, `artifact.json` written.

    Raises:
        ModelError: there are no sample texts, or what the recipe insists on does not agree with fp32.
    """
    if len(sample) < 2:
        raise ModelError(
            f"an artefact is compared with fp32 on validation texts, but there are {len(sample)}", hint="give a larger validation split"
        )
    texts = list(sample[: options.sample])
    made: list[ArtifactInfo] = []

    def fill(staging: Path) -> None:
        _write_weights(trained, staging, base=base, merged=options.weights == "merged")
        candidates, chosen, why = _choose(staging, options, texts, max_length, emit)
        if chosen.runtime != "onnx":
            (staging / ONNX_FILE).unlink(missing_ok=True)
        facts = {
            "why": why,
            "weights": options.weights,
            "trained_digest": trained.digest,
            "base_digest": base.digest,
            "parity": chosen.parity,
            "candidates": [candidate.to_json() for candidate in candidates],
        }
        info = ArtifactInfo(
            folder=staging,
            digest="",
            task="text-classification",
            answer_kind="classes",
            labels=labels,
            runtime=chosen.runtime,
            precision=chosen.precision,
            max_length=max_length,
            base=str(describe_base(base)["reference"]),  # a folder becomes its name: nothing absolute is shipped
            revision=base.revision,
            text=text,
            facts=facts,
        )
        made.append(write_artifact(info))
        emit("note", text=f"artefact: {chosen.runtime} {chosen.precision}: {why}")

    files.replace_folder(folder, fill)
    return _moved(made[0], folder)


def parity(reference: NDArray[np.float64], scores: NDArray[np.float64]) -> dict[str, Any]:
    """How class probabilities `(rows, classes)` agree with those of fp32 torch on the same rows."""
    difference = np.abs(scores - reference).max(axis=1)
    flips = int((scores.argmax(axis=1) != reference.argmax(axis=1)).sum())
    return {
        "n": len(reference),
        "against": "torch fp32",
        "max_difference": float(difference.max()),
        "difference_p999": float(np.quantile(difference, 0.999)),
        "mean_difference": float(difference.mean()),
        "label_flips": flips,
        "label_flip_share": flips / len(reference),
    }


def _write_weights(trained: Trained, folder: Path, *, base: BaseModel, merged: bool) -> None:
    """The trained model as a plain folder (merged), or as adapter and head with the base named by its digest."""
    model, tokenizer, _ = load_checkpoint(trained.folder, base=base)
    if tokenizer is None:
        tokenizer = load_tokenizer(base.folder)
    inner = folder / "weights.part"
    save_checkpoint(merge(model) if merged else model, tokenizer, inner, meta={"trained_digest": trained.digest})
    for path in sorted(inner.iterdir()):
        path.rename(folder / path.name)
    inner.rmdir()


def _choose(
    folder: Path, options: ReleaseOptions, texts: Sequence[str], max_length: int, emit: Emit
) -> tuple[list[Candidate], Candidate, str]:
    """Build what the recipe allows, compare each with fp32 torch, and take the fastest that agrees."""
    tokenizer = load_tokenizer(folder)
    model = load_model(folder)
    wanted, notes = _wanted(options)
    reference = TorchRuntime(model, tokenizer, max_length=max_length)
    runtimes: dict[tuple[str, str], Runtime] = {("torch", "fp32"): reference}
    if ("torch", "bf16") in wanted:
        runtimes["torch", "bf16"] = TorchRuntime(load_model(folder), tokenizer, max_length=max_length, precision="bf16")
    if ("onnx", "fp32") in wanted:
        try:
            export_onnx(load_model(folder), tokenizer, folder / ONNX_FILE, texts=texts[:2], max_length=max_length)
            runtimes["onnx", "fp32"] = OnnxRuntime.open(folder, tokenizer=tokenizer, max_length=max_length)
        except ModelError as error:
            if options.runtime == "onnx":
                raise
            wanted.discard(("onnx", "fp32"))
            notes.append(f"onnx was tried and left out: {error.message}")
    scores = {key: _scores(runtime, texts) for key, runtime in runtimes.items()}
    seconds = _time(runtimes, texts)
    candidates = []
    for key in runtimes:
        agreement = parity(scores["torch", "fp32"], scores[key])
        candidates.append(Candidate(*key, seconds[key], agreement, _refusal(agreement, options)))
        emit("note", text=f"candidate {key[0]} {key[1]}: {seconds[key]:.2f} s, largest difference {agreement['max_difference']:.1e}")
    chosen = _fastest([candidate for candidate in candidates if (candidate.runtime, candidate.precision) in wanted])
    others = ", ".join(
        f"{c.runtime} {c.precision} {c.seconds:.2f} s" + (f" ({c.refused})" if c.refused else "") for c in candidates if c is not chosen
    )
    first = "the only one asked for" if len(wanted) == 1 else "the fastest that agrees with fp32"
    why = f"{first}: {chosen.seconds:.2f} s for {min(len(texts), _TIMED_ROWS)} validation rows; beside it {others or 'nothing'}"
    return candidates, chosen, "; ".join([why, *notes])


def _wanted(options: ReleaseOptions) -> tuple[set[tuple[str, str]], list[str]]:
    """Runtimes and precisions that the recipe allows on this machine, and what must be said about that."""
    notes = []
    has_bf16, reason = bf16_support("cpu")
    allowed = {("torch", "fp32"), ("torch", "bf16"), ("onnx", "fp32")}
    if options.runtime != "auto":
        allowed = {pair for pair in allowed if pair[0] == options.runtime}
    if options.precision != "auto":
        allowed = {pair for pair in allowed if pair[1] == options.precision}
    if not has_bf16 and ("torch", "bf16") in allowed:
        if options.precision == "bf16":
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


def _scores(runtime: Runtime, texts: Sequence[str]) -> NDArray[np.float64]:
    """Class probabilities `(rows, classes)`, straight from a runtime."""
    from trustbase.data.batch import plan_batches

    encodings = runtime.prepare(texts)
    batches = plan_batches(encodings.lengths, batch_tokens=_BATCH_TOKENS)
    parts = [(rows, runtime.forward("logits", encodings, rows)) for rows in batches]
    logits = np.empty((len(texts), parts[0][1].shape[1]), dtype=np.float64)
    for rows, values in parts:
        logits[rows] = values
    if not np.isfinite(logits).all():
        raise ModelError(
            f"{runtime.name} {runtime.precision} gives NaN or infinities on validation rows",
            hint="train again; a lower learning rate may help",
        )
    return np.exp(log_softmax(logits))


def _time(runtimes: dict[tuple[str, str], Runtime], texts: Sequence[str]) -> dict[tuple[str, str], float]:
    """Median seconds for the first rows of the sample, in alternating rounds (they are warm: scored once before)."""
    rows = texts[:_TIMED_ROWS]
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in runtimes}
    for _ in range(_ROUNDS):
        for key, runtime in runtimes.items():
            started = time.perf_counter()
            _scores(runtime, rows)
            taken[key].append(time.perf_counter() - started)
    return {key: float(np.median(values)) for key, values in taken.items()}


def _moved(info: ArtifactInfo, folder: Path) -> ArtifactInfo:
    """The record of the finished folder; the digest speaks of relative names, so moving the folder did not change it."""
    from dataclasses import replace

    return replace(info, folder=folder)
