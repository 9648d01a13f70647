"""Plain values in, a recipe out. What is wrong is told and set aside, so that the rest is still read and checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from trustbase import marked_yaml
from trustbase.errors import Problem
from trustbase.recipe import marks
from trustbase.recipe.schema import STAGES, AnyRecipe, PretrainRecipe, Recipe
from trustbase.recipe.wording import describe, known_keys, nearest_key, problem_of, real_path, unknown_key

_MULTIPLE = re.compile(r"([-+]?\d+(?:\.\d+)?)([kMG])")
_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9}
#: In place of what must be there and is not, so that the rest of its section is read; nothing is concluded from these.
_STAND_INS: dict[marked_yaml.Path, Any] = {
    ("data", "train"): "?.csv",
    ("data", "text"): "?text",
    ("data", "label"): "?label",
    ("corpus",): {"files": "?.txt"},
}
_MOST_PASSES = 50  # each sets something aside; no recipe needs as many


@dataclass
class Aside:
    """Paths of a recipe that could not be read."""

    paths: set[marked_yaml.Path] = field(default_factory=set)

    def covers(self, path: marked_yaml.Path) -> bool:
        """Whether a path, or what it stands in, was set aside."""
        return any(path[: len(aside)] == aside for aside in self.paths)

    def sure(self, *path: str) -> bool:
        """Whether everything at and under a path is what the recipe says, so that something may be concluded from it."""
        wholes = (aside[:-1] if aside and isinstance(aside[-1], int) else aside for aside in self.paths)  # a list lacks its item
        return not any(path[: len(whole)] == whole or path == whole[: len(path)] for whole in wholes)

    def keys_under(self, path: marked_yaml.Path) -> set[str]:
        """Keys within a section that were set aside."""
        return {str(aside[len(path)]) for aside in self.paths if len(aside) > len(path) and aside[: len(path)] == path}


@dataclass
class Parsed:
    """A recipe as far as it could be read.

    Attributes:
        recipe: the recipe; whatever was set aside has its default, or stands for nothing.
        problems: why something was set aside.
        aside: paths whose values are not what the recipe says.
    """

    recipe: AnyRecipe
    problems: list[Problem]
    aside: Aside


def parse(value: dict[str, Any], locate: marks.Locator) -> Parsed:
    """Read a recipe out of plain values; those that cannot be read are taken out of them.

    Reading goes on without what is wrong, so that one misspelt key does not hide all that is impossible elsewhere.
    """
    aside = Aside()
    kind, problems = _stage(value, aside, locate)
    for _ in range(_MOST_PASSES):
        try:
            recipe = kind.model_validate(value)
        except ValidationError as error:
            if not _expand_multiples(value, error):
                problems += _set_aside(value, error, aside, locate, kind)
            continue
        return Parsed(recipe, [*problems, *_booleans(value, recipe, (), locate, kind)], aside)
    nothing = Recipe.model_validate({"data": {str(path[-1]): text for path, text in _STAND_INS.items() if len(path) > 1}})
    return Parsed(nothing, problems, Aside({()}))


def _stage(value: dict[str, Any], aside: Aside, locate: marks.Locator) -> tuple[type[Recipe] | type[PretrainRecipe], list[Problem]]:
    """Which of the recipes this is; where the stage is none, the one that its sections speak of."""
    stage = value.get("stage", "finetune")
    if isinstance(stage, str) and stage in STAGES:
        return STAGES[stage], []
    aside.paths.add(("stage",))
    near = difflib.get_close_matches(str(stage), STAGES, n=1)
    problem = Problem(
        locate(("stage",)), f"'stage': {stage!r} is no stage", f"did you mean '{near[0]}'?" if near else f"known: {', '.join(STAGES)}"
    )
    del value["stage"]
    return (PretrainRecipe if "corpus" in value else Recipe), [problem]


def _set_aside(value: dict[str, Any], error: ValidationError, aside: Aside, locate: marks.Locator, kind: type[BaseModel]) -> list[Problem]:
    """Take what pydantic complains of out of the values, and tell what does not merely follow from what was taken out before."""
    problems: list[Problem] = []
    drops: set[marked_yaml.Path] = set()
    before = Aside(set(aside.paths))
    items = [(item, real_path(value, item["loc"])) for item in error.errors()]
    for item, path in sorted(items, key=lambda found: found[0]["type"] != "extra_forbidden"):
        if item["type"] == "extra_forbidden":
            problems.append(unknown_key(path, locate, kind))
            _misspelt(value, path, aside, kind)
            drops.add(path)
        elif item["type"] == "missing":
            missing = (*path, str(item["loc"][-1]))
            if not aside.covers(missing):
                problems.append(problem_of(value, item, locate, kind))
            aside.paths.add(missing)
            _at(value, path)[missing[-1]] = _STAND_INS.get(missing, {})
        else:
            found, dropped = _wrong(value, item, path, aside, before, locate, kind)
            problems += found
            drops |= dropped
    whole = [path for path in drops if not any(path[:end] in drops for end in range(len(path)))]
    for path in sorted(whole, key=lambda path: path[-1] if path and isinstance(path[-1], int) else -1, reverse=True):
        _take_out(value, path)
    return problems


def _misspelt(value: dict[str, Any], path: marked_yaml.Path, aside: Aside, kind: type[BaseModel]) -> None:
    """An unknown key was probably meant to be the nearest known one: nothing is concluded from that one's default."""
    near = nearest_key(path, kind)
    if near is not None and near not in _at(value, path[:-1]):
        aside.paths.add((*path[:-1], near))


def _wrong(
    value: dict[str, Any], item: Any, path: marked_yaml.Path, aside: Aside, before: Aside, locate: marks.Locator, kind: type[BaseModel]
) -> tuple[list[Problem], set[marked_yaml.Path]]:
    """What to tell of a value that does not fit, and what to take out for it.

    Of keys that contradict each other, or that this version refuses in words of its own, those that the message names.
    """
    section = _at(value, path)
    told = [] if before.covers(path) else [problem_of(value, item, locate, kind)]
    if item["type"] != "value_error" or not isinstance(section, dict):
        aside.paths.add(path)
        return told, {path}
    words = set(re.findall(r"\w+", item["msg"]))
    unknown = [key for key in section if key not in known_keys(path, kind)]
    if unknown:  # the section was refused before its keys were looked at
        for key in unknown:
            if key not in words:
                told.append(unknown_key((*path, key), locate, kind))
                _misspelt(value, (*path, key), aside, kind)
        return told, {(*path, key) for key in unknown}
    if words & before.keys_under(path):  # it may only contradict the default of a key that was taken out
        told = []
    named = {(*path, key) for key in section if key in words and not before.covers((*path, key))} or {path}
    aside.paths |= named
    return told, named


def _at(value: Any, path: marked_yaml.Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _take_out(value: dict[str, Any], path: marked_yaml.Path) -> None:
    if not path:
        value.clear()
        return
    holder = _at(value, path[:-1])
    del holder[path[-1]]
    if isinstance(holder, list) and not holder:  # an empty list would be another fault
        _take_out(value, path[:-1])


def _booleans(value: Any, parsed: Any, path: marked_yaml.Path, locate: marks.Locator, kind: type[BaseModel]) -> Iterator[Problem]:
    """Booleans that were read as the numbers 0 and 1 where a number is wanted."""
    if isinstance(value, dict) and isinstance(parsed, BaseModel):
        for name, option in type(parsed).model_fields.items():
            key = option.alias or name
            if key in value:
                yield from _booleans(value[key], getattr(parsed, name), (*path, key), locate, kind)
    elif isinstance(value, list) and isinstance(parsed, list | tuple):
        for index, (item, inner) in enumerate(zip(value, parsed, strict=False)):
            yield from _booleans(item, inner, (*path, index), locate, kind)
    elif isinstance(value, bool) and isinstance(parsed, int | float) and not isinstance(parsed, bool):
        dotted = ".".join(map(str, path))
        yield Problem(locate(path), f"'{dotted}': must be a number, got {str(value).lower()}", describe(path, kind))


def _expand_multiples(value: dict[str, Any], error: ValidationError) -> bool:
    """Turn `20M` into a number wherever a number was wanted; True if anything changed."""
    changed = False
    for item in error.errors():
        match = _MULTIPLE.fullmatch(item["input"]) if isinstance(item["input"], str) else None
        path = real_path(value, item["loc"])
        if match and path and item["type"] in {"int_parsing", "float_parsing", "int_from_float"}:
            parent = _at(value, path[:-1])
            number = float(match[1]) * _FACTORS[match[2]]
            parent[path[-1]] = int(number) if number.is_integer() else number
            changed = True
    return changed
