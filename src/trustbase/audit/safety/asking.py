"""What the parts of the safety audit ask of the model: class scores, answers, embeddings of training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.measured import sampled_rows
from trustbase.data.cells import inputs_of
from trustbase.outputs.answers.base import decided
from trustbase.records import Split

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Ask = Callable[[Sequence[str]], Floats]  # texts → class scores `(texts, classes)`

NO_EMBEDDINGS = "this model gives no embeddings"
FEW_ROWS = 100  # training rows under which nothing is looked for in them


def asker_of(context: AuditContext, what: str) -> Ask:
    """Asks for class scores and remembers what it was told, so that a second search over the same texts costs nothing."""
    known: dict[str, Floats] = {}
    askers = context.askers
    assert askers is not None

    def ask(texts: Sequence[str]) -> Floats:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            told = askers.ask("class_scores", new, what=what, emit=context.emit)
            known.update(zip(new, (np.asarray(row, dtype=np.float64) for row in told), strict=True))
        return np.stack([known[text] for text in texts]) if texts else np.zeros((0, len(context.labels.names)))

    return ask


def answers_of(context: AuditContext, scores: Floats) -> Indices:
    """The labels that the model answers by these scores, `(rows,)`."""
    return np.asarray(decided(scores, context.labels, context.decision, "classes"), dtype=np.int64)


def training_rows(context: AuditContext, count: int) -> tuple[Split, Indices, list[str]] | None:
    """Training rows with different inputs, drawn by their content: the split, row indices and inputs; None where none were given."""
    from dataclasses import replace

    train = context.train
    if train is None or context.artifact is None:
        return None
    rows = sampled_rows(replace(context, test=train), count, "safety", "training rows")
    inputs = inputs_of(train, context.artifact.columns)
    return train, rows, [str(inputs[int(row)]) for row in rows]


def embedded(context: AuditContext, texts: Sequence[str]) -> Floats | str:
    """Embeddings of texts `(rows, width)`, or that this artefact computes none.

    Raises:
        PredictionError: it computes them, and some texts could not be embedded.
    """
    assert context.askers is not None and context.predictor is not None
    if "embedding" not in context.predictor.runtime.outputs:
        return NO_EMBEDDINGS
    told = context.askers.ask("embedding", texts, what="reading training rows", emit=context.emit)
    return np.array(told, dtype=np.float64)
