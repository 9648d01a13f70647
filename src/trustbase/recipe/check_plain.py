"""What makes no sense with a model that is learned from words and columns alone.

Compared with defaults, so that a resolved recipe, which names everything, can be read again.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from trustbase.model.plain.options import PlainOptions
from trustbase.recipe.check_base import Found
from trustbase.recipe.lookup import TASKS
from trustbase.recipe.schema import Recipe

CLASSIFICATION = ("text-classification", "text-pair-classification")
_USED = {"train": {"seed"}, "release": {"sample"}}


def plain_problems(recipe: Recipe, base: PlainOptions) -> Iterator[Found]:
    """Every key that speaks of weights, tokens or processes, which such a model does not have."""
    named = f"base: {base.kind}"
    if recipe.task in TASKS and recipe.task not in CLASSIFICATION:
        message = f"{named} answers with one label, and task {recipe.task} wants another answer"
        if TASKS[recipe.task].entities:
            message = f"{named} counts words, and does not see which of them are the entities that task {recipe.task} asks about"
        yield ("base",), message, f"it can do: {', '.join(CLASSIFICATION)}"
    if recipe.data.features.columns:
        message = f"data.features stand beside a text at a network's head, and {named} reads the columns of data.text themselves"
        yield ("data", "features"), message, "name them in a template: data.text: '{age} {job}'"
    if _changed(recipe.adapt):
        message = f"adapt: {recipe.adapt.method} says how a pretrained model is trained, and {named} is learned from the rows alone"
        yield ("adapt",), message, "remove adapt"
    if recipe.data.stride is not None:
        yield ("data", "stride"), f"data.stride makes windows of tokens, and {named} counts the words of whole texts", "remove data.stride"
    for place in _changed(recipe.train, _USED["train"]):
        message = f"train.{place} is of the training loop, which {named} does not go through: it uses train.seed alone"
        yield ("train", place), message, f"remove train.{place}; what can be set stands under base: {{kind: {base.kind}, …}}"
    for place in _changed(recipe.release, _USED["release"]):
        message = f"release.{place} chooses among forms of a neural network, and {named} has one form: plain numbers"
        yield ("release", place), message, f"remove release.{place}"


def _changed(options: BaseModel, used: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Keys that are not as they are by default."""
    return [
        name
        for name, field in type(options).model_fields.items()
        if name not in used and getattr(options, name) != field.get_default(call_default_factory=True)
    ]
