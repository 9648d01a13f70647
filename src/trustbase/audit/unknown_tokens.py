"""How much of the test texts the base model's vocabulary cannot read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.ratios import share_of
from trustbase.records import ArtifactInfo, Finding

WARN_ABOVE = 0.05
_ID = "quality.unknown_tokens"


def unknown_tokens(context: AuditContext) -> Finding:
    """Share of tokens that are unknown, over the test texts; a warning above 5 %."""
    if context.predictor is None:
        return Finding.without_value(
            _ID, "not_applicable", "answers were given without a model, so there is no tokenizer to ask", direction="lower"
        )
    tokenizer = context.predictor.tokenizer
    if tokenizer is None:
        return Finding.without_value(_ID, "not_applicable", "this model has no tokenizer", direction="lower")
    if tokenizer.unk_token_id is None:
        return Finding.exact(
            _ID, 0.0, direction="lower", unit="share", method="the vocabulary has no unknown token: it spells out any text"
        )
    unknown, tokens = _counts(tokenizer, context.test.texts, context.artifact)
    interval = share_of(unknown, tokens, confidence=context.confidence)
    if interval.value > WARN_ABOVE:
        text = f"{interval.value:.1%} of the tokens of the test texts are unknown to the base model: it cannot read them well"
        context.emit("warning", text=text, finding=_ID)
    return interval.finding(_ID, direction="lower", confidence=context.confidence, unit="share")


def _counts(tokenizer: Any, texts: Sequence[str], info: ArtifactInfo | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Unknown tokens and all tokens of each whole text, special tokens left out, each `(rows,)`."""
    from trustbase.model.sequencer import Sequencer

    reading = Sequencer(2**40) if info is None else Sequencer.of(info)
    encoded = reading.encode(tokenizer, texts, whole=True)  # whole texts: what truncation cuts is unread for another reason
    unknown = encoded.ids == tokenizer.unk_token_id
    special = np.isin(encoded.ids, np.array(tokenizer.all_special_ids)) & ~unknown
    rows = np.repeat(np.arange(len(encoded)), encoded.lengths)
    return np.bincount(rows[unknown], minlength=len(encoded)), np.bincount(rows[~special], minlength=len(encoded))
