"""A model of a few lines behind the Predictor's face, and contexts that audit it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from trustbase.audit.askers.asking import Alone
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.options import AuditOptions
from trustbase.model.faces import run_askers
from trustbase.model.questions import Answer, Question
from trustbase.model.runtime import Counters
from trustbase.records import ArtifactInfo, Decision, LabelSchema, Split

LABELS = LabelSchema(("no", "yes"), "yes", "yes")


class Fake:
    """Answers class scores and embeddings by functions of a text."""

    tokenizer: Any = None

    def __init__(
        self, info: ArtifactInfo, scores: Callable[[str], Sequence[float]], embedding: Callable[[str], Sequence[float]] | None
    ) -> None:
        self.info, self.counters, self._scores, self._embedding = info, Counters(), scores, embedding
        self.runtime = SimpleNamespace(name="torch", precision="fp32", outputs=("logits", *(("embedding",) if embedding else ())))
        self.asked: list[str] = []

    async def ask_each(self, questions: Sequence[Question]) -> list[Answer]:
        return self.ask_all(list(questions))

    def ask_all(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += [question.input for question in questions]
        self.counters.questions += len(questions)
        by = {"class_scores": self._scores, "embedding": self._embedding}
        return [Answer(np.asarray(by[question.kind](question.input), dtype=np.float64)) for question in questions]  # type: ignore[misc]

    def gather(self, coroutines: Any, **_: Any) -> list[Any]:
        return run_askers(coroutines, at_once=500)


def surely(label: int) -> list[float]:
    """Scores of a label that is told surely."""
    return [0.1, 0.9] if label else [0.9, 0.1]


def asked_context(
    folder: Path,
    texts: Sequence[str],
    truth: Sequence[int],
    scores: Callable[[str], Sequence[float]],
    *,
    embedding: Callable[[str], Sequence[float]] | None = None,
    table: pa.Table | None = None,
    read: str = "text",
    **more: Any,
) -> AuditContext:
    """An audit of a fake on such rows; `budget` are options of the robustness audit."""
    rows = pa.table({"text": list(texts)}) if table is None else table
    labels = np.array(truth, dtype=np.int64)
    test = Split("test", list(texts), labels, {}, rows, np.arange(1, len(texts) + 1), "made", "sha256:0")
    info = ArtifactInfo(folder, "sha256:1", "text-classification", "classes", LABELS, "torch", "fp32", 64, "base", "local", text=read)
    fake = Fake(info, scores, embedding)
    told = np.array([list(scores(text)) for text in texts])
    options = AuditOptions.model_validate({"robustness": more.pop("budget", {})})
    seed = more.pop("seed", 0)
    known: dict[str, Any] = {"predictor": fake, "askers": Alone(fake), "artifact": info, "options": options, **more}  # type: ignore[arg-type]
    return AuditContext(test, LABELS, Decision(), Answers(told, told.argmax(1).astype(np.int64)), Evidence(folder), seed, **known)
