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
    main = next(item for item in facts["metrics"] if item["metric"] == facts.get("main", "accuracy"))
    latency, mcnemar = facts["latency"], facts["mcnemar"]
    return {
        "names": (facts["champion"]["name"], facts["challenger"]["name"]),
        "sentence": _sentence(facts, main, t),
        "notes": _notes(facts, t),
        "metrics": [_metric(item, t) for item in facts["metrics"]],
        "mcnemar": "" if mcnemar is None else _mcnemar(mcnemar, t),
        "groups_about": t("compare.groups_about", measure=t.metric(f"quality.{main['metric']}")),
        "groups": [_row(item, t("finding.group", column=item["column"], group=item["group"]), "", t) for item in facts["groups"]],
        "gaps": [_gap(item, t) for item in facts["gaps"]],
        "latency": None if latency is None else _latency(latency, t),
        "models": [(t(f"compare.{side}"), _model(facts[side], facts.get("answers", "classes"), t)) for side in ("champion", "challenger")],
        "methods": [
            (t.metric(f"quality.{item['metric']}"), ". ".join(filter(None, (item["method"], item["source"]))))
            for item in facts["metrics"]
            if item["method"]
        ],
    }


def _mcnemar(mcnemar: Mapping[str, Any], t: Words) -> str:
    champion, challenger = (f"{mcnemar[f'{side}_only_right']:,}" for side in ("champion", "challenger"))
    return t("compare.mcnemar_says", champion=champion, challenger=challenger, p=f"{mcnemar['p_value']:.3g}")


def _sentence(facts: Mapping[str, Any], main: Mapping[str, Any], t: Words) -> str:
    """What these rows show of the main measure; never more than its interval holds."""
    measure, kind = t.metric(f"quality.{main['metric']}"), _apart(main)
    if facts["same_artefact"]:
        return t("compare.same_artefact")
    if main["low"] is None:
        return t("compare.main_unknown", measure=measure)
    span = interval(main["low"], main["high"], kind, t, unit=main["unit"])
    difference = _signed(main["difference"], kind, main["unit"], t)
    key = _OUTCOME_KEYS[main["outcome"]]
    return t(f"compare.says.{key}", measure=measure, difference=difference, interval=span, n=f"{main['n']:,}")


def _apart(item: Mapping[str, Any]) -> Kind:
    """How a difference of this metric is told."""
    kind = kind_of(f"quality.{item['metric']}", item["unit"])
    return _SHARES.get(kind, kind)


def _notes(facts: Mapping[str, Any], t: Words) -> list[str]:
    before = facts["data"]["looks"] - facts["data"]["looks_now"]
    notes = [t.count("compare.looks", before) if before else t("compare.first_look")]
    for who, count in (facts["data"].get("seen") or {}).items():
        notes.append(t("compare.seen", who=t(f"compare.{who}"), n=f"{count:,}", rows=f"{facts['data']['rows']:,}"))
    if facts["other_costs"]:
        notes.append(t("compare.other_costs"))
    return notes


def _metric(item: Mapping[str, Any], t: Words) -> dict[str, Any]:
    id = f"quality.{item['metric']}"
    return _row(item, t.metric(id), t.metric_about(id), t)


def _row(item: Mapping[str, Any], name: str, about: str, t: Words) -> dict[str, Any]:
    """One contrast in words, with its bar; a reason stands in place of an interval that is not there."""
    kind, apart, unit = kind_of(f"quality.{item['metric']}", item["unit"]), _apart(item), item["unit"]
    bar = None
    if item["low"] is not None:
        scale = charts.scale_over([item["low"], item["high"]], include=[0.0])
        title = t("compare.bar", name=name, value=_signed(item["difference"], apart, unit, t))
        bar = charts.gain_bar(
            item["difference"], item["low"], item["high"], scale=scale, title=title, css=_BAR.get(item["outcome"], "insufficient")
        )
    return {
        "name": name,
        "about": about,
        "champion": show(item["champion"], kind, t, unit=unit),
        "challenger": show(item["challenger"], kind, t, unit=unit),
        "difference": "–" if item["difference"] is None else _signed(item["difference"], apart, unit, t),
        "interval": interval(item["low"], item["high"], apart, t, unit=unit),
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


def _model(side: Mapping[str, Any], kind: str, t: Words) -> list[tuple[str, str]]:
    threshold, told = side["decision"]["threshold"], side["decision"].get("interval") or {}
    without = t("compare.likeliest_tags") if kind == "tokens" else t("compare.highest")
    return [
        (t("compare.name"), side["name"]),
        (t("compare.digest"), side["digest"]),
        (t("compare.base"), side["base"]),
        (t("compare.runtime"), f"{side['runtime']}, {side['precision']}"),
        *([] if told else [(t("compare.threshold"), without if threshold is None else f"{threshold:.4g}")]),
        *([(t("compare.half_width"), f"± {told['half_width']:.4g} ({told['coverage']:.0%})")] if told else []),
    ]
