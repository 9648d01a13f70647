"""Explanations from inside a model, by units: what its gradients, or the relevance carried back through it, give to each word or field.

They need the torch weights and not what ships, so every number made with them says so. Many inputs are explained together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trustbase.audit.explain.local import Attribution
from trustbase.audit.explain.tokens import Spans, Tokens, places_of, shares_of
from trustbase.audit.explain.units import Units
from trustbase.data.cells import Reading
from trustbase.errors import UsageError

if TYPE_CHECKING:
    from trustbase.audit.explain.gradients import Attributed
    from trustbase.audit.explain.inside import Inside
    from trustbase.model.predict import Predictor

STEPS = 50  # of Integrated Gradients, before it is seen whether they are enough
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
    predictor: Predictor, subjects: Sequence[Subject], method: str, *, steps: int = STEPS, most: int = STEPS
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


def one_inside(
    predictor: Predictor, asked: str, units: Units, row: Mapping[str, Any], target: int, method: str, samples: int
) -> tuple[Attribution, dict[str, Any]]:
    """What a white-box method gives to each unit of one input, and what is told of it.

    Args:
        predictor: its model is borrowed.
        asked: the input.
        units: of it.
        row: its cells by column.
        target: which score.
        method: one of `SOURCES`.
        samples: points that Integrated Gradients take at most.

    Raises:
        UsageError: this input cannot be explained so.
        ModelError: the model has no torch weights.
    """
    from trustbase.audit.explain.inside import UNITS

    subject = Subject(asked, places_of(units, Reading.of(predictor.info), row), target)
    (found,), note = explained_inside(predictor, [subject], method, steps=min(STEPS, samples), most=samples)
    if isinstance(found, str):
        raise UsageError(f"this input cannot be explained by {method}: {found}", hint="shapley and lime explain it")
    return found, {"white_box": note, "of": UNITS[predictor.info.answer_kind], **found.details}


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
