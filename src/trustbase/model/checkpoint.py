"""Models on disk: whole models, adapters with their head, or both together; written whole or not at all, and compared after reloading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

import trustbase
from trustbase import files
from trustbase.errors import ModelError, TrainingError, TrustbaseError
from trustbase.model.adapt import adapted_with, merges, trainable, way_of
from trustbase.model.adaptations.shared import Leaves, is_added, load_whole, mark
from trustbase.model.columns import encoder_in
from trustbase.model.encoded import Encoded, pad
from trustbase.model.folder import (
    ADAPTED_WEIGHTS,
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CHECKPOINT,
    COLUMNS_FILE,
    check_model_folder,
    model_digest,
    read_object,
)
from trustbase.model.fused import fuse, network_of
from trustbase.model.heads import head_of, outputs_of
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.pretrained import Origin, config_of, head_names, load_classifier, origin_of, set_origin
from trustbase.model.quiet import quiet
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import BaseModel

SCHEMA = "trustbase/checkpoint/1"
RELOAD_LIMIT = 1e-6
_WEIGHTS = {
    "adapter": ADAPTER_WEIGHTS,
    "adapted": ADAPTED_WEIGHTS,
    "fused": ADAPTED_WEIGHTS,
}  # by kind; others are plain transformers folders
_RELOAD_ROWS = 32


def save_checkpoint(model: nn.Module, tokenizer: Any, folder: Path, *, meta: Mapping[str, Any], whole: bool = False) -> str:
    """Write a model to a folder, whole or not at all, and return its digest.

    A model to which an adaptation has added something is saved as that and the head, its base by reference and digest; any other as a
    plain transformers folder. No absolute path is written.

    Args:
        model: from `Task.build` and `adapt`, or any transformers classifier.
        tokenizer: saved beside it; None where the folder is for our own resumption only.
        folder: replaced if it exists.
        meta: JSON of the caller, returned by `load_checkpoint`.
        whole: save the base's weights too, where what was added cannot be merged into them.

    Raises:
        TrainingError: the disk refused; what was there before is intact.
    """
    options = adapted_with(model)
    leaves = way_of(options).leaves if options is not None else None
    plain = "model" if network_of(model) is None else "fused"  # all weights, and the network that reads columns
    kind = plain if leaves is None else "adapted" if whole and not merges(model) else "adapter"

    def fill(staging: Path) -> None:
        with quiet():
            if options is not None and leaves is not None:
                _write_added(model, staging, options, leaves, kind)
            elif kind == "fused":
                _write_whole(model, staging, model.state_dict(), kind)
            else:
                cast(Any, model).save_pretrained(staging)
            if tokenizer is not None:
                tokenizer.save_pretrained(staging)
        _scrub(staging / "tokenizer_config.json", ("name_or_path", "is_local", "local_files_only", "tokenizer_file", "vocab_file"))
        _scrub(staging / "config.json", ("_name_or_path", "name_or_path"))
        network = network_of(model)
        if network is not None:
            files.write_json(staging / COLUMNS_FILE, network.encoder.to_json())
        files.write_json(staging / CHECKPOINT, _description(model, options, kind, meta))

    parameters = [parameter for _, parameter in trainable(model)] if kind == "adapter" else list(model.parameters())
    with files.saving(folder, sum(parameter.nbytes for parameter in parameters)):
        files.replace_folder(folder, fill)
    return checkpoint_digest(folder)


def load_checkpoint(folder: Path, *, base: BaseModel | None = None) -> tuple[nn.Module, Any, dict[str, Any]]:
    """A saved model in fp32 and evaluation mode, its tokenizer (None if there is none), and the caller's `meta`.

    Any transformers folder with a classification head works too; its `meta` is empty.

    Args:
        folder: from `save_checkpoint`.
        base: the base model of an adapter; needed where it came from a local folder, which is known by name and digest only.

    Raises:
        ModelError: something is missing, damaged, or the base is not the one the adapter was trained on.
    """
    folder = Path(folder)
    check_model_folder(folder)
    description = read_object(folder / CHECKPOINT) if (folder / CHECKPOINT).is_file() else {}
    if description and description.get("schema") != SCHEMA:
        raise ModelError(
            f"'{folder.name}' is a checkpoint of another format: {description.get('schema')}, expected {SCHEMA}",
            hint="use the version that wrote it",
        )
    kind = str(description.get("kind", "model"))
    holds = {name for name in _WEIGHTS.values() if (folder / name).is_file()}
    if holds != ({_WEIGHTS[kind]} if kind in _WEIGHTS else set()) or (kind == "fused" and not (folder / COLUMNS_FILE).is_file()):
        raise ModelError(f"'{folder.name}' does not hold what its {CHECKPOINT} says", hint="take it from a sound copy")
    if kind == "adapter":
        model = _load_adapter(folder, description, base)
    elif kind == "adapted":
        model = _load_adapted(folder, description)
    elif kind == "fused":
        model = _load_fused(folder, description)
    else:
        model = load_classifier(folder, check=False)
        if description:
            set_origin(model, Origin(str(description["task"]), description["base"] or {}, adaptation=description["adaptation"]))
    has_tokenizer = (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file()
    return model, load_tokenizer(folder) if has_tokenizer else None, dict(description.get("meta", {}))


def checkpoint_digest(folder: Path) -> str:
    """`sha256:…` over settings, vocabulary and weights of a checkpoint."""
    return model_digest(folder)


@torch.no_grad()
def assert_reload_equal(model: nn.Module, folder: Path, rows: Encoded | Mapping[str, Any], *, limit: float = RELOAD_LIMIT) -> float:
    """Reload a checkpoint and compare its probabilities with those of the model in memory.

    Args:
        model: what was saved.
        folder: where it was saved.
        rows: texts as `Encoded` (the first 32 are used), or a batch with `input_ids` and `attention_mask`.
        limit: largest difference of a probability that is still equal.

    Returns:
        max |Δ probability|.

    Raises:
        TrainingError: the reloaded model differs, has lost something, or cannot be loaded.
    """
    origin = origin_of(model)
    try:
        reloaded = load_checkpoint(folder, base=origin.base if origin else None)[0]
    except TrustbaseError as error:
        raise TrainingError(
            f"The checkpoint '{folder.name}' cannot be loaded again: {error}", hint="this is a fault of saving, not of your data: report it"
        ) from error
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        batch = _batch(model, rows, device)
        difference = float((_probabilities(model, batch) - _probabilities(reloaded.to(device), batch)).abs().max())
    finally:
        model.train(training)
    if not difference <= limit:
        raise TrainingError(
            f"The checkpoint '{folder.name}' is not the model in memory: probabilities differ by up to {difference:.2g}, over {limit:.0e}",
            hint="part of the model was not saved or not reloaded; nothing goes on from here, report it",
        )
    return difference


def _probabilities(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    scores: torch.Tensor = outputs_of(model(**batch)).float().softmax(dim=-1)
    return scores


def _batch(model: nn.Module, rows: Encoded | Mapping[str, Any], device: torch.device) -> dict[str, torch.Tensor]:
    if isinstance(rows, Encoded):
        if not len(rows):
            raise TrainingError("Reload equality needs at least one row, got none", hint="give some validation rows")
        arrays: Mapping[str, Any] = pad(rows.flat, np.arange(min(len(rows), _RELOAD_ROWS)), config_of(model).pad_token_id or 0)
    else:
        arrays = {name: value for name, value in rows.items() if name != "labels"}
    return {name: torch.as_tensor(value).to(device) for name, value in arrays.items()}


def _description(model: nn.Module, options: AdaptOptions | None, kind: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    origin = origin_of(model)
    if options is not None and kind == "adapter" and (origin is None or not origin.described):
        hint = "build it with Task.build, or save merge(model)"
        raise ModelError(f"A model with adapt: {options.method} cannot be saved without knowing its base", hint=hint)
    return {
        "schema": SCHEMA,
        "trustbase": trustbase.__version__,
        "kind": kind,
        "task": origin.task if origin else "text-classification",
        "base": dict(origin.described) or None if origin else None,
        "adaptation": options.model_dump(mode="json", exclude_unset=True) if options else origin.adaptation if origin else None,
        "meta": dict(meta),
    }


def _write_added(model: nn.Module, folder: Path, options: AdaptOptions, leaves: Leaves, kind: str) -> None:
    """What was added and the head; of kind `adapted` all weights beside it, and no base that another tool could fetch."""
    origin = origin_of(model)
    reference = origin.described.get("reference") if origin and kind == "adapter" else None  # PEFT would write the base's folder
    settings = leaves.settings(model, options) | {"base_model_name_or_path": reference}
    if network_of(model) is not None:
        settings.pop("peft_type", None)  # without the network of columns PEFT would answer, and wrongly: so it refuses
    files.write_json(folder / ADAPTER_CONFIG, settings)
    _write_whole(model, folder, leaves.state(model) if kind == "adapter" else model.state_dict(), kind)


def _write_whole(model: nn.Module, folder: Path, state: Mapping[str, torch.Tensor], kind: str) -> None:
    """Weights under the name of their kind, and the configuration."""
    from safetensors.torch import save_file

    apart = {name: tensor.contiguous().cpu() for name, tensor in _apart(state).items()}
    save_file(apart, folder / _WEIGHTS[kind], metadata={"format": "pt"})
    files.write_text(folder / "config.json", config_of(model).to_json_string(use_diff=False))


def _apart(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of which no two share memory, as safetensors wants them."""
    seen: set[int] = set()
    found = {}
    for name, tensor in state.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.detach().clone() if place in seen else tensor.detach()
        seen.add(place)
    return found


def _load_adapter(folder: Path, description: Mapping[str, Any], base: BaseModel | None) -> nn.Module:
    from safetensors.torch import load_file

    wanted = description["base"]
    base = _base_of_adapter(folder, wanted, base)
    config = read_object(folder / "config.json")
    labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
    head = head_of(config.get("architectures"))
    model = _with_columns(load_classifier(base.folder, label_names=labels, pad_id=config.get("pad_token_id"), head=head), folder)
    config_of(model).problem_type = config.get("problem_type")
    _put_back(model, folder, description, load_file(folder / ADAPTER_WEIGHTS))
    set_origin(model, Origin(str(description["task"]), wanted, base=base))
    return model.eval()


def _load_adapted(folder: Path, description: Mapping[str, Any]) -> nn.Module:
    """Base, module and head from one file; the base itself is not needed."""
    from safetensors.torch import load_file

    state = load_file(folder / ADAPTED_WEIGHTS)
    plain = load_classifier(folder, weights={name: tensor for name, tensor in state.items() if not is_added(name)}, check=False)
    model = _with_columns(plain, folder)
    head = set(head_names(model))
    _put_back(model, folder, description, {name: tensor for name, tensor in state.items() if is_added(name) or name in head})
    set_origin(model, Origin(str(description["task"]), description["base"] or {}, adaptation=description["adaptation"]))
    return model.eval()


def _load_fused(folder: Path, description: Mapping[str, Any]) -> nn.Module:
    """All weights and the network that reads columns, from one file."""
    from safetensors.torch import load_file

    state = load_file(folder / ADAPTED_WEIGHTS)
    plain = load_classifier(folder, weights={name: tensor for name, tensor in state.items() if not is_added(name)}, check=False)
    model = _with_columns(plain, folder)
    own = {name: tensor for name, tensor in state.items() if is_added(name)}
    load_whole(model, {name for name in model.state_dict() if is_added(name)}, own)
    set_origin(model, Origin(str(description["task"]), description["base"] or {}, adaptation=description["adaptation"]))
    return model.eval()


def _with_columns(model: nn.Module, folder: Path) -> nn.Module:
    """The network that reads columns in its place, its weights yet to come; nothing where the folder tells of none."""
    encoder = encoder_in(folder)
    return model if encoder is None else fuse(model, encoder, seed=0)


def _put_back(model: nn.Module, folder: Path, description: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> None:
    options = AdaptOptions.model_validate(description["adaptation"])
    leaves = way_of(options).leaves
    if leaves is None:
        raise ModelError(f"'{folder.name}' is said to be an adapter of adapt: {options.method}, which leaves none", hint="fetch it again")
    leaves.restore(model, options, read_object(folder / ADAPTER_CONFIG), state)
    mark(model, options)


def _base_of_adapter(folder: Path, wanted: Mapping[str, Any], base: BaseModel | None) -> BaseModel:
    if base is None:
        if str(wanted["reference"]).startswith("local:"):
            raise ModelError(
                f"'{folder.name}' is an adapter of the local base model '{wanted['reference']}', which must be given with it",
                hint="pass base=resolve_base(folder of the base model)",
            )
        base = resolve_base(str(wanted["reference"]))
    if base.digest != wanted["digest"]:
        raise ModelError(
            f"'{folder.name}' is an adapter of {wanted['reference']} ({wanted['digest']}), but the base model here is {base.digest}",
            hint=f"install or name the revision {wanted['revision']} of it",
        )
    return base


def _scrub(path: Path, keys: tuple[str, ...]) -> None:
    if path.is_file():
        settings = read_object(path)
        files.write_json(path, {key: value for key, value in settings.items() if key not in keys})
