"""A model that can be written down, on the report: its rules, its tree, or what weighs most in it."""

from __future__ import annotations

from dataclasses import dataclass

from trustbase.report.material import Material
from trustbase.report.words import Words


@dataclass(frozen=True)
class Written:
    """The model in words: what it is, what the lines are, and the lines as they were recorded."""

    summary: str
    title: str
    lines: tuple[str, ...]


def written_model(material: Material, t: Words) -> Written | None:
    """What the artefact says of itself where a person can read it; None for any other model."""
    told = (material.artifact.get("facts") or {}).get("model")
    if material.artifact.get("runtime") != "plain" or not told:
        return None
    titles = {
        "linear": t("model.written_linear"),
        "tree": t("model.written_tree"),
        "rules": t("model.written_rules"),
        "boosting": t("model.written_boosting"),
    }
    return Written(str(told["summary"]), titles[material.artifact["base"]], tuple(str(line) for line in told["lines"]))
