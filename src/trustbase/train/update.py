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

_MOST_SKIPPED = 20  # in a row; a scale that only starts too high (2^16) is low enough after far fewer
Named = Callable[[Sequence[int]], str]  # rows of the training split, counted from 0 → how a person finds them


@dataclass(frozen=True)
class UpdateResult:
    """One update as it was done."""

    loss: float  # mean over the rows of the update
    gradient_norm: float  # before clipping; not finite where fp16 skipped the update
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
    skipped: int = 0  # updates in a row that fp16 skipped


class Update(Protocol):
    """An update rule: plain here; private, adversarial and constrained ones beside it later."""

    def __call__(self, tools: UpdateTools, batches: Sequence[Batch], step: int) -> UpdateResult: ...


def positions(rows: Sequence[int]) -> str:
    """Rows by their place in the training split, where nobody knows their file."""
    return f"rows {listed(rows)} of the training split, counted from 0"


def plain(tools: UpdateTools, batches: Sequence[Batch], step: int, *, named: Named = positions) -> UpdateResult:
    """Gradient of the mean loss over all rows of the update, clipped, then one optimizer step.

    Every row weighs the same however the rows fall into batches: each batch's sum is divided by the rows of the update.
    In fp16 an update whose scaled gradient overflows is skipped and the scale halved, which is how the scale is found; it is an
    error once no scale helps: below 1 nothing is scaled up any more.

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
            raise _not_finite("loss", step, named((bad if bad.size else batch.rows).tolist()))
        scaled = losses.sum() / rows
        (tools.scaler.scale(scaled) if tools.scaler else scaled).backward()  # type: ignore[no-untyped-call]
        total += value
    if tools.scaler:
        tools.scaler.unscale_(tools.optimizer)
    norm = gradient_norm(tools.parameters)
    tools.skipped = 0 if math.isfinite(norm) else tools.skipped + 1
    if tools.skipped and _no_scale_helps(tools):
        clear(tools)
        raise _not_finite("gradient", step, named([int(row) for batch in batches for row in batch.rows]), tools.skipped - 1)
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


def listed(numbers: Sequence[int]) -> str:
    """The first of many row numbers."""
    return ", ".join(str(number) for number in numbers[:20]) + (" …" if len(numbers) > 20 else "")


def _no_scale_helps(tools: UpdateTools) -> bool:
    return tools.scaler is None or tools.skipped >= _MOST_SKIPPED or tools.scaler.get_scale() <= 1.0


def _not_finite(what: str, step: int, rows: str, skipped: int = 0) -> TrainingError:
    before = f", nor were those of the {skipped} steps before, which fp16 skipped" if skipped else ""
    return TrainingError(
        f"the {what} of step {step} is not a finite number ({rows}){before}; "
        f"training stopped before it could spoil the parameters, which are those of step {step - 1 - skipped}",
        hint="look at those rows; a lower learning_rate, a longer warmup, clip: 1.0 or precision: fp32 often helps",
    )
