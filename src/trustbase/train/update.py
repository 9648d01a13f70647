"""How losses become a change of the parameters. A rule gets the batches of one update and says what it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from trustbase.errors import TrainingError
from trustbase.train.batches import Batch


@dataclass(frozen=True)
class UpdateResult:
    """One update as it was done."""

    loss: float  # mean over the rows of the update
    gradient_norm: float  # before clipping
    rows: int
    tokens: int


@dataclass
class UpdateTools:
    """What a rule works with."""

    losses: Callable[[Batch], Tensor]  # per row, `(rows,)`, fp32
    parameters: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    clip: float | None
    scaler: torch.amp.GradScaler | None = None  # fp16 only
    cleanups: list[Callable[[], None]] = field(default_factory=list)  # called when gradients are cleared


class Update(Protocol):
    """An update rule: plain here; private, adversarial and constrained ones beside it later."""

    def __call__(self, tools: UpdateTools, batches: Sequence[Batch], step: int) -> UpdateResult: ...


def plain(tools: UpdateTools, batches: Sequence[Batch], step: int) -> UpdateResult:
    """Gradient of the mean loss over all rows of the update, clipped, then one optimizer step.

    Every row weighs the same however the rows fall into batches: each batch's sum is divided by the rows of the update.

    Raises:
        TrainingError: a loss or gradient is NaN or infinite; the parameters are still those of the step before.
    """
    rows = sum(len(batch.rows) for batch in batches)
    total = 0.0
    for batch in batches:
        losses = tools.losses(batch)
        value = float(losses.detach().sum())
        if not math.isfinite(value):
            clear(tools)
            bad = batch.rows[(~torch.isfinite(losses.detach())).cpu().numpy()]
            raise _not_finite("loss", step, (bad if bad.size else batch.rows).tolist())
        scaled = losses.sum() / rows
        (tools.scaler.scale(scaled) if tools.scaler else scaled).backward()  # type: ignore[no-untyped-call]
        total += value
    if tools.scaler:
        tools.scaler.unscale_(tools.optimizer)
    norm = gradient_norm(tools.parameters)
    if not math.isfinite(norm) and tools.scaler is None:
        clear(tools)
        raise _not_finite("gradient", step, [row for batch in batches for row in batch.rows])
    apply(tools, norm)
    return UpdateResult(total / rows, norm, rows, sum(batch.tokens for batch in batches))


def gradient_norm(parameters: Sequence[nn.Parameter]) -> float:
    """Length of the gradient over all parameters."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))


def apply(tools: UpdateTools, norm: float) -> None:
    """Clip (multiplying only where the norm is too long), step, and clear."""
    if tools.clip is not None and norm > tools.clip:
        factor = tools.clip / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
        torch._foreach_mul_([parameter.grad for parameter in tools.parameters if parameter.grad is not None], factor)
    if tools.scaler:
        tools.scaler.step(tools.optimizer)
        tools.scaler.update()
    else:
        tools.optimizer.step()
    clear(tools)


def clear(tools: UpdateTools) -> None:
    """Forget the gradients."""
    for cleanup in tools.cleanups:
        cleanup()
    tools.optimizer.zero_grad(set_to_none=True)


def _not_finite(what: str, step: int, rows: Sequence[int]) -> TrainingError:
    named = ", ".join(str(int(row)) for row in list(rows)[:20]) + (" …" if len(rows) > 20 else "")
    return TrainingError(
        f"the {what} of step {step} is not a finite number (rows {named} of the training split, counted from 0); "
        f"training stopped before it could spoil the parameters, which are those of step {step - 1}",
        hint="look at those rows; a lower learning_rate, a longer warmup, clip: 1.0 or precision: fp32 often helps",
    )
