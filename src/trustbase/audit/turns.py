"""How much longer one model takes than another, asked in turns about the same rows, so that a busy machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trustbase.audit.durations import quantile_interval
from trustbase.audit.measure import Scorer

LEAST_TURNS = 30
_WARM = 5
SOURCE = "David & Nagaraja (2003), Order Statistics, section 7.1 (bounds of a median); paired by row"


@dataclass(frozen=True)
class Turns:
    """Milliseconds of single questions about the same rows, one after the other `(turns,)` each."""

    champion: tuple[float, ...]
    challenger: tuple[float, ...]

    def ratio(self, confidence: float = 0.95) -> tuple[float, float | None, float | None]:
        """Median of `challenger / champion` over the turns, with its bounds: None where there are too few turns."""
        return quantile_interval(
            [late / early for early, late in zip(self.champion, self.challenger, strict=True)], 0.5, confidence=confidence
        )

    def medians(self) -> tuple[float, float]:
        """Median milliseconds of the champion and of the challenger."""
        return float(np.median(self.champion)), float(np.median(self.challenger))


def ask_in_turns(
    champion: Scorer,
    challenger: Scorer,
    texts: Sequence[tuple[str, str]],
    *,
    calls: int,
    seconds: float = 20.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Turns:
    """Ask both about each row, the one who begins alternating; nothing is answered from a cache.

    Args:
        champion: asked.
        challenger: asked.
        texts: of each row what the champion and what the challenger reads.
        calls: most rows; they are gone through again where there are fewer.
        seconds: after which no more than the least number of turns are taken.
        clock: gives seconds.
    """
    scorers = (champion, challenger)
    for row in texts[:_WARM]:
        for scorer, text in zip(scorers, row, strict=True):
            scorer.scores([text])
    took: tuple[list[float], list[float]] = ([], [])
    end = clock() + seconds
    for turn in range(calls):
        row = texts[turn % len(texts)]
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            scorers[side].clear_cache()
            began = clock()
            scorers[side].scores([row[side]])
            took[side].append(max(clock() - began, 1e-9) * 1000)
        if clock() > end and turn + 1 >= LEAST_TURNS:
            break
    return Turns(tuple(took[0]), tuple(took[1]))
