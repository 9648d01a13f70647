"""`trustbase corpus`: the corpus of a pretraining recipe alone, where the run of that recipe will find it ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase.errors import UsageError, system_errors_told
from trustbase.events import Listener, RunLog
from trustbase.recipe import marks
from trustbase.stages import Stages, locked

if TYPE_CHECKING:
    from trustbase.data.corpus.prepare import Corpus


def corpus(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    listeners: Sequence[Listener] = (),
) -> Corpus:
    """Read, clean and deduplicate the texts of a recipe, and say what stayed; the same call again goes on where the last one stopped.

    Args:
        recipe: path of a recipe with `stage: pretrain`, or the recipe as a mapping.
        overrides: `key=value` texts that change it.
        out: run folder; `runs/NAME` by default. The corpus lies in its `corpus/`.
        listeners: called with every event, progress included.

    Raises:
        RecipeError, DataError: the recipe or the texts are wrong; every problem is named.
        UsageError: a recipe that has no corpus.
        StaleRunError: the folder holds a finished run of another corpus.
    """
    from trustbase import raw_text
    from trustbase.recipe.read import read_recipe
    from trustbase.recipe.schema import PretrainRecipe
    from trustbase.train.launcher import refuse_launchers

    refuse_launchers("the preparation of a corpus")
    plan = read_recipe(recipe, overrides)
    if not isinstance(plan.recipe, PretrainRecipe):
        raise UsageError(f"{plan.name} is a recipe for fine-tuning, which has no corpus", hint="name a recipe with stage: pretrain")
    folder = Path(out) if out is not None else Path("runs") / plan.name
    marks.require_text(str(folder), "the run folder")
    with system_errors_told(), locked(folder):
        log = RunLog(folder / "log.jsonl", listeners=tuple(listeners))
        return raw_text.prepare_texts(Stages(folder, log), plan)
