"""A model made of one function of a text, asked as an artefact is, for audits that put questions of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trustbase.audit.askers.asking import Alone
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.options import AuditOptions
from trustbase.model.questions import Answer, Question
from trustbase.model.runtime import Counters
from trustbase.outputs.answers.base import decided
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import ArtifactInfo, Decision, LabelSchema, Split

LABELS = LabelSchema(("no", "yes"), "yes", "yes")
Score = Callable[[str], Any]  # of classes the probability of "yes"; of other kinds the scores themselves


class Fake:
    """Answers every question by the function; counts what it was asked."""

    def __init__(self, score: Score, info: ArtifactInfo) -> None:
        self.score, self.info, self.asked = score, info, list[str]()
        self.counters = Counters()

    def ask_all(self, questions: Sequence[Question]) -> list[Answer]:
        assert {question.kind for question in questions} <= {ANSWER_KINDS[self.info.answer_kind].question}
        self.asked += [question.input for question in questions]
        return [Answer(self.scores_of(question.input)) for question in questions]

    def scores_of(self, text: str) -> Any:
        made = self.score(text)
        return np.array([1 - made, made]) if isinstance(made, float) and self.info.answer_kind == "classes" else np.atleast_1d(made)


def robust_context(
    folder: Path,
    rows: Sequence[str],
    score: Score,
    truth: Any = None,
    *,
    kind: str = "classes",
    labels: LabelSchema = LABELS,
    text: str | None = None,
    table: Any = None,
    **options: Any,
) -> AuditContext:
    """Test rows and what the function answers to them."""
    info = ArtifactInfo(folder, "sha256:1", "text-classification", kind, labels, "torch", "fp32", 64, "base", "local", text=text)
    fake = Fake(score, info)
    scores = np.stack([fake.scores_of(item) for item in rows])
    told = decided(scores, labels, Decision(), kind)
    columns = table if table is not None else pa.table({"text": list(rows)})
    true, numbers = told if truth is None else np.asarray(truth), np.arange(1, len(rows) + 1)
    test = Split("test", list(rows), true, {}, columns, numbers, "made", "sha256:0")
    askers: Any = Alone(fake)  # type: ignore[arg-type]
    made = AuditOptions.model_validate({"robustness": options})
    more: dict[str, Any] = {"predictor": fake, "askers": askers, "artifact": info, "options": made}
    return AuditContext(test, labels, Decision(), Answers(scores, told), Evidence(folder), 0, **more)
