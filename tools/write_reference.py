"""Writes docs/reference/{recipe,findings}.md from the options models and the catalogue, so that they cannot drift from the code.

Run: python tools/write_reference.py   (a test fails when a page is stale)
"""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from trustbase.audit.catalogue import CATALOGUE, FORMS, Measure
from trustbase.recipe import lookup
from trustbase.recipe.schema import PretrainRecipe, Recipe
from trustbase.report.words import words

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"


def type_name(annotation: Any) -> str:
    """A type as a person writes it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return type_name(get_args(annotation)[0])
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, UnionType):
        return " \\| ".join(dict.fromkeys(type_name(part) for part in get_args(annotation) if part is not type(None)))
    if origin is dict:
        return "mapping"
    if origin is not None:
        return f"{origin.__name__} of {', '.join(type_name(part) for part in get_args(annotation))}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true/false"}.get(
        getattr(annotation, "__name__", ""), str(annotation)
    )


def nested(annotation: Any) -> list[type[BaseModel]]:
    """The options models behind an annotation: none, one, or one for each form that it may take."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in nested(argument)]


def default(field: Any) -> str:
    """The default as it would stand in a recipe."""
    if field.is_required():
        return "required"
    value = field.default_factory() if field.default_factory else field.default
    if value is PydanticUndefined or isinstance(value, BaseModel) or value in ({}, []):
        return ""
    return {None: "", True: "`true`", False: "`false`"}.get(value, f"`{value}`") if isinstance(value, (bool, type(None))) else f"`{value}`"


def section(model: type[BaseModel], path: str) -> list[str]:
    """The table of one options model, then those of the models inside it."""
    lines = [f"## `{path}`" if path else "## Top level", "", (model.__doc__ or "").strip().split("\n\n")[0].replace("\n", " "), ""]
    lines += ["| key | kind | default | what it says |", "|---|---|---|---|"]
    inner: list[str] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        about = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{key}` | {type_name(field.annotation)} | {default(field)} | {about} |")
        below = nested(field.annotation)
        for model in below:
            form = f" ({model.__name__.removesuffix('Options').lower()})" if len(below) > 1 else ""
            inner += ["", *section(model, f"{path}.{key}".lstrip(".") + form)]
    return lines + inner


def recipe_page() -> str:
    """Every key of a recipe."""
    lines = [
        "# The recipe, key by key",
        "",
        "Written by `tools/write_reference.py` from the options models; do not edit by hand.",
        "",
    ]
    lines += section(Recipe, "")
    tables = {"tasks": lookup.TASKS, "adaptations": lookup.ADAPTATIONS, "models that can be read": lookup.PLAIN_MODELS}
    for title, table in (*tables.items(), ("data sources", lookup.SOURCES)):
        lines += ["", f"## What may be named: {title}", "", "| name | what it is |", "|---|---|"]
        lines += [f"| `{name}` | {entry.about} |" for name, entry in table.items()]
    lines += ["", "## What is measured", "", "| dimension | answers | what it asks |", "|---|---|---|"]
    lines += [f"| `{dimension}` | {'any' if kind == '*' else kind} | {entry.about} |" for (dimension, kind), entry in lookup.AUDITS.items()]
    return "\n".join(lines) + "\n"


def pretraining_page() -> str:
    """Every key of a recipe with `stage: pretrain`."""
    lines = [
        "# The pretraining recipe, key by key",
        "",
        "Written by `tools/write_reference.py` from the options models; do not edit by hand. How it is used: `docs/how-to/pretrain.md`.",
        "",
        *section(PretrainRecipe, ""),
        "",
        "## What may be named: objectives",
        "",
        "| name | what it is |",
        "|---|---|",
        *(f"| `{name}` | {entry.about} |" for name, entry in lookup.OBJECTIVES.items() if name not in lookup.TASKS),
    ]
    return "\n".join(lines) + "\n"


def findings_page() -> str:
    """Every finding that an audit of this version can emit."""
    table = words("en")
    lines = [
        "# Findings: what is measured",
        "",
        "Written by `tools/write_reference.py` from `audit/catalogue.py` and the report's words; do not edit by hand.",
        "",
        "An id is `dimension.metric`, then optionally `[slice]`, `@dataset`, `#variant`. Each metric is measured with one form of slice,",
        "and a gate that names another is refused when the recipe is read:",
        "",
        *(f"- {form}: {about}" for form, about in FORMS.items()),
        "",
        "Inside a slice, `\\` stands before a comma, `=`, `]` or `\\` that belongs to a name. Where there are more than two labels,",
        "gaps marked `#LABEL` are measured for every other label too.",
    ]
    for dimension, metrics in CATALOGUE.items():
        lines += ["", f"## {dimension}", "", "| metric | name | slice | what it says |", "|---|---|---|---|"]
        for metric in sorted(metrics):
            name = f"{dimension}.{metric}"
            lines.append(
                f"| `{name}{variants(metrics[metric])}` | {table.metric(name)} | {metrics[metric].form} | {table.metric_about(name)} |"
            )
    return "\n".join(lines) + "\n"


def variants(measure: Measure) -> str:
    """The variants of a metric, as they stand behind its name."""
    if measure.variants:
        return " ".join(f"#{variant}" for variant in measure.variants)
    if measure.further:
        return "` `#" + "` `#".join(measure.further)
    return "` `#LABEL" if measure.by_label else ""


PAGES = {"recipe.md": recipe_page, "pretraining.md": pretraining_page, "findings.md": findings_page}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
