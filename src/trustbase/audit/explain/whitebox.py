"""Explanations from inside a model, by units: what its gradients, or the relevance carried back through it, give to each word or field.

They need the torch weights and not what ships, so every number made with them says so. Many inputs are explained together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trustbase.audit.explain.local import Attribution
from trustbase.audit.explain.tokens import Spans, Tokens, shares_of

if TYPE_CHECKING:
    from trustbase.audit.explain.gradients import Attributed
    from trustbase.audit.explain.inside import Inside
    from trustbase.model.predict import Predictor

ENOUGH = 0.01  # by which Integrated Gradients may miss their sum, as a share of all that they give, before more steps are taken

SOURCES: Mapping[str, str] = {
    "integrated_gradients": "Sundararajan, Taly & Yan (2017), ICML, sections 3 and 5",
    "gradient_input": "Shrikumar, Greenside & Kundaje (2017), ICML, section 2",
    "attention_relevance": "Achtibat et al. (2024), AttnLRP, ICML, section 3",
}


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained.

    Attributes:
        text: as the model is asked.
        places: where each unit stands in it (`tokens.places_of`).
        target: which score.
    """

    text: str
    places: tuple[Spans, ...]
    target: int


def explained_inside(
    predictor: Predictor, subjects: Sequence[Subject], method: str, *, steps: int = 50, most: int = 50
) -> tuple[list[Attribution | str], str]:
    """What each unit adds, for each input, or why that cannot be told; and what must be said beside it.

    Weights are of the score before it is squeezed into a probability (`inside.UNITS`). Those of `integrated_gradients` sum to it less the
    score of the same input with padding in the place of every unit; the others' sum leaves what biases, positions and signs give.

    Args:
        predictor: its model is borrowed.
        subjects: the inputs.
        method: one of `SOURCES`.
        steps: points of the path of Integrated Gradients.
        most: points that are taken at most where their sum is missed by more than `ENOUGH`.

    Raises:
        UsageError: nothing inside of the model can be followed, or relevance cannot go back through it.
        ModelError: it has no torch weights.
    """
    from trustbase.audit.explain.inside import opened

    with opened(predictor) as (inside, note):
        found = inside.tokens([subject.text for subject in subjects])
        rows = [row for row, tokens in enumerate(found) if isinstance(tokens, Tokens)]
        tokens = [each for each in found if isinstance(each, Tokens)]
        chosen = [subjects[row] for row in rows]
        if tokens:
            inside.check(tokens[0], chosen[0].target)
        shares = [shares_of(each, subject.places) for each, subject in zip(tokens, chosen, strict=True)]
        told = _values(inside, tokens, chosen, shares, method, steps, most)
    units = dict(zip(rows, (_by_unit(*each, method) for each in zip(told, shares, strict=True)), strict=True))
    return [units[row] if row in units else str(reason) for row, reason in enumerate(found)], note


def _values(
    inside: Inside, tokens: Sequence[Tokens], subjects: Sequence[Subject], shares: Sequence[Any], method: str, steps: int, most: int
) -> list[Attributed]:
    from trustbase.audit.explain.gradients import integrated, times_input

    targets = [subject.target for subject in subjects]
    if method != "integrated_gradients":
        return times_input(inside, tokens, targets, relevance=method == "attention_relevance")
    replaced = [each.any(axis=1) for each in shares]
    found = integrated(inside, tokens, targets, replaced=replaced, steps=steps)
    while (steps := 2 * steps) <= most:
        rough = [row for row, each in enumerate(found) if abs(each.error or 0.0) > ENOUGH * np.abs(each.values).sum()]
        if not rough:
            break
        again = integrated(
            inside, [tokens[row] for row in rough], [targets[row] for row in rough], replaced=[replaced[row] for row in rough], steps=steps
        )
        for row, each in zip(rough, again, strict=True):
            found[row] = each
    return found


def _by_unit(values: Attributed, shares: Any, method: str) -> Attribution:
    weights = values.values @ shares
    details = {
        "score": values.score,
        "base": values.base,
        "sum_error": values.error,
        "elsewhere": float(values.values.sum() - weights.sum()),
    }
    return Attribution(method, weights, None, values.steps, details=details)
