"""The rows of `trustbase audit`: read as the model reads them, with the labels that it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trustbase.data.marked import three_columns
from trustbase.data.pair import sides
from trustbase.errors import Problem, UsageError
from trustbase.events import Emit
from trustbase.recipe.lookup import TASKS
from trustbase.records import ArtifactInfo, LabelSchema, Split


@dataclass(frozen=True, eq=False)
class Rows:
    """The splits of an audit: `test`, and `train` where training rows were given."""

    splits: Mapping[str, Split]
    labels: LabelSchema


@dataclass(frozen=True)
class Named:
    """What a call names of rows.

    Attributes:
        data: the file that is audited on.
        text: column or template; None where the model knows its own.
        label: column of the true label.
        groups: columns to audit by.
        train: training rows with the same columns.
        positive: the positive label, where the call names one.
        favourable: the label that counts as selected, where the call names one.
        entity: column of whom a row is about.
    """

    data: str
    text: str | None
    label: str
    groups: Sequence[str] = ()
    train: str | None = None
    positive: str | None = None
    favourable: str | None = None
    entity: str | None = None


def read_rows(info: ArtifactInfo, named: Named, emit: Emit) -> Rows:
    """Rows as a model reads them.

    Raises:
        UsageError: what is named does not go with the model.
        DataError: rows that cannot be used; every one of them.
    """
    from trustbase.data.options import FeatureOptions
    from trustbase.data.single import load_single

    text, labels = _text_of(info, named.text), _labels(info, named.positive, named.favourable)
    features = FeatureOptions.model_validate(info.features)
    how: dict[str, Any] = {"answers": info.answer_kind, "features": features, "numbers": info.numbers, "emit": emit}
    how |= {"text": text, "label": named.label, "labels": labels}
    splits = {"test": load_single(named.data, groups=named.groups, name="test", entity=named.entity, **how)[0]}
    if named.train is not None:
        splits["train"] = load_single(named.train, name="train", **how)[0]
    return Rows(splits, labels)


def _text_of(info: ArtifactInfo, text: str | None) -> str:
    """What of a row the model reads: the text that is named, or its own.

    Raises:
        UsageError: neither says it, or what is named is not of the form that the model reads.
    """
    shown = text if text is not None else info.text
    another = text is not None and text != info.text
    reads = TASKS[info.task].reads if info.task in TASKS else "text"
    sure = Problem("--text", "", "leave --text out")
    problem = None
    if shown is None:
        problem = Problem("--text", "this model does not say what it reads: name the text column, or a template over columns")
    elif info.columns and another:
        problem = replace(sure, message=f"this model reads columns of its own: {', '.join(info.columns)}")
    elif three_columns(info.text or "") is not None and another:
        problem = replace(sure, message="this model reads a text and two entities in it, by columns of its own")
    elif reads == "text" and 2 in (_texts(info.task), len(sides(info.text or ""))) and len(sides(shown)) == 1:
        problem = Problem("--text", "this model reads two texts, and one is named", "add --text-pair, or leave both out: it knows its own")
    elif reads != "text" and text is not None and info.text is not None and len(sides(shown)) != len(sides(info.text)):
        problem = replace(sure, message=f"a model of task {info.task} reads several texts, and knows their columns")
    if problem is not None:
        raise UsageError("this audit cannot start", problems=[problem])
    return str(shown)


def entity_of(named: str | None, model: str, data: str, emit: Emit) -> str | None:
    """The column of whom a row is about: the one that is named, or that of the model's own recipe where the file has it."""
    from trustbase.bundle.subject import own_columns
    from trustbase.data.source import read_columns

    own = own_columns(model) if named is None else None
    if own is None or own.entity is None:
        return named
    if own.entity in read_columns(data, root=Path()):
        return own.entity
    text = f"the recipe divided its rows by '{own.entity}', and this file has no such column: intervals take its rows as independent"
    emit("warning", text=text)
    return None


def _texts(task: str) -> int:
    """How many texts a model of this task reads together."""
    return TASKS[task].texts if task in TASKS else 1


def _labels(info: ArtifactInfo, positive: str | None, favourable: str | None) -> LabelSchema:
    """The model's labels, with the words of this call about which of them is positive and which favourable."""
    labels = info.labels
    known = ", ".join(labels.names)
    named = (("--positive", positive), ("--favourable", favourable))
    if info.answer_kind != "classes" and (positive or favourable):
        problems = [Problem(option, f"is of one label among several, and task {info.task} has none") for option, name in named if name]
        raise UsageError("the labels are not what this call says", problems=problems)
    problems = [
        Problem(option, f"'{name}' is no label of the model", f"labels: {known}")
        for option, name in named
        if name is not None and name not in labels.names
    ]
    if problems:
        raise UsageError("the labels are not what this call says", problems=problems)
    if positive is not None:
        labels = replace(labels, positive=positive, positive_assumed=False)
        if labels.favourable_assumed:
            labels = replace(labels, favourable=positive)
    return labels if favourable is None else replace(labels, favourable=favourable, favourable_assumed=False)
