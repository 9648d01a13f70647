"""`artifact.json`: what the shipped model is, which labels it gives, and how it was chosen. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.data.tags import is_tag
from trustbase.errors import ModelError
from trustbase.model.artifact_form import check_form
from trustbase.model.folder import CHECKPOINT
from trustbase.recipe.lookup import TASKS
from trustbase.records import ArtifactInfo, Decision, LabelSchema

ARTIFACT_SCHEMA = "trustbase/artifact/1"
ARTIFACT_FILE = "artifact.json"
ONNX_FILE = "model.onnx"
PLAIN_FILE = "plain.json"  # of a model that a person can read
_DEFAULT_LENGTH = 512
_WHY = "a plain checkpoint: fp32 torch, labels of its config, positive and favourable label assumed to be the last"
_WHY_ANSWERER = "a plain checkpoint: fp32 torch, long texts in windows that overlap by a quarter, an answer where it is likelier than none"
#: what transformers calls what the scores mean → the task, where it is not one label of several
_PLAIN_TASKS = {"regression": "regression", "multi_label_classification": "multi-label-classification"}


def artifact_digest(folder: Path) -> str:
    """`sha256:…` over every file of an artefact folder, `artifact.json` included."""
    return files.digest_folder(folder, only=lambda name: not name.startswith(".") and "/." not in name)


def write_artifact(info: ArtifactInfo) -> ArtifactInfo:
    """Write `artifact.json` beside the weights; returns the record with the digest of the finished folder."""
    files.write_json(
        info.folder / ARTIFACT_FILE,
        {
            "schema": ARTIFACT_SCHEMA,
            "task": info.task,
            "answer_kind": info.answer_kind,
            "labels": info.labels.to_json(),
            "runtime": info.runtime,
            "precision": info.precision,
            "max_length": info.max_length,
            **{name: value for name, value in (("stride", info.stride), ("answer_tokens", info.answer_tokens)) if value is not None},
            "text": info.text,
            **({"columns": list(info.columns)} if info.columns else {}),
            **({"numbers": list(info.numbers)} if info.numbers else {}),
            **({"features": {kind: list(names) for kind, names in info.features.items()}} if info.features else {}),
            **({} if info.entity_types is None else {"entity_types": list(info.entity_types)}),
            **({"members": info.members} if info.members > 1 else {}),
            "base": info.base,
            "revision": info.revision,
            "decision": info.decision.to_json(),
            "facts": dict(info.facts),
        },
    )
    return replace(info, digest=artifact_digest(info.folder))


def read_artifact(folder: Path) -> ArtifactInfo:
    """Read an artefact folder, the `model/` folder of a bundle, or a plain Hugging Face checkpoint folder.

    Raises:
        ModelError: there is no model, or `artifact.json` is not of a form this version knows.
    """
    folder = Path(folder)
    if not (folder / ARTIFACT_FILE).is_file() and (folder / "model" / ARTIFACT_FILE).is_file():
        folder = folder / "model"
    if not (folder / ARTIFACT_FILE).is_file():
        return _plain_checkpoint(folder)
    data = _read_mapping(folder / ARTIFACT_FILE)
    if data.get("schema") != ARTIFACT_SCHEMA:
        raise ModelError(
            f"{folder / ARTIFACT_FILE}: schema must be {ARTIFACT_SCHEMA}, got {data.get('schema')!r}", hint="use the version that wrote it"
        )
    try:
        check_form(data)
        return _from_json(folder, data)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / ARTIFACT_FILE}: a field is missing or wrong: {error}", hint="make the artefact again") from error


def set_decision(folder: Path, decision: Decision) -> ArtifactInfo:
    """Store how scores become an answer; the artefact's digest changes with it."""
    return write_artifact(replace(read_artifact(folder), decision=decision))


def _from_json(folder: Path, data: Mapping[str, Any]) -> ArtifactInfo:
    return ArtifactInfo(
        folder=folder,
        digest=artifact_digest(folder),
        task=data["task"],
        answer_kind=data["answer_kind"],
        labels=LabelSchema.from_json(data["labels"]),
        runtime=data["runtime"],
        precision=data["precision"],
        max_length=int(data["max_length"]),
        base=data["base"],
        revision=data["revision"],
        text=data["text"],
        columns=tuple(data.get("columns", ())),
        numbers=tuple(data.get("numbers", ())),
        stride=data.get("stride"),
        answer_tokens=data.get("answer_tokens"),
        features=data.get("features", {}),
        entity_types=None if data.get("entity_types") is None else tuple(data["entity_types"]),
        members=int(data.get("members", 1)),
        decision=Decision.from_json(data["decision"]),
        facts=data["facts"],
    )


def _plain_checkpoint(folder: Path) -> ArtifactInfo:
    """A folder of `save_pretrained`: labels from `config.id2label`, fp32 torch, the positive label assumed to be the last."""
    from trustbase.data.truth.span import SCORES

    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder}: no model here (neither {ARTIFACT_FILE} nor config.json)", hint="name a checkpoint folder, an artefact or a bundle"
        )
    config = _read_mapping(folder / "config.json")
    architecture = (config.get("architectures") or ["?"])[0]
    tagger, answerer = (str(architecture).endswith(f"For{head}") for head in ("TokenClassification", "QuestionAnswering"))
    if not tagger and not answerer and not str(architecture).endswith("ForSequenceClassification"):
        raise ModelError(
            f"{folder}: {architecture} has no classification head, so it gives no class scores", hint="fine-tune it first: trustbase run"
        )
    names, length = SCORES if answerer else _label_names(config), _checkpoint_length(folder, config)
    if tagger and not all(map(is_tag, names)):
        hint = "name its labels O, B-TYPE and I-TYPE in config.json (id2label)"
        raise ModelError(f"{folder}: its labels are no tags of entities: {', '.join(names[:8])}", hint=hint)
    task = (
        "token-classification"
        if tagger
        else "question-answering"
        if answerer
        else _PLAIN_TASKS.get(str(config.get("problem_type")), "text-classification")
    )
    return ArtifactInfo(
        folder=folder,
        digest=artifact_digest(folder),
        task=task,
        answer_kind=TASKS[task].answers,
        labels=replace(LabelSchema(names, positive=names[-1], favourable=names[-1]), **_unit_of(folder)),
        runtime="torch",
        precision="fp32",
        max_length=length,
        stride=length // 4 if answerer else None,  # an answer may stand anywhere in a long text
        base=folder.resolve().name,
        revision="local",
        facts={"why": _WHY_ANSWERER if answerer else _WHY},
    )


def _unit_of(folder: Path) -> dict[str, Any]:
    """Mean and spread that the scores of a number are told in, where training left them; a model from elsewhere tells the number itself."""
    path = folder / CHECKPOINT
    unit = (_read_mapping(path).get("meta") or {}).get("unit") if path.is_file() else None
    return {name: float(unit[name]) for name in ("center", "scale")} if isinstance(unit, dict) else {}


def _label_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    table = config.get("id2label")
    if not table:
        count = int(config.get("num_labels", 2))
        return tuple(f"LABEL_{i}" for i in range(count))
    return tuple(str(table[key]) for key in sorted(table, key=int))


def _checkpoint_length(folder: Path, config: Mapping[str, Any]) -> int:
    """Tokens that model and tokenizer both take (tokenizers say 1e30 for "no limit")."""
    limits = [
        int(config[key]) for key in ("max_position_embeddings", "n_positions") if isinstance(config.get(key), int) and config[key] > 0
    ]
    if config.get("model_type") in {"roberta", "xlm-roberta", "camembert"}:
        limits = [limit - 2 for limit in limits]  # these count positions from pad_token_id + 1
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file():
        declared = _read_mapping(tokenizer).get("model_max_length")
        if isinstance(declared, int | float) and 0 < declared < 1_000_000:
            limits.append(int(declared))
    return min(limits, default=_DEFAULT_LENGTH)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        data = files.read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON: {error}", hint="check the folder, or make it again") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path}: must hold a JSON object, got {type(data).__name__}", hint="make the artefact again")
    return data
