"""A model that a person can read, learned from the model's own answers: how often it answers the same, and what it says.

Source: Craven & Shavlik (1996), Extracting tree-structured representations of trained networks, NIPS 8 (fidelity); Frank & Witten (1998),
ICML (the rule list); Breiman, Friedman, Olshen & Stone (1984) (the tree).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.findings import share_finding
from trustbase.audit.explain.surrogate_told import told_rules, told_tree
from trustbase.audit.measured import sampled_rows
from trustbase.data.cells import Reading, inputs_of
from trustbase.data.columns import Kind, kind_of_column
from trustbase.model.plain.options import RulesOptions, TreeOptions
from trustbase.model.plain.readers import Reader, Words, all_features, read_all
from trustbase.model.plain.shared import PlainModel
from trustbase.outputs.answers.base import answering, decided
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Finding, Split

_ID = "explanation.surrogate_fidelity"
FORMS = ("tree", "rules")
METRICS = (_ID, *(f"{_ID}#{form}" for form in FORMS))
MOST_ROWS = 4000  # that a surrogate learns from
CHOOSING = 1 / 3  # of the rows that it learns from: on these the form is chosen, before it learns from all of them
LEAST_STANDS = 5  # rows in which a word or a name must stand: what the surrogate says ships as evidence
_SOURCE = "Craven & Shavlik (1996), NIPS 8, section 4 (fidelity)"
_OPTIONS = {
    "tree": TreeOptions(kind="tree", depth=4, least_leaf=LEAST_STANDS, terms=300, least_rows=LEAST_STANDS),
    "rules": RulesOptions(kind="rules", rules=8, conditions=3, least_leaf=LEAST_STANDS, terms=300, least_rows=LEAST_STANDS),
}


def surrogate_findings(context: AuditContext) -> list[Finding]:
    """Fidelity of a shallow tree and a rule list, on rows that they were not learned from; writes `evidence/explanation.surrogate.json`."""
    learning, measuring = _parts(context)
    how: dict[str, Any] = {"direction": "higher", "unit": "share", "confidence": context.confidence}
    least = context.minimum_cell
    if min(len(learning), len(measuring)) < least:
        reason = f"{len(learning)} rows to learn from and {len(measuring)} to measure on, and {least} of each are the least"
        return [Finding.without_value(id, "insufficient", reason, n=len(measuring), **how) for id in METRICS]
    answers = np.asarray(learning.labels)
    if len(np.unique(answers)) < 2:
        reason = "the model gives all rows that a surrogate would learn from one answer"
        return [Finding.without_value(id, "insufficient", reason, n=len(measuring), **how) for id in METRICS]
    inner = round(len(learning) * (1 - CHOOSING))
    trial = {form: _learned(form, _rows(learning, np.arange(inner)), context) for form in FORMS}
    choosing = _rows(learning, np.arange(inner, len(learning)))
    agreed = {form: float((each.answers(choosing) == choosing.labels).mean()) for form, each in trial.items()}
    chosen = max(FORMS, key=lambda form: agreed[form])
    final = {form: _learned(form, learning, context) for form in FORMS}
    hits = {form: int((each.answers(measuring) == measuring.labels).sum()) for form, each in final.items()}
    context.evidence.write("explanation.surrogate", _evidence(context, chosen, learning, measuring, final))
    said = f"learned from the model's answers on {len(learning)} rows of the {learning.name} part, and held against them on others"

    def finding(id: str, form: str, said: str) -> Finding:
        return share_finding(context, id, hits[form], len(measuring), direction="higher", said=said, source=_SOURCE)

    names = {"tree": "decision tree", "rules": "rule list"}
    head = finding(_ID, chosen, f"{names[chosen]}, the better of two on rows that it learned from; {said}")
    return [head, *(finding(f"{_ID}#{form}", form, f"{names[form]}; {said}") for form in FORMS)]


class _Surrogate:
    """What was learned, and how it reads rows."""

    def __init__(self, form: str, model: PlainModel, readers: tuple[Reader, ...], columns: tuple[str, ...]) -> None:
        self.form, self.model, self.readers, self._columns = form, model, readers, columns

    def answers(self, rows: Split) -> NDArray[np.int64]:
        return np.asarray(self.model.logits(_matrix(self.readers, rows, self._columns)).argmax(axis=1), dtype=np.int64)

    def told(self, labels: Sequence[str]) -> Any:
        return told_tree(self.model, self.readers, labels) if self.form == "tree" else told_rules(self.model, self.readers, labels)


def _matrix(readers: tuple[Reader, ...], rows: Split, columns: Sequence[str]) -> Any:
    cells = {name: [cell or "" for cell in rows.table[name].to_pylist()] for name in columns}
    return read_all(readers, "flags", rows.texts, cells)


def _learned(form: str, rows: Split, context: AuditContext) -> _Surrogate:
    from trustbase.recipe.lookup import PLAIN_MODELS
    from trustbase.train.plain.learned import Material
    from trustbase.train.plain.readers import Wanted, choose_readers

    columns, options = _columns(rows, context), _OPTIONS[form]
    readers = choose_readers(rows, columns, Wanted("flags", options.terms, options.least_rows))
    matrix = _matrix(readers, rows, tuple(columns))
    codes = np.zeros(len(all_features(readers, "flags")), dtype=bool)
    alone = all(isinstance(reader, Words) for reader in readers)
    material = Material(matrix, rows.labels, len(context.labels.names), alone, codes)
    state = seeds.stream_seed(context.seed, "explanation", "surrogate", form) % 2**31
    return _Surrogate(form, PLAIN_MODELS[form].learner()(material, options, state=state).model, readers, tuple(columns))


def _columns(rows: Split, context: AuditContext) -> Mapping[str, Kind]:
    """The columns of a template, and those that are read beside a text; none where a text is all that is read."""
    assert context.artifact is not None
    reading = Reading.of(context.artifact)
    names = [name for name in reading.needed if name in rows.table.column_names]
    if not reading.columns and (reading.template.plain or len(names) < 2 or reading.template.sides or reading.template.entities):
        return {}
    found = {name: kind_of_column(rows.table[name].to_pylist()) for name in names}
    return {name: kind for name, kind in found.items() if any(rows.table[name].to_pylist())}


def _parts(context: AuditContext) -> tuple[Split, Split]:
    """Rows to learn from and rows to measure on, with the model's answers as their labels: training rows, or half of the test rows."""
    predicted = np.asarray(context.answers.predicted)
    order = sampled_rows(context, len(context.test), "explanation", "surrogate")
    if context.train is not None and len(context.train) >= len(context.test) // 2:
        learning = _answered(context, context.train)
        return learning, _rows(replace(context.test, labels=predicted), order)
    half = replace(context.test, labels=predicted)
    return _rows(half, order[: len(order) // 2][:MOST_ROWS]), _rows(half, order[len(order) // 2 :])


def _answered(context: AuditContext, train: Split) -> Split:
    """Training rows with the model's answers as their labels."""
    assert context.askers is not None and context.artifact is not None
    info = context.artifact
    drawn = sampled_rows(replace(context, test=train), MOST_ROWS, "explanation", "surrogate", one_each=False)
    rows = _rows(train, drawn)
    question = ANSWER_KINDS[info.answer_kind].question
    values = context.askers.ask(question, inputs_of(rows, info.columns), what="asking about training rows", emit=context.emit)
    scores = answering(info.answer_kind).together(values, info.labels)
    return replace(rows, labels=decided(scores, info.labels, info.decision, info.answer_kind))


def _rows(split: Split, places: NDArray[np.int64]) -> Split:
    """Some rows of a split, in this order."""
    texts, numbers = [split.texts[place] for place in places.tolist()], split.row_numbers[places]
    kept = {"labels": split.labels[places], "table": split.table.take(places), "row_numbers": numbers}
    return replace(split, texts=texts, groups={}, entities=None, **kept)


def _evidence(context: AuditContext, chosen: str, learning: Split, measuring: Split, final: Mapping[str, _Surrogate]) -> dict[str, Any]:
    names = context.labels.names
    counts = np.bincount(np.asarray(measuring.labels), minlength=len(names))
    return {
        "chosen": chosen,
        "learned_on": {"part": learning.name, "rows": len(learning)},
        "measured_on": len(measuring),
        "constant": float(counts.max() / len(measuring)),
        "tree": final["tree"].told(names),
        "rules": final["rules"].told(names),
    }
