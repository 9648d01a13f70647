"""What pydantic found wrong with a recipe, in the words of the recipe."""

from __future__ import annotations

import difflib
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from trustbase import marked_yaml
from trustbase.data.reference import without_secrets
from trustbase.errors import Problem
from trustbase.recipe import marks
from trustbase.recipe.schema import LATER_SECTIONS, STAGES

_LONGEST = 300  # characters of a value that a message shows


def problem_of(value: dict[str, Any], item: Any, locate: marks.Locator, recipe: type[BaseModel]) -> Problem:
    """One finding of pydantic, with its place."""
    location, kind = item["loc"], item["type"]
    path = real_path(value, location)
    dotted = ".".join(str(part) for part in path) or "recipe"
    if kind == "extra_forbidden":
        return unknown_key(path, locate, recipe)
    if kind == "missing":
        missing = ".".join(str(part) for part in location)
        return Problem(locate(path), f"'{missing}' is missing", describe(location, recipe))
    message = item["msg"].removeprefix("Value error, ")
    if kind in {"model_type", "model_attributes_type", "dict_type"}:  # the library's words name our classes
        message = "must be a section of keys"
    got = "" if isinstance(item["input"], (dict, list)) else f", got {_short(item['input'])}"
    return Problem(locate(path), f"'{dotted}': {message[0].lower() + message[1:]}{got}", describe(location, recipe))


def _short(value: Any) -> str:
    text = without_secrets(repr(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def real_path(value: Any, location: tuple[int | str, ...]) -> marked_yaml.Path:
    """The part of a pydantic location that stands in the recipe (union tags are not)."""
    path: list[str | int] = []
    for part in location:
        within = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if within or (isinstance(value, dict) and part in value):
            value = value[part]
            path.append(part)
    return tuple(path)


def unknown_key(path: marked_yaml.Path, locate: marks.Locator, recipe: type[BaseModel]) -> Problem:
    """A key that no section of this version knows."""
    key, dotted = str(path[-1]), ".".join(str(part) for part in path)
    if len(path) == 1 and key in LATER_SECTIONS:
        return Problem(locate(path), f"section '{key}' is one that this version of Trustbase cannot do yet", "remove it")
    owner = next((stage for stage, other in STAGES.items() if other is not recipe and key in known_keys((), other)), None)
    if len(path) == 1 and owner is not None:
        return Problem(locate(path), f"section '{key}' belongs to stage: {owner}", f"write stage: {owner}, or remove it")
    near = nearest_key(path, recipe)
    hint = f"did you mean '{near}'?" if near else f"known here: {', '.join(known_keys(path[:-1], recipe))}"
    return Problem(locate(path), f"'{dotted}' is not a known key", hint)


def nearest_key(path: marked_yaml.Path, recipe: type[BaseModel]) -> str | None:
    """The known key that the last one of a path was probably meant to be."""
    near = difflib.get_close_matches(str(path[-1]), known_keys(path[:-1], recipe), n=1, cutoff=0.6)
    return near[0] if near else None


def known_keys(path: marked_yaml.Path, recipe: type[BaseModel]) -> list[str]:
    """Keys of the section at a path; empty where it is no section, or one whose keys are free."""
    model = model_at(path, recipe)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def describe(location: marked_yaml.Path, recipe: type[BaseModel]) -> str:
    """What the key at a path is for; empty where it has no description."""
    model = model_at(tuple(location[:-1]), recipe)
    name = str(location[-1]) if location else ""
    field = model.model_fields.get(name) if model else None
    return f"{name}: {field.description}" if field is not None and field.description else ""


def model_at(path: marked_yaml.Path, recipe: type[BaseModel]) -> type[BaseModel] | None:
    """The options model that reads the mapping at `path` of a recipe."""
    model: type[BaseModel] | None = recipe
    for part in path:
        if model is None:
            return None
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        if field is not None:  # else a union tag in a pydantic location
            model = _model_in(field.annotation)
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return next((model for model in map(_model_in, get_args(annotation)) if model is not None), None)
    return None
