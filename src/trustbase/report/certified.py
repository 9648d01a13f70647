"""What the report shows of smoothed answers that no change of words turns, and of what answers depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from trustbase.report import charts
from trustbase.report.formats import interval, show, tick
from trustbase.report.words import Words

Block = dict[str, Any]


def certified_blocks(evidence: Any, t: Words) -> list[Block]:
    """Accuracy as it is, smoothed, and as far as it is proven, by how many words are replaced; of `robustness.certified`."""
    if not isinstance(evidence, Mapping) or not evidence.get("radii"):
        return []
    scale, n = charts.Scale(0, 1), f"{int(evidence['texts']):,}"
    possible = evidence["controls"]["always_the_same"]
    rows = [(t("certified.plain"), evidence["accuracy"]), (t("certified.smoothed"), evidence["smoothed_accuracy"])]
    rows += [
        (t.count("certified.replaced", int(one["radius"])), one if possible[str(one["radius"])] else None) for one in evidence["radii"]
    ]
    label, share = max(evidence["answers"].items(), key=lambda item: (item[1], item[0]))
    kept = show(evidence["share_kept"], "percent", t)
    said = t(f"certified.{evidence['units']}", share=kept, n=n)
    about = [said, t("certified.about"), t("certified.answers", share=show(share, "percent", t), label=label)]
    return [
        {
            "kind": "rates",
            "title": t("certified.title"),
            "about": t("list.sentences").join(about),
            "first": t("certified.first"),
            "heads": [t("certified.share")],
            "rows": [{"label": name, "n": n, "cells": [_bar(name, one, n, scale, "percent", t)]} for name, one in rows],
            "axis": charts.axis(scale, partial(tick, kind="percent", t=t)),
        }
    ]


def sensitivity_blocks(evidence: Any, t: Words) -> list[Block]:
    """What noise on the weights of each layer does, and what each part of the training rows does; of `robustness.sensitivity`."""
    if not isinstance(evidence, Mapping):
        return []
    training = evidence.get("training") or {}
    found = [
        _parts("layers", evidence.get("layers") or [], "layer", lambda one: f"{int(evidence['texts']):,}", t),
        _parts("taught", training.get("parts") or [], "part", lambda one: f"{int(one['rows']):,}", t),
    ]
    return [block for block in found if block]


def _parts(key: str, parts: Sequence[Mapping[str, Any]], name: str, count: Any, t: Words) -> Block:
    if not parts:
        return {}
    scale = charts.scale_over([one["high"] for one in parts], include=[0.0], bounds=(0.0, None))
    return {
        "kind": "rates",
        "title": t("sensitivity.layers") if key == "layers" else t("sensitivity.taught"),
        "about": t("sensitivity.layers_about") if key == "layers" else t("sensitivity.taught_about"),
        "first": t("sensitivity.layer") if key == "layers" else t("sensitivity.part"),
        "heads": [t("sensitivity.moved")],
        "rows": [
            {"label": str(one[name]), "n": count(one), "cells": [_bar(str(one[name]), one, count(one), scale, "other", t)]} for one in parts
        ],
        "axis": charts.axis(scale, partial(tick, kind="other", t=t)),
    }


def _bar(name: str, one: Mapping[str, Any] | None, n: str, scale: charts.Scale, kind: Any, t: Words) -> Block:
    """A bar with its interval; of what cannot be measured a dash."""
    if one is None:
        return {"value": "–", "interval": "", "bar": None}
    value, low, high = float(one["value"]), float(one["low"]), float(one["high"])
    told, spread = show(value, kind, t), interval(low, high, kind, t)
    title = t("groups.bar", group=name, value=told, interval=spread, n=n)
    return {"value": told, "interval": spread, "bar": charts.rate_bar(value, low, high, scale=scale, title=title)}
