"""The model card of a base model: what it learned from, how, what it is good for before any task, and what that cost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from trustbase import files
from trustbase.bundle.card import environment_part, findings_part, gaps_part, purpose_part, use_part, verdict_part
from trustbase.bundle.layout import ORIGIN
from trustbase.bundle.markdown import code, plain, show, table
from trustbase.records import ArtifactInfo, AuditReport, Verdict

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WHAT = {"encoder": "reads text (encoder)", "decoder": "writes on (decoder)", "encoder-decoder": "reads text and writes (encoder-decoder)"}
_LANGUAGE_SHARE = 0.05  # of the documents, from which on the card names a language
_COST = (
    ("efficiency.training_seconds", "time"),
    ("efficiency.training_flops", "operations"),
    ("efficiency.training_energy_kwh", "energy"),
    ("efficiency.training_carbon_kg", "CO2-equivalent"),
    ("efficiency.model_flops_utilisation", "model-FLOPs utilisation"),
)


def base_card(
    *,
    artifact: ArtifactInfo,
    report: AuditReport,
    verdict: Verdict,
    recipe_text: str,
    purpose: Mapping[str, Any],
    data_card: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> str:
    """The text of `README.md` of a base model, YAML front matter included.

    Args:
        artifact: the base model as it ships; its `facts` say objective, context, family.
        report: the audit.
        verdict: what the gates say.
        recipe_text: the recipe of the pretraining.
        purpose: what the recipe says under `purpose:`.
        data_card: the corpus card, with a `tokenizer` report where there is one.
        environment: content of `environment.json`.
    """
    recipe = yaml.safe_load(recipe_text)
    recipe = recipe if isinstance(recipe, dict) else {}
    name = _name(artifact, data_card)
    sections = [
        _front_matter(name, artifact, report, data_card),
        f"# {name}",
        "",
        "A base model: it was pretrained on raw text and knows no task yet. Fine-tune it before it answers anything.",
        "",
        *verdict_part(verdict, looked_at="these held-out documents"),
        *purpose_part(purpose),
        *_model(artifact, report, recipe),
        *_corpus(data_card),
        *_tokenizer(data_card.get("tokenizer")),
        *findings_part(report, rows="held-out documents"),
        *_cost(report),
        *gaps_part(report),
        *environment_part(environment, report),
        *use_part(verdict, "# then, in a recipe:  base: PATH/OF/THIS/FOLDER"),
    ]
    return "\n".join(sections) + "\n"


def pipeline_of(artifact: ArtifactInfo) -> str:
    """What the Hub calls the one thing that the model can do without a task."""
    objectives, family = set(artifact.facts.get("objectives") or ()), artifact.facts.get("family")
    if family == "decoder":
        return "text-generation"
    if family == "encoder-decoder":
        return "text2text-generation"
    return "fill-mask" if "masked" in objectives else "feature-extraction"


def _front_matter(name: str, artifact: ArtifactInfo, report: AuditReport, data_card: Mapping[str, Any]) -> str:
    perplexity = report.find("quality.perplexity")
    front: dict[str, Any] = {
        "pipeline_tag": pipeline_of(artifact),
        "library_name": "transformers",
        "tags": ["trustbase", "base-model", artifact.runtime, artifact.precision, *artifact.facts.get("objective", {})],
    }
    languages = _languages(data_card)
    if languages:
        front["language"] = languages
    if perplexity is not None and perplexity.status == "ok":
        metric = {"type": "perplexity", "name": perplexity.id, "value": perplexity.value}
        held_out = {"type": "held-out", "name": f"held-out documents of {_corpus_name(data_card)}", "split": "held_out"}
        result = {"task": {"type": pipeline_of(artifact)}, "dataset": held_out, "metrics": [metric]}
        front["model-index"] = [{"name": name, "results": [result]}]
    if _HUB_ID.fullmatch(artifact.base):
        front["base_model"] = artifact.base
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)}---\n"


def _model(artifact: ArtifactInfo, report: AuditReport, recipe: Mapping[str, Any]) -> Iterator[str]:
    facts, origin = artifact.facts, _origin(artifact)
    parameters = report.find("efficiency.parameters")
    objective = ", ".join(f"{code(name)} (weight {show(weight)})" for name, weight in (facts.get("objective") or {}).items())
    family = str(facts.get("family", ""))
    rows = [
        ["kind", _WHAT.get(family, plain(family))],
        ["architecture", code(str(facts["model_type"])) if facts.get("model_type") else "not stated"],
        ["parameters", show(parameters.value) if parameters is not None and parameters.value is not None else "not counted"],
        ["objective", objective or "not stated"],
        ["context", f"{artifact.max_length} tokens"],
        ["tokenizer", _tokenizer_words(recipe.get("tokenizer"))],
        ["began from", f"{code(artifact.base)}, revision {code(artifact.revision)}"],
        ["lineage", ", ".join(code(str(item)) for item in origin.get("lineage") or ()) or "not stated"],
        ["runtime, precision", f"{code(artifact.runtime)}, {code(artifact.precision)} (this very form was audited)"],
        ["model digest", code(str(report.model.get("digest")))],
    ]
    yield "## Model"
    yield ""
    yield from table(["", ""], rows)


def _origin(artifact: ArtifactInfo) -> Mapping[str, Any]:
    """What the checkpoint says that it came from: `{reference, revision, digest, licence, lineage}`; empty where it does not say."""
    path = artifact.folder / ORIGIN
    said = files.read_json(path).get("base") if path.is_file() else None
    return said if isinstance(said, dict) else {}


def _tokenizer_words(said: Any) -> str:
    """How the tokenizer came to be, as the recipe says it."""
    if isinstance(said, str):
        return code(said)
    if not isinstance(said, Mapping):
        return "the base model's own"
    if said.get("train"):
        return f"{code(str(said['train']))}, trained on this corpus"
    if said.get("extend"):
        return f"that of {code(str(said['extend']))}, with tokens of this corpus added"
    return f"that of {code(str(said.get('from')))}" if said.get("from") else "the base model's own"


def _corpus(card: Mapping[str, Any]) -> Iterator[str]:
    yield "## What it was pretrained on"
    yield ""
    if not card:
        yield "*No corpus card came with this model.*"
        yield ""
        return
    result = card.get("result") or {}
    for part, words in (("train", "Learned from"), ("held_out", "Held out by content hash")):
        size = result.get(part) or {}
        if size:
            yield f"{words}: {size.get('documents')} documents, {size.get('bytes')} bytes of UTF-8."
    yield f"Corpus digest: {code(str(card.get('digest')))}. The corpus card is `data_card.md`; no text of the corpus is in this folder."
    yield ""
    rows = [
        [plain(str(item.get("name"))), plain(str(item.get("licence") or "not stated")), show(item.get("weight") or 1.0)]
        for item in card.get("sources") or []
    ]
    yield from table(["source", "licence of the texts", "weight"], rows)
    yield from (f"- {plain(str(text))}" for item in card.get("sources") or [] for text in item.get("attribution") or [])
    yield ""
    steps = [[plain(str(row["step"])), str(row["documents"]), str(row["left"])] for row in card.get("steps") or []]
    if steps:
        yield from table(["step", "documents", "documents left"], steps)
    yield from _contamination(card.get("contamination"))


def _contamination(found: Any) -> Iterator[str]:
    """Whether texts of named test sets stood in the corpus."""
    if not isinstance(found, Mapping) or not found.get("sets"):
        yield "No test set was named, so none was looked for in the corpus."
        yield ""
        return
    rows = [[plain(str(name)), str(entry["texts"]), str(entry["found"]), str(entry["documents"])] for name, entry in found["sets"].items()]
    yield from table(["test set", "its texts", "of them found in the corpus", "documents that hold some"], rows)
    action = "were left out of" if found.get("action") == "remove" else "stay in"
    yield f"Looked for were {found.get('ngram')} units in a row; documents that overlap {action} the corpus."
    yield ""


def _tokenizer(report: Any) -> Iterator[str]:
    """What the tokenizer makes of each language, beside that of the base model."""
    if not isinstance(report, Mapping) or not report.get("languages"):
        return
    base = (report.get("base") or {}).get("languages") or {}
    yield "## Tokenizer"
    yield ""
    yield f"Tokens: {report.get('vocab_size')}."
    yield ""
    rows = []
    for language, row in report["languages"].items():
        cells = [show(row["tokens_per_word"]), show(row["unknown_tokens"])]
        other = base.get(language)
        cells += [show(other["tokens_per_word"]), show(other["unknown_tokens"])] if other else ["", ""]
        rows.append([plain(str(language)), *cells])
    yield from table(["language", "tokens for each word", "share unknown", "base: tokens for each word", "base: share unknown"], rows)


def _cost(report: AuditReport) -> Iterator[str]:
    """Time, energy and carbon with what they assume; what was not measured is listed further down."""
    rows = []
    for id, words in _COST:
        found = report.find(id)
        if found is not None and found.status == "ok" and found.value is not None:
            rows.append([words, f"{show(found.value)} {found.unit}".strip(), found.method])
    yield "## What the training cost"
    yield ""
    if rows:
        yield from table(["", "value", "how, and what it assumes"], rows)
    else:
        yield "*Not measured.*"
        yield ""


def _languages(card: Mapping[str, Any]) -> list[str]:
    """Languages of the corpus by what the card guessed, the most frequent first."""
    found = (card.get("languages") or {}).get("documents") or {}
    total = sum(found.values()) or 1
    ranked = sorted(found.items(), key=lambda item: -item[1])  # the file keeps its keys sorted by name
    return [name for name, count in ranked if name != "other" and count / total >= _LANGUAGE_SHARE]


def _corpus_name(card: Mapping[str, Any]) -> str:
    names = [str(item.get("name", "")).removeprefix("sample:") for item in card.get("sources") or []]
    return ", ".join(names[:3]) + (" and more" if len(names) > 3 else "") if names else "an unnamed corpus"


def _name(artifact: ArtifactInfo, card: Mapping[str, Any]) -> str:
    kind = str(artifact.facts.get("family") or "base model")
    return f"{_corpus_name(card)}: pretrained {kind}"
