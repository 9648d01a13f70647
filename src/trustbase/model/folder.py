"""What a model folder may hold, checked before any library that could run its content sees it. Imports no torch."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.errors import ModelError, Problem
from trustbase.model.header import header_problem

CHECKPOINT = "trustbase.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTED_WEIGHTS = "adapted_model.safetensors"  # base, module and head: under a name that no other tool takes for the base alone
COLUMNS_FILE = "columns.json"  # how table columns become numbers; beside the weights of a network that reads them
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

SETTINGS = ("config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json")
VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
WEIGHT_PATTERNS = (WEIGHTS, INDEX, "model-*-of-*.safetensors")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.joblib")

_RUNS_CODE = ("auto_map", "custom_pipelines", "custom_generate")
_LAYERS = re.compile(r"(num_(hidden_|encoder_|decoder_)?layers|n_layers?|(encoder_|decoder_)layers)")
_COUNTS = ("num_labels", "_num_labels", "num_experts", "num_local_experts", "n_routed_experts")
_MOST = 100_000
_REDIRECTS = ("transformers_weights",)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ModelError: the file is not UTF-8 JSON, or holds no object.
    """
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"'{path.name}' in the model folder '{path.parent.name}' cannot be read as JSON: {error}", hint="fetch the folder again"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"'{path.name}' in the model folder '{path.parent.name}' must hold an object, got {type(value).__name__}",
            hint="fetch the folder again",
        )
    return value


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a configuration and safetensors weights."""
    return (folder / "config.json").is_file() and any(
        (folder / name).is_file() for name in (WEIGHTS, INDEX, ADAPTER_WEIGHTS, ADAPTED_WEIGHTS)
    )


def weight_files(folder: Path, *, name: str | None = None) -> list[str]:
    """Names of the weight files of a folder: one file, or the parts that an index names.

    Raises:
        ModelError: no safetensors, or an index that names a file elsewhere or of another kind.
    """
    for single in (WEIGHTS, ADAPTER_WEIGHTS, ADAPTED_WEIGHTS):
        if (folder / single).is_file():
            return [single]
    if not (folder / INDEX).is_file():
        raise _no_weights(folder, name or folder.name)
    parts = read_object(folder / INDEX).get("weight_map")
    names = sorted(set(parts.values())) if isinstance(parts, dict) and all(isinstance(part, str) for part in parts.values()) else []
    bad = [part for part in names if not re.fullmatch(r"[\w.-]+\.safetensors", part)]
    missing = [part for part in names if part not in bad and not (folder / part).is_file()]
    if not names or bad or missing:
        what = "holds no weight_map"
        if bad:
            what = f"names files that are no safetensors beside it: {', '.join(bad[:3])}"
        elif missing:
            what = f"names missing files: {', '.join(missing[:3])}"
        hint = "fetch the folder again; the index and its parts belong together"
        raise ModelError(f"'{INDEX}' in '{name or folder.name}' {what}", hint=hint)
    return names


def model_files(folder: Path) -> list[str]:
    """The files that make up a model: settings, vocabulary and weights (all at the top of its folder)."""
    fixed = [name for name in (*SETTINGS, *VOCABULARIES, INDEX, ADAPTER_CONFIG, COLUMNS_FILE) if (folder / name).is_file()]
    return sorted({*fixed, *weight_files(folder)})


def model_digest(folder: Path) -> str:
    """`sha256:…` over the files that make up a model; nothing else in the folder counts."""
    wanted = set(model_files(folder))
    return files.digest_json([[name, files.sha256_file(folder / name)] for name in sorted(wanted)])


def check_model_folder(folder: Path, *, name: str | None = None) -> None:
    """Refuse a folder whose content is not plain settings and safetensors weights.

    Args:
        folder: the folder.
        name: what the user calls it, for messages; by default the folder's own name.

    Raises:
        ModelError: no configuration, no safetensors, remote code, redirections, quantised or damaged weights; all
            problems at once.
    """
    name = name or folder.name
    if not (folder / "config.json").is_file():
        raise ModelError(f"'{name}' is no model folder: it has no config.json", hint="name a folder with config.json and model.safetensors")
    weights = weight_files(folder, name=name)
    problems = _all_settings_problems(folder)
    if "quantization_config" in read_object(folder / "config.json"):
        why = "the weights are quantised, which this version can neither train nor audit"
        problems.append(Problem("config.json", why, "name the unquantised base model"))
    if (folder / ADAPTER_CONFIG).is_file() and (
        weights not in ([ADAPTER_WEIGHTS], [ADAPTED_WEIGHTS]) or not (folder / CHECKPOINT).is_file()
    ):
        # With this file in a folder, transformers would fetch and load whatever base it names.
        hint = "merge the adapter into its base (merge_and_unload) and save that"
        problems.append(Problem(ADAPTER_CONFIG, "the folder holds a PEFT adapter, not a whole model", hint))
    tensors = 0
    for part in weights:
        found, count = _weight_problems(folder / part)
        problems, tensors = problems + found, tensors + count
    problems += _count_problems(read_object(folder / "config.json"), None if weights == [ADAPTER_WEIGHTS] or not tensors else tensors)
    _refuse(name, problems)


def check_settings(folder: Path, *, name: str | None = None) -> None:
    """Refuse settings that would run code; for folders whose weights are not there yet.

    Raises:
        ModelError: such settings, all at once.
    """
    _refuse(name or folder.name, _all_settings_problems(folder))


def _refuse(name: str, problems: list[Problem]) -> None:
    if problems:
        hint = "choose a base model without these, or mend the named files"
        raise ModelError(f"The model '{name}' is refused", problems=problems, hint=hint)


def check_tokenizer_files(folder: Path) -> None:
    """Refuse tokenizer settings that would run code.

    Raises:
        ModelError: no tokenizer files, or such settings.
    """
    if not folder.is_dir():
        raise ModelError(f"There is no folder '{folder}'", hint="check the path")
    if not any((folder / name).is_file() for name in ("tokenizer.json", *VOCABULARIES)):
        raise ModelError(
            f"'{folder.name}' has no tokenizer (tokenizer.json)", hint="copy the tokenizer files of the base model into the folder"
        )
    check_settings(folder)


def _all_settings_problems(folder: Path) -> list[Problem]:
    present = [name for name in ("config.json", "tokenizer_config.json") if (folder / name).is_file()]
    return [problem for name in present for problem in _settings_problems(name, read_object(folder / name))]


def _settings_problems(name: str, settings: dict[str, Any]) -> list[Problem]:
    """Keys, at any depth, by which a setting would run code or send the loader elsewhere."""
    problems = []
    for key, value in _walk(settings):
        if (key in _RUNS_CODE and value) or (key == "trust_remote_code" and value is not False):
            problems.append(
                Problem(
                    name,
                    f"'{key}' asks to run code that comes with the model, which is never done",
                    "use an architecture that transformers has built in",
                )
            )
        elif key in _REDIRECTS and value is not None:
            problems.append(Problem(name, f"'{key}' sends the loader to another weight file", "remove the key and keep model.safetensors"))
        elif key.lstrip("_").startswith(("attn_implementation", "experts_implementation")) and any("/" in text for text in _texts(value)):
            problems.append(Problem(name, f"'{key}' names compiled code from a hub, which is never loaded", "remove the key"))
    return problems


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key), inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def _count_problems(config: dict[str, Any], tensors: int | None) -> list[Problem]:
    """Counts in a configuration that its weights cannot bear out: building such a model would never end."""
    problems = []
    for key, value in _walk(config):
        layers = _LAYERS.fullmatch(key) is not None
        if value is None or isinstance(value, list | dict) or not (layers or key in _COUNTS):
            continue
        most = tensors if layers and tensors is not None else _MOST  # each layer has a weight of its own; an adapter holds no layers
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            problems.append(Problem("config.json", f"'{key}' must be a whole number, got {str(value)[:40]!r}", "fetch the folder again"))
        elif value > most:
            what = f"'{key}' is {value}, over {most}" + (", the number of weights in all" if most == tensors else "")
            problems.append(
                Problem("config.json", what, "fetch or save the folder again, so that config.json and the weights belong together")
            )
    return problems


def _weight_problems(path: Path) -> tuple[list[Problem], int]:
    """Damage that shows in a safetensors header: overlaps, wrong sizes, a name given twice, a pickle; and how many weights it has."""
    from safetensors import SafetensorError, safe_open

    try:
        if problem := header_problem(path):
            return [Problem(path.name, f"this is not a sound safetensors file: {problem}", "fetch it again")], 0
        with safe_open(str(path), framework="np") as handle:
            count = len(list(handle.keys()))
            return [] if count else [Problem(path.name, "the file holds no weights", "fetch it again")], count
    except (SafetensorError, OSError, UnicodeError, ValueError) as error:
        return [Problem(path.name, f"this is not a sound safetensors file: {error}", "fetch it again")], 0


def _no_weights(folder: Path, name: str) -> ModelError:
    present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    pickles = [file for file in present if any(fnmatch.fnmatch(file, pattern) for pattern in PICKLES)]
    if pickles:
        return ModelError(
            f"'{name}' has its weights as pickle only ({', '.join(pickles[:3])}), which can run code and is never loaded",
            hint="choose a revision with model.safetensors, or convert it once where you trust it: "
            "AutoModel.from_pretrained(folder).save_pretrained(new_folder), which writes safetensors",
        )
    others = [file for file in present if file.endswith(".safetensors")]
    found = f"; it has {', '.join(others[:3])}" if others else ""
    hint = f"name a model with safetensors weights, called {WEIGHTS} (many hub repositories keep them in a revision such as @refs/pr/1)"
    return ModelError(f"'{name}' has no weights: expected {WEIGHTS} or {INDEX}{found}", hint=hint)
