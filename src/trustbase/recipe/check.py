"""Is what the recipe asks for possible? Everything that can be known before the first row is read is said here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from trustbase import finding_id
from trustbase.audit.catalogue import metric_names, why_never
from trustbase.recipe.lookup import ADAPTATIONS, AUDITS, MITIGATIONS, TASKS
from trustbase.recipe.schema import LATER_TASKS, Recipe

Found = tuple[tuple[str | int, ...], str, str]  # path in the recipe, what is wrong, next step


def check(recipe: Recipe, root: Path) -> list[Found]:
    """All contradictions and impossibilities of a recipe whose parts are each well-formed.

    Args:
        recipe: the parsed recipe.
        root: folder that relative paths start from.
    """
    return [
        *_task(recipe),
        *_columns(recipe, root),
        *_adaptation(recipe),
        *_precision(recipe),
        *_mitigations(recipe),
        *_dimensions(recipe),
        *_gates(recipe, root),
    ]


def _task(recipe: Recipe) -> Iterator[Found]:
    if recipe.task in TASKS:
        return
    if recipe.task in LATER_TASKS:
        yield ("task",), f"'{recipe.task}' is a task that this version of Trustbase cannot do yet", f"it can do: {', '.join(TASKS)}"
    else:
        near = difflib.get_close_matches(recipe.task, TASKS, n=1)
        yield ("task",), f"'{recipe.task}' is no task", f"did you mean '{near[0]}'?" if near else f"known: {', '.join(TASKS)}"


def _columns(recipe: Recipe, root: Path) -> Iterator[Found]:
    from trustbase.data.load import check_columns

    for problem in check_columns(recipe.data, root=root):
        path = tuple(problem.where.split("."))
        yield path, problem.message, problem.hint


def _adaptation(recipe: Recipe) -> Iterator[Found]:
    method = recipe.adapt.method
    if method not in ADAPTATIONS:
        yield ("adapt",), f"'{method}' is an adaptation that this version cannot do", f"it can do: {', '.join(ADAPTATIONS)}"
    elif recipe.release.weights == "adapter" and method != "lora":
        message = f"release.weights: adapter needs an adaptation that leaves an adapter, and '{method}' leaves none"
        yield ("release", "weights"), message, "set weights: merged, or adapt: lora"


def _precision(recipe: Recipe) -> Iterator[Found]:
    if recipe.train.precision != "fp16":
        return
    from trustbase.device import choose_device

    device = choose_device()
    if str(device) == "cpu":
        message = "precision fp16 on a CPU would silently be fp32"
        yield ("train", "precision"), message, "set precision: auto, which takes bf16 where the processor has it"


def _mitigations(recipe: Recipe) -> Iterator[Found]:
    for dimension, wish in recipe.mitigate.items():
        group = wish.get("group")
        named = [group] if isinstance(group, str) else list(group or [])
        for column in named:
            if column not in recipe.data.groups:
                message = f"asks to mitigate for group column '{column}', which data.groups does not name"
                yield ("mitigate", dimension, "group"), message, f"data.groups: {recipe.data.groups}"
        if dimension not in MITIGATIONS:
            yield ("mitigate", dimension), f"a mitigation of {dimension} is one that this version of Trustbase cannot do yet", "remove it"


def _dimensions(recipe: Recipe) -> Iterator[Found]:
    existing = {dimension for dimension, _ in AUDITS}
    for dimension in recipe.audit.dimensions or []:
        if dimension not in existing:
            hint = f"it can measure: {', '.join(sorted(existing))}"
            yield ("audit",), f"the {dimension} audit is one that this version of Trustbase cannot do yet", hint


def _gates(recipe: Recipe, root: Path) -> Iterator[Found]:
    from trustbase.errors import RecipeError
    from trustbase.gate.policy import read_policy

    try:
        policy = read_policy(recipe.gates, root=root)
    except RecipeError as error:
        for problem in error.problems:
            id = problem.where.removeprefix("gates.")
            near = difflib.get_close_matches(id, metric_names(), n=1)
            yield ("gates", id), problem.message, problem.hint or (f"did you mean '{near[0]}'?" if near and near[0] != id else "")
        if not error.problems:
            yield ("gates",), error.message, error.hint
        return
    existing = {dimension for dimension, _ in AUDITS}
    measured = set(recipe.audit.dimensions or existing)
    for id in dict.fromkeys(gate.id for gate in policy.gates):
        parts = finding_id.parse(id)
        where: tuple[str | int, ...] = ("gates", id)
        if parts.dimension not in existing:
            yield where, f"the {parts.dimension} audit is one that this version of Trustbase cannot do yet", "remove this gate"
            continue
        if parts.dimension not in measured:
            yield where, f"is a gate on {parts.dimension}, which `audit:` does not measure", f"add {parts.dimension} to audit"
        never = why_never(parts, recipe.data.groups)
        if never is not None:
            yield where, *never


def warnings_of(recipe: Recipe) -> list[str]:
    """What is possible, but hardly wanted."""
    if recipe.gates.root:
        return []
    return ["the recipe sets no gates, so nothing can be released: the run will measure everything and end with exit code 3"]
