"""What the report shows of explanations: words or fields that matter for each class, a readable stand-in, smallest edits, and some rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from trustbase.report import charts
from trustbase.report.formats import interval, show, tick
from trustbase.report.highlighted import Pieces, pieces_of
from trustbase.report.material import Material
from trustbase.report.words import Words

Block = dict[str, Any]

_UNITS = 15  # of each class that is drawn
_CLASSES = 6
_NEGATED = ("value", "another", "missing", "has", "first_has", "second_has", "both_have", "shared_tenths")  # conditions that may not hold
_LIMITS = ("above", "at_most")  # of numbers


def explanation_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """The blocks of the explanation section."""
    told = material.evidence
    stands = (told.get("explanation.rows") or {}).get("stands") or {}
    blocks = [*global_blocks(told.get("explanation.global"), stands, t), *surrogate_blocks(told.get("explanation.surrogate"), t)]
    return [block for block in (*blocks, _edits(told.get("explanation.counterfactual"), t), _rows(material.explained, t)) if block]


def _rows(rows: Sequence[Mapping[str, Any]], t: Words) -> Block:
    """Some rows with their words marked by what each adds; nothing where none lie in the folder, as in a bundle."""
    drawn = [(t("explanation.row", label=row["label"]), _marked(row)) for row in rows]
    texts = [(label, pieces) for label, pieces in drawn if pieces]
    return {"kind": "said", "title": t("explanation.rows"), "about": t("explanation.rows_about"), "texts": texts} if texts else {}


def _marked(row: Mapping[str, Any]) -> Pieces:
    return pieces_of(row["text"], row["spans"], row["weights"], [None] * len(row["weights"]))


def global_blocks(rows: Any, stands: Mapping[str, int], t: Words) -> list[Block]:
    """A table of bars for each class; of two classes, whose weights are each other's negative, for the last one."""
    if not isinstance(rows, Sequence) or not rows:
        return []
    classes = list(dict.fromkeys(str(row["class"]) for row in rows))
    shown = classes[-1:] if len(classes) == 2 else classes[:_CLASSES]
    return [_of_class(name, [row for row in rows if str(row["class"]) == name][:_UNITS], stands, t) for name in shown]


def _of_class(name: str, rows: Sequence[Mapping[str, Any]], stands: Mapping[str, int], t: Words) -> Block:
    scale = charts.scale_over([value for row in rows for value in (row["low"], row["high"])], include=[0.0])
    table = []
    for row in rows:
        value, spread = show(row["weight"], "other", t), interval(row["low"], row["high"], "other", t)
        n = f"{stands[row['unit']]:,}" if row["unit"] in stands else "–"
        title = t("groups.bar", group=row["unit"], value=value, interval=spread, n=n)
        bar = charts.number_bar(row["weight"], row["low"], row["high"], scale=scale, title=title)
        table.append({"label": row["unit"], "n": n, "cells": [{"value": value, "interval": spread, "bar": bar}]})
    return {
        "kind": "rates",
        "title": t("explanation.global", label=name),
        "about": t("explanation.global_about"),
        "first": t("explanation.unit"),
        "heads": [t("explanation.weight")],
        "rows": table,
        "axis": charts.axis(scale, partial(tick, kind="other", t=t)),
    }


def surrogate_blocks(evidence: Any, t: Words) -> list[Block]:
    """The tree and the rules as lines that can be read, the better one first."""
    if not isinstance(evidence, Mapping) or not evidence:
        return []
    facts = {
        "rows": f"{evidence['learned_on']['rows']:,}",
        "n": f"{evidence['measured_on']:,}",
        "constant": show(evidence["constant"], "percent", t),
    }
    lines = {"tree": list(_tree(evidence["tree"], 0, t)), "rules": list(_rules(evidence["rules"], t))}
    order = sorted(lines, key=lambda form: form != evidence["chosen"])
    return [
        {
            "kind": "written",
            "title": t("explanation.tree") if form == "tree" else t("explanation.rules"),
            "about": t("explanation.stand_in", **facts) if form == order[0] else t("explanation.stand_in_other"),
            "lines": lines[form],
        }
        for form in order
    ]


def _tree(node: Mapping[str, Any], depth: int, t: Words) -> Iterator[str]:
    indent = "    " * depth
    if "if" not in node:
        yield f"{indent}→ {_answer(node, t)}"
        return
    yield f"{indent}{t('explanation.if', held=_held(node['if'], t))}"
    yield from _tree(node["then"], depth + 1, t)
    yield f"{indent}{t('explanation.else')}"
    yield from _tree(node["else"], depth + 1, t)


def _rules(rules: Sequence[Mapping[str, Any]], t: Words) -> Iterator[str]:
    for number, rule in enumerate(rules, 1):
        held = t("explanation.and").join(_held(each, t) for each in rule["if"])
        start = t("explanation.if", held=held) if held else t("explanation.else")
        yield f"{number}. {start} {_answer(rule, t)}"


def _answer(place: Mapping[str, Any], t: Words) -> str:
    if not place["rows"]:
        return str(place["answer"])
    return t("explanation.answer", label=place["answer"], share=show(place["share"], "percent", t), n=f"{place['rows']:,}")


def _held(condition: Mapping[str, Any], t: Words) -> str:
    """A condition in words."""
    kind, column = condition["is"], condition["column"] or t("explanation.text")
    assert kind in (*_NEGATED, *_LIMITS)
    value = condition.get("value", "")
    if kind in _LIMITS:
        return t(f"explanation.condition.{kind}", column=column, value=show(value, "magnitude", t))
    if condition.get("not"):
        return t(f"explanation.not.{kind}", column=column, value=value)
    return t(f"explanation.condition.{kind}", column=column, value=value)


def _edits(evidence: Any, t: Words) -> Block:
    """How many words or fields had to change."""
    if not isinstance(evidence, Mapping) or not evidence.get("found"):
        return {}
    changed = evidence["left_out"] + evidence["replaced"]
    share = show(evidence["left_out"] / changed, "percent", t)
    facts = {"found": f"{evidence['found']:,}", "rows": f"{evidence['rows']:,}", "share": share}
    sizes, fluent = evidence["units_changed"], evidence.get("fluency") or {}
    if fluent.get("judged"):
        least, badly = show(-fluent["least_difference"], "other", t), f"{fluent['rows_whose_edits_all_read_badly']:,}"
        about = t("explanation.edits_fluent", **facts, model=fluent["model"], least=least, badly=badly)
    else:
        about = t("explanation.edits_about", **facts)
    return {
        "kind": "table",
        "title": t("explanation.edits"),
        "about": about,
        "first": t("explanation.edits_size"),
        "heads": list(sizes),
        "rows": [(t("explanation.edits_rows"), [f"{count:,}" for count in sizes.values()])],
    }
