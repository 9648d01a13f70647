"""Training state on disk: folders that are complete or absent, safetensors and JSON only, found again after any crash.

`step-00000120/` holds `weights.safetensors` (the trained parameters), `optimizer.safetensors`, `companion.safetensors` (what an adaptation
knows that goes along with the training) and `state.json` (position, early stopping, history, fp16 scale, digests of the others). Random
streams are named by seed and position, so they need no state.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trustbase import files
from trustbase.errors import StaleRunError, TrainingError
from trustbase.train.parts import here, part_of, put_together

_WEIGHTS, _OPTIMIZER, _COMPANION, _STATE = "weights.safetensors", "optimizer.safetensors", "companion.safetensors", "state.json"
_KEPT = 2  # the newest, and one to fall back to should the disk have lost it

Trained = Sequence[tuple[str, nn.Parameter]]


@dataclass
class Progress:
    """Where training stands."""

    step: int = 0  # updates done
    epoch: int = 0  # epoch under way, from 0
    position: int = 0  # batches of that epoch that are done
    batches: int = 0  # batches done in all
    rows: int = 0
    tokens: int = 0
    flops: float = 0.0  # nominal operations, where somebody counts them
    seconds: float = 0.0
    best_step: int | None = None
    best_value: float | None = None
    best_epoch: float | None = None
    evaluations_since_best: int = 0
    finished: str = ""  # why no further step is wanted; empty while training goes on
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry an evaluation or epoch
    loss_sum: float = 0.0  # of the epoch under way, over rows
    loss_rows: int = 0
    scaler: dict[str, float] = field(default_factory=dict)  # state of the fp16 scale; empty in other precisions
    losses: list[float] = field(default_factory=list)  # of the last updates, where spikes are watched for
    norms: list[float] = field(default_factory=list)  # gradient norms of the last updates, where they are limited
    last_made: list[int] = field(default_factory=list)  # [epoch, position] of the last update that changed the parameters
    left_out: list[list[int]] = field(default_factory=list)  # the same of each update that is not made because of a spike
    spikes: int = 0
    refused: int = 0  # updates that were not made because of their gradient
    refused_running: int = 0  # of these the last ones, without a good one between


def name_of(step: int) -> str:
    """Folder name of a step's checkpoint."""
    return f"step-{step:08d}"


def save(
    folder: Path,
    trained: Trained,
    optimizer: torch.optim.Optimizer | None,
    progress: Progress,
    fingerprint: Mapping[str, Any],
    *,
    beside: Mapping[str, Tensor] | None = None,
    writes: bool = True,
) -> Path:
    """Write one checkpoint whole or not at all, then drop those that nothing needs.

    Of a divided model all processes make this call, and one of them writes: it gets the others' parts tensor by tensor. `beside` is what
    an adaptation, or an average of the weights, knows beside the parameters.

    Raises:
        TrainingError: asked to save step 0, which is the base model and not training; or the disk refused.
    """
    if progress.step == 0:
        raise TrainingError("a checkpoint of step 0 was asked for; nothing is trained yet")
    target = folder / name_of(progress.step)
    names = {_WEIGHTS: weights_of(trained)}
    if optimizer is not None:
        names[_OPTIMIZER] = _optimizer_tensors(trained, optimizer)
    if beside is not None:
        names[_COMPANION] = dict(beside)
    if not writes:
        for tensors in names.values():
            for _ in put_together(tensors):
                pass
        return target

    def fill(staging: Path) -> None:
        for name, tensors in names.items():
            save_file(dict(put_together(tensors)), staging / name)
        digests = {name: files.sha256_file(staging / name) for name in names}
        files.write_json(staging / _STATE, {"progress": asdict(progress), "fingerprint": dict(fingerprint), "sha256": digests})

    held = [
        *(parameter for _, parameter in trained),
        *(value for state in (optimizer.state.values() if optimizer else ()) for value in state.values()),
    ]
    with files.saving(target, sum(tensor.nbytes for tensor in held if isinstance(tensor, Tensor))):
        files.replace_folder(target, fill)
    prune(folder, keep={progress.step, progress.best_step})
    return target


def latest(folder: Path, *, most: int | None = None) -> tuple[Path, list[str]]:
    """The newest complete checkpoint (of at most so many steps), and what was wrong with newer ones.

    Raises:
        FileNotFoundError: there is none.
    """
    problems: list[str] = []
    for path in _steps(folder)[::-1]:
        if most is not None and int(path.name.removeprefix("step-")) > most:
            continue
        problem = _problem(path)
        if not problem:
            return path, problems
        problems.append(f"{path.name}: {problem}")
    raise FileNotFoundError("; ".join(problems) or f"no checkpoint in {folder.name}")


def changed_since(path: Path, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What of the inputs was otherwise when a checkpoint was made, as it was then."""
    then = files.read_json(path / _STATE)["fingerprint"]
    return {key: then.get(key) for key in sorted({*then, *fingerprint}) if then.get(key) != fingerprint.get(key)}


def load(
    path: Path, trained: Trained, optimizer: torch.optim.Optimizer, fingerprint: Mapping[str, Any], *, may_differ: Sequence[str] = ()
) -> Progress:
    """Put a checkpoint's state into parameters and optimizer.

    Raises:
        StaleRunError: the checkpoint belongs to other data, options or another base model.
    """
    state = files.read_json(path / _STATE)
    changed = [key for key in changed_since(path, fingerprint) if key not in may_differ]
    if changed:
        raise StaleRunError(
            f"the checkpoints in '{path.parent.name}' were made with other inputs (changed: {', '.join(changed)})",
            hint="give another output folder, or remove the checkpoints to train anew",
        )
    _copy_weights(path, trained)
    if (path / _OPTIMIZER).exists():
        _restore_optimizer(path / _OPTIMIZER, trained, optimizer)
    return Progress(**state["progress"])


def beside_of(path: Path) -> dict[str, Tensor]:
    """What an adaptation knew beside the parameters when a checkpoint was made."""
    return load_file(path / _COMPANION) if (path / _COMPANION).exists() else {}


def load_weights(path: Path, trained: Trained) -> None:
    """Copy a checkpoint's weights into the parameters, if they are what was written.

    Raises:
        TrainingError: they are not; the parameters are as they were.
    """
    problem = _problem(path)
    if problem:
        raise TrainingError(
            f"the best checkpoint {path.name} cannot be taken: {problem}",
            hint=f"check the disk; remove {path.parent} to train anew (what comes after the best step is not the best model)",
        )
    _copy_weights(path, trained)


def _copy_weights(path: Path, trained: Trained) -> None:
    with torch.no_grad(), safe_open(path / _WEIGHTS, "pt") as tensors:  # one after another: a process may hold parts only
        for name, parameter in trained:
            here(parameter).copy_(here(part_of(tensors.get_tensor(name), parameter)))


def weights_of(trained: Trained) -> dict[str, Tensor]:
    """The trained parameters by name."""
    return {name: parameter.detach().contiguous() for name, parameter in trained}


def prune(folder: Path, *, keep: set[int | None]) -> None:
    """Remove checkpoints but the newest few and those named; and what an interrupted save left."""
    for path in _steps(folder)[:-_KEPT]:
        if int(path.name.removeprefix("step-")) not in keep:
            shutil.rmtree(path)
    for left in (*folder.glob(".step-*.part"), *folder.glob(".step-*.old")):
        shutil.rmtree(left, ignore_errors=True)


def _steps(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir()) if folder.exists() else []


def _problem(path: Path) -> str:
    """Why a checkpoint cannot be used; empty where it can."""
    try:
        wanted = files.read_json(path / _STATE)["sha256"]
    except (OSError, ValueError, KeyError) as error:
        return f"{_STATE} cannot be read ({error})"
    for name, digest in wanted.items():
        if not (path / name).is_file():
            return f"{name} is missing"
        if files.sha256_file(path / name) != digest:
            return f"{name} is not what was written"
    return ""


def _optimizer_tensors(trained: Trained, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in trained:
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}:{name}"] = torch.as_tensor(value).detach().contiguous()
    return tensors


def _restore_optimizer(path: Path, trained: Trained, optimizer: torch.optim.Optimizer) -> None:
    by_name = dict(trained)
    with safe_open(path, "pt") as tensors:
        for full in tensors.keys():  # noqa: SIM118 - it is no mapping
            key, name = full.split(":", 1)
            parameter, value = by_name[name], tensors.get_tensor(full)
            optimizer.state[parameter][key] = value if key == "step" else part_of(value, parameter)
