"""What the report shows of planted triggers, wrong labels, copies of the model, and answers that a policy forbids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustbase.report.formats import show
from trustbase.report.material import Material
from trustbase.report.words import Words

Block = dict[str, Any]

_PAIRS = 12  # pairs of labels that are shown
_WORDS = 3  # words of each search that are named
_CONDITIONS = 30


def safety_blocks(material: Material, evidence: Mapping[str, Any], t: Words) -> list[Block]:
    """Tables of the searches for triggers, of labels that another fits better, of students, and of forbidden answers."""
    parts = material.evidence
    blocks = [
        _searches(parts.get("safety.backdoor_score"), t),
        _mistaken(parts.get("safety.mislabelled_rows"), t),
        _copies(parts.get("safety.extraction_agreement"), t),
        _forbidden(parts.get("safety.forbidden_outputs"), t),
    ]
    return [block for block in blocks if block]


def _searches(evidence: Any, t: Words) -> Block:
    """Each way of finding words: how many it looked at, whether it found its control, and what the best words turn."""
    if not isinstance(evidence, Mapping) or not evidence.get("ways"):
        return {}
    rows = []
    for way, one in evidence["ways"].items():
        control = one.get("control")
        found = t("scan.not_tried") if control is None and not one["candidates"] else t("scan.missed") if control is None else ""
        found = found or show(control, "percent", t)
        best = one.get("best")
        turned = "–" if best is None else t("scan.of", n=f"{best['turned']:,}", rows=f"{best['rows']:,}", label=best["class"])
        rows.append((t.of("variant", way), [f"{one['candidates']:,}", found, _words(one.get("last") or [], t), turned]))
    chance = show((evidence.get("random_words") or {}).get("turned"), "percent", t)
    return {
        "kind": "table",
        "title": t("scan.title"),
        "about": t("scan.about", chance=chance),
        "first": t("scan.way"),
        "heads": [t("scan.candidates"), t("scan.control"), t("scan.words"), t("scan.turned")],
        "rows": rows,
    }


def _words(last: list[Mapping[str, Any]], t: Words) -> str:
    named = [str(one["word"]) if one.get("word") else t("scan.unnamed") for one in last[:_WORDS]]
    return t("list.pair").join(dict.fromkeys(named)) or "–"


def _mistaken(evidence: Any, t: Words) -> Block:
    """Pairs of a given label and the one that fits better, the most frequent first."""
    if not isinstance(evidence, Mapping) or not evidence.get("joint"):
        return {}
    rows = [(t("mistaken.pair", given=one["given"], likelier=one["likelier"]), [f"{one['rows']:,}"]) for one in evidence["joint"][:_PAIRS]]
    control = evidence["control"]
    found = {"turned": f"{control['turned']:,}", "recall": show(control["recall"], "percent", t)}
    return {
        "kind": "table",
        "title": t("mistaken.title"),
        "about": t("mistaken.about", rows=f"{evidence['rows']:,}", **found),
        "first": t("mistaken.labels"),
        "heads": [t("mistaken.rows")],
        "rows": rows,
    }


def _copies(evidence: Any, t: Words) -> Block:
    """Each student, by what it reads and was told, with how often it agrees on answers kept aside."""
    if not isinstance(evidence, Mapping) or not evidence.get("students"):
        return {}
    rows = []
    for one in evidence["students"]:
        reads, told = (
            t.recorded("method", f"{head} {one[key]}") for head, key in (("it reads", "features"), ("it was told answers to", "asked"))
        )
        rows.append((reads or one["features"], [told or one["asked"], show(one["agreement_kept_aside"], "percent", t)]))
    floor = show(evidence["majority_agreement"], "percent", t)
    return {
        "kind": "table",
        "title": t("copies.title"),
        "about": t("copies.about", queries=f"{evidence['queries']:,}", floor=floor),
        "first": t("copies.student"),
        "heads": [t("copies.told"), t("copies.kept")],
        "rows": rows,
    }


def _forbidden(evidence: Any, t: Words) -> Block:
    """How often each condition of the policy was met, by its place in the file."""
    if not isinstance(evidence, Mapping) or not evidence.get("test"):
        return {}
    test, probes = evidence["test"], evidence["probes"]
    met = [(place, [f"{n:,}", f"{probes['by_condition'].get(place, 0):,}"]) for place, n in test["by_condition"].items()]
    return {
        "kind": "table",
        "title": t("forbidden.title"),
        "about": t("forbidden.about", file=evidence["policy"]["file"], rows=f"{test['inputs']:,}", probes=f"{probes['inputs']:,}"),
        "first": t("forbidden.condition"),
        "heads": [t("forbidden.test"), t("forbidden.probes")],
        "rows": met[:_CONDITIONS],
    }
