"""What merging changed: the model as it was trained beside the one that ships, asked about the same validation rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from trustbase.compress.candidates import Asked
from trustbase.errors import ModelError
from trustbase.model.runtime_torch import TorchRuntime
from trustbase.model.sequencer import Sequencer
from trustbase.outputs.answers.base import answering
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import LabelSchema

ROWS = 64  # of the sample: merging moves every answer by about the same, so that few show how much
ROUNDING = 1e-5  # what sums in fp32 differ by in another order; no limit forbids it

Measure = Callable[[nn.Module, nn.Module, Any], dict[str, Any]]  # as trained, as merged, tokenizer → what `merging` returns


def merging(
    trained: nn.Module,
    merged: nn.Module,
    tokenizer: Any,
    *,
    sample: Sequence[str],
    sequencer: Sequencer,
    labels: LabelSchema,
    kind: str,
    device: str,
    limit: float,
) -> dict[str, Any]:
    """Compare both on the first rows of the sample, in fp32 and by transformers' own forward.

    Weights that were packed in 4 bits and multiplied in bf16 while they were trained ship unpacked in fp32: that is more than rounding.

    Args:
        trained: with its updates beside the weights.
        merged: with them in the weights.
        tokenizer: of both.
        sample: validation rows.
        sequencer: how inputs are cut.
        labels: the label schema.
        kind: of the answers.
        device: where both run.
        limit: largest difference that may ship.

    Returns:
        The largest difference and the mean, their unit, and of how many rows.

    Raises:
        ModelError: the difference is over the limit, and more than rounding.
    """
    rows, asked = sample[:ROWS], Asked(ANSWER_KINDS[kind].question, labels)
    settings: dict[str, Any] = {"max_length": sequencer.max_length, **sequencer.unusual, "device": device, "packed": False}
    before, after = (asked.scores(TorchRuntime(each, tokenizer, **settings), rows) for each in (trained, merged))
    way = answering(kind)
    difference = way.differences(after, before, labels)
    if not float(difference.max()) <= max(limit, ROUNDING):
        most = f"the largest |Δ {way.unit}| of {len(rows)} validation rows is {float(difference.max()):.2g}, over {limit:g}"
        hint = "set release: {weights: adapter}, which ships what was trained, or release.max_difference"
        raise ModelError(f"merging changes answers: {most}", hint=hint)
    return {
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "unit": way.unit,
        "n": len(rows),
        "against": "the model as trained, its updates beside its weights",
    }
