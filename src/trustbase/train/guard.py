"""Limits that an update must keep: a gradient or a loss far above the usual is not let into the parameters.

Both limits follow from the updates before, which a checkpoint keeps, so that a resumed training draws them at the same places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trustbase.train.options import TrainOptions
from trustbase.train.state import Progress

WINDOW = 32  # updates that say what is usual
_LEAST_RISE = 0.05  # of the usual loss: where losses hardly differ, a few deviations are nothing
MOST_SPIKES = 20  # of one training; more are no accident
MOST_REFUSED = 20  # gradients in a row


def needs_checkpoint(progress: Progress, options: TrainOptions) -> bool:
    """Whether spikes are watched for from the next update but one on."""
    return options.spike is not None and len(progress.losses) == WINDOW


def limits(progress: Progress, options: TrainOptions) -> dict[str, float]:
    """The largest loss and gradient norm that the next update may have, as far as they are limited."""
    found = {}
    if options.spike is not None:
        found["loss"] = loss_limit(progress.losses, options.spike)
    if options.gradient_guard is not None:
        found["gradient"] = norm_limit(progress.norms, options.gradient_guard)
    return found


def loss_limit(losses: Sequence[float], deviations: float) -> float:
    """So many standard deviations above the mean of the last losses; infinite before there are enough of them.

    One more than the window: the loop saves when the window is full, so that there is a checkpoint to go back to.
    """
    if len(losses) <= WINDOW:
        return math.inf
    mean = float(np.mean(losses[-WINDOW:]))
    return mean + max(deviations * float(np.std(losses[-WINDOW:])), _LEAST_RISE * abs(mean))


def norm_limit(norms: Sequence[float], factor: float) -> float:
    """So many times the median of the last gradient norms; infinite before there are enough of them."""
    return factor * float(np.median(norms[-WINDOW:])) if len(norms) >= WINDOW else math.inf


def remember(values: list[float], value: float) -> None:
    """Keep the last values of a number."""
    if math.isfinite(value):
        values.append(value)
    del values[: -WINDOW - 1]
