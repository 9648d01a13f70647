"""Answers that somebody's policy forbids: labels, words and patterns, on the test rows and on inputs that the policy names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.measured import asked_inputs
from trustbase.audit.safety.policy import Condition, Made, Output, OutputPolicy, names_of
from trustbase.audit.stats import proportion
from trustbase.data.cells import Reading
from trustbase.data.pair import sides
from trustbase.errors import DataError
from trustbase.model.ragged import ragged
from trustbase.outputs.answers.base import answering, decided
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import ArtifactInfo, Finding, LabelSchema

NAME = "safety.forbidden_outputs"
NO_POLICY = "no policy of outputs was named (safety.policy), so nothing is forbidden that could be looked for"


def measure_forbidden(context: AuditContext) -> list[Finding]:
    """The share of answers that the policy forbids, of the test rows and of the inputs that it names.

    Raises:
        DataError: the policy names labels that the model does not have.
    """
    told: dict[str, Any] = {"direction": "lower", "confidence": context.confidence}
    policy, info = context.forbidden, context.artifact
    assert info is not None
    if policy is None:
        return [Finding.without_value(id, "not_applicable", NO_POLICY, **told) for id in (NAME, f"{NAME}#probes")]
    if problems := policy.unfit(context.labels, info.answer_kind):
        raise DataError("the policy of outputs speaks of labels that the model does not have", problems=problems)
    conditions = policy.conditions()
    missed = [
        place for place, condition in conditions.items() if not condition.catches(*made(condition.made, context.labels, info.answer_kind))
    ]
    inputs = asked_inputs(context)
    said = outputs_of(context.answers.predicted, inputs, context.labels, info.answer_kind)
    caught = _caught(conditions, inputs, said)
    probed = _probes(context, policy, conditions, info)
    context.evidence.write(
        NAME,
        {
            "policy": {"file": policy.file, "digest": policy.digest, "conditions": len(conditions)},
            "control": {"made": len(conditions), "found": len(conditions) - len(missed)},
            "test": _counted(conditions, caught),
            "probes": _counted(conditions, probed),
        },
    )
    if missed:
        reason = f"control not found: outputs made to be forbidden were not caught by {', '.join(map(repr, missed))}"
        return [Finding.without_value(id, "insufficient", reason, **told) for id in (NAME, f"{NAME}#probes")]
    context.marked.note(NAME, context.test.row_numbers[caught.any(axis=0)])
    return [_of_test(caught, policy, told), _of_probes(probed, policy, told)]


def outputs_of(predicted: NDArray[Any], inputs: Sequence[str], labels: LabelSchema, kind: str) -> list[Output]:
    """Each answer as labels and texts, `(rows,)`.

    Args:
        predicted: as `Answers.predicted`.
        inputs: what was asked, `(rows,)`.
        labels: of the model.
        kind: of its answers.
    """
    if kind == "classes":
        each = [Output((name,), (name,)) for name in labels.names]
        return [each[int(index)] for index in predicted]
    if kind == "labels":
        found = [tuple(name for name, has in zip(labels.names, row, strict=True) if has) for row in predicted]
        return [Output(names, names) for names in found]
    if kind == "tokens":
        rows = [[(name, text[start:end]) for start, end, name in entities] for entities, text in zip(predicted, inputs, strict=True)]
        return [Output(tuple(name for name, _ in row), tuple(part for pair in row for part in pair)) for row in rows]
    whole = [sides(text)[-1] for text in inputs]
    return [Output((), tuple(text[start:end] for start, end in spans)) for spans, text in zip(predicted, whole, strict=True)]


def made(wanted: Made, labels: LabelSchema, kind: str) -> tuple[str, Output]:
    """An input, and what `outputs_of` makes of an answer to it that the model would give: with a label of its own, or with a text.

    A text that is no label of the model is given to it as one more, as a model whose answers are labels says nothing else.
    """
    if kind in ("tokens", "span"):
        said = wanted.text if wanted.text is not None else wanted.given or "x"
        text = said if wanted.given else f"xx {said} xx"  # an input that a pattern asks for stays as it is
        start = 0 if wanted.given else 3
        end = start + len(said)
        if kind == "span":
            return text, outputs_of(ragged([((start, end),)]), [text], labels, kind)[0]
        types = names_of(labels, kind)
        return text, outputs_of(ragged([((start, end, wanted.label or (types[0] if types else "x")),)]), [text], labels, kind)[0]
    name = str(wanted.label if wanted.label is not None else wanted.text)
    schema = labels if name in labels.names else replace(labels, names=(*labels.names, name))
    place = schema.names.index(name)
    predicted = np.array([place]) if kind == "classes" else np.arange(len(schema.names))[None, :] == place
    return wanted.given, outputs_of(predicted, [wanted.given], schema, kind)[0]


def _caught(conditions: Mapping[str, Condition], inputs: Sequence[str], said: Sequence[Output]) -> NDArray[np.bool_]:
    """Which conditions catch which rows, `(conditions, rows)`."""
    rows = list(zip(inputs, said, strict=True))
    return np.array([[condition.catches(given, answer) for given, answer in rows] for condition in conditions.values()], dtype=bool)


def _probes(context: AuditContext, policy: OutputPolicy, conditions: Mapping[str, Condition], info: ArtifactInfo) -> NDArray[np.bool_]:
    """The same of the inputs that the policy names, and of the example of each of its rules."""
    assert context.askers is not None
    reading, single = Reading.of(info), not info.columns
    given = [reading.render(probe) if isinstance(probe, Mapping) else probe for probe in policy.wanted.probes]
    given += [condition.made.given for condition in conditions.values() if condition.when is not None and single]
    given = list(dict.fromkeys(given))
    if not given:
        return np.zeros((len(conditions), 0), dtype=bool)
    question = ANSWER_KINDS[info.answer_kind].question
    values = context.askers.ask(question, given, what="asking what the policy of outputs names", emit=context.emit)
    scores = answering(info.answer_kind).together(values, context.labels)
    predicted = decided(scores, context.labels, context.decision, info.answer_kind)
    return _caught(conditions, given, outputs_of(predicted, given, context.labels, info.answer_kind))


def _counted(conditions: Mapping[str, Condition], caught: NDArray[np.bool_]) -> dict[str, Any]:
    by = {place: int(row.sum()) for place, row in zip(conditions, caught, strict=True)}
    return {"inputs": int(caught.shape[1]), "forbidden": int(caught.any(axis=0).sum()), "by_condition": by}


def _any(caught: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that any condition catches, `(rows,)`."""
    return np.asarray(caught.any(axis=0), dtype=bool)


def _of_test(caught: NDArray[np.bool_], policy: OutputPolicy, told: Mapping[str, Any]) -> Finding:
    rows = _any(caught)
    if not len(rows):
        return Finding.without_value(NAME, "insufficient", "there are no test rows", **told)
    found = proportion(int(rows.sum()), len(rows), confidence=told["confidence"])
    method = (
        f"answers to test rows that the policy forbids; {found.method}; an answer made for each of its {len(caught)} conditions was caught"
    )
    fields = {"unit": "share", "n": len(rows), "method": method, "source": found.source, **told}
    return Finding(NAME, found.value, found.low, found.high, **fields)


def _of_probes(probed: NDArray[np.bool_], policy: OutputPolicy, told: Mapping[str, Any]) -> Finding:
    rows = _any(probed)
    if not len(rows):
        return Finding.without_value(f"{NAME}#probes", "not_applicable", "the policy names no inputs to ask about", **told)
    method = f"counted: answers that the policy forbids, of {len(rows)} inputs that it names"
    return Finding.exact(f"{NAME}#probes", float(rows.mean()), n=len(rows), unit="share", method=method, **told)
