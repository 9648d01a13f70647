"""Reading a recipe: YAML and overrides in, a checked recipe out, or every problem at once with file and line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from trustbase.errors import Problem, RecipeError
from trustbase.recipe import marks
from trustbase.recipe.check import check, warnings_of
from trustbase.recipe.schema import LATER_SECTIONS, Recipe

_MULTIPLE = re.compile(r"([-+]?\d+(?:\.\d+)?)([kMG])")
_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Plan:
    """A recipe that was read and found possible.

    Attributes:
        recipe: the options of every part.
        name: file stem, the default name of the run.
        root: folder that relative paths in the recipe start from.
        resolved: the recipe with every default filled in, as YAML.
        warnings: what is possible, but hardly wanted; to be said before anything is computed.
    """

    recipe: Recipe
    name: str
    root: Path
    resolved: str
    warnings: list[str]


def read_recipe(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Plan:
    """Read and check a recipe.

    Args:
        recipe: path of a YAML file, or the recipe as a mapping.
        overrides: `key=value` texts with dotted keys; values are YAML.

    Raises:
        RecipeError: everything that is wrong with it, each with file and line.
    """
    name, root, marked = _load(recipe)
    value = marked.value if marked.value is not None else {}
    problems = list(marked.problems)
    if not isinstance(value, dict):
        raise _error(name, [Problem(f"{name}:1", f"must be a mapping of sections, got {type(value).__name__}", "see `trustbase init`")])
    locate = _Locator(name, marked, {})
    for text in overrides:
        problems += _override(value, text, locate)
    if any("is not valid YAML" in problem.message for problem in problems):
        raise _error(name, problems)
    parsed, found = _validate(value, locate)
    problems += found
    if parsed is not None:
        problems += _booleans(value, parsed, (), locate)
    if parsed is None:
        raise _error(name, problems)
    problems += [Problem(locate(path), message, hint) for path, message, hint in check(parsed, root)]
    if problems:
        raise _error(name, problems)
    resolved = yaml.safe_dump(parsed.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True, width=120)
    return Plan(parsed, Path(name).stem, root, resolved, warnings_of(parsed))


@dataclass
class _Locator:
    """Path in the recipe → where a person finds it."""

    name: str
    marked: marks.Marked
    overridden: dict[marks.Path, str]

    def __call__(self, path: marks.Path) -> str:
        for end in range(len(path), 0, -1):
            if path[:end] in self.overridden:
                return f"override {self.overridden[path[:end]]}"
        line = self.marked.line(path) if path else None
        return f"{self.name}:{line}" if line else self.name


def _load(recipe: str | Path | Mapping[str, Any]) -> tuple[str, Path, marks.Marked]:
    if isinstance(recipe, Mapping):
        text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
        return "recipe", Path.cwd(), marks.read_yaml(text, "recipe")
    path = Path(recipe)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [], n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "`trustbase init` writes one"
        raise RecipeError(f"{path} is not a file", hint=hint)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error
    return str(path), path.resolve().parent, marks.read_yaml(text, str(path))


def _override(value: dict[str, Any], text: str, locate: _Locator) -> list[Problem]:
    key, separator, raw = text.partition("=")
    where = f"override {text}"
    parts = tuple(_split_key(key.strip()))
    if "" in parts and parts != ("",):
        return [Problem(where, "has a dot with no key beside it", "write dotted keys such as train.epochs=2")]
    if not separator or not any(parts):
        return [Problem(where, "is not of the form key=value, such as train.epochs=2")]
    limit = raw.lstrip()[:1] in {"<", ">"}  # a gate's limit, which YAML would take for the start of a block of text
    parsed = marks.Marked(raw.strip()) if limit else marks.read_yaml(raw or "null", where)
    if parsed.problems:
        return parsed.problems
    target = value
    for depth, part in enumerate(parts[:-1]):
        current = target.get(part)
        if isinstance(current, str) and depth == 0 and part == "adapt":
            current = {"method": current}  # `adapt: lora` is short for {method: lora}
        if current is None:
            current = {}
        if not isinstance(current, dict):
            return [Problem(where, f"'{'.'.join(parts[: depth + 1])}' is {current!r}, not a section that has keys")]
        target[part] = current
        target = current
    target[parts[-1]] = parsed.value
    locate.overridden[parts] = text
    return []


def _split_key(key: str) -> list[str]:
    """Dotted key in parts; a finding id after `gates.` stays whole."""
    head, _, tail = key.partition(".")
    if head == "gates" and tail:
        return [head, tail]
    return key.split(".")


def _validate(value: dict[str, Any], locate: _Locator) -> tuple[Recipe | None, list[Problem]]:
    try:
        return Recipe.model_validate(value), []
    except ValidationError as error:
        if _expand_multiples(value, error):
            return _validate(value, locate)
        return None, [_problem(value, item, locate) for item in error.errors()]


def _booleans(value: Any, parsed: Any, path: marks.Path, locate: _Locator) -> Iterator[Problem]:
    """Booleans that were read as the numbers 0 and 1 where a number is wanted."""
    if isinstance(value, dict) and isinstance(parsed, BaseModel):
        for name, field in type(parsed).model_fields.items():
            key = field.alias or name
            if key in value:
                yield from _booleans(value[key], getattr(parsed, name), (*path, key), locate)
    elif isinstance(value, list) and isinstance(parsed, list | tuple):
        for index, (item, inner) in enumerate(zip(value, parsed, strict=False)):
            yield from _booleans(item, inner, (*path, index), locate)
    elif isinstance(value, bool) and isinstance(parsed, int | float) and not isinstance(parsed, bool):
        dotted = ".".join(map(str, path))
        yield Problem(locate(path), f"'{dotted}': must be a number, got {str(value).lower()}", _describe(path))


def _expand_multiples(value: dict[str, Any], error: ValidationError) -> bool:
    """Turn `20M` into a number wherever a number was wanted; True if anything changed."""
    changed = False
    for item in error.errors():
        match = _MULTIPLE.fullmatch(item["input"]) if isinstance(item["input"], str) else None
        path = _real_path(value, item["loc"])
        if match and path and item["type"] in {"int_parsing", "float_parsing", "int_from_float"}:
            parent = value
            for part in path[:-1]:
                parent = parent[part]
            number = float(match[1]) * _FACTORS[match[2]]
            parent[path[-1]] = int(number) if number.is_integer() else number
            changed = True
    return changed


def _real_path(value: Any, location: tuple[int | str, ...]) -> Any:
    """The part of a pydantic location that stands in the recipe (union tags are not)."""
    path: list[str | int] = []
    for part in location:
        within = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if within or (isinstance(value, dict) and part in value):
            value = value[part]
            path.append(part)
    return tuple(path)


def _problem(value: dict[str, Any], item: Any, locate: _Locator) -> Problem:
    location, kind = item["loc"], item["type"]
    path = _real_path(value, location)
    dotted = ".".join(str(part) for part in path) or "recipe"
    if kind == "extra_forbidden":
        return _unknown_key(path, locate)
    if kind == "missing":
        missing = ".".join(str(part) for part in location)
        return Problem(locate(path), f"'{missing}' is missing", _describe(location))
    message = item["msg"].removeprefix("Value error, ")
    if kind in {"model_type", "model_attributes_type", "dict_type"}:  # the library's words name our classes
        message = "must be a section of keys"
    got = "" if isinstance(item["input"], (dict, list)) else f", got {item['input']!r}"
    return Problem(locate(path), f"'{dotted}': {message[0].lower() + message[1:]}{got}", _describe(location))


def _unknown_key(path: marks.Path, locate: _Locator) -> Problem:
    key, dotted = str(path[-1]), ".".join(str(part) for part in path)
    if len(path) == 1 and key in LATER_SECTIONS:
        return Problem(locate(path), f"section '{key}' is one that this version of Trustbase cannot do yet", "remove it")
    model = _model_at(path[:-1])
    known = [field.alias or name for name, field in model.model_fields.items()] if model else []
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
    return Problem(locate(path), f"'{dotted}' is not a known key", hint)


def _describe(location: tuple[int | str, ...]) -> str:
    model = _model_at(tuple(location[:-1]))
    name = str(location[-1]) if location else ""
    field = model.model_fields.get(name) if model else None
    return f"{name}: {field.description}" if field is not None and field.description else ""


def _model_at(path: marks.Path) -> type[BaseModel] | None:
    """The options model that reads the mapping at `path`."""
    model: type[BaseModel] | None = Recipe
    for part in path:
        if model is None:
            return None
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        if field is not None:
            model = _model_in(field.annotation)
        elif not any(part == option.__name__ for option in [model]):
            continue  # a union tag in a pydantic location
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return next((model for model in map(_model_in, get_args(annotation)) if model is not None), None)
    return None


def _error(name: str, problems: Sequence[Problem]) -> RecipeError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return RecipeError(f"{name} cannot be run: {count}", problems=problems, hint="mend these lines; nothing was started")
