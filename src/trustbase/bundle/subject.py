"""What an audit is asked about: the artefact behind a reference, and the limits that may be believed to belong to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from trustbase.bundle.layout import BASE_MODEL, REJECTED, bundle_around, is_bundle
from trustbase.bundle.verify import verify
from trustbase.errors import DataError, UsageError
from trustbase.events import Emit, ignore
from trustbase.gate.policy import Policy
from trustbase.model.artifact import PLAIN_FILE, read_artifact
from trustbase.model.ensemble import first_part
from trustbase.model.options import parse_reference
from trustbase.places import MANIFEST, SIGNATURE, require_folder
from trustbase.records import ArtifactInfo


@contextmanager
def open_subject(
    model: str | Path, emit: Emit = ignore, *, trust: str | Path | None = None
) -> Iterator[tuple[ArtifactInfo, Policy | None]]:
    """The artefact to audit, and the limits that come with it: those of a checked bundle, and no others.

    A bundle is checked before anything in it is believed. What nobody signed (a run that was not released, a rejected
    folder, any other model) can be audited as well, without limits of its own.

    Args:
        model: checkpoint folder, bundle (or the model in one), run folder, `package:NAME` or hub id.
        emit: takes a note where limits lie there that are not used.
        trust: a public key, or a folder of them, that alone are trusted; by default the user's own trusted keys.

    Raises:
        VerificationError: a bundle, or the bundle of a released run, is not what somebody trusted released.
        ModelError: the model cannot be opened.
        UsageError: there is no such folder, or it is a base model, which answers no labelled rows.
    """
    folder, run, bundle = _place(model)
    if bundle is not None:
        checked = verify(bundle, trust=trust)
        with checked.private_model() as copy:  # nobody else can change it meanwhile
            yield _with_a_task(read_artifact(copy), model), checked.policy
        return
    _refuse_missing(str(model), folder)
    unsigned = _unsigned(folder, run)
    if unsigned is not None:
        emit("note", text=f"{folder.name} was not released, so the limits in it are not used; name limits with --policy")
        yield _with_a_task(read_artifact(unsigned), model), None
        return
    if run:
        _refuse_unfinished(folder, model)
    yield _with_a_task(_other(str(model), folder), model), None


class OwnColumns(NamedTuple):
    """Columns that the recipe of a bundle or a run names.

    Attributes:
        label: of the true label.
        groups: that are audited.
        entity: of whom a row is about, where rows were divided by it.
    """

    label: str
    groups: tuple[str, ...]
    entity: str | None


def own_columns(model: str | Path, *, trust: str | Path | None = None) -> OwnColumns | None:
    """The columns that the recipe of a bundle or a run names; None for any other model.

    Raises:
        VerificationError: a bundle, or the bundle of a released run, is not what somebody trusted released.
    """
    data = _own_recipe(model, trust).get("data")
    if not isinstance(data, dict) or not isinstance(data.get("label"), str):
        return None
    split = data.get("split")
    by = split.get("by") if isinstance(split, dict) else None
    entity = by.get("entity") if isinstance(by, dict) else None
    return OwnColumns(data["label"], tuple(str(name) for name in data.get("groups") or ()), entity)


def own_purpose(model: str | Path, *, trust: str | Path | None = None) -> dict[str, Any] | None:
    """What the recipe of a bundle or a run says that the model is for; None for any other model.

    Raises:
        VerificationError: a bundle, or the bundle of a released run, is not what somebody trusted released.
    """
    purpose = _own_recipe(model, trust).get("purpose")
    return purpose if isinstance(purpose, dict) else None


def _own_recipe(model: str | Path, trust: str | Path | None) -> dict[str, Any]:
    """The recipe of a bundle or a run; empty for any other model."""
    folder, _, bundle = _place(model)
    if bundle is not None:
        text = verify(bundle, trust=trust).read("recipe.resolved.yaml").decode("utf-8")
    elif (folder / "recipe.resolved.yaml").is_file():
        text = (folder / "recipe.resolved.yaml").read_text(encoding="utf-8")
    else:
        return {}
    recipe = yaml.safe_load(text)
    return recipe if isinstance(recipe, dict) else {}


def trained_on(model: str | Path, texts: Sequence[str]) -> int | None:
    """How many of these texts stand in the training rows of a run; None of any other model, as nothing else keeps its rows."""
    from trustbase.data.save import load_dataset

    folder, run, _ = _place(model)
    if not run or not (folder / "data").is_dir():
        return None
    try:
        learned = load_dataset(folder / "data").splits["train"].texts
    except (DataError, KeyError):  # cut short, or of another version: not known
        return None
    asked = set(texts)
    both = {text for text in learned if text in asked}
    return sum(text in both for text in texts)


def _place(model: str | Path) -> tuple[Path, bool, Path | None]:
    """The folder that a reference names, whether it is a run, and the bundle in it or that it is."""
    folder = Path(model).expanduser()
    around = bundle_around(folder)
    if around is not None:
        folder = around  # whoever names the model in a bundle means that bundle
    run = (folder / "recipe.resolved.yaml").is_file() and not any((folder / name).exists() for name in (MANIFEST, SIGNATURE, REJECTED))
    released = run and (folder / "bundle").is_dir()
    bundle = folder / "bundle" if released else folder if is_bundle(folder) else None
    return folder, run, bundle


def _refuse_missing(model: str, folder: Path) -> None:
    """A path that leads nowhere is said to be one, and not looked for on a hub.

    Raises:
        UsageError: there is no such folder.
    """
    if model.startswith("package:") or os.path.lexists(folder):
        return
    try:
        path = parse_reference(model).kind == "path" or folder.name in ("bundle", "rejected")  # names of ours
    except ValueError:  # no hub id: with a separator it was meant as a path
        path = len(folder.parts) > 1
    if path:
        require_folder(folder, "name a checkpoint folder, a run, a bundle, or a hub id such as owner/name")


def _with_a_task(info: ArtifactInfo, model: str | Path) -> ArtifactInfo:
    """The artefact, if labelled rows can be asked of it.

    Raises:
        UsageError: it is a base model.
    """
    if info.answer_kind == BASE_MODEL:
        raise UsageError(
            f"{model} is a base model: it has no task, so labelled rows cannot be asked of it",
            hint="what was measured of it stands in its audit.json and report.html; name it as base: in a recipe to give it a task",
        )
    return info


def _refuse_unfinished(folder: Path, model: str | Path) -> None:
    """A run is asked by what it ships, and not by what it has trained so far.

    Raises:
        UsageError: it is a run of labelled rows, which has made no artefact yet.
    """
    try:
        recipe = yaml.safe_load((folder / "recipe.resolved.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # whatever else stands there is looked at
        return
    if isinstance(recipe, dict) and recipe.get("stage", "finetune") == "finetune":
        hint = "run its recipe again, which goes on where it stopped; a checkpoint can be named by its own folder"
        raise UsageError(f"{model} is a run that has no artefact: it was not finished, or its artifact/ is gone", hint=hint)


def _unsigned(folder: Path, run: bool) -> Path | None:
    """The artefact of a run that was not released, or of a rejected folder; None where there is none."""
    if run:  # what a run would ship, not what it trained
        places = [folder / "artifact", folder / "rejected" / "model"]
    else:
        places = [folder / "model"] if (folder / REJECTED).exists() else []
    return next((place for place in places if (place / "artifact.json").is_file()), None)


def _other(model: str, folder: Path) -> ArtifactInfo:
    """A model that is no artefact of Trustbase, under a name without its place on this machine; or an artefact folder itself."""
    from trustbase.model.load import resolve_base

    if (folder / PLAIN_FILE).is_file() or first_part(folder) != folder:  # no folder that transformers could read
        return read_artifact(folder)
    base = resolve_base(model)
    info = read_artifact(base.folder)
    if (base.folder / "artifact.json").is_file():
        return info
    return replace(info, base=base.reference if not folder.is_dir() else folder.resolve().name, revision=base.revision)
