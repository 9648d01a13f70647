"""What the report shows of attacks: what each sort of them left of the right answers, and the words that turn whole labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.audit.catalogue import ATTACKS
from trustbase.report.formats import show
from trustbase.report.words import Words

Block = dict[str, Any]


def attack_blocks(evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """Tables of `robustness.attack*` and of `robustness.universal_trigger`, as far as they were measured.

    Args:
        evidence: all of an audit's, by name.
        t: the words.
    """
    return [block for block in (_sorts(evidence, t), _triggers(evidence.get("robustness.universal_trigger"), t)) if block]


def _sorts(evidence: Mapping[str, Any], t: Words) -> Block:
    """One row for each sort of attack: right answers before and after it, what a success took, and both controls."""
    rows = []
    for name, variant in (("robustness.attack", ""), *((f"robustness.attack_{variant}", variant) for variant in ATTACKS)):
        one = evidence.get(name)
        if isinstance(one, Mapping) and one.get("rows"):
            rows.append((t.of("variant", variant) if variant else t("attack.words"), _cells(one, t)))
    if not rows:
        return {}
    heads = [t(f"attack.{name}") for name in ("before", "after", "filtered", "per_success", "controls")]
    named = {"title": t("attack.title"), "about": t("attack.about"), "first": t("attack.sort")}
    return {"kind": "table", **named, "heads": heads, "rows": rows}


def _cells(one: Mapping[str, Any], t: Words) -> list[str]:
    total, right, filtered = one["rows"], one["right"], one["broken_filtered"]
    spent, controls = one["queries"]["per_success"], one["controls"]
    return [
        show(right / total, "percent", t),
        show((right - one["broken"]) / total, "percent", t),
        t("attack.not_told") if isinstance(filtered, str) else show((right - filtered) / total, "percent", t),
        "–" if spent is None else show(spent, "number", t),
        t(
            "attack.control",
            planted=show(controls["planted"]["found"], "percent", t),
            beside=show(controls["beside"]["turned"], "percent", t),
        ),
    ]


def _triggers(evidence: Any, t: Words) -> Block:
    """The best trigger of each label, and how many answers it turned where it was sought and elsewhere."""
    if not isinstance(evidence, Mapping) or not evidence.get("labels"):
        return {}
    rows = [
        (
            str(one["label"]),
            [
                " ".join(one["trigger"]) or "–",
                t("trigger.share", share=show(one["flips_in_search"], "percent", t), n=f"{one['searched']:,}"),
                t("trigger.share", share=show(one["flips"], "percent", t), n=f"{one['counted']:,}"),
            ],
        )
        for one in evidence["labels"]
    ]
    heads = [t("trigger.words"), t("trigger.sought"), t("trigger.others")]
    about = t("trigger.about", tries=f"{evidence['tries_of_a_label']:,}")
    return {"kind": "table", "title": t("trigger.title"), "about": about, "first": t("table.class"), "heads": heads, "rows": rows}
