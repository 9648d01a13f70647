"""Which ways a model's batches may take, by comparison: several pieces in a row, and the quicker route."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from trustbase.train.objectives.base import Numbers, TextObjective, Texts
from trustbase.train.packing import Chosen, Pieces
from trustbase.train.reading import Reading

_TOLERANCE = 1e-4  # of the largest loss, in fp32
_PIECES, _DOCUMENTS = 6, 64


def choose_ways(reading: Reading, objective: TextObjective, texts: Texts, device: str, *, quick: bool = True) -> str:
    """Settle how an objective's batches are made and read; returns the reasons in words.

    Pieces share rows where the model then gives each the losses that it has alone; else each gets a row of its own.

    Args:
        reading: learns its route.
        objective: learns whether it packs.
        texts: some of their pieces are tried.
        device: where the model is.
        quick: whether the quicker route may be taken.
    """
    pieces = _some(objective, texts)
    count = len(pieces)
    alone, together = np.arange(count), np.arange(count) // 2
    losses = _losses(reading, objective, texts, pieces, alone, device)
    words = []
    if objective.packs:
        try:
            difference = _apart(losses, _losses(reading, objective, texts, pieces, together, device))
        except (TypeError, ValueError, RuntimeError) as error:  # whatever a model raises that knows no such masks or positions
            objective.packs = False
            words.append(f"one piece a row, since {type(error).__name__} is what the model makes of several")
        else:
            objective.packs = difference <= _TOLERANCE
            how = "several pieces a row: their losses are" if objective.packs else "one piece a row: in rows of several, losses are not"
            words.append(f"{how} those of pieces alone (difference {difference:.1e})")
    if not quick or not reading.knows(objective.name):
        words.append("the model's own forward")
        return "; ".join(words)
    reading.routes[objective.name] = "quick"
    rows = together if objective.packs else alone
    difference = _apart(losses, _losses(reading, objective, texts, pieces, rows, device))
    if not difference <= _TOLERANCE:
        reading.routes[objective.name] = "model"
        words.append(f"the model's own forward, since the quicker route differs by {difference:.1e}")
    else:
        words.append(f"the quicker route, which agrees with the model's own to {difference:.1e}")
    return "; ".join(words)


def _some(objective: TextObjective, texts: Texts) -> Pieces:
    """A few short pieces, two of which fit into a row."""
    lengths = np.diff(texts.tokens.bounds[: 16 * _DOCUMENTS])
    documents = np.flatnonzero(lengths)[:_DOCUMENTS]
    pieces = objective.cut(texts, documents)
    pieces = pieces.take(np.argsort(-pieces.lengths, kind="stable")[:_PIECES])
    most = np.arange(1, objective.room() + 1)
    fitting = most[objective.sizes(most) <= objective.context // 2]
    return replace(pieces, lengths=np.minimum(pieces.lengths, fitting.max() if len(fitting) else 1))


def _losses(reading: Reading, objective: TextObjective, texts: Texts, pieces: Pieces, rows: Numbers, device: str) -> torch.Tensor:
    """All losses of some pieces, laid out in these rows; the choices of the objective depend on the order of the pieces alone."""
    size = int(np.bincount(rows, objective.sizes(pieces.lengths)).max())
    chosen = Chosen(pieces, rows, np.unique(rows), size)
    batch = objective.collate(chosen, texts, np.random.default_rng(0), device, 0)
    with reading.scoring(exactly=True):
        return torch.cat([losses.cpu() for losses in objective(reading, batch).values()])


def _apart(first: torch.Tensor, second: torch.Tensor) -> float:
    """Largest difference, as a share of the largest value (of 1 at least); not a number where any is not."""
    if first.shape != second.shape:
        return float("inf")
    return float((first - second).abs().max() / first.abs().max().clamp(min=1.0))
