"""What a pretraining will take, said before its first step from the first updates of a copy."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from trustbase.events import Emit, ignore
from trustbase.train.options import TrainOptions
from trustbase.train.rehearsal import Rehearsal
from trustbase.train.scene import LIVE_TOKENS

_WARM_UP = 1  # updates that are not timed: the first one of a process also makes what later ones find
_LEAST = 2  # timed updates, however long they take
_FORWARD = 1 / 3  # of an update's operations; a look at held-out text needs no others


class Power(Protocol):
    """What is assumed of machine and grid, such as `audit.options.CostOptions`."""

    @property
    def watts(self) -> float: ...

    @property
    def carbon_grams_per_kwh(self) -> float: ...


@dataclass(frozen=True)
class Estimate:
    """A training that has not begun.

    Attributes:
        steps: updates.
        tokens: padding included, as the recipe counts them.
        flops: nominal operations (`flops.training_flops`).
        seconds: of updates and looks at held-out text; checkpoints and whatever else the machine will do are left out.
        seconds_low, seconds_high: had every update taken as long as the quickest, or the slowest, of the trial.
        energy_kwh, carbon_kg: from `seconds` and what is assumed of power and grid.
        tokens_per_second, flops_per_second: of the trial.
        trial_steps, trial_seconds: what was timed.
        precision, device, threads: what it was timed with.
        watts, carbon_grams_per_kwh: assumed, not measured.
    """

    steps: int
    tokens: int
    flops: float
    seconds: float
    seconds_low: float
    seconds_high: float
    energy_kwh: float
    carbon_kg: float
    tokens_per_second: float
    flops_per_second: float
    trial_steps: int
    trial_seconds: float
    precision: str
    device: str
    threads: int
    watts: float
    carbon_grams_per_kwh: float

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    @property
    def said(self) -> str:
        """One line for the log."""
        each = self.tokens / self.steps
        between = f"{_duration(self.seconds_low)} to {_duration(self.seconds_high)}"
        return (
            f"{self.steps} updates of {each:,.0f} tokens: {self.tokens:,} tokens and {self.flops:.2g} operations in all; "
            f"about {_duration(self.seconds)} ({between}), as {self.trial_steps} updates of a copy took {self.trial_seconds:.1f} s "
            f"in {self.precision} on {self.device} with {self.threads} threads; {self.energy_kwh:.2g} kWh assuming {self.watts:g} W, "
            f"{self.carbon_kg:.2g} kg CO2-equivalent assuming {self.carbon_grams_per_kwh:g} g per kWh"
        )

    def to_json(self) -> dict[str, Any]:
        """For the run folder and the report."""
        return {**asdict(self), "hours": self.hours}


@dataclass(frozen=True)
class _Trial:
    """Timed updates, one entry each."""

    seconds: list[float]
    tokens: list[int]
    flops: list[float]


def estimate(rehearsal: Rehearsal, *, cost: Power, seconds: float = 10.0, emit: Emit = ignore) -> Estimate:
    """Do the first updates of a training on a copy of the model, and say what all of them will take.

    The trial needs memory for the copy beside the training's own.

    Args:
        rehearsal: of the whole training (`rehearsing`), not yet begun.
        cost: what is assumed of power and grid.
        seconds: of the trial, about; it ends earlier where the training does, and takes three updates at least.
        emit: is told the progress.

    Raises:
        TrainingError: as the training itself would raise.
    """
    trial = _try(rehearsal, seconds, emit)
    steps = rehearsal.job.course.total
    tokens = _tokens(rehearsal.job.options, steps, trial)
    share = tokens / sum(trial.tokens)
    looks = _looked_at(rehearsal) * _FORWARD / sum(trial.tokens)
    spent = sum(trial.seconds)
    mean = spent / len(trial.seconds)
    whole = spent * (share + looks)
    energy = whole / 3600 * cost.watts / 1000
    return Estimate(
        steps=steps,
        tokens=tokens,
        flops=sum(trial.flops) * share,
        seconds=whole,
        seconds_low=whole * min(trial.seconds) / mean,
        seconds_high=whole * max(trial.seconds) / mean,
        energy_kwh=energy,
        carbon_kg=energy * cost.carbon_grams_per_kwh / 1000,
        tokens_per_second=sum(trial.tokens) / spent,
        flops_per_second=sum(trial.flops) / spent,
        trial_steps=len(trial.seconds),
        trial_seconds=spent,
        precision=rehearsal.scene.precision,
        device=rehearsal.scene.device,
        threads=torch.get_num_threads(),
        watts=cost.watts,
        carbon_grams_per_kwh=cost.carbon_grams_per_kwh,
    )


def _try(rehearsal: Rehearsal, seconds: float, emit: Emit) -> _Trial:
    """Time updates until the time is over; where a training is too short for a warm-up, its only update is timed."""
    trial = _Trial([], [], [])
    began = time.monotonic()
    total = rehearsal.job.course.total
    while time.monotonic() - began < seconds or len(trial.seconds) < _LEAST:
        result = rehearsal.step()
        if result is None:
            break
        if rehearsal.job.progress.step > min(_WARM_UP, total - 1):
            trial.seconds.append(rehearsal.seconds)
            trial.tokens.append(result.tokens)
            trial.flops.append(result.flops)
        emit("progress", what="a trial of a few updates", done=min(time.monotonic() - began, seconds), total=seconds)
    emit("progress", what="a trial of a few updates", done=seconds, total=seconds)
    return trial


def _tokens(options: TrainOptions, steps: int, trial: _Trial) -> int:
    """Tokens of the training: the recipe's budget, or as many as its updates will hold at the trial's mean."""
    mean = sum(trial.tokens) / len(trial.tokens)
    if options.tokens is not None and (options.max_steps is None or steps < options.max_steps):
        return options.tokens
    return round(steps * mean)


def _looked_at(rehearsal: Rehearsal) -> float:
    """Held-out tokens that are read: some of them at each look, all of them in the end."""
    texts = rehearsal.scene.held_out
    held_out = 0 if texts is None else int(texts.tokens.bounds[-1])
    course = rehearsal.job.course
    looks = {*range(course.every, course.total + 1, course.every), *(course.ends if course.by_epochs else ()), course.total}
    return len(looks) * min(held_out, LIVE_TOKENS) + held_out


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
