"""Sequence classifiers from a checked folder: nothing missing but a new head, nothing damaged, nothing random unnamed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trustbase.errors import ModelError, Problem
from trustbase.model.folder import ADAPTER_CONFIG, check_model_folder, read_object, weight_files
from trustbase.model.heads import check_architecture, class_of, head_of
from trustbase.model.quiet import quiet
from trustbase.records import BaseModel
from trustbase.seeds import stream_seed

_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "hidden_dropout",
    "attention_dropout",
    "dropout",
    "dropout_rate",
    "seq_classif_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "summary_last_dropout",
    "activation_dropout",
    "embedding_dropout",
    "mlp_dropout",
    "pooler_dropout",
)
# Buffers that older checkpoints carry and the code of today computes.
_HARMLESS = re.compile(r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias)$")
_SPARE = 50_000_000  # numbers that a head and buffers may add to what is in the file
_ORIGIN = "trustbase_origin"
#: How weights are read wherever they are: never a pickle, never from the network; in fp32, and telling what found no place.
SAFE_LOADING: Mapping[str, Any] = {
    "use_safetensors": True,
    "local_files_only": True,
    "dtype": torch.float32,
    "output_loading_info": True,
}


@dataclass(frozen=True)
class Origin:
    """Where a model in memory came from; all but `base` is saved with it, and holds no path.

    Attributes:
        task: the task it was built for.
        described: its base model by reference, revision, digest, licence and lineage.
        adaptation: how it was adapted, where that is no longer in the model (merged, or reloaded).
        base: the base model itself, where its folder is known.
    """

    task: str
    described: Mapping[str, Any]
    adaptation: Mapping[str, Any] | None = None
    base: BaseModel | None = None


def set_origin(model: nn.Module, origin: Origin) -> None:
    """Remember on the model itself where it came from."""
    object.__setattr__(model, _ORIGIN, origin)


def origin_of(model: nn.Module) -> Origin | None:
    """Where a model came from, if one of our tasks built it."""
    origin: Origin | None = getattr(model, _ORIGIN, None)
    return origin


def load_classifier(
    folder: Path,
    *,
    label_names: Sequence[str] | None = None,
    seed: int = 0,
    dropout: float | None = None,
    pad_id: int | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
    check: bool = True,
    head: str | None = None,
) -> nn.Module:
    """A plain transformers model for classification, in fp32 and evaluation mode.

    Args:
        folder: a model folder.
        label_names: names in score order; None keeps what the folder has, and then a missing head is an error. With
            names, the head is new (drawn from the stream `head` of `seed`) unless the folder's own head speaks about
            exactly these labels in this order.
        seed: seed of the run.
        dropout: dropout everywhere in the model; None keeps its own.
        pad_id: padding token, where the configuration has none (GPT-like models).
        weights: in place of the folder's own weights.
        check: look through the folder first; only False where that has been done.
        head: which (`heads.HEADS`); None takes that of the folder.

    Raises:
        ModelError: no such architecture, weights missing from the body, left over, of another shape, or not finite.
    """
    if check:
        check_model_folder(folder)
    if weights is None and (folder / ADAPTER_CONFIG).is_file():
        raise ModelError(f"'{folder.name}' is an adapter, not a whole model", hint="load it with load_checkpoint")
    config = read_config(folder, head)
    chosen = head or head_of(config.architectures)
    own_labels = _label_names(config) if head_of(config.architectures) == chosen else []
    if label_names is not None:
        _set_labels(config, label_names)
    if dropout is not None:
        set_dropout(config, dropout)
    if config.pad_token_id is None:
        config.pad_token_id = pad_id
    _refuse_sizes(folder, config, weights, chosen)
    model, missing, unexpected, mismatched = _read_weights(folder, config, weights, chosen)
    own = set(head_names(model))
    judge_weights(folder, model, own if label_names is not None else set(), missing, unexpected, mismatched)
    if label_names is not None:
        fresh = missing | mismatched
        if own_labels != list(label_names):
            fresh |= {name for name in own if not _in_body(model, name)}
        _draw(model, fresh, seed)
        config_of(model).architectures = [type(model).__name__]
    refuse_damage(folder, model)
    return model.eval()


def empty_classifier(folder: Path, head: str | None = None) -> nn.Module:
    """The architecture of a folder without its weights (on torch's meta device): names and shapes, in no time.

    Raises:
        ModelError: no such architecture.
    """
    config = read_config(folder, head)
    return _without_weights(folder, config, head or head_of(config.architectures))


def _without_weights(folder: Path, config: Any, head: str) -> nn.Module:
    try:
        with quiet(), torch.device("meta"):
            model: nn.Module = class_of(config.model_type, head)(config)
    except Exception as error:  # the library raises errors of many kinds on sizes that do not fit; the cause is kept
        raise ModelError(
            f"config.json in '{folder.name}' describes no model: {type(error).__name__}: {str(error)[:300]}", hint="fetch the folder again"
        ) from error
    return model


def config_of(model: nn.Module) -> Any:
    """The transformers configuration of a model."""
    return model.config


def body_prefix(model: nn.Module) -> str:
    """Name of the submodule that is the body, such as `bert`."""
    return str(model.base_model_prefix)


def head_names(model: nn.Module) -> list[str]:
    """Names of the parameters of the classification head: all outside the body, and the pooler that some bodies hold."""
    pooler = f"{body_prefix(model)}.pooler."
    return [name for name, _ in model.named_parameters() if not _in_body(model, name) or name.startswith(pooler)]


def _in_body(model: nn.Module, name: str) -> bool:
    return name.startswith(body_prefix(model) + ".")


def read_config(folder: Path, head: str | None = None) -> Any:
    """The transformers configuration of a folder.

    Args:
        folder: a model folder.
        head: that the architecture must have; None takes that of the folder.

    Raises:
        ModelError: it is not usable, or its architecture has no such head.
    """
    from transformers import AutoConfig

    written = read_object(folder / "config.json")
    model_type = written.get("model_type")
    if not isinstance(model_type, str):
        raise ModelError(f"config.json in '{folder.name}' has no model_type", hint="save the model with transformers, which writes it")
    check_architecture(model_type, head or head_of(written.get("architectures")))
    try:
        with quiet():
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library validates settings with errors of many kinds; the cause is kept
        raise ModelError(f"config.json in '{folder.name}' is not usable: {error}", hint="fetch the folder again") from error


def _label_names(config: Any) -> list[str]:
    return [str(config.id2label[index]) for index in sorted(config.id2label)]


def _set_labels(config: Any, names: Sequence[str]) -> None:
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    config.num_labels = len(names)
    config.id2label = dict(enumerate(names))  # setting num_labels may have renamed them
    config.label2id = {name: index for index, name in enumerate(names)}
    config.problem_type = "single_label_classification"


def set_dropout(config: Any, dropout: float) -> None:
    """Set every dropout that a configuration knows."""
    for name in _DROPOUTS:
        if hasattr(config, name) and (getattr(config, name) is None or isinstance(getattr(config, name), int | float)):
            setattr(config, name, dropout)


def refuse_impossible(folder: Path, head: str | None = None) -> None:
    """Compare what a configuration asks for with what its weights hold, without reading either into memory.

    Raises:
        ModelError: no such architecture, or sizes that cannot be those of the weights.
    """
    config = read_config(folder, head)
    if not (folder / ADAPTER_CONFIG).is_file():  # an adapter holds next to nothing of the model it describes
        _refuse_sizes(folder, config, None, head or head_of(config.architectures))


def _refuse_sizes(folder: Path, config: Any, weights: Mapping[str, torch.Tensor] | None, head: str) -> None:
    """Refuse a configuration that asks for far more numbers than its weights hold, before memory is asked for.

    Raises:
        ModelError: it does, or it describes no model.
    """
    model = _without_weights(folder, config, head)
    wanted = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if weights is not None:
        held = sum(tensor.numel() for tensor in weights.values())
    else:
        held = sum((folder / name).stat().st_size for name in weight_files(folder))  # at least one byte a number
    if wanted > 2 * held + _SPARE:
        raise ModelError(
            f"The model in '{folder.name}' is not whole: config.json asks for {wanted:,} numbers, and its weights hold {held:,} at most",
            hint="fetch or save the folder again, so that config.json and the weights belong together",
        )


def _read_weights(
    folder: Path, config: Any, weights: Mapping[str, torch.Tensor] | None, head: str
) -> tuple[nn.Module, set[str], set[str], set[str]]:
    try:
        architecture = class_of(config.model_type, head)
        # The library draws what it does not find from the global generator; nothing outside may notice.
        with quiet(), torch.random.fork_rng(devices=[]):
            model, info = architecture.from_pretrained(
                folder if weights is None else None,
                config=config,
                state_dict=None if weights is None else dict(weights),
                **SAFE_LOADING,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # the library raises errors of many kinds here; the cause is kept
        raise ModelError(
            f"The model in '{folder.name}' cannot be loaded: {type(error).__name__}: {error}",
            hint="fetch the folder again, or name another",
        ) from error
    mismatched = {item if isinstance(item, str) else item[0] for item in info["mismatched_keys"]}
    return model, set(info["missing_keys"]), set(info["unexpected_keys"]), mismatched


def judge_weights(folder: Path, model: nn.Module, new: set[str], missing: set[str], unexpected: set[str], mismatched: set[str]) -> None:
    """Refuse weights unless only those in `new` are missing or of another shape, and none of a body is left over.

    Raises:
        ModelError: they do not belong to the configuration; all faults at once.
    """
    lost = sorted(missing - new)
    wrong = sorted(mismatched - new)
    surplus = sorted(name for name in unexpected if _belongs_to_body(model, name) and not _HARMLESS.search(name))
    problems = [
        *_name_some("missing from the file", lost),
        *_name_some("of another shape than config.json says", wrong),
        *_name_some("in the file, but with no place in the model that config.json describes", surplus),
    ]
    if problems:
        what = "its classification head" if lost and all(name in set(head_names(model)) for name in lost) else "its weights"
        raise ModelError(
            f"The model in '{folder.name}' is not whole: config.json and {what} do not agree",
            problems=problems,
            hint="fetch or save the folder again, so that config.json and the weights belong together",
        )


def _belongs_to_body(model: nn.Module, name: str) -> bool:
    """Whether a weight that found no place looks like part of the body: by its prefix, or by the name of a module in it."""
    prefix = body_prefix(model)
    if name.startswith(prefix + "."):
        name = name.removeprefix(prefix + ".")
        return not name.startswith("pooler.")
    body = getattr(model, prefix, model)  # a bare body is its own
    return name.split(".", 1)[0] in {child for child, _ in body.named_children() if child != "pooler"}


def _name_some(what: str, names: Sequence[str]) -> list[Problem]:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [Problem("", f"{what}: {', '.join(names[:5])}{more}")] if names else []


def _draw(model: nn.Module, names: set[str], seed: int) -> None:
    """Draw new parameters, each from a stream of its own name: N(0, σ²) for weights, 0 for biases, 1 for norms.

    Source: Devlin et al. (2019), BERT, released code: initializer_range σ = 0.02, truncation left out.
    """
    deviation = float(getattr(config_of(model), "initializer_range", None) or 0.02)
    norms = {f"{name}.weight" for name, module in model.named_modules() if "norm" in type(module).__name__.lower()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in names:
                continue
            if parameter.dim() >= 2:
                stream = torch.Generator().manual_seed(stream_seed(seed, "head", name))
                parameter.copy_(torch.randn(parameter.shape, generator=stream) * deviation)
            else:
                parameter.fill_(1.0 if name in norms else 0.0)


def refuse_damage(folder: Path, model: nn.Module) -> None:
    """Refuse weights that are not numbers.

    Raises:
        ModelError: some are NaN or infinite.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    bad = [name for name, tensor in tensors if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())]
    # Attention masks hold -inf on purpose in some architectures; they are buffers that no file carries.
    saved = set(model.state_dict())
    if problems := _name_some("NaN or infinite", [name for name in bad if name in saved]):
        raise ModelError(
            f"The weights in '{folder.name}' are damaged", problems=problems, hint="fetch the folder again, or name another base model"
        )
