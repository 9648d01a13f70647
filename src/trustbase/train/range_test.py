"""Which learning rate: a copy of the model is trained for a few updates while the rate grows, until the loss no longer falls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trustbase.errors import TrainingError, UsageError
from trustbase.events import Emit, ignore
from trustbase.train.rehearsal import Rehearsal

_KEPT = 0.7  # of the smoothed loss from one update to the next
_RISE, _LEAST_RISE = 0.25, 0.05  # of the fall so far, and of the first loss: a smaller rise is no divergence
_LEAST_STEPS = 10
STEPS = 60  # updates that are usual
_TENTH, _STEEPEST = "a tenth of the rate at which the smoothed loss rose again", "the rate at which the smoothed loss fell fastest"


@dataclass(frozen=True)
class Point:
    """One update: its rate, its loss before the parameters changed, and the loss smoothed over the updates so far."""

    rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class RangeTest:
    """What became of growing rates.

    Attributes:
        points: by rate, up to the divergence.
        suggestion: a highest learning rate for a training with warm-up; a place to start from, not an optimum.
        rule: how it was chosen, in words.
        diverged_at: the rate at which the loss rose again (or was no number any more), or None if it never did.
    """

    points: tuple[Point, ...]
    suggestion: float
    rule: str
    diverged_at: float | None

    @property
    def said(self) -> str:
        """One line for the log."""
        tried = f"{self.points[0].rate:.1e} to {self.points[-1].rate:.1e}"
        ended = "never rose again" if self.diverged_at is None else f"rose again at {self.diverged_at:.1e}"
        return f"learning rates of {tried} were tried on a copy: the loss {ended}; {self.suggestion:.1e} is {self.rule}"

    def to_json(self) -> dict[str, Any]:
        """For the run folder and the report."""
        return asdict(self)


def range_test(rehearsal: Rehearsal, *, low: float = 1e-6, high: float = 1e-1, emit: Emit = ignore) -> RangeTest:
    """Train a copy while its learning rate grows from `low` to `high`.

    Batches, optimizer, decay and clipping are those of the training; there is no warm-up. Each update has a new batch, so its loss is one
    of text that was not trained on.

    Args:
        rehearsal: of as many updates as rates are tried (`rehearsing(…, steps=STEPS)`), not yet begun.
        low: rate of the first.
        high: rate of the last.
        emit: is told the progress.

    Source: Smith (2017), Cyclical learning rates for training neural networks, WACV, section 3.3, with rates that grow by a factor;
    how a rate is chosen from the curve is a rule of thumb: see `judge`.

    Raises:
        UsageError: the rates do not grow, or there are too few updates.
        TrainingError: the first loss is not a finite number.
    """
    steps = rehearsal.job.course.total
    if steps < _LEAST_STEPS or not 0 < low < high:
        raise UsageError(
            f"a range test needs {_LEAST_STEPS} updates or more and rates that grow; got {steps} updates from {low:g} to {high:g}",
            hint=f"the usual ones are {STEPS} updates from 1e-6 to 1e-1",
        )

    def update(rate: float) -> float:
        rehearsal.rate = rate
        result = rehearsal.step()
        emit("progress", what="trying learning rates", done=rehearsal.job.progress.step, total=steps)
        return math.nan if result is None else result.loss

    return try_rates(update, np.geomspace(low, high, steps).tolist())


def try_rates(update: Callable[[float], float], rates: Sequence[float]) -> RangeTest:
    """Make updates at growing rates until the loss diverges.

    Args:
        update: makes one at a rate, and returns the loss that it found; a `TrainingError` of it counts as divergence.
        rates: growing.
    """
    losses: list[float] = []
    for rate in rates:
        try:
            loss = update(rate)
        except TrainingError:  # a loss or gradient that is no number: the rates before it were too high
            loss = math.nan
        losses.append(loss)
        if _diverged(smooth(losses)) is not None:
            break
    return judge(rates[: len(losses)], losses)


def judge(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    """Read a rate from a curve.

    Where the smoothed loss rose again, by more than a quarter of its fall and a twentieth of its first value: a tenth of the rate at which
    it did. Where it never rose: the rate of its steepest fall, over the logarithm of the rate.

    Raises:
        TrainingError: the first losses already are no numbers.
    """
    smoothed = smooth(losses)
    place = _diverged(smoothed)
    count = len(losses) if place is None else place + (1 if math.isfinite(smoothed[place]) else 0)
    if count < 1:
        raise TrainingError("the loss is not a finite number before anything was learned", hint="look at the model and its first batch")
    points = tuple(Point(rates[i], losses[i], smoothed[i]) for i in range(count))
    if place is not None:
        return RangeTest(points, rates[place] / 10, _TENTH, rates[place])
    slopes = np.gradient(np.array(smoothed), np.log(rates))
    return RangeTest(points, rates[int(np.argmin(slopes))], _STEEPEST, None)


def smooth(losses: Sequence[float]) -> list[float]:
    """A running mean that forgets, without the bias of its start; not a number from the first loss that is none."""
    found: list[float] = []
    mean = 0.0
    for number, loss in enumerate(losses, start=1):
        mean = _KEPT * mean + (1 - _KEPT) * loss
        found.append(mean / (1 - _KEPT**number))
    return found


def _diverged(smoothed: Sequence[float]) -> int | None:
    """The first place at which the smoothed loss has risen again, or is no number."""
    lowest = smoothed[0]
    for place, value in enumerate(smoothed):
        if not math.isfinite(value):
            return place
        lowest = min(lowest, value)
        if value > lowest + max(_RISE * (smoothed[0] - lowest), _LEAST_RISE * abs(smoothed[0])):
            return place
    return None
