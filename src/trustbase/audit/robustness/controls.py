"""Cases that an attack must find; where it does not, its silence says nothing.

A success that is planted among the candidates of every row must be found by the same search with the same budget, on a model that is made
for it: that shows which candidates the budget reaches, and nothing of the artefact. And texts of another label, put beside a row, must
turn some of the artefact's own answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from trustbase.audit.context import AuditContext
from trustbase.audit.robustness.attack import Broken, Margins, Target, left_out, search, without
from trustbase.audit.robustness.targets import Rows
from trustbase.data import marked
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.model.faces import run_askers
from trustbase.outputs.answers.base import decided

FOUND = 0.9  # of the planted successes
TURNED = 0.1  # of the rows beside which a text of another label is put
_BESIDE = 50  # rows of that control


def controls(context: AuditContext, rows: Rows, targets: Sequence[Target], budget: int) -> tuple[dict[str, Any], str]:
    """Both controls for the evidence, and why the attack cannot be believed; "" where it can."""
    hits = run_askers([planted(target, budget) for target in targets], at_once=500)
    found = sum(hits) / len(hits)
    told: dict[str, Any] = {"planted": {"n": len(hits), "found": found, "needed": FOUND}}
    if found < FOUND:
        missed = f"of successes planted among the candidates, the search found {found:.0%} with {budget} inputs a row"
        return told, f"control not found: {missed}"
    counted = turned(context, rows)
    if counted is None:
        return told, "no control can be made: all rows that are answered rightly have the same label"
    told["beside"] = {"n": counted[1], "turned": counted[0] / counted[1], "needed": TURNED}
    if counted[0] < TURNED * counted[1]:
        return told, f"control not found: a text of another label beside a row turned {counted[0]} of {counted[1]} answers"
    return told, ""


async def planted(target: Target, budget: int) -> bool:
    """Whether the search finds the one candidate that turns the answer of a model which is made for it."""
    draw = int.from_bytes(hashlib.sha256(target.text.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    longest = max(map(len, target.options.values()))
    places = sorted(target.options) if target.order is None else list(target.order)[: max(1, budget // longest)]
    place = places[draw % len(places)]
    words = target.options[place]
    secret = target.changed({place: words[(draw >> 20) % len(words)]})
    missed = {without(target, chunk) for chunk in left_out(target, budget) if place in chunk}  # the answer is less sure without this word

    async def judge(texts: Sequence[str]) -> tuple[Margins, Broken]:
        broken = np.array([text == secret for text in texts])
        return np.where(broken, -0.5, np.where([text in missed for text in texts], 0.5, 0.9)), broken

    return (await search(judge, target, 0.9, budget)).changes is not None


def turned(context: AuditContext, rows: Rows) -> tuple[int, int] | None:
    """Of rows beside which a text of another label is put, how many are answered otherwise, and how many there are."""
    right = np.flatnonzero(rows.right).tolist()
    pairs = [(row, other) for row in right if (other := next((o for o in right if rows.truth[o] != rows.truth[row]), None)) is not None]
    pairs = pairs[:_BESIDE]
    if not pairs or context.askers is None:
        return None
    texts = [text for row, other in pairs for text in beside(rows.texts[row], rows.texts[other])]
    scores = np.stack(context.askers.ask("class_scores", texts, what="asking controls of the attack", emit=context.emit))
    answers = decided(scores, context.labels, context.decision, "classes").reshape(len(pairs), -1)
    truth = rows.truth[[row for row, _ in pairs]]
    return int((answers != truth[:, None]).any(axis=1).sum()), len(pairs)


def beside(text: str, other: str) -> tuple[str, str]:
    """A text with another one before it, and behind it; the cells that are asked with it stay."""
    body, *cells = text.split(CELL)
    words = other.split(CELL)[0].replace(SEPARATOR, " ")
    for sign in (marked.HEAD, marked.TAIL, marked.TYPED):
        words = words.replace(sign, "")
    return CELL.join((f"{words} {body}", *cells)), CELL.join((f"{body} {words}", *cells))
