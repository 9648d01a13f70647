"""Which combinations of settings a sweep tries, as `key=value` overrides of a recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trustbase import seeds
from trustbase.errors import Problem, UsageError
from trustbase.model.plain.options import PlainOptions
from trustbase.recipe.schema import PretrainRecipe, Recipe

#: what would make the scores of two trials answers to different questions, and why
FIXED = {
    "train.seed": "is what trials of one setting differ in: leave it to the sweep",
    "train.tokens": "is what trials have in common: write it as the tokens of a trial",
    "train.epochs": "would give trials different budgets: they end by tokens",
    "train.max_steps": "would give trials different budgets: they end by tokens",
    "train.max_length": "changes how much of the validation texts is read, so that losses do not compare",
    "train.early_stopping": "chooses among checkpoints, and a trial is scored once, in its end",
    "train.early_stopping_metric": "chooses among checkpoints, and a trial is scored once, in its end",
    "train.members": "is several trainings, and a trial is one",
    "train.evaluate_every": "changes nothing about the result",
    "train.report_to": "changes nothing about the result",
    "model.base": "has a tokenizer of its own, and losses of other tokens do not compare",
    "model.family": "changes what is predicted, so that losses do not compare",
    "model.context": "changes what is asked of validation texts, so that losses do not compare",
}
_SECTIONS = {"pretrain": ("model", "train"), "finetune": ("adapt", "train")}


@dataclass(frozen=True)
class Grid:
    """Combinations that are tried.

    Attributes:
        over: values by dotted key, as texts.
        combinations: how many there are in all.
        chosen: those that are tried, each as values by key; in the order of the grid.
    """

    over: Mapping[str, tuple[str, ...]]
    combinations: int
    chosen: tuple[Mapping[str, str], ...]


def make_grid(over: Mapping[str, Sequence[Any]], *, trials: int, seed: int) -> Grid:
    """All combinations where there are at most so many, else a seeded choice without repetition.

    Args:
        over: values by dotted key; numbers, words, true or false, or texts as in an override.
        trials: most combinations.
        seed: of the choice.

    Raises:
        UsageError: nothing to choose among.
    """
    texts = {key.strip(): tuple(dict.fromkeys(_text(value) for value in values)) for key, values in over.items()}
    combinations = math.prod(len(values) for values in texts.values())
    if trials < 2 or combinations < 2:
        raise UsageError(
            f"a sweep chooses among two combinations at least; got {combinations} and {trials} trials",
            hint="write --over train.learning_rate=3e-4,1e-3 and --trials 2 or more",
        )
    numbers: Sequence[int] = range(combinations)
    if combinations > trials:
        rng = seeds.generator(seed, "sweep", "combinations")
        numbers = sorted(int(number) for number in rng.choice(combinations, size=trials, replace=False))
    return Grid(texts, combinations, tuple(_combination(texts, number) for number in numbers))


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _combination(texts: Mapping[str, Sequence[str]], number: int) -> dict[str, str]:
    """A combination by its number; the last key varies fastest."""
    found = {}
    for key in reversed(list(texts)):
        number, place = divmod(number, len(texts[key]))
        found[key] = texts[key][place]
    return {key: found[key] for key in texts}


def overrides_of(settings: Mapping[str, str]) -> list[str]:
    """Settings as they are written behind a command."""
    return [f"{key}={value}" for key, value in settings.items()]


def refuse_incomparable(keys: Sequence[str], recipe: Recipe | PretrainRecipe) -> None:
    """Refuse keys whose values give scores that do not compare, or that trials share.

    Raises:
        UsageError: with all of them.
    """
    if isinstance(recipe, Recipe) and isinstance(recipe.base, PlainOptions):
        raise UsageError(
            f"a sweep goes over settings of the training loop, which base: {recipe.base.kind} does not go through",
            hint="run the recipe with other settings under base:, and compare the runs: trustbase compare A B --data FILE",
        )
    sections = _SECTIONS[recipe.stage]
    problems = []
    for key in keys:
        if key in FIXED:
            problems.append(Problem(key, FIXED[key]))
        elif key.partition(".")[0] not in sections or "." not in key:
            asked = "asks for another corpus or tokenizer, or another thing to learn, so that losses do not compare"
            why = asked if recipe.stage == "pretrain" else "is not a setting of training"
            problems.append(Problem(key, why, f"a sweep goes over keys of {' and '.join(sections)}, such as train.learning_rate"))
    if problems:
        raise UsageError(
            "these keys cannot be swept over", problems=problems, hint="train them as recipes of their own, and compare what gates measure"
        )
