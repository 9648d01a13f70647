"""The front matter of a model card: what the Hugging Face Hub reads of it, told only where it is known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml

from trustbase.data.reference import suffix_of
from trustbase.recipe.lookup import TASKS
from trustbase.records import ArtifactInfo, AuditReport

#: finding → the name that the Hub knows the metric by
_HUB_METRICS = {
    "quality.accuracy": "accuracy",
    "quality.macro_f1": "f1",
    "quality.auroc": "roc_auc",
    "quality.rmse": "rmse",
    "quality.mae": "mae",
    "quality.r2": "r_squared",
    "quality.auprc": "average_precision",
    "quality.brier": "brier_score",
    "quality.log_loss": "log_loss",
}
_SORTS = {"number": "text regression", "labels": "multi-label text classifier", "tokens": "entity tagger", "span": "answerer of questions"}
_LIBRARIES = {"onnx": "onnxruntime", "plain": "trustbase"}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_ONE_LANGUAGE, _JUDGED = 0.95, 100  # share of the training texts, and how many of them, from which a guess of their language is told


def front_matter(name: str, artifact: ArtifactInfo, report: AuditReport, recipe: Mapping[str, Any], data_card: Mapping[str, Any]) -> str:
    """The YAML before the card: what the Hub reads of it."""
    metrics = []
    for id, kind in _HUB_METRICS.items():
        finding = report.find(id)
        if finding is not None and finding.status == "ok" and finding.value is not None:
            metrics.append({"type": kind, "name": id, "value": finding.value})
    dataset = _data_name(recipe)
    pipeline, language = pipeline_of(artifact), _language(data_card)
    front: dict[str, Any] = {
        **({"pipeline_tag": pipeline} if pipeline else {}),
        **({"language": language} if language else {}),
        "library_name": "trustbase" if artifact.members > 1 else _LIBRARIES.get(artifact.runtime, "transformers"),
        "tags": ["trustbase", artifact.task, artifact.runtime, artifact.precision],
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": pipeline or artifact.task},
                        "dataset": {"type": _slug(dataset), "name": dataset, "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    if _HUB_ID.fullmatch(artifact.base):
        front["base_model"] = artifact.base
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)}---\n"


def pipeline_of(artifact: ArtifactInfo) -> str:
    """What the Hub calls what this model does; empty where it has no name that fits."""
    if artifact.runtime == "plain" and artifact.columns:
        return "tabular-classification"
    return TASKS[artifact.task].hub if artifact.task in TASKS else ""


def _language(data_card: Mapping[str, Any]) -> str:
    """The language of the training texts (ISO 639-1), where enough of them were judged and nearly all were found to be in it."""
    found = ((data_card.get("splits") or {}).get("train") or {}).get("languages") or {}
    shares = {name: share for name, share in (found.get("texts") or {}).items() if name != "other"}
    most = max(shares, key=lambda name: float(shares[name]), default="")
    return most if most and shares[most] >= _ONE_LANGUAGE and found.get("judged", 0) >= _JUDGED else ""


def name_of(recipe: Mapping[str, Any], kind: str) -> str:
    """What the card calls the model: by its data, and the sort of model."""
    return f"{_data_name(recipe)} {_SORTS.get(kind, 'text classifier')}"


def _data_name(recipe: Mapping[str, Any]) -> str:
    data = recipe.get("data")
    train = str(data.get("train") or "") if isinstance(data, dict) else ""
    if train.startswith("sample:"):
        return train.removeprefix("sample:")
    parts = [part for part in PurePath(train).parts if not set(part) & set("*?[")]  # of a glob, the folder
    name = PurePath(parts[-1]) if parts else PurePath()
    return (PurePath(name.stem).stem if suffix_of(name)[1] else name.stem) or "unnamed data"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "data"
