"""The model card (Hugging Face format): every number in it is an artefact's number; what nobody said is said to be absent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from trustbase.bundle.front import front_matter, name_of
from trustbase.bundle.markdown import code, interval, maybe, plain, show, table
from trustbase.data.pair import readable, sides
from trustbase.recipe.lookup import options_read
from trustbase.records import ArtifactInfo, AuditReport, Finding, GateResult, Verdict

_ABSENT = "*The recipe does not say.*"
_MOST_SLICES = 60


def model_card(
    *,
    artifact: ArtifactInfo,
    report: AuditReport,
    verdict: Verdict,
    recipe_text: str,
    purpose: Mapping[str, Any],
    data_card: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> str:
    """The text of `README.md`, YAML front matter included."""
    recipe = yaml.safe_load(recipe_text)
    recipe = recipe if isinstance(recipe, dict) else {}
    name = name_of(recipe, artifact.answer_kind)
    sections = [
        front_matter(name, artifact, report, recipe, data_card),
        f"# {name}",
        "",
        *verdict_part(verdict),
        *purpose_part(purpose),
        *_model(artifact, report, recipe),
        *findings_part(report),
        *gaps_part(report),
        *_data(data_card),
        *environment_part(environment, report),
        *use_part(verdict),
    ]
    return "\n".join(sections) + "\n"


def verdict_part(verdict: Verdict, *, looked_at: str = "this test set") -> Iterator[str]:
    """What the gates say; `looked_at` names what the numbers were measured on."""
    yield "## Verdict"
    yield ""
    if verdict.released:
        yield "**Released**: every limit that was set before measuring was met."
    else:
        yield "**Not released.** This model must not be used." + (f" {plain(verdict.reason)}." if verdict.reason else "")
    yield ""
    yield f"Looks at {looked_at} so far: {verdict.test_looks}. Each look makes the next one say a little less."
    yield ""
    if verdict.gates:
        yield from table(["gate", "verdict", "value", "interval", "n", "reason"], [_gate(gate) for gate in verdict.gates])


def _gate(gate: GateResult) -> list[str]:
    word = gate.verdict if gate.judge == "interval" else f"{gate.verdict} (judged by the point value)"
    return [f"`{gate.gate}`", word, maybe(gate.value), interval(gate.low, gate.high), maybe(gate.n), gate.reason]


def purpose_part(purpose: Mapping[str, Any]) -> Iterator[str]:
    """Purpose, owner and contact, in the owner's words."""
    for key, title in (
        ("intended_use", "Intended use"),
        ("prohibited_uses", "Prohibited uses"),
        ("owner", "Owner"),
        ("contact", "Contact"),
    ):
        said = purpose.get(key)
        yield f"## {title}"
        yield ""
        if isinstance(said, Sequence) and not isinstance(said, str):
            yield from (f"- {plain(str(item))}" for item in said)
        else:
            yield plain(str(said)) if said else _ABSENT
        yield ""


def _windows(artifact: ArtifactInfo) -> str:
    if artifact.stride is None:
        return ""
    together = {"tokens": "each word answered by one of them", "span": "the best answer of all of them"}
    how = together.get(artifact.answer_kind, "scores averaged")
    return f" at once; longer texts in windows that overlap by {artifact.stride}, {how}"


def _model(artifact: ArtifactInfo, report: AuditReport, recipe: Mapping[str, Any]) -> Iterator[str]:
    decision, several = artifact.decision, artifact.members > 1
    yield "## Model"
    yield ""
    made = (
        [["model", plain(str(artifact.facts["model"]["summary"]))], ["learned by", code(artifact.revision)]]
        if artifact.runtime == "plain"
        else [
            ["base model", f"{code(artifact.base)}, revision {code(artifact.revision)}"],
            ["adaptation", _adaptation(recipe)],
        ]
    )
    reads = (
        f"columns {', '.join(map(code, artifact.columns))}"
        if artifact.runtime == "plain" and artifact.columns
        else code(readable(artifact.text or "text"))
    )
    rows = [
        ["task", code(artifact.task)],
        *made,
        ["runtime, precision", f"{code(artifact.runtime)}, {code(artifact.precision)} (this very form was audited)"],
        *([["members", f"{artifact.members} trainings that differ in their seeds: the mean of their scores answers"]] if several else []),
        ["reads", reads + (f", at most {artifact.max_length} tokens{_windows(artifact)}" if artifact.max_length else "")],
        *([["table columns, at the head", _columns(artifact)]] if artifact.features else []),
        *_answers(artifact),
        ["decision", plain(decision.method) + (f", threshold {show(decision.threshold)}" if decision.threshold is not None else "")],
        ["model digest", code(str(report.model.get("digest")))],
    ]
    yield from table(["", ""], rows)
    if artifact.runtime == "plain":
        yield from _written(artifact.facts["model"])


def _written(told: Mapping[str, Any]) -> Iterator[str]:
    """The model itself, as far as it can be written down: a tree or rules in full, of others what weighs most."""
    yield f"### {told['title']}"
    yield ""
    yield "```text"
    yield from (line.replace("`", "'") for line in told["lines"])
    yield "```"
    yield ""


def _adaptation(recipe: Mapping[str, Any]) -> str:
    """What was trained, as the recipe says, and whether the weights are an average."""
    adapt, train = recipe.get("adapt"), recipe.get("train")
    wish = options_read(adapt if isinstance(adapt, dict) else {"method": adapt})
    if not wish.get("method"):
        return "not stated"
    said = code(str(wish["method"]))
    if wish.get("layers") is not None:
        said += f", the embeddings and the first layers ({plain(str(wish['layers']))})"
    options = {key: value for key, value in wish.items() if key not in ("method", "layers") and value not in (None, "", [], {})}
    said += "".join(f", {plain(key)} {_option(value)}" for key, value in options.items())
    averaging = train.get("averaging") if isinstance(train, dict) else None
    method = averaging.get("method") if isinstance(averaging, dict) else averaging
    return f"{said}; the weights are an average ({code(str(method))})" if method else said


def _option(value: Any) -> str:
    return ", ".join(code(str(item)) for item in value) if isinstance(value, list) else code(str(value))


def _columns(artifact: ArtifactInfo) -> str:
    """Which columns are read beside the text, and as what."""
    read = (("numbers", artifact.features.get("numeric", ())), ("names", artifact.features.get("categorical", ())))
    return "; ".join(f"{kind}: {', '.join(map(code, names))}" for kind, names in read if names)


def _answers(artifact: ArtifactInfo) -> Iterator[list[str]]:
    """What it answers with: labels and their roles, or a number and its interval."""
    labels, interval_of = artifact.labels, artifact.decision.interval
    if artifact.answer_kind == "number":
        yield ["answers", f"a number, {code(labels.names[0])}"]
        if interval_of:
            said = f"for {interval_of['coverage']:.0%} of rows, from the errors on {interval_of['rows']:.0f} validation rows"
            yield ["interval", f"the number plus and minus {show(interval_of['half_width'])}, {said}"]
        return
    yield ["labels", ", ".join(code(name) for name in labels.names)]
    if artifact.answer_kind == "classes" and len(sides(artifact.text or "")) <= 2:  # a choice is a place, and none is favourable
        yield ["positive label", code(labels.positive) + (" (assumed)" if labels.positive_assumed else "")]
        yield ["favourable label", code(labels.favourable) + (" (assumed)" if labels.favourable_assumed else "")]


def findings_part(report: AuditReport, *, rows: str = "test rows") -> Iterator[str]:
    """Every measured number but those of single groups, by dimension; `rows` names what they were measured on."""
    measured = [finding for finding in report.findings if finding.status == "ok"]
    shown = [finding for finding in measured if not any(group is not None for _, group in finding.parts.slice)]
    yield "## Evaluation"
    yield ""
    yield (
        f"Measured on {report.data.get('rows')} {rows} (digest {code(str(report.data.get('digest')))}). "
        "The interval is where the true number lies with the confidence stated. Where it says `no interval`, the number was counted, "
        "measured once, or is the largest of a sample: nothing is known of its spread. The method of each stands in `audit.json`."
    )
    yield ""
    for dimension in dict.fromkeys(finding.parts.dimension for finding in shown):
        yield f"### {dimension.capitalize()}"
        yield ""
        yield from table(
            ["finding", "value", "interval", "confidence", "n", "unit"], [_row(f) for f in shown if f.parts.dimension == dimension]
        )
    if len(shown) < len(measured):
        yield "Numbers of single groups stand in `audit.json` and `evidence/`."
        yield ""


def _row(finding: Finding) -> list[str]:
    bounded = finding.low != finding.high
    return [
        code(finding.id),
        maybe(finding.value),
        interval(finding.low, finding.high),
        show(finding.confidence) if bounded else "",
        maybe(finding.n),
        finding.unit,
    ]


def gaps_part(report: AuditReport) -> Iterator[str]:
    """What is not known: as much a part of the card as what is."""
    without = [finding for finding in report.findings if finding.status != "ok"]
    yield "## What was not measured"
    yield ""
    if not without:
        yield "Everything that was asked for was measured. What no audit of this version covers stands in `audit.json` by its absence."
        yield ""
        return
    yield from table(["finding", "status", "reason"], [[code(f.id), f.status.replace("_", " "), f.reason] for f in without[:_MOST_SLICES]])
    if len(without) > _MOST_SLICES:
        yield "The rest stands in `audit.json`."
        yield ""


def _data(data_card: Mapping[str, Any]) -> Iterator[str]:
    yield "## Data"
    yield ""
    if not data_card:
        yield "*No data card came with this model.*"
        yield ""
        return
    yield f"Licence of the data: {plain(str(data_card.get('licence') or 'not stated'))}."
    if data_card.get("attribution"):
        yield plain(str(data_card["attribution"]))
    yield "The data card is `data_card.md`; no row of the data is in this folder."
    order = data_card.get("order")
    for text in order.get("warnings") or [] if isinstance(order, Mapping) else []:
        yield f"\n**Warning**: {plain(str(text))}"
    seen = (data_card.get("overlap") or {}).get("train/test")
    if seen:
        told = f"{seen:,} test rows have a text that also stands in the training rows"
        yield f"\n**Warning**: {told}; what is measured on them says little about others."
    yield ""
    splits = data_card.get("splits")
    if isinstance(splits, Mapping) and splits:
        rows = [[code(str(name)), str(part.get("rows"))] for name, part in splits.items()]
        later = data_card.get("out_of_time")
        rows += [[f"later rows, {code(str(later['source']))}", str(later["rows"])]] if isinstance(later, Mapping) else []
        yield from table(["split", "rows"], rows)


def environment_part(environment: Mapping[str, Any], report: AuditReport) -> Iterator[str]:
    """What it was made with."""
    libraries = environment.get("libraries") or {}
    yield "## Environment"
    yield ""
    rows = [["Python", str(environment.get("python"))], ["platform", str(environment.get("platform"))]]
    rows += [[name, str(version)] for name, version in libraries.items()]
    processor = report.machine.get("processor")
    rows += [["processor of the measurements", plain(str(processor))]] if processor else []
    yield from table(["", ""], rows)


def use_part(verdict: Verdict, *lines: str) -> Iterator[str]:
    """How to check and use it: what a released bundle is for, and what a signature does not say."""
    yield "## How to check and use it"
    yield ""
    if verdict.released:
        yield "```"
        yield "trustbase verify . --trust KEY.pub"
        yield from lines or ("trustbase predict . --input rows.csv --output answers.jsonl --trust KEY.pub",)
        yield "```"
    else:
        yield "It is not signed, and every command of Trustbase that answers questions refuses it."
    yield ""
    yield "A signature says who released it and that nothing was changed since."
    yield "It does not say that the model is right, lawful or free of bias."
