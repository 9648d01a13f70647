"""A made-up model and rows for what tells other kinds of texts, withholds answers, or gives sets of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import logsumexp

from trustbase.audit.calibrated import held_out_rows
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.options import AuditOptions
from trustbase.model.runtime import Counters
from trustbase.records import ArtifactInfo, Decision, Finding, LabelSchema, Split

LABELS = LabelSchema(("no", "yes"), "yes", "yes")


class Asked:
    """Askers of a made-up model: embeddings and logits follow from the words of a text."""

    def __init__(self, *, blind: bool = False, logits: bool = True) -> None:
        self.blind, self.own, self.asked = blind, logits, 0
        self.counters = Counters()

    def ask(self, kind: str, texts: list[str], **_: Any) -> list[Any]:
        self.asked += len(texts)
        return [getattr(self, kind)(text) for text in texts]

    def embedding(self, text: str) -> np.ndarray:
        rng = np.random.default_rng(abs(hash_of(text)))
        words = text.split()
        own = 0.0 if self.blind else sum(word.startswith("own") for word in words) / max(len(words), 1)
        return np.append(rng.normal(0, 0.3, 7), [4 * own])

    def class_logits(self, text: str) -> np.ndarray:
        embedded = self.embedding(text)
        known = embedded[-1] + embedded[0]
        logits = np.array([known, -known])
        return logits if self.own else logits - logsumexp(logits)

    def class_scores(self, text: str) -> np.ndarray:
        logits = self.class_logits(text)
        return np.exp(logits - logsumexp(logits))


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-8:].rjust(8, b"0"), "big") % 2**31 + len(text)


def context_of(
    folder: Path,
    rows: int = 800,
    *,
    seed: int = 0,
    sharpness: float = 1.0,
    groups: bool = True,
    asked: Asked | None = None,
    kind: str = "classes",
    outputs: tuple[str, ...] = ("logits", "embedding"),
    **more: Any,
) -> AuditContext:
    """Rows whose probabilities are right, unless they are sharpened; a seeded part of them is for thresholds."""
    rng = np.random.default_rng(seed)
    real = rng.beta(1.2, 0.8, rows)
    truth = (rng.random(rows) < real).astype(np.int64)
    told = real**sharpness / (real**sharpness + (1 - real) ** sharpness)
    scores = np.stack([1 - told, told], axis=1)
    texts = [" ".join(f"own{int(word)}" for word in rng.integers(0, 500, 6)) + f" own{number}" for number in range(rows)]
    sex = {"sex": rng.choice(["f", "m", "x"], rows, p=[0.5, 0.48, 0.02]).astype(object)} if groups else {}
    test = Split("test", texts, truth, sex, pa.table({"text": texts}), np.arange(1, rows + 1), "made", "sha256:0")
    info = ArtifactInfo(folder, "sha256:1", "text-classification", kind, LABELS, "torch", "fp32", 64, "base", "local")
    given: dict[str, Any] = {"held_out": held_out_rows(test, (), 0.3, seed), "options": AuditOptions(replicates=200), **more}
    predictor: Any = SimpleNamespace(runtime=SimpleNamespace(outputs=outputs))
    answers = Answers(scores, scores.argmax(1).astype(np.int64))
    evidence = Evidence(folder / f"evidence{seed}")
    return AuditContext(
        test, LABELS, Decision(), answers, evidence, seed, predictor=predictor, askers=asked or Asked(), artifact=info, **given
    )  # type: ignore[arg-type]


def by_id(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.id: finding for finding in findings}
