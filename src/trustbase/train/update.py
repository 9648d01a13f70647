"""How losses become a change of the parameters. A rule gets the batches of one update and says what it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trustbase.errors import TrainingError
from trustbase.model.adaptations.shared import Companion
from trustbase.train.batches import Batch
from trustbase.train.parts import finite, here
from trustbase.train.world import ALONE, World

_MOST_SKIPPED = 20  # in a row; a scale that only starts too high (2^16) is low enough after far fewer
Named = Callable[[Sequence[int]], str]  # rows of the training split, counted from 0 → how a person finds them


@dataclass(frozen=True)
class UpdateResult:
    """One update as it was done."""

    loss: float  # sum over terms of weight × mean over the units of the update
    gradient_norm: float  # before clipping; not finite where fp16 skipped the update
    rows: int
    tokens: int
    parts: Mapping[str, float] = field(default_factory=dict)  # mean over the units of the update, by term
    refused: str = ""  # "loss" or "gradient": which limit it broke; the parameters are then as they were
    flops: float = 0.0  # operations that it is worth, where somebody counts them (`flops.counted`)


@dataclass
class UpdateTools:
    """What a rule works with."""

    losses: Callable[[Batch], Mapping[str, Tensor]]  # by term, one for each unit, `(units,)`, fp32
    parameters: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    clip: float | None
    scaler: torch.amp.GradScaler | None = None  # fp16 only
    cleanups: list[Callable[[], None]] = field(default_factory=list)  # called when gradients are cleared
    skipped: int = 0  # updates in a row that fp16 skipped
    weights: Mapping[str, float] = field(default_factory=dict)  # of terms; 1 where none is named
    largest: Mapping[str, float] = field(default_factory=dict)  # "loss", "gradient": an update above it is not made
    world: World = ALONE  # the processes that make an update together, each from its own batches
    companion: Companion | None = None  # what an adaptation does around an update, the same in every process


class Update(Protocol):
    """An update rule: plain here; private, adversarial and constrained ones beside it later."""

    def __call__(self, tools: UpdateTools, batches: Sequence[Batch], step: int) -> UpdateResult: ...


def positions(rows: Sequence[int]) -> str:
    """Rows by their place in the training split, where nobody knows their file."""
    return f"rows {listed(rows)} of the training split, counted from 0"


def plain(tools: UpdateTools, batches: Sequence[Batch], step: int, *, named: Named = positions) -> UpdateResult:
    """Gradient of the mean loss over all units of the update, clipped, then one optimizer step.

    Every unit of a term weighs the same however the units fall into batches, and batches to processes: each batch's sum is divided by
    the units of the update. With several processes each comes with its own batches, perhaps none, and all get the same result.
    In fp16 an update whose scaled gradient overflows is skipped and the scale halved, which is how the scale is found; it is an
    error once no scale helps: below 1 nothing is scaled up any more.

    Raises:
        TrainingError: a loss or gradient is NaN or infinite; the parameters are those of the step before, which may have spoilt them.
    """
    units = _added(tools.world.gather(_units(batches)))
    shares = tools.world.gather(_share(tools, batches, units))
    bad = [share.bad for share in shares if share.bad is not None]
    if bad:
        clear(tools)
        raise _not_finite(tools, "loss", step, named(sorted({owner for owners in bad for owner in owners})))
    tools.world.sum_gradients(tools.parameters)
    parts = {term: total / units[term] for term, total in _added([share.totals for share in shares]).items()}
    loss = sum(tools.weights.get(term, 1.0) * mean for term, mean in parts.items())
    rows, tokens = sum(share.rows for share in shares), sum(share.tokens for share in shares)
    if tools.scaler:
        tools.scaler.unscale_(tools.optimizer)
    if tools.companion is not None:
        tools.companion.before()
    norm = tools.world.length(gradient_norm(tools.parameters))
    tools.skipped = 0 if math.isfinite(norm) else tools.skipped + 1
    if tools.skipped and _no_scale_helps(tools):
        clear(tools)
        owners = {owner for part in tools.world.gather(_owners(batches)) for owner in part}
        raise _not_finite(tools, "gradient", step, named(sorted(owners)), tools.skipped - 1)
    refused = _broken(tools, loss, norm)
    if refused:
        clear(tools)
        if tools.scaler:
            tools.scaler.update()
    else:
        apply(tools, norm, step)
    return UpdateResult(loss, norm, rows, tokens, parts, refused)


@dataclass(frozen=True)
class _Share:
    """What one process did of an update."""

    totals: Mapping[str, float]  # sum of losses by term
    rows: int
    tokens: int
    bad: list[int] | None = None  # what a loss that is not finite belongs to


def _share(tools: UpdateTools, batches: Sequence[Batch], units: Mapping[str, float]) -> _Share:
    """The gradient of this process's batches; all are gone through, since of a divided model the other processes wait for that."""
    totals = dict.fromkeys(units, 0.0)
    rows, tokens = sum(len(batch.rows) for batch in batches), sum(batch.tokens for batch in batches)
    bad = [owners for batch in batches for owners in _backward(tools, batch, units, totals)]
    return _Share(totals, rows, tokens, np.unique(np.concatenate(bad)).tolist() if bad else None)


def _added(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Sums by term, over the processes."""
    terms = dict.fromkeys(term for part in parts for term in part)
    return {term: sum(part.get(term, 0) for part in parts) for term in terms}


def _units(batches: Sequence[Batch]) -> dict[str, int]:
    """Units of an update by term; terms without any are left out."""
    units: dict[str, int] = {}
    for batch in batches:
        for term, count in batch.units.items():
            units[term] = units.get(term, 0) + count
    return {term: count for term, count in units.items() if count}


def _owners(batches: Sequence[Batch]) -> list[int]:
    return sorted({int(owner) for batch in batches for owners in batch.owners.values() for owner in owners})


def _backward(tools: UpdateTools, batch: Batch, units: Mapping[str, float], totals: dict[str, float]) -> list[NDArray[np.int64]]:
    """Add a batch's share of the gradient, and its losses to `totals`; gives what units without a finite loss belong to.

    A term that the update has, and this batch has no unit of, is gone through all the same, so that the processes do alike.
    """
    whole: Tensor | None = None
    bad: list[NDArray[np.int64]] = []
    for term, losses in tools.losses(batch).items():
        if term not in units:
            continue
        weight = 0.0 if batch.idle else tools.weights.get(term, 1.0)
        if not batch.idle:
            value = float(losses.detach().sum())
            if not math.isfinite(value):
                owners = batch.owners[term]
                named = owners[(~torch.isfinite(losses.detach())).cpu().numpy()]
                bad.append(named if named.size else owners)
            totals[term] += value
        share = losses.sum() / units[term] if weight == 1.0 else losses.sum() * (weight / units[term])
        whole = share if whole is None else whole + share
    if whole is not None:
        (tools.scaler.scale(whole) if tools.scaler else whole).backward()  # type: ignore[no-untyped-call]
    return bad


def _broken(tools: UpdateTools, loss: float, norm: float) -> str:
    """Which limit this update breaks, if any. A norm that fp16 made infinite is the scaler's business."""
    if loss > tools.largest.get("loss", math.inf):
        return "loss"
    return "gradient" if math.isfinite(norm) and norm > tools.largest.get("gradient", math.inf) else ""


def gradient_norm(parameters: Sequence[nn.Parameter]) -> float:
    """Length of the gradient over all parameters, as far as this process holds it."""
    gradients = [here(parameter.grad) for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))


def apply(tools: UpdateTools, norm: float, step: int) -> None:
    """Clip (multiplying only where the norm is too long), step, and clear."""
    if tools.clip is not None and norm > tools.clip:
        factor = tools.clip / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
        torch._foreach_mul_([here(parameter.grad) for parameter in tools.parameters if parameter.grad is not None], factor)
    if tools.scaler:
        tools.scaler.step(tools.optimizer)
        tools.scaler.update()
    else:
        tools.optimizer.step()
    if tools.companion is not None and math.isfinite(norm):  # else fp16 has skipped the update
        tools.companion.after(step)
    clear(tools)


def clear(tools: UpdateTools) -> None:
    """Forget the gradients."""
    for cleanup in tools.cleanups:
        cleanup()
    tools.optimizer.zero_grad(set_to_none=True)


def listed(numbers: Sequence[int]) -> str:
    """The first of many row numbers."""
    return ", ".join(str(number) for number in numbers[:20]) + (" …" if len(numbers) > 20 else "")


def _no_scale_helps(tools: UpdateTools) -> bool:
    return tools.scaler is None or tools.skipped >= _MOST_SKIPPED or tools.scaler.get_scale() <= 1.0


def _not_finite(tools: UpdateTools, what: str, step: int, rows: str, skipped: int = 0) -> TrainingError:
    """What is told where all processes have seen a number that is not finite."""
    before = f", nor were those of the {skipped} steps before, which fp16 skipped" if skipped else ""
    outcome = f"training stopped before it could spoil the parameters, which are those of step {step - 1 - skipped}"
    if not all(tools.world.gather(finite(tools.parameters))):
        outcome = f"nor are weights after step {step - 1}, which are not saved: the last good checkpoint stays, and the rows may be sound"
    return TrainingError(
        f"the {what} of step {step} is not a finite number ({rows}){before}; {outcome}",
        hint="look at those rows; a lower learning_rate, a longer warmup, clip: 1.0 or precision: fp32 often helps",
    )
