"""What answering costs: latency as it was timed, and what cost and energy assume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.report import charts
from trustbase.report.formats import show
from trustbase.report.material import Material
from trustbase.report.recorded import plain_facts
from trustbase.report.words import Words

Block = dict[str, Any]


def efficiency_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """The histogram of calls, and what was assumed."""
    blocks = []
    if latency := _latency(material, evidence.get("latency_ms"), t):
        blocks.append(latency)
    if assumptions := evidence.get("assumptions"):
        blocks.append(
            {
                "kind": "facts",
                "title": t("assumptions.title"),
                "about": t("assumptions.about"),
                "facts": [(t.of("assumption", name), value) for name, value in plain_facts(assumptions, plain=False)],
            }
        )
    return blocks


def _latency(material: Material, evidence: Any, t: Words) -> Block:
    if not isinstance(evidence, Mapping):
        return {}
    marks = {}
    for name in ("p50", "p95", "p99"):
        finding = material.find(f"efficiency.latency_{name}_ms")
        if finding is not None and finding.value is not None:
            marks[f"{name[1:]} %"] = finding.value
    shape = evidence.get("histogram") or {}
    edges, counts = shape.get("edges") or [], shape.get("counts") or []
    quantiles = [t("latency.quantile", name=name, value=show(value, "ms", t)) for name, value in marks.items()]
    block: Block = {"kind": "latency", "quantiles": quantiles, "chart": None, "desc": ""}
    if len(edges) == len(counts) + 1 and counts:
        calls = int(evidence.get("calls") or sum(counts))
        desc = t("latency.desc", n=f"{calls:,}", low=show(edges[0], "ms", t), high=show(edges[-1], "ms", t))
        if calls > sum(counts):  # one answer that took long would press all the others together
            desc = t("list.sentences").join([desc, t.count("latency.above", calls - sum(counts))])
        title, x, y = t("latency.histogram"), t("latency.x"), t("latency.y")
        named = {f"{name} · {show(value, 'ms', t)}": value for name, value in marks.items()}
        chart = charts.histogram(edges, counts, named, title=title, desc=desc, x=x, y=y, show=lambda value: f"{value:g}")
        block |= {"chart": chart, "desc": desc}
    return block
