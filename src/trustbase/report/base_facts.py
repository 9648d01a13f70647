"""The plain facts of a base model's report: what it is, the strip under its verdict, and the notes beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trustbase.report.formats import compact, show
from trustbase.report.material import Material
from trustbase.report.pretraining import number
from trustbase.report.words import Words

_FAR = 1.25  # from how many times the estimate on it is said to have been far off
_UNREAD = 0.05  # share of unknown tokens from which a tokenizer is said not to read a language well
_MANY_LOOKS = 2


def base_facts(material: Material, t: Words) -> list[tuple[str, str]]:
    """What a base model is and how it came to be."""
    artifact, recipe, audited = material.artifact, material.recipe, material.audit.model
    facts, model = artifact.get("facts") or {}, recipe.get("model") or {}
    objective = facts.get("objective") or {}
    weights = ", ".join(f"{t.of('term', str(name))}" + (f" × {weight:g}" if weight != 1 else "") for name, weight in objective.items())
    sizes = () if model.get("base") else ("layers", "width", "heads")  # a model that goes on has its own
    shape = t("list.pair").join(t(f"model.{key}") + f" {model[key]}" for key in sizes if model.get(key))
    parameters = material.find("efficiency.parameters")
    rows: list[tuple[str, Any]] = [
        ("family", t.of("family", str(facts.get("family") or model.get("family") or ""))),
        ("architecture", facts.get("model_type")),
        ("shape", shape),
        ("parameters", show(parameters.value, "count", t) if parameters is not None and parameters.value is not None else None),
        ("context", t("model.tokens", n=artifact["max_length"]) if artifact.get("max_length") else None),
        ("objective", weights),
        ("began", artifact.get("base") or audited.get("base")),
        ("revision", artifact.get("revision") or audited.get("revision")),
        ("lineage", t("list.items").join(str(item) for item in (material.origin.get("base") or {}).get("lineage") or [])),
        ("runtime", artifact.get("runtime") or audited.get("runtime")),
        ("precision", artifact.get("precision") or audited.get("precision")),
    ]
    return [(t(f"model.{key}"), str(value)) for key, value in rows if value not in (None, "")]


def base_headline(material: Material, counts: str, t: Words) -> list[tuple[str, str]]:
    """The strip under the verdict of a base model."""
    facts = [(t("fact.gates"), counts)] if counts else []
    documents = number(material.audit.data.get("rows"))
    if documents is not None:
        facts.append((t("fact.documents"), f"{documents:,.0f}"))
    if material.verdict is not None and material.verdict.test_looks:
        facts.append((t("fact.document_looks"), f"{material.verdict.test_looks:,}"))
    tokens = number(material.evidence.get("course", {}).get("tokens")) or number(
        material.evidence.get("training", {}).get("training_tokens")
    )
    if tokens:
        facts.append((t("fact.learned"), t("fact.learned_tokens", tokens=compact(tokens))))
    parameters = material.find("efficiency.parameters")
    family = t.of("family", str((material.artifact.get("facts") or {}).get("family") or ""))
    size = t("fact.parameters", n=compact(parameters.value)) if parameters is not None and parameters.value is not None else ""
    shape = t("list.pair").join(part for part in (family, size) if part)
    return facts + ([(t("fact.shape"), shape)] if shape else [])


def base_notes(material: Material, t: Words) -> list[str]:
    """What a reader of a base model's report should know beside the verdict."""
    notes = [t("note.base")]
    card = material.data_card
    checked = card.get("contamination")
    stays = isinstance(checked, Mapping) and checked.get("action") == "list"
    for finding in material.of("quality"):
        if finding.parts.metric == "contamination" and finding.value:
            name = ", ".join(column for column, _ in finding.parts.slice)
            notes.append(t("note.contaminated", set=name, share=show(finding.value, "percent", t)))
    if card and not checked:
        notes.append(t("note.not_checked"))
    elif stays:
        notes.append(t("note.only_listed"))
    for language, row in _languages(card):
        if (number(row.get("unknown_tokens")) or 0) > _UNREAD:
            notes.append(t("note.unknown_of", language=t.of("tongue", language), share=show(row["unknown_tokens"], "percent", t)))
    planted = material.evidence.get("privacy", {})
    if planted.get("canaries"):
        notes.append(t("note.planted", n=f"{number(planted['canaries']) or 0:,.0f}", repeats=planted.get("repeats", "–")))
    took = material.find("efficiency.training_seconds")
    guess = number(material.estimate.get("seconds"))
    if took is not None and took.value and guess and took.value / guess > _FAR:
        notes.append(t("note.longer", ratio=f"{took.value / guess:.1f}"))
    if material.verdict is not None and material.verdict.test_looks > _MANY_LOOKS:
        notes.append(t("note.document_looks", n=f"{material.verdict.test_looks:,}"))
    return notes


def _languages(card: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    rows = (card.get("tokenizer") or {}).get("languages") or {}
    return [(str(name), row) for name, row in rows.items() if isinstance(row, Mapping)]
