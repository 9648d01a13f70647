"""Attributions to tokens by gradients: Integrated Gradients along a straight path, gradient times input, and attention relevance.

Rows and steps of many texts go through the model together: by a budget of tokens, rows of one length beside each other, so that nothing is
padded. At equal steps the values are those of `captum.attr.LayerIntegratedGradients` (a test holds it to 1e-4).

Source: Sundararajan, Taly & Yan (2017), "Axiomatic attribution for deep networks", ICML, sections 3 and 5; Shrikumar et al. (2017), ICML
(gradient times input); Achtibat et al. (2024), AttnLRP, ICML (`rules`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustbase.audit.explain.inside import Inside, Rows
from trustbase.audit.explain.tokens import Tokens
from trustbase.model.packed_backward import Block, bounds

Floats = NDArray[np.float64]

STEPS = 50
BUDGET = 1536  # tokens that go through the model together


@dataclass(frozen=True, eq=False)
class Attributed:
    """What each token adds to a score.

    Attributes:
        values: `(tokens,)`.
        score: of the whole input.
        base: of the input that it is compared with; None where there is none.
        steps: how often the gradient was taken.
    """

    values: Floats
    score: float
    base: float | None
    steps: int

    @property
    def error(self) -> float | None:
        """By how much the values do not sum to what they should: score less base."""
        return None if self.base is None else float(self.values.sum() - (self.score - self.base))


def integrated(
    inside: Inside,
    tokens: Sequence[Tokens],
    targets: Sequence[int],
    *,
    replaced: Sequence[NDArray[np.bool_]] | None = None,
    steps: int = STEPS,
    budget: int = BUDGET,
) -> list[Attributed]:
    """Integrated Gradients of word embeddings, by Gauss-Legendre quadrature.

    Args:
        inside: the model.
        tokens: of each input.
        targets: which score of each.
        replaced: which tokens are padding where the path begins, bool `(tokens,)` each; by default all but special ones.
        steps: points of the path at which the gradient is taken.
        budget: tokens that go through the model together.
    """
    places, weights = _quadrature(steps)
    starts = [each.places[:, 0] >= 0 for each in tokens] if replaced is None else list(replaced)
    ids = [torch.from_numpy(each.ids) for each in tokens]
    whole = [inside.embedded(each) for each in ids]
    away = [(word - inside.embedded(_padded(inside, id, start))) for word, id, start in zip(whole, ids, starts, strict=True)]
    sums = [torch.zeros_like(each) for each in whole]
    for pieces in _pieces([len(each) for each in tokens], steps, budget):
        words = torch.cat([(whole[row] - (1 - places[first:last, None, None]) * away[row]).flatten(0, 1) for row, first, last in pieces])
        rows = _rows(tokens, targets, pieces)
        _, grads = inside.back(words, rows)
        for (row, first, last), (begin, end) in zip(pieces, bounds(rows.blocks), strict=True):
            grad = grads[begin:end].view(last - first, len(tokens[row]), -1)
            sums[row] += torch.einsum("s,stw->tw", weights[first:last], grad)
    scores = _scores(inside, whole, tokens, targets, budget)
    bases = _scores(inside, [word - gone for word, gone in zip(whole, away, strict=True)], tokens, targets, budget)
    values = [(total * gone).sum(-1).double().numpy() for total, gone in zip(sums, away, strict=True)]
    return [Attributed(*each, steps) for each in zip(values, scores, bases, strict=True)]


def times_input(
    inside: Inside, tokens: Sequence[Tokens], targets: Sequence[int], *, relevance: bool = False, budget: int = BUDGET
) -> list[Attributed]:
    """Gradient times word embedding, summed over its width; with `relevance`, what the rules of attention relevance carry back."""
    whole = [inside.embedded(torch.from_numpy(each.ids)) for each in tokens]
    found: dict[int, Attributed] = {}
    for pieces in _pieces([len(each) for each in tokens], 1, budget):
        chosen = [row for row, _, _ in pieces]
        rows = _rows(tokens, targets, pieces)
        scores, grads = inside.back(torch.cat([whole[row] for row in chosen]), rows, relevance=relevance)
        for row, score, (begin, end) in zip(chosen, scores.tolist(), bounds(rows.blocks), strict=True):
            found[row] = Attributed((grads[begin:end] * whole[row]).sum(-1).double().numpy(), score, None, 1)
    return [found[row] for row in range(len(tokens))]


def _quadrature(steps: int) -> tuple[Tensor, Tensor]:
    """Points of [0, 1] and their weights, fp32 `(steps,)` each."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((points + 1) / 2).float(), torch.from_numpy(weights / 2).float()


def _padded(inside: Inside, ids: Tensor, replaced: NDArray[np.bool_]) -> Tensor:
    return torch.where(torch.from_numpy(replaced), torch.full_like(ids, inside.nothing), ids)


def _pieces(lengths: Sequence[int], steps: int, budget: int) -> Iterator[list[tuple[int, int, int]]]:
    """Row and steps (from, to) of what goes through the model together, short rows first: `budget` tokens at most, or one step."""
    pieces: list[tuple[int, int, int]] = []
    used = 0
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        done = 0
        while done < steps:
            room = (budget - used) // lengths[row]
            if room < min(steps - done, max(1, budget // (4 * lengths[row]))) and pieces:
                yield pieces
                pieces, used = [], 0
                continue
            count = max(1, min(room, steps - done))
            pieces.append((row, done, done + count))
            used += count * lengths[row]
            done += count
    if pieces:
        yield pieces


def _rows(tokens: Sequence[Tokens], targets: Sequence[int], pieces: Sequence[tuple[int, int, int]]) -> Rows:
    segments = None
    if any(tokens[row].segments is not None for row, _, _ in pieces):
        repeated = [np.tile(tokens[row].kinds, last - first) for row, first, last in pieces]
        segments = torch.from_numpy(np.concatenate(repeated))
    asked = [targets[row] for row, first, last in pieces for _ in range(last - first)]
    return Rows([Block(last - first, len(tokens[row])) for row, first, last in pieces], torch.tensor(asked, dtype=torch.long), segments)


def _scores(inside: Inside, words: Sequence[Tensor], tokens: Sequence[Tokens], targets: Sequence[int], budget: int) -> list[float]:
    found = [0.0] * len(tokens)
    for pieces in _pieces([len(each) for each in tokens], 1, budget):
        chosen = [row for row, _, _ in pieces]
        scores = inside.scores(torch.cat([words[row] for row in chosen]), _rows(tokens, targets, pieces))
        for row, score in zip(chosen, scores.tolist(), strict=True):
            found[row] = score
    return found
