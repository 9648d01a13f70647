"""`compare.html`: a champion and a challenger side by side, as one page that opens offline. Made from `compare.json` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from trustbase.report import charts
from trustbase.report.formats import Kind, interval, kind_of, show
from trustbase.report.html import content_policy, page_environment, read_asset
from trustbase.report.words import Words, words

_CSS = {"challenger ahead": "better", "champion ahead": "worse"}
_BAR = {"challenger ahead": "pass", "champion ahead": "fail"}
_OUTCOME_KEYS = {
    "challenger ahead": "challenger_ahead",
    "champion ahead": "champion_ahead",
    "no difference shown": "no_difference",
    "not enough evidence": "no_evidence",
}
_SHARES: Mapping[Kind, Kind] = {"percent": "points"}  # a difference of shares is told in points


def comparison_page(facts: Mapping[str, Any], lang: str = "en") -> str:
    """The page.

    Args:
        facts: content of `compare.json`.
        lang: "en" or "zh".

    Raises:
        UsageError: there is no such language.
    """
    t = words(lang)
    style = read_asset("style.css")
    environment: Environment = page_environment()
    text = environment.get_template("compare.html.j2").render(
        t=t, policy=content_policy(style), style=Markup(style), confidence=f"{100 * facts['confidence']:g} %", **_view(facts, t)
    )
    return text.encode("utf-8", "replace").decode("utf-8")


def _view(facts: Mapping[str, Any], t: Words) -> dict[str, Any]:
    accuracy = next(item for item in facts["metrics"] if item["metric"] == "accuracy")
    latency, mcnemar = facts["latency"], facts["mcnemar"]
    return {
        "names": (facts["champion"]["name"], facts["challenger"]["name"]),
        "sentence": _sentence(facts, accuracy, t),
        "notes": _notes(facts, t),
        "metrics": [_metric(item, t) for item in facts["metrics"]],
        "mcnemar": t(
            "compare.mcnemar_says",
            champion=f"{mcnemar['champion_only_right']:,}",
            challenger=f"{mcnemar['challenger_only_right']:,}",
            p=f"{mcnemar['p_value']:.3g}",
        ),
        "groups": [_row(item, t("finding.group", column=item["column"], group=item["group"]), "", t) for item in facts["groups"]],
        "gaps": [_gap(item, t) for item in facts["gaps"]],
        "latency": None if latency is None else _latency(latency, t),
        "models": [(t("compare.champion"), _model(facts["champion"], t)), (t("compare.challenger"), _model(facts["challenger"], t))],
        "methods": [
            (t.metric(f"quality.{item['metric']}"), ". ".join(filter(None, (item["method"], item["source"]))))
            for item in facts["metrics"]
            if item["method"]
        ],
    }


def _sentence(facts: Mapping[str, Any], accuracy: Mapping[str, Any], t: Words) -> str:
    """What these rows show of the accuracy; never more than its interval holds."""
    if facts["same_artefact"]:
        return t("compare.same_artefact")
    if accuracy["low"] is None:
        return t("compare.accuracy_unknown")
    span = interval(accuracy["low"], accuracy["high"], "points", t)
    difference = _signed(accuracy["difference"], "points", "", t)
    key = _OUTCOME_KEYS[accuracy["outcome"]]
    return t(f"compare.says.{key}", difference=difference, interval=span, n=f"{accuracy['n']:,}")


def _notes(facts: Mapping[str, Any], t: Words) -> list[str]:
    notes = [t.count("compare.looks", facts["data"]["looks"])]
    if facts["other_costs"]:
        notes.append(t("compare.other_costs"))
    return notes


def _metric(item: Mapping[str, Any], t: Words) -> dict[str, Any]:
    id = f"quality.{item['metric']}"
    return _row(item, t.metric(id), t.metric_about(id), t)


def _row(item: Mapping[str, Any], name: str, about: str, t: Words) -> dict[str, Any]:
    """One contrast in words, with its bar; a reason stands in place of an interval that is not there."""
    kind = kind_of(f"quality.{item['metric']}")
    apart: Kind = _SHARES.get(kind, kind)
    bar = None
    if item["low"] is not None:
        scale = charts.scale_over([item["low"], item["high"]], include=[0.0])
        title = t("compare.bar", name=name, value=_signed(item["difference"], apart, "", t))
        bar = charts.gain_bar(
            item["difference"], item["low"], item["high"], scale=scale, title=title, css=_BAR.get(item["outcome"], "insufficient")
        )
    return {
        "name": name,
        "about": about,
        "champion": show(item["champion"], kind, t),
        "challenger": show(item["challenger"], kind, t),
        "difference": "–" if item["difference"] is None else _signed(item["difference"], apart, "", t),
        "interval": interval(item["low"], item["high"], apart, t),
        "n": f"{item['n']:,}",
        "outcome": _CSS.get(item["outcome"], "even"),
        "word": t(f"compare.outcome.{_OUTCOME_KEYS[item['outcome']]}"),
        "few": item["low"] is None,
        "bar": bar,
    }


def _signed(value: float, kind: Kind, unit: str, t: Words) -> str:
    text = show(value, kind, t, unit=unit)
    return f"+{text}" if value > 0 and text[0].isdigit() else text


def _gap(item: Mapping[str, Any], t: Words) -> dict[str, Any]:
    """A gap between groups of both, each with its own interval: no interval of their difference is claimed."""
    kind = kind_of(item["id"])
    cells = []
    for side in ("champion", "challenger"):
        told = item[side]
        usable = told["status"] == "ok"
        cells.append(
            (show(told["value"], kind, t) if usable else t.of("status", told["status"]), interval(told["low"], told["high"], kind, t))
        )
    return {"name": t.finding(item["id"]), "cells": cells}


def _latency(latency: Mapping[str, Any], t: Words) -> list[tuple[str, str]]:
    span = interval(latency["low"], latency["high"], "ratio", t)
    ratio = show(latency["ratio"], "ratio", t)
    return [
        (t("compare.champion"), show(latency["champion_median_ms"], "ms", t)),
        (t("compare.challenger"), show(latency["challenger_median_ms"], "ms", t)),
        (t("compare.ratio"), f"{ratio} ({span})" if span else ratio),
        (t("compare.turns"), f"{latency['n']:,}"),
    ]


def _model(side: Mapping[str, Any], t: Words) -> list[tuple[str, str]]:
    threshold = side["decision"]["threshold"]
    return [
        (t("compare.name"), side["name"]),
        (t("compare.digest"), side["digest"]),
        (t("compare.base"), side["base"]),
        (t("compare.runtime"), f"{side['runtime']}, {side['precision']}"),
        (t("compare.threshold"), t("compare.highest") if threshold is None else f"{threshold:.4g}"),
    ]
