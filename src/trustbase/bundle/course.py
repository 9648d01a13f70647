"""The course of a training out of its log: loss and learning rate over tokens, and every look at held-out documents.

A log grows by every resumption; what a step said last counts, since a resumed training repeats the steps after its checkpoint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COURSE = "evidence/course.json"
COURSE_SCHEMA = "trustbase/course/1"
_POINTS = 240  # a chart shows no more; of the steps between, lowest and highest loss are kept
_STAGES = ("pretrain", "train")  # of these stages come the steps, where several stages log some
_COUNTED = ("resumed", "spike")


@dataclass(frozen=True)
class _Step:
    loss: float
    tokens: int
    rate: float | None


def read_course(log: Path) -> dict[str, Any]:
    """What a log says of a training; empty where there is none, or nothing of a training in it.

    Returns:
        `{"schema", "steps", "tokens", "points": [{step, tokens, loss, low, high, learning_rate}], "looks": [{step, tokens, finding
        id: value, …}], "resumed", "spike"}`: `tokens` counts from the beginning; a point stands for one step or for a run of them.
    """
    steps, looks, counts = _events(log)
    if not steps:
        return {}
    order = sorted(steps)
    read, total = {}, 0
    for step in order:
        total += steps[step].tokens
        read[step] = total
    seen = [{"step": step, "tokens": _before(order, read, step), **looks[step]} for step in sorted(looks)]
    points = list(_points(order, steps, read))
    return {"schema": COURSE_SCHEMA, "steps": len(order), "tokens": total, "points": points, "looks": seen, **counts}


def _events(log: Path) -> tuple[dict[int, _Step], dict[int, dict[str, float]], dict[str, int]]:
    """Steps, looks and counts of the stage that trained."""
    steps: dict[str, dict[int, _Step]] = {}
    looks: dict[str, dict[int, dict[str, float]]] = {}
    counts: dict[str, dict[str, int]] = {}
    keys: dict[str, Any] = {}
    for record in _records(log):
        stage, event, step = str(record.get("stage")), record.get("event"), record.get("step")
        if event == "stage_started" and record.get("key") != keys.setdefault(stage, record.get("key")):  # another training, by --force
            keys[stage] = record.get("key")
            for kept in (steps, looks, counts):
                kept.pop(stage, None)
        if event in _COUNTED:
            entry = counts.setdefault(stage, dict.fromkeys(_COUNTED, 0))
            entry[str(event)] += 1
        if not isinstance(step, int) or isinstance(step, bool) or record.get("member"):
            continue  # of several members, each counts its own steps: the first one's course stands for them
        loss = _number(record.get("loss"))
        if event == "step" and loss is not None:
            steps.setdefault(stage, {})[step] = _Step(loss, int(_number(record.get("tokens")) or 0), _number(record.get("learning_rate")))
        elif event == "evaluation":
            values = {name: number for name, item in record.items() if "." in name and (number := _number(item)) is not None}
            looks.setdefault(stage, {})[step] = values
    named = next((stage for stage in _STAGES if stage in steps), None)
    stage = named or max(steps, key=lambda name: len(steps[name]), default="")
    return steps.get(stage, {}), looks.get(stage, {}), counts.get(stage, dict.fromkeys(_COUNTED, 0))


def _records(log: Path) -> Iterator[Mapping[str, Any]]:
    """The events of a log; a line that a crash cut off is none."""
    if not log.is_file():
        return
    with log.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record


def _points(order: Sequence[int], steps: Mapping[int, _Step], read: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    """At most `_POINTS` points: the mean loss of each run of steps, with the lowest and highest of it."""
    size = max(1, math.ceil(len(order) / _POINTS))
    for first in range(0, len(order), size):
        part = order[first : first + size]
        losses = [steps[step].loss for step in part]
        last = part[-1]
        yield {
            "step": last,
            "tokens": read[last],
            "loss": math.fsum(losses) / len(losses),
            "low": min(losses),
            "high": max(losses),
            "learning_rate": steps[last].rate,
        }


def _before(order: Sequence[int], read: Mapping[int, int], step: int) -> int:
    """Tokens read up to a step that itself may not be in the log."""
    known = [each for each in order if each <= step]
    return read[known[-1]] if known else 0


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
