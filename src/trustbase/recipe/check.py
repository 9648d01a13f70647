"""Is what the recipe asks for possible? Everything that can be known before the first row is read is said here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from trustbase.audit.catalogue import why_never
from trustbase.finding_id import FindingId
from trustbase.recipe.lookup import ADAPTATIONS, AUDITS, MITIGATIONS, TASKS
from trustbase.recipe.parse import Aside
from trustbase.recipe.schema import LATER_TASKS, Recipe

Place = tuple[str | int, ...] | str  # path in the recipe, or file and line elsewhere
Found = tuple[Place, str, str]  # where, what is wrong, next step


def check(recipe: Recipe, root: Path, aside: Aside) -> list[Found]:
    """All contradictions and impossibilities of a recipe whose parts are each well-formed.

    Args:
        recipe: the parsed recipe.
        root: folder that relative paths start from.
        aside: what could not be read: nothing is said of it, nor of what only its default makes impossible.
    """
    found = [
        *_task(recipe),
        *_base(recipe, root),
        *_columns(recipe, root, aside),
        *_adaptation(recipe, aside),
        *_training(recipe),
        *_mitigations(recipe, aside),
        *_dimensions(recipe),
        *_gates(recipe, root, aside),
    ]
    return [item for item in found if isinstance(item[0], str) or not aside.covers(item[0])]


def _task(recipe: Recipe) -> Iterator[Found]:
    if recipe.task in TASKS:
        return
    if recipe.task in LATER_TASKS:
        yield ("task",), f"'{recipe.task}' is a task that this version of Trustbase cannot do yet", f"it can do: {', '.join(TASKS)}"
    else:
        near = difflib.get_close_matches(recipe.task, TASKS, n=1)
        yield ("task",), f"'{recipe.task}' is no task", f"did you mean '{near[0]}'?" if near else f"known: {', '.join(TASKS)}"


def _base(recipe: Recipe, root: Path) -> Iterator[Found]:
    """A base model that is not on this machine although it is said to be; its files are looked into when it is loaded."""
    from trustbase.model.options import parse_reference

    try:
        base = parse_reference(recipe.base, root=root)
        there = base.kind != "path" or (root / Path(base.name).expanduser()).is_dir()
    except (ValueError, OSError, RuntimeError) as error:  # the last two: a name too long for any file, no such user's `~`
        yield ("base",), str(error), "write package:NAME, a folder, or a hub id such as owner/name"
        return
    if base.kind == "package":
        from importlib import metadata

        try:
            metadata.distribution(base.name)
        except metadata.PackageNotFoundError:
            installed = {str(name) for item in metadata.distributions() if (name := item.metadata["Name"])}
            near = difflib.get_close_matches(base.name, installed, n=1)
            meant = f"; did you mean package:{near[0]}?" if near else ""
            yield ("base",), f"the package '{base.name}' is not installed here{meant}", f"pip install {base.name}"
    elif not there:
        message = f"there is no folder '{base.name}'"
        yield ("base",), message, "check the path, which is relative to the recipe, or write a hub id as owner/name"


def _columns(recipe: Recipe, root: Path, aside: Aside) -> Iterator[Found]:
    from trustbase.data.load import check_columns

    if not all(aside.sure("data", name) for name in ("train", "format", "quoted")):
        return
    for problem in check_columns(recipe.data, root=root):
        path = tuple(problem.where.split("."))
        yield path, problem.message, problem.hint


def _adaptation(recipe: Recipe, aside: Aside) -> Iterator[Found]:
    method = recipe.adapt.method
    if method not in ADAPTATIONS:
        yield ("adapt",), f"'{method}' is an adaptation that this version cannot do", f"it can do: {', '.join(ADAPTATIONS)}"
    elif recipe.release.weights == "adapter" and method != "lora" and aside.sure("adapt", "method"):
        message = f"release.weights: adapter needs an adaptation that leaves an adapter, and '{method}' leaves none"
        yield ("release", "weights"), message, "set weights: merged, or adapt: lora"
    if recipe.train.gradient_checkpointing and method == "frozen":
        message = "gradient_checkpointing cannot be used: adapt: frozen keeps no activations"
        yield ("train", "gradient_checkpointing"), message, "remove train.gradient_checkpointing"


def _training(recipe: Recipe) -> Iterator[Found]:
    from trustbase.train.cluster import cluster_problems
    from trustbase.train.track import missing_trackers

    for problem in (*missing_trackers(recipe.train.report_to), *cluster_problems(recipe.cluster, recipe.train)):
        yield tuple(problem.where.split(".")), problem.message, problem.hint
    if recipe.train.precision != "fp16":
        return
    from trustbase.device import choose_device

    device = choose_device()
    if str(device) == "cpu":
        message = "precision fp16 on a CPU would silently be fp32"
        yield ("train", "precision"), message, "set precision: auto, which takes bf16 where the processor has it"


def _mitigations(recipe: Recipe, aside: Aside) -> Iterator[Found]:
    for dimension, wish in recipe.mitigate.items():
        group = wish.get("group")
        named = group if isinstance(group, list) else [group] if group is not None else []
        for column in named:
            if column not in recipe.data.groups and aside.sure("data", "groups"):
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


def _gates(recipe: Recipe, root: Path, aside: Aside) -> Iterator[Found]:
    from trustbase.errors import RecipeError
    from trustbase.gate.options import FROM
    from trustbase.gate.policy import read_policy

    try:
        read_policy(recipe.gates, root=root, never=lambda id: _never(id, recipe, aside))
    except RecipeError as error:
        for problem in error.problems:
            id = FROM if problem.where == "policy" else problem.where.removeprefix("gates.")
            place: Place = ("gates", id) if id in recipe.gates.root else problem.where  # a line of the policy file
            yield place, problem.message, problem.hint


def _never(id: FindingId, recipe: Recipe, aside: Aside) -> tuple[str, str] | None:
    """Why a gate on a finding can never be judged, and what to do; None where it can."""
    existing = {dimension for dimension, _ in AUDITS}
    if id.dimension not in existing:
        return f"the {id.dimension} audit is one that this version of Trustbase cannot do yet", "remove this gate"
    reasons = []
    if id.dimension not in (recipe.audit.dimensions or existing) and aside.sure("audit", "dimensions"):
        reasons.append((f"is a gate on {id.dimension}, which `audit:` does not measure", f"add {id.dimension} to audit"))
    named = [column for column, _ in id.slice]  # any group column can be right while it is not known which there are
    reason = why_never(id, recipe.data.groups if aside.sure("data", "groups") else named or ["column"])
    if reason is not None:
        reasons.append(reason)
    return ("; ".join(message for message, _ in reasons), "; ".join(hint for _, hint in reasons)) if reasons else None


def warnings_of(recipe: Recipe) -> list[str]:
    """What is possible, but hardly wanted."""
    if recipe.gates.root:
        return []
    return ["the recipe sets no gates, so nothing can be released: the run will measure everything and end with exit code 3"]
