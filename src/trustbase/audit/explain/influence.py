"""Which training rows taught an answer: how far its score would move if a row had not been learned, without learning anything again.

Near its optimum a model that learned without row i has moved its parameters by H⁻¹ ∇ℓᵢ, and with them every score by its own gradient
times that. Gradients are of the score that a row's label has (TRAK), so that the loss's gradient is that times how much is left to learn,
and H is their Gauss-Newton matrix, damped in proportion to its size (DataInf).

Source: Koh & Liang (2017), Understanding black-box predictions via influence functions, ICML, section 2; Park et al. (2023), TRAK, ICML,
section 3 (gradients of the output, projected); Kwon et al. (2024), DataInf, ICLR, section 3 (damping).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SOURCE = "Koh & Liang (2017), ICML, section 2; Park et al. (2023), TRAK, ICML, section 3; Kwon et al. (2024), DataInf, ICLR"
# of the mean squared gradient of a row; in three worlds of tiny models that were trained again, 1 and 5 told about as well (0.39 and 0.41
# in the mean, each ahead in one or two), and less than 1 told worse (benchmarks/results/influence.json)
DAMPING = 1.0


@dataclass(frozen=True, eq=False)
class Lessons:
    """Training rows as what they do to parameters.

    Attributes:
        features: gradient of the score of each row's own label, `(rows, parameters)`; of a number of the number itself.
        left: how much each row still pulls its score up, minus the derivative of its loss by its score, `(rows,)`.
        bend: second derivative of its loss by its score, `(rows,)`.
    """

    features: Floats
    left: Floats
    bend: Floats

    @classmethod
    def of_classes(cls, features: Floats, scores: Floats) -> Lessons:
        """Of classes: `scores` are the log-odds of each row's own label, whose loss is log(1 + e^-score)."""
        chance = 0.5 * (1 + np.tanh(0.5 * scores))
        return cls(features, 1 - chance, chance * (1 - chance))

    @classmethod
    def of_numbers(cls, features: Floats, scores: Floats, truth: Floats) -> Lessons:
        """Of numbers, whose loss is half the squared error."""
        return cls(features, truth - scores, np.ones(len(scores)))


def taught(lessons: Lessons, asked: Floats, *, damping: float = DAMPING, ridge: float | None = None) -> Floats:
    """By how much each answer's score would fall without each training row, `(asked, rows)`; negative ones speak against the answer.

    Args:
        lessons: the training rows.
        asked: gradient of the score of each answer that is asked about, `(asked, parameters)`.
        damping: what is put onto the matrix's diagonal, as a share of the mean squared gradient of a row by what it bends.
        ridge: a known penalty on half the squared parameters, in place of the damping.
    """
    moved = _moved(lessons, asked, damping, ridge)
    return np.asarray((lessons.features @ moved).T * lessons.left)


def relative(lessons: Lessons, asked: Floats, *, damping: float = DAMPING, ridge: float | None = None) -> Floats:
    """The same as shares of what each row does to all answers, `(asked, rows)`: by this it is told which rows an answer is like.

    Otherwise the same few rows that the model fits badly would be the foremost of every answer.

    Source: Barshan, Brunet & Dziugaite (2020), RelatIF, AISTATS, section 3.2 (loss-relative influence).
    """
    own = np.einsum("rp,pr->r", lessons.features, _moved(lessons, lessons.features, damping, ridge))
    towards = (lessons.features @ _moved(lessons, asked, damping, ridge)).T
    return np.asarray(np.sign(lessons.left) * towards / np.sqrt(np.maximum(own, 1e-300)))


def _moved(lessons: Lessons, asked: Floats, damping: float, ridge: float | None) -> Floats:
    """H⁻¹ times each gradient that is asked about, `(parameters, asked)`."""
    weighted = lessons.features * np.sqrt(lessons.bend)[:, None]
    rows, parameters = weighted.shape
    added = damping * max(float((weighted**2).sum()) / rows, 1e-12) if ridge is None else ridge
    if parameters <= rows:
        return np.asarray(np.linalg.solve(weighted.T @ weighted + added * np.eye(parameters), asked.T))
    # as many equations as rows: the identity of Woodbury (1950)
    within = np.linalg.solve(weighted @ weighted.T + added * np.eye(rows), weighted @ asked.T)
    return np.asarray((asked.T - weighted.T @ within) / added)


def foremost(values: Floats, count: int) -> NDArray[np.int64]:
    """The rows that speak most for an answer, in order, at most `count`; of equal ones the earlier, and none that speaks against it."""
    order = np.argsort(-values, kind="stable")[:count]
    return np.asarray(order[values[order] > 0], dtype=np.int64)
