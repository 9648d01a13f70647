"""What a task, its data and its training cannot have together: said when the recipe is read, before an hour was spent on it.

docs/reference/cells.md shows all of it, task by adaptation by runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trustbase.model.plain.options import PlainOptions
from trustbase.recipe.check_base import Found
from trustbase.recipe.lookup import ANSWER_KINDS, TASKS
from trustbase.recipe.parse import Aside
from trustbase.recipe.schema import Recipe


def together_problems(recipe: Recipe, kind: str, root: Path, aside: Aside) -> Iterator[Found]:
    """Windows, members, table columns, streamed rows and a lone adapter where they cannot be had.

    Args:
        recipe: the parsed recipe.
        kind: its answer kind.
        root: folder that relative paths start from.
        aside: what could not be read.
    """
    yield from _windows(recipe)
    yield from _members(recipe, kind)
    yield from _columns_of_choices(recipe)
    yield from _streamed(recipe, kind, aside)
    yield from _lone_adapter(recipe, root, aside)


def _windows(recipe: Recipe) -> Iterator[Found]:
    """Windows that would hardly move, or of what is not read in windows."""
    stride, most = recipe.data.stride, recipe.train.max_length // 2
    if stride is None:
        return
    if stride > most:
        message = f"windows of train.max_length {recipe.train.max_length} that overlap by {stride} would read every token more than twice"
        yield ("data", "stride"), message, f"set data.stride: {most} or less"
    if recipe.task in TASKS and TASKS[recipe.task].entities:
        message = "both entities must stand in what is read at once, and a window may hold one of them"
        yield ("data", "stride"), message, "remove data.stride"


def _members(recipe: Recipe, kind: str) -> Iterator[Found]:
    """Several trainings whose answers have no mean, or that several processes would have to make one after the other."""
    if recipe.train.members == 1 or isinstance(recipe.base, PlainOptions):
        return
    if not ANSWER_KINDS[kind].averaged:
        message = (
            f"train.members is the mean of what several models answer, and the answers of task {recipe.task} have none in this version"
        )
        yield ("train", "members"), message, "remove train.members"
    if recipe.cluster is not None:
        yield ("train", "members"), "several members were never trained by several processes", "remove train.members, or cluster"


def _columns_of_choices(recipe: Recipe) -> Iterator[Found]:
    """Columns of a whole question, which are the same beside each of its choices."""
    if recipe.data.features.columns and recipe.task in TASKS and TASKS[recipe.task].reads == "choices":
        message = "data.features are columns of a question, which say the same beside each of its choices"
        yield ("data", "features"), message, "name them in the question, as a template: data.text: '{question} {column}'"


def _streamed(recipe: Recipe, kind: str, aside: Aside) -> Iterator[Found]:
    """Rows that are to stay on disk, of what is read whole."""
    if recipe.data.memory != "stream" or not aside.sure("task"):
        return
    hint = "remove data.memory: rows are then read whole"
    if kind != "classes":
        yield ("data", "memory"), f"stream keeps one label of each row, and the answers of task {recipe.task} are more than that", hint
    if recipe.data.features.columns:
        yield ("data", "memory"), "stream was never tried with data.features", hint


def _lone_adapter(recipe: Recipe, root: Path, aside: Aside) -> Iterator[Found]:
    """An adapter to ship without a base that nobody else could find."""
    if recipe.release.weights != "adapter" or isinstance(recipe.base, PlainOptions) or not aside.sure("base"):
        return
    from trustbase.model.options import parse_reference

    here = not isinstance(recipe.base, str)  # made from scratch, in the run's own folder
    try:
        here = here or parse_reference(str(recipe.base), root=root).kind == "path"
    except ValueError:
        return  # said of the base itself
    if here:
        message = "release.weights: adapter ships without its base, and whoever opens the bundle could not find a folder of this machine"
        yield ("release", "weights"), message, "set weights: merged, or name the base as package:NAME or by its hub id"
