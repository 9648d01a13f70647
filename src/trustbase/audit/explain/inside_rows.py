"""Whether explanations from inside the model are true of what ships, and agree with those that ask it.

Gradients are taken of the torch weights, all rows together; what the score loses without the units that they name is asked of the artefact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from trustbase.audit.context import AuditContext
from trustbase.audit.explain.agreement import ZEROED, rank_correlation
from trustbase.audit.explain.faithful import faithfulness
from trustbase.audit.explain.findings import mean_finding
from trustbase.audit.explain.local import Attribution, shapley_values
from trustbase.audit.explain.one_row import ready
from trustbase.audit.explain.subject import Item, items_of, target_of, units_of
from trustbase.audit.explain.tokens import places_of
from trustbase.audit.explain.whitebox import SOURCES, Subject, explained_inside
from trustbase.audit.guard import attempt, failed
from trustbase.data.cells import Reading
from trustbase.errors import ModelError, UsageError
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Finding

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

METHODS = ("integrated_gradients", "attention_relevance")
_NAMES = ("comprehensiveness", "method_agreement")
METRICS = tuple(f"explanation.{name}#{method}" for name in _NAMES for method in METHODS)
_STEPS, _MOST_STEPS = 20, 160  # of Integrated Gradients: as many as their sum needs (`whitebox.ENOUGH`)
_OF = {
    "comprehensiveness": "DeYoung et al. (2020), ERASER, ACL, section 4",
    "method_agreement": "Krishna et al. (2022), arXiv 2202.01602, section 3 (rank correlation)",
}


def inside_findings(context: AuditContext) -> list[Finding]:
    """Comprehensiveness of both methods, and how they rank units beside Shapley values; writes `evidence/explanation.inside.json`."""
    from trustbase.audit.explain.inside import no_inside

    assert context.predictor is not None and context.askers is not None
    if why_not := no_inside(context.predictor.info):
        return [_impossible(context, id, f"nothing inside of this model is followed: {why_not}") for id in METRICS]
    items = items_of(context, context.options.explanation.texts)
    subjects = _subjects(context, items)
    found: list[Finding] = []
    evidence: dict[str, Any] = {}
    for method in METHODS:
        ids = [f"explanation.{name}#{method}" for name in _NAMES]
        made = attempt(context, ids[0], partial(_by_method, context, items, subjects, method))
        if isinstance(made, str):  # the other method may still be measured
            found += [failed(context, id, "higher", made) for id in ids]
            continue
        found += made[0]
        evidence |= made[1]
    context.evidence.write("explanation.inside", evidence)
    return found


def _by_method(
    context: AuditContext, items: Sequence[Item], subjects: Sequence[Subject], method: str
) -> tuple[list[Finding], dict[str, Any]]:
    """The findings of one method, and its evidence; `not_applicable` ones, and none, where it is no method for this model."""
    assert context.predictor is not None
    try:
        told, note = explained_inside(context.predictor, subjects, method, steps=_STEPS, most=_MOST_STEPS)
    except (UsageError, ModelError) as error:  # no weights to lend, or no way back through them
        return [_impossible(context, f"explanation.{name}#{method}", str(error)) for name in _NAMES], {}
    return _findings(context, method, note, _held(context, items, told)), {method: _summary(told)}


def _subjects(context: AuditContext, items: Sequence[Item]) -> list[Subject]:
    """The rows as what is explained: where their units stand, and whose score."""
    assert context.predictor is not None and context.askers is not None
    info = context.predictor.info
    reading = Reading.of(info)
    scores = context.askers.ask(ANSWER_KINDS[info.answer_kind].question, [item["text"] for item in items], what="asking rows to explain")
    subjects = []
    for item, score in zip(items, scores, strict=True):
        places = places_of(units_of(reading, item["text"], item["row"]), reading, item["row"])
        subjects.append(Subject(item["text"], places, target_of(np.array(score, dtype=np.float64), info)))
    return subjects


def _held(context: AuditContext, items: Sequence[Item], told: Sequence[Attribution | str]) -> list[Mapping[str, float | None]]:
    """What the artefact says to the weights of each row that was explained."""
    assert context.askers is not None
    asked = [
        {**item, "weights": found.weights.tolist()}
        for item, found in zip(items, told, strict=True)
        if isinstance(found, Attribution) and len(found.weights)
    ]
    budget = {"evaluations": context.options.explanation.evaluations}
    what = "holding white-box explanations against the model"
    rows = context.askers.run(held, asked, budget, what=what, emit=context.emit, cost=lambda item: len(item["text"]))
    return [row for row in rows if row is not None]


def held(predictor: Predictor, *, evaluations: int) -> Callable[[Mapping[str, Any]], Awaitable[dict[str, float | None] | None]]:
    """The asker that holds weights of an item's units against the model: what the score loses, and how Shapley values rank the units.

    Args:
        predictor: is asked.
        evaluations: most inputs of Shapley values.
    """

    async def hold(item: Mapping[str, Any]) -> dict[str, float | None] | None:
        row = await ready(predictor, item)
        if row is None:
            return None
        weights = np.sign(row.game.factor) * np.array(item["weights"])  # of a number in the direction in which the input moves it
        told = await faithfulness(row.game, weights, row.target)
        values, _, _ = await shapley_values(row.game, evaluations=evaluations)
        return {**told, "agreement": rank_correlation(values.values[:, row.target], weights)}

    return hold


def _findings(context: AuditContext, method: str, note: str, rows: Sequence[Mapping[str, float | None]]) -> list[Finding]:
    named = method.replace("_", " ")
    needed = [value for row in rows if (value := row["comprehensiveness"]) is not None]
    agreed = [value for row in rows if (value := row["agreement"]) is not None]
    said = f"rank correlation of {named} with Shapley values; {ZEROED}; {note}"
    how: dict[str, Any] = {"direction": "higher"}
    return [
        mean_finding(
            context,
            f"explanation.comprehensiveness#{method}",
            needed,
            said=f"by {named}; {note}; what the score loses is asked of what ships",
            source=f"{_OF['comprehensiveness']}; {SOURCES[method]}",
            **how,
        ),
        mean_finding(
            context,
            f"explanation.method_agreement#{method}",
            agreed,
            said=said,
            source=f"{_OF['method_agreement']}; {SOURCES[method]}",
            bounded=True,
            **how,
        ),
    ]


def _summary(told: Sequence[Attribution | str]) -> dict[str, Any]:
    """How many rows were followed, and how far their sums miss, relative to all that they give; no text."""
    found = [each for each in told if isinstance(each, Attribution)]
    missed = [
        abs(error) / max(float(np.abs(each.weights).sum()), 1e-12) for each in found if (error := each.details.get("sum_error")) is not None
    ]
    return {
        "drawn": len(told),
        "followed": len(found),
        "not_followed": dict(Counter(each for each in told if isinstance(each, str))),
        "gradients": sum(each.asked for each in found),
        "sum_missed": {"mean": float(np.mean(missed)), "most": float(np.max(missed))} if missed else None,
    }


def _impossible(context: AuditContext, id: str, reason: str) -> Finding:
    return Finding.without_value(id, "not_applicable", reason, direction="higher", confidence=context.confidence)
