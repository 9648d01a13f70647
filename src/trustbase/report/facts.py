"""The plain facts of a report: data, model and artefact, purpose, looks, what was not measured, digests, and notes at the top."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from trustbase.data.pair import readable
from trustbase.finding_id import DIMENSIONS
from trustbase.recipe.lookup import options_read
from trustbase.report.base_facts import base_facts, base_headline, base_notes
from trustbase.report.formats import show
from trustbase.report.groups import favourable_label, have_choices, shown_columns
from trustbase.report.material import Material
from trustbase.report.reasons import reason_in, why_in
from trustbase.report.recorded import plain_facts
from trustbase.report.rivals import RivalTable
from trustbase.report.words import Words

Facts = list[tuple[str, str]]
_MANY_LOOKS = 2
_UNKNOWN_TOKENS = 0.05  # the share from which a base model is said not to read the language well
_LISTED = 8
_NAMED_OF_BASE = ("family", "model_type", "objective", "objectives", "context")  # these stand among the facts with names


def notes(material: Material, rivals: RivalTable, t: Words) -> list[str]:
    """What a reader should know beside the verdict, at most a handful of sentences."""
    if material.pretrained:
        return [*_measured_notes(material, t), *base_notes(material, t)]
    found = [*_seen_notes(material, t), *_rival_notes(rivals, t), *_measured_notes(material, t)]
    only = _only_answer(material.evidence.get("quality", {}))
    if only is not None:
        found.append(t("note.one_answer", label=only))
    unknown = material.find("quality.unknown_tokens")
    if unknown is not None and unknown.value is not None and unknown.value > _UNKNOWN_TOKENS:
        found.append(t("note.unknown_tokens", value=show(unknown.value, "percent", t)))
    quality = material.evidence.get("quality", {})
    if quality.get("positive_assumed") and len(quality.get("labels") or ()) == 2 and not have_choices(material):
        found.append(t("note.positive_assumed", label=str(quality.get("positive") or "")))
    audited = bool(material.of("fairness"))
    label, assumed = favourable_label(material)
    if audited and label and assumed:
        found.append(t("note.favourable_assumed", label=label))
    shown = shown_columns(material, [str(name) for name in (material.recipe.get("data") or {}).get("groups") or []])
    if shown:
        found.append(t("note.shown", columns=t("list.pair").join(shown)))
    if audited and material.recipe and not material.recipe.get("mitigate"):
        found.append(t("note.no_mitigation"))
    if material.verdict is not None and material.verdict.test_looks > _MANY_LOOKS:
        found.append(t("note.looks", n=f"{material.verdict.test_looks:,}"))
    return found


def _seen_notes(material: Material, t: Words) -> list[str]:
    """Test texts that the model has learned from: what is measured on them is no promise for others."""
    seen = (material.data_card.get("overlap") or {}).get("train/test") or 0
    rows = ((material.data_card.get("splits") or {}).get("test") or {}).get("rows") or 0
    return [t("note.seen", n=f"{seen:,}", rows=f"{rows:,}")] if seen else []


def _measured_notes(material: Material, t: Words) -> list[str]:
    """How independent the limits are of the numbers."""
    found = []
    if material.audit.policy_set_before is False:
        found.append(t("note.after_measuring"))
    judged = sum(gate.judge == "value" for gate in material.verdict.gates) if material.verdict else 0
    if judged:
        found.append(t.count("note.judged_by_value", judged))
    return found


def _only_answer(quality: Mapping[str, Any]) -> str | None:
    """The label that every row was answered with, if it is but one: then all groups are treated alike, and to nobody's good."""
    table, labels = quality.get("confusion"), quality.get("labels")
    if not isinstance(table, list) or not isinstance(labels, list) or len(table) != len(labels):
        return None
    answered = [str(label) for label, column in zip(labels, zip(*table, strict=True), strict=True) if any(column)]
    return answered[0] if len(answered) == 1 else None


def _rival_notes(rivals: RivalTable, t: Words) -> list[str]:
    found = []
    for row in sorted(rivals.rows, key=lambda row: row.outcome != "worse"):
        if row.outcome == "worse" and rivals.model is not None and row.score != "–":
            scores = {"rival_score": row.score, "model_score": rivals.model.score}
            found.append(t("note.rival_wins", rival=row.name, measure=rivals.measure[:1].lower() + rivals.measure[1:], **scores))
        elif row.outcome == "worse":
            found.append(t("note.rival_wins_gain", rival=row.name, gain=row.gain.lstrip("−-")))
        elif row.outcome == "even":
            found.append(t("note.rival_even", rival=row.name))
    return found


def headline_facts(material: Material, counts: str, t: Words) -> Facts:
    """The strip under the verdict: gates, rows, looks, model, artefact."""
    if material.pretrained:
        return base_headline(material, counts, t)
    facts = [(t("fact.gates"), counts)] if counts else []
    rows = material.audit.data.get("rows")
    if rows is not None:
        facts.append((t("fact.rows"), f"{rows:,}" if isinstance(rows, int) else str(rows)))
    if material.verdict is not None and material.verdict.test_looks:
        facts.append((t("fact.looks"), f"{material.verdict.test_looks:,}"))
    model = material.audit.model
    if model.get("base"):
        facts.append((t("fact.model"), str(model["base"])))
    if model.get("runtime"):
        facts.append(
            (t("fact.artefact"), " · ".join(t.of("runtime", str(model[key])) for key in ("runtime", "precision") if model.get(key)))
        )
    return facts


def model_facts(material: Material, t: Words) -> tuple[Facts, Facts]:
    """What the model is and how it was made: the facts with names of their own, then the rest as recorded."""
    artifact, recipe, audited = material.artifact, material.recipe, material.audit.model
    if not artifact and not audited.get("runtime") and not recipe:
        return [], []
    recorded = dict(artifact.get("facts") or {})
    if material.pretrained:
        return base_facts(material, t), plain_facts({key: value for key, value in recorded.items() if key not in _NAMED_OF_BASE})
    parity = recorded.pop("parity", None)
    learned = artifact.get("runtime") == "plain" and recorded.pop("model", None)  # written out below (`report.written`)
    labels, kind = artifact.get("labels") or {}, artifact.get("answer_kind")
    rows: list[tuple[str, Any]] = [
        ("base", artifact.get("base") or audited.get("base") or recipe.get("base")),
        ("revision", artifact.get("revision") or audited.get("revision")),
        ("task", artifact.get("task") or recipe.get("task")),
        ("labels", t("list.pair").join(str(name) for name in (labels.get("names") or [])[:40]) if kind != "number" else None),
        ("text", readable(str(artifact.get("text") or ""))),
        ("features", columns_read(artifact.get("features"), t)),
        ("adaptation", None if learned else _adaptation(recorded.pop("adaptation", None) or recipe.get("adapt"), t)),
        ("runtime", t.of("runtime", str(artifact.get("runtime") or audited.get("runtime") or ""))),
        ("precision", artifact.get("precision") or audited.get("precision")),
        ("precision_why", why_in(str(recorded.pop("why", None) or ""), t)),
        ("members", t("model.of_members", n=artifact["members"]) if artifact.get("members") else None),
        ("parity", _parity(parity, t)),
        ("flips", _flips(parity)),
        ("decision", _decision(artifact, t)),
        ("columns", t("list.pair").join(artifact.get("columns") or [])),
        ("max_length", t("model.tokens", n=artifact["max_length"]) if artifact.get("max_length") else None),
        ("stride", _windows(artifact["stride"], kind, t) if artifact.get("stride") is not None else None),
        ("lineage", _one_line(recorded.pop("lineage", None))),
    ]
    if recipe:
        rows.append(("mitigation", _one_line(recipe.get("mitigate")) or t("model.no_mitigation")))
    return [(t(f"model.{key}"), str(value)) for key, value in rows if value not in (None, "")], plain_facts(recorded)


def _windows(stride: Any, kind: Any, t: Words) -> str:
    """How windows overlap, and how what the model says of them comes together."""
    if kind == "tokens":
        return t("model.windows_of_words", n=stride)
    return t("model.windows_searched", n=stride) if kind == "span" else t("model.windows", n=stride)


def columns_read(features: Any, t: Words) -> str:
    """Table columns that are read beside the text or in place of it, by kind."""
    kinds = features if isinstance(features, Mapping) else {}
    read = [(t(f"data.{kind}"), list(map(str, kinds.get(kind) or []))) for kind in ("numeric", "categorical", "words")]
    return t("list.items").join(t("list.within", name=t("list.pair").join(names), about=kind) for kind, names in read if names)


def _adaptation(adapt: Any, t: Words) -> str:
    """The method, and the options of it that hold something."""
    read = options_read(adapt)
    if not isinstance(read, Mapping) or "method" not in read:
        return _one_line(read)
    options = _one_line({name: value for name, value in read.items() if name != "method"})
    return t("list.within", name=read["method"], about=options) if options else str(read["method"])


def _one_line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_one_line(item)}" for key, item in value.items() if item not in (None, "", [], {}))
    if isinstance(value, list | tuple):
        return ", ".join(_one_line(item) for item in value)
    return "" if value is None else str(value)


def _parity(parity: Any, t: Words) -> str | None:
    """Largest difference of a score from fp32, over how many rows."""
    if not isinstance(parity, Mapping) or not isinstance(parity.get("max_difference"), int | float):
        return None
    rows = f" (n = {parity['n']:,})" if isinstance(parity.get("n"), int) else ""
    unit = t.of("unit_name", str(parity["unit"])) if parity.get("unit") not in (None, "probability") else ""
    return f"{float(parity['max_difference']):.2g} {unit}".strip() + rows


def _flips(parity: Any) -> str | None:
    """Answers that differ from fp32."""
    return f"{parity['label_flips']:,}" if isinstance(parity, Mapping) and isinstance(parity.get("label_flips"), int) else None


def _decision(artifact: Mapping[str, Any], t: Words) -> str | None:
    decision = artifact.get("decision")
    if not isinstance(decision, Mapping):
        return None
    if artifact.get("answer_kind") == "number":
        return _told_interval(decision.get("interval"), artifact, t)
    if decision.get("threshold") is None:
        return t("model.highest")
    if artifact.get("answer_kind") == "labels":
        rule = t("model.every_threshold", threshold=f"{float(decision['threshold']):.4g}")
        return t("list.within", name=rule, about=decision["method"]) if decision.get("method") else rule
    label = (artifact.get("labels") or {}).get("positive", "")
    rule = t("model.threshold", label=label, threshold=f"{float(decision['threshold']):.4g}")
    return t("list.within", name=rule, about=decision["method"]) if decision.get("method") else rule


def _told_interval(interval: Any, artifact: Mapping[str, Any], t: Words) -> str:
    """How a number is told: with its interval, where it has one."""
    if not isinstance(interval, Mapping) or not interval:
        return t("model.no_interval")
    unit = str(((artifact.get("labels") or {}).get("names") or [""])[0])
    half, coverage = show(float(interval["half_width"]), "other", t, unit=unit), show(float(interval["coverage"]), "percent", t)
    return t("model.interval", half=half, coverage=coverage, n=f"{int(interval['rows']):,}")


def purpose_facts(material: Material, t: Words) -> Facts:
    """Purpose in the owner's words, and what of it they do not state; nothing where they state none of it."""
    purpose = material.recipe.get("purpose") or {}
    names = (("intended", "intended_use"), ("prohibited", "prohibited_uses"), ("owner", "owner"), ("contact", "contact"))
    facts = [(t(f"purpose.{word}"), purpose.get(key)) for word, key in names]
    if not any(value for _, value in facts):
        return []
    return [
        (word, t("list.items").join(str(item) for item in value) if isinstance(value, list) else str(value or t("purpose.absent")))
        for word, value in facts
    ]


def unmeasured(material: Material, t: Words) -> dict[str, Any]:
    """Dimensions nobody measured, and measurements without a number, gathered by their reason."""
    present = {finding.parts.dimension for finding in material.audit.findings}
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in material.audit.findings:
        if finding.status != "ok":
            reasons[(finding.status, finding.reason)].append(t.finding(finding.id))
    rows = []
    for (status, reason), names in reasons.items():
        listed = t("list.items").join(names[:_LISTED])
        more = t.count("unmeasured.more", len(names) - _LISTED) if len(names) > _LISTED else ""
        rows.append({"names": listed, "more": more, "status": status, "word": t.of("status", status), "reason": reason_in(reason, t)})
    order = {"failed": 0, "insufficient": 1, "not_applicable": 2}
    rows.sort(key=lambda row: order.get(row["status"], 3))
    return {"dimensions": [t(f"dimension.{name}") for name in DIMENSIONS if name not in present], "rows": rows}


def looks_words(material: Material, t: Words) -> str:
    """How often what the numbers are about was looked at."""
    looks = material.verdict.test_looks if material.verdict else None
    if not looks:
        return t("looks.no_documents") if material.pretrained else t("looks.none")
    if material.pretrained:
        return t("list.sentences").join([t.count("looks.document_count", looks), t("looks.document_about")])
    return t("list.sentences").join([t.count("looks.count", looks), t("looks.about")])


def digest_facts(material: Material, t: Words) -> Facts:
    """The digests by which model, data, policy and bundle are known."""
    audit = material.audit
    rows: list[tuple[str, Any]] = [
        ("model", audit.model.get("digest")),
        ("entities", beside.get("digest") if isinstance(beside := audit.model.get("entities"), Mapping) else None),
        ("documents" if material.pretrained else "data", audit.data.get("digest")),
        ("policy", audit.policy_digest),
        ("manifest", material.manifest_digest),
    ]
    if audit.policy_set_before is not None:
        rows.append(("before", t("value.true") if audit.policy_set_before else t("digests.afterwards")))
    return [(t(f"digests.{key}"), str(value)) for key, value in rows if value]


def machine_facts(material: Material, t: Words) -> tuple[Facts, Facts]:
    """The machine that measured, and its library versions."""
    machine = dict(material.audit.machine)
    libraries = machine.pop("libraries", {})
    facts = []
    for key, value in machine.items():
        if isinstance(value, Mapping | list) or value is None:
            continue
        text = show(value, "bytes", t) if key.endswith("_bytes") and isinstance(value, int | float) else str(value)
        facts.append((t.of("machine", key), text))
    return facts, plain_facts(libraries) if isinstance(libraries, Mapping) else []
