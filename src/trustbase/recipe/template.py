"""`trustbase init`: a commented recipe to start from."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from trustbase import files
from trustbase.data.hub_name import is_hub
from trustbase.data.reference import is_database
from trustbase.data.samples import is_sample
from trustbase.errors import UsageError
from trustbase.places import refuse_inside_bundle

TEMPLATES = {"finetune": "starter.yaml", "pretrain": "starter-pretrain.yaml"}


def init(
    name: str = "recipe",
    *,
    stage: str = "finetune",
    data: str | None = None,
    task: str | None = None,
    label: str | None = None,
    force: bool = False,
) -> Path:
    """Write a commented recipe and return its path.

    Args:
        name: of the recipe; `.yaml` is added where it is missing.
        stage: "finetune" or "pretrain".
        data: a file of labelled rows (or `sample:NAME`): the recipe is then one for it, from a look at its columns, with reasons.
        task: with `data`: what is to be predicted; found out where not given.
        label: with `data`: the column of the true label; found out where not given.
        force: replace a file that is already there.

    Raises:
        UsageError: no such stage or task, or the file cannot be written, or it exists and `force` is not set.
        DataError: the data cannot be read, or show neither label nor text.
    """
    if stage not in TEMPLATES:
        raise UsageError(f"'{stage}' is no stage of a recipe", hint=f"write {' or '.join(TEMPLATES)}")
    path = Path(name)
    if not path.name:
        raise UsageError(f"'{name}' is no name for a recipe", hint="trustbase init NAME")
    if path.suffix not in {".yaml", ".yml"}:
        path = path.with_name(path.name + ".yaml")
    target = files.check_output(path, "the recipe")
    refuse_inside_bundle(target, "the recipe")
    if path.exists() and not force:
        raise UsageError(f"{path} already exists", hint="choose another name, or --force to replace it")
    text = _proposed(data, path, stage, task, label)
    try:
        files.write_text(target, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name another file") from error
    return path


def _proposed(data: str | None, path: Path, stage: str, task: str | None, label: str | None) -> str:
    """The text to write: the starter, or what a look at the data proposes."""
    if data is None:
        if task is not None or label is not None:
            raise UsageError("a task or label is looked for in data, and no data are named", hint="add --data FILE")
        return (Path(__file__).parent / TEMPLATES[stage]).read_text(encoding="utf-8")
    if stage != "finetune":
        raise UsageError("--data is for labelled rows, and a pretraining reads raw text", hint="leave out --data, or --stage pretrain")
    from trustbase.recipe.look import look_at
    from trustbase.recipe.propose import propose

    look = look_at(data, root=Path())
    if not (is_sample(data) or is_hub(data) or is_database(data)):  # a recipe names its files from where it stands itself
        home = data.startswith("~")
        look = replace(look, reference=data if home else os.path.relpath(data, path.parent))
    return propose(look, task=task, label=label)
