"""Reading a recipe: YAML and overrides in, a checked recipe out, or every problem at once with file and line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trustbase import files, marked_yaml
from trustbase.errors import Problem, RecipeError
from trustbase.recipe import marks
from trustbase.recipe.check import check, warnings_of
from trustbase.recipe.overrides import override
from trustbase.recipe.parse import parse
from trustbase.recipe.schema import AnyRecipe, PretrainRecipe, Recipe


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

    recipe: AnyRecipe
    name: str
    root: Path
    resolved: str
    warnings: list[str]

    @property
    def finetune(self) -> Recipe:
        """The recipe, where it is one for fine-tuning; the flow has looked."""
        assert isinstance(self.recipe, Recipe)
        return self.recipe

    @property
    def pretrain(self) -> PretrainRecipe:
        """The recipe, where it is one for pretraining; the flow has looked."""
        assert isinstance(self.recipe, PretrainRecipe)
        return self.recipe


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
    locate = marks.Locator(name, marked)
    for text in overrides:
        problems += override(value, text, locate)
    if any("is not valid YAML" in problem.message for problem in problems):
        raise _error(name, problems)
    parsed = parse(value, locate)
    problems += parsed.problems
    for place, message, hint in check(parsed.recipe, root, parsed.aside):
        problems.append(Problem(place if isinstance(place, str) else locate(place), message, hint))
    if problems:
        raise _error(name, problems)
    resolved = yaml.safe_dump(parsed.recipe.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True, width=120)
    return Plan(parsed.recipe, Path(name).stem, root, resolved, warnings_of(parsed.recipe))


def _load(recipe: str | Path | Mapping[str, Any]) -> tuple[str, Path, marked_yaml.Marked]:
    if isinstance(recipe, Mapping):
        text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
        return "recipe", Path.cwd(), marked_yaml.read_yaml(text, "recipe")
    path = Path(recipe)
    marks.require_text(str(path), "the recipe")
    try:
        there = path.is_file()
    except OSError as error:
        raise RecipeError(f"{str(path)[:200]} cannot be read: {error.strerror}", hint="check the path") from error
    if not there:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [], n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "`trustbase init` writes one"
        raise RecipeError(f"{path} is not a file", hint=hint)
    try:
        text = files.read_at_most(path, marked_yaml.MAX_BYTES + 4).decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}", hint="check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error
    return str(path), path.resolve().parent, marked_yaml.read_yaml(text, str(path))


def _error(name: str, problems: Sequence[Problem]) -> RecipeError:
    """All problems, each once, in the order of the recipe's lines; then those that stand elsewhere."""

    def order(problem: Problem) -> tuple[bool, int]:
        line = problem.where.removeprefix(f"{name}:")
        return problem.where != name and not line.isdecimal(), int(line) if line.isdecimal() else 0

    told = sorted(dict.fromkeys(problems), key=order)
    count = "1 problem" if len(told) == 1 else f"{len(told)} problems"
    return RecipeError(f"{name} cannot be run: {count}", problems=told, hint="mend these lines; nothing was started")
