"""How much of the test texts the base model's vocabulary cannot read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit import tilting
from trustbase.audit.context import AuditContext
from trustbase.audit.stats import Interval, bounded_mean_bounds, enclosing, normal_quantile
from trustbase.records import Finding

WARN_ABOVE = 0.05
_ID = "quality.unknown_tokens"
_UNSEEN = "Hanley & Lippman-Hand (1983), JAMA 249, for a count of zero"
_SOURCE = "Cochran (1977), Sampling Techniques, section 2.11 (ratio estimator); " + tilting.SOURCE


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
    unknown, tokens = _counts(tokenizer, context.test.texts)
    interval = share_of(unknown, tokens, confidence=context.confidence)
    if interval.value > WARN_ABOVE:
        text = f"{interval.value:.1%} of the tokens of the test texts are unknown to the base model: it cannot read them well"
        context.emit("warning", text=text, finding=_ID)
    return interval.finding(_ID, direction="lower", confidence=context.confidence, unit="share")


def _counts(tokenizer: Any, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Unknown tokens and all tokens of each whole text, special tokens left out, each `(rows,)`."""
    from trustbase.model.tokenizer import encode

    encoded = encode(tokenizer, texts, max_length=2**40)  # whole texts: what truncation cuts is unread for another reason
    unknown = encoded.ids == tokenizer.unk_token_id
    special = np.isin(encoded.ids, np.array(tokenizer.all_special_ids)) & ~unknown
    rows = np.repeat(np.arange(len(encoded)), encoded.lengths)
    return np.bincount(rows[unknown], minlength=len(encoded)), np.bincount(rows[~special], minlength=len(encoded))


def share_of(part: NDArray[np.integer], whole: NDArray[np.integer], *, confidence: float = 0.95) -> Interval:
    """Sum of `part` over sum of `whole`, rows being drawn (tokens of one text are not independent).

    Args:
        part: unknown tokens of each text `(rows,)`.
        whole: tokens of each text `(rows,)`.

    Raises:
        ValueError: there are no tokens.
    """
    rows, total = len(whole), float(whole.sum())
    if rows == 0 or total == 0:
        raise ValueError("the test texts have no tokens")
    value = float(part.sum()) / total
    if not 0 < value < 1:
        edge = 1 - (1 - confidence) ** (1 / rows)  # share of texts that could still differ and not have shown up
        return enclosing(max(0.0, value - edge), value, min(1.0, value + edge), "ratio over texts, none differs", _UNSEEN, rows)
    moves = (part - value * whole) * rows / total  # of the share, by each text
    low, high = bounded_mean_bounds(moves, moves.min(), moves.max(), normal_quantile(confidence))
    return enclosing(max(0.0, value + float(low)), value, min(1.0, value + float(high)), "ratio over texts, tilted sample", _SOURCE, rows)
