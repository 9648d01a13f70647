"""Models on disk: whole models or adapters with their head, written whole or not at all, and compared after reloading."""

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
from trustbase.model.adapt import adapted_layers, adapted_with, adapter_state, lora_config, restore_adapter, trainable
from trustbase.model.encoded import Encoded, pad
from trustbase.model.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CHECKPOINT, check_model_folder, model_digest, read_object
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.pretrained import Origin, config_of, load_classifier, origin_of, set_origin
from trustbase.model.quiet import quiet
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import BaseModel

SCHEMA = "trustbase/checkpoint/1"
RELOAD_LIMIT = 1e-6
_PREFIX = "base_model.model."  # PEFT's own, so that its tools can read the adapter
_RELOAD_ROWS = 32


def save_checkpoint(model: nn.Module, tokenizer: Any, folder: Path, *, meta: Mapping[str, Any]) -> str:
    """Write a model to a folder, whole or not at all, and return its digest.

    A model with low-rank updates is saved as updates and head, its base by reference and digest; any other as a plain
    transformers folder. No absolute path is written.

    Args:
        model: from `Task.build` and `adapt`, or any transformers classifier.
        tokenizer: saved beside it; None where the folder is for our own resumption only.
        folder: replaced if it exists.
        meta: JSON of the caller, returned by `load_checkpoint`.

    Raises:
        TrainingError: the disk refused; what was there before is intact.
    """
    options = adapted_with(model)
    adapter = options is not None and options.method == "lora"

    def fill(staging: Path) -> None:
        with quiet():
            if options is not None and adapter:
                _write_adapter(model, staging, options)
            else:
                cast(Any, model).save_pretrained(staging)
            if tokenizer is not None:
                tokenizer.save_pretrained(staging)
        _scrub(staging / "tokenizer_config.json", ("name_or_path", "is_local", "local_files_only", "tokenizer_file", "vocab_file"))
        _scrub(staging / "config.json", ("_name_or_path", "name_or_path"))
        files.write_json(staging / CHECKPOINT, _description(model, options, adapter, meta))

    parameters = [parameter for _, parameter in trainable(model)] if adapter else list(model.parameters())
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
    if (description.get("kind") == "adapter") != (folder / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"'{folder.name}' does not hold what its {CHECKPOINT} says", hint="take it from a sound copy")
    if description.get("kind") == "adapter":
        model = _load_adapter(folder, description, base)
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
    scores: torch.Tensor = model(**batch).logits.float().softmax(dim=-1)
    return scores


def _batch(model: nn.Module, rows: Encoded | Mapping[str, Any], device: torch.device) -> dict[str, torch.Tensor]:
    if isinstance(rows, Encoded):
        if not len(rows):
            raise TrainingError("Reload equality needs at least one row, got none", hint="give some validation rows")
        arrays: Mapping[str, Any] = pad(rows, np.arange(min(len(rows), _RELOAD_ROWS)), config_of(model).pad_token_id or 0)
    else:
        arrays = {name: value for name, value in rows.items() if name != "labels"}
    return {name: torch.as_tensor(value).to(device) for name, value in arrays.items()}


def _description(model: nn.Module, options: AdaptOptions | None, adapter: bool, meta: Mapping[str, Any]) -> dict[str, Any]:
    origin = origin_of(model)
    if adapter and (origin is None or not origin.described):
        raise ModelError("A LoRA model cannot be saved without knowing its base", hint="build it with Task.build, or save merge(model)")
    return {
        "schema": SCHEMA,
        "trustbase": trustbase.__version__,
        "kind": "adapter" if adapter else "model",
        "task": origin.task if origin else "text-classification",
        "base": dict(origin.described) or None if origin else None,
        "adaptation": options.model_dump(mode="json", exclude_unset=True) if options else origin.adaptation if origin else None,
        "meta": dict(meta),
    }


def _write_adapter(model: nn.Module, folder: Path, options: AdaptOptions) -> None:
    from safetensors.torch import save_file

    origin = origin_of(model)
    heads = sorted({name.rsplit(".", 1)[0] for name, _ in trainable(model) if "lora_" not in name})
    names = sorted(adapted_layers(model))
    config = {
        key: sorted(value) if isinstance(value, set) else value for key, value in lora_config(model, options, names).to_dict().items()
    }
    # PEFT shortens long lists of names to endings, and writes the folder of the base: neither may be left to it.
    config |= {
        "target_modules": names,
        "modules_to_save": heads,
        "base_model_name_or_path": origin.described.get("reference") if origin else None,
    }
    files.write_json(folder / ADAPTER_CONFIG, config)
    state = {_PREFIX + name.replace(".default.", "."): tensor.contiguous().cpu() for name, tensor in adapter_state(model).items()}
    save_file(state, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    files.write_text(folder / "config.json", config_of(model).to_json_string(use_diff=False))


def _load_adapter(folder: Path, description: Mapping[str, Any], base: BaseModel | None) -> nn.Module:
    from safetensors.torch import load_file

    wanted = description["base"]
    base = _base_of_adapter(folder, wanted, base)
    options = AdaptOptions.model_validate(description["adaptation"])
    config = read_object(folder / "config.json")
    labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
    model = load_classifier(base.folder, label_names=labels, pad_id=config.get("pad_token_id"))
    saved = {name.removeprefix(_PREFIX): tensor for name, tensor in load_file(folder / ADAPTER_WEIGHTS).items()}
    state = {_with_adapter_name(name): tensor for name, tensor in saved.items()}
    names = list(read_object(folder / ADAPTER_CONFIG)["target_modules"])
    restore_adapter(model, options, names, state)
    set_origin(model, Origin(str(description["task"]), wanted, base=base))
    return model.eval()


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


def _with_adapter_name(name: str) -> str:
    """`….lora_A.weight` → `….lora_A.default.weight`, as layers in memory call it; other names stay."""
    for part in ("lora_A", "lora_B", "lora_magnitude_vector"):
        name = name.replace(f".{part}.weight", f".{part}.default.weight")
    return name


def _scrub(path: Path, keys: tuple[str, ...]) -> None:
    if path.is_file():
        settings = read_object(path)
        files.write_json(path, {key: value for key, value in settings.items() if key not in keys})
