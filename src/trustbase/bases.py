"""The base model of a run: named, and checked before any parser sees it, or made from the training texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase.errors import RecipeError
from trustbase.model.options import ScratchOptions
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import TASKS
from trustbase.records import BaseModel
from trustbase.stages import Stages

if TYPE_CHECKING:
    from trustbase.data.dataset import Dataset
    from trustbase.recipe.read import Plan
    from trustbase.recipe.schema import Recipe


def find_base(stages: Stages, reference: str, root: Path) -> BaseModel:
    """A base model that a recipe names; where it is a bundle of ours, one that somebody trusted signed."""
    from trustbase.model.load import resolve_base

    stages.log.enter("base")
    _check_reference(reference, root)
    base = resolve_base(reference, root=root)
    _check_signer(base.folder)  # a run folder may have been resolved to the model in its bundle
    run = root / reference
    if (run / "rejected").is_dir() and not (run / "bundle").is_dir():
        stages.log("warning", text=f"base '{reference}' is a run that was not released: its gates did not pass")
    return base


def choose_base(stages: Stages, plan: Plan) -> BaseModel | None:
    """The base model by digest, and whether this recipe can be done with it; None where it is yet to be built."""
    recipe = plan.finetune
    if not isinstance(recipe.base, str):
        return None
    base = find_base(stages, recipe.base, plan.root)

    def compute() -> dict[str, Any]:
        _refuse_unable(base, recipe)
        return {"reference": base.reference, "revision": base.revision, "digest": base.digest, "lineage": list(base.lineage)}

    inputs = {
        "base": base.digest,
        "task": recipe.task,
        "adapt": recipe.adapt.model_dump(mode="json"),
        "max_length": recipe.train.max_length,
    }
    stages.run("base", inputs=inputs, code=("model",), outputs=[], compute=compute, firm_after="train")
    return base


def _refuse_unable(base: BaseModel, recipe: Recipe) -> None:
    from trustbase.model.adapt import base_problems

    task = load(TASKS[recipe.task])
    problems = base_problems(base, recipe.adapt, max_length=recipe.train.max_length, head=task.head)
    if problems:
        raise RecipeError(f"base '{base.reference}' cannot do what the recipe asks", problems=problems, hint="nothing was trained")


def build_base(stages: Stages, plan: Plan, dataset: Dataset) -> BaseModel:
    """`base: {from: scratch}`: random weights of the shape asked for, and a tokenizer for the training texts."""
    recipe, target = plan.finetune, stages.folder / "base"
    assert isinstance(recipe.base, ScratchOptions)
    wanted, seed = recipe.base, recipe.train.seed
    named = wanted.tokenizer.from_ and find_base(stages, wanted.tokenizer.from_, plan.root)

    def compute() -> dict[str, Any]:
        from trustbase.model.scratch import write_scratch_base
        from trustbase.model.token_marks import spoken
        from trustbase.model.tokenizer import load_tokenizer
        from trustbase.model.vocabulary import train_as_asked

        folder = named.folder if named else target / "tokenizer"
        if not named:
            read = [spoken(text)[0] for text in dataset.splits["train"].texts]
            train_as_asked(wanted.tokenizer, read, wanted.model.family, wanted.model.context, folder)
        origin = named.reference if named else f"{wanted.tokenizer.train}, trained on the training texts ({dataset.digest})"
        built = write_scratch_base(wanted.model, load_tokenizer(folder), target / "model", seed=seed, tokenizer_from=origin)
        _refuse_unable(replace(built, reference="scratch"), recipe)
        return {"digest": built.digest}

    inputs = {
        "scratch": wanted.model_dump(mode="json", by_alias=True),
        "adapt": recipe.adapt.model_dump(mode="json"),
        "max_length": recipe.train.max_length,
        "tokenizer": named.digest if named else dataset.splits["train"].digest,
        "seed": seed,
    }
    stages.run("base", inputs=inputs, code=("model",), outputs=["base"], compute=compute, firm_after="train")
    return replace(find_base(stages, str(target / "model"), plan.root), reference="scratch")


def _check_reference(reference: str, root: Path) -> None:
    """The signer of a base that is named as a bundle, or as the model in one, before any parser sees it."""
    from trustbase.model.options import parse_reference

    try:
        parsed = parse_reference(reference, root=root)
    except ValueError:
        return  # resolve_base says what is wrong with it
    if parsed.kind == "path":
        folder = (root / Path(parsed.name).expanduser()).resolve()
        within = next((place for place in (folder, folder.parent) if place.name == "model"), None)  # itself, or a member of it
        _check_signer(within or folder / "model")


def _check_signer(model: Path) -> None:
    """A bundle of ours serves as a base only when somebody whom this user trusts signed it."""
    from trustbase.bundle.layout import bundle_around
    from trustbase.bundle.verify import verify

    bundle = bundle_around(model)
    if bundle is not None and model.is_dir():
        verify(bundle)
