"""What a part of the training rows does to the answers: a linear head on the artefact's embeddings, learned again without that part.

The head stands in for the model's own, which cannot be trained again here; how often both agree is told with every number.

Source: Cook & Weisberg (1982), Residuals and Influence in Regression, chapter 3 (leaving rows out); Hastie, Tibshirani & Friedman (2009),
The Elements of Statistical Learning, sections 3.4.1 and 4.4 (the heads).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SOURCE = "Cook & Weisberg (1982), Residuals and Influence in Regression, chapter 3"
PENALTIES = (1.0, 10.0, 100.0, 1000.0)  # on the squared weights; embeddings are wide, and a loose head is moved by any row
_HELD = 5  # one row of so many tells which penalty fits


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows by their embeddings.

    Attributes:
        train: embeddings of training rows, `(rows, width)`.
        truth: their labels: the place of a class, or a number in units of its spread, `(rows,)`.
        test: embeddings of the rows that are asked about, `(asked, width)`.
        classes: how many there are; 0 where a number is told.
    """

    train: Floats
    truth: NDArray[np.generic]
    test: Floats
    classes: int

    def scaled(self) -> Rows:
        """The same with columns of mean 0 and spread 1 in the training rows."""
        centre, spread = self.train.mean(axis=0), self.train.std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        return Rows((self.train - centre) / spread, self.truth, (self.test - centre) / spread, self.classes)


def told(rows: Rows, kept: NDArray[np.bool_], penalty: float) -> Floats | None:
    """What a head that learned the `kept` rows says of the test rows, `(asked, scores)`; None where these have one class alone."""
    if rows.classes == 0:
        return _ridge(rows.train[kept], np.asarray(rows.truth[kept], dtype=np.float64), rows.test, penalty)
    if len(np.unique(rows.truth[kept])) < 2:
        return None
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=1 / penalty, tol=1e-6, max_iter=2000).fit(rows.train[kept], rows.truth[kept])
    scores = np.zeros((len(rows.test), rows.classes))
    scores[:, head.classes_] = head.predict_proba(rows.test)
    return scores


def penalty_of(rows: Rows) -> float:
    """The penalty whose head, learned without every fifth training row, errs least on these; of equal ones the least."""
    held = np.arange(len(rows.train)) % _HELD == 0
    inner, truth = Rows(rows.train, rows.truth, rows.train[held], rows.classes), rows.truth[held]
    errors = []
    for penalty in PENALTIES:
        said = told(inner, ~held, penalty)
        if said is None:
            return PENALTIES[0]
        errors.append(_error(said, truth, rows.classes))
    return PENALTIES[int(np.argmin(errors))]


def _error(said: Floats, truth: NDArray[np.generic], classes: int) -> float:
    """Mean log loss; of numbers, mean squared error."""
    if classes == 0:
        return float(((said[:, 0] - np.asarray(truth, dtype=np.float64)) ** 2).mean())
    return -float(np.log(np.maximum(said[np.arange(len(truth)), truth.astype(np.int64)], 1e-12)).mean())


def _ridge(train: Floats, truth: Floats, test: Floats, penalty: float) -> Floats:
    level, centre = truth.mean(), train.mean(axis=0)
    moved = train - centre
    weights = np.linalg.solve(moved.T @ moved + penalty * np.eye(train.shape[1]), moved.T @ (truth - level))
    return np.asarray((level + (test - centre) @ weights)[:, None], dtype=np.float64)


def without(rows: Rows, parts: Mapping[str, NDArray[np.bool_]]) -> tuple[Floats, dict[str, Floats]]:
    """What the head says that learned all rows, and what it says without each part; parts without which one class is left are left out.

    Raises:
        ValueError: the training rows have one class alone.
    """
    scaled = rows.scaled()
    penalty = penalty_of(scaled)
    whole = told(scaled, np.ones(len(rows.train), dtype=bool), penalty)
    if whole is None:
        raise ValueError("the training rows have one class alone, so no head can be learned")
    found = {name: told(scaled, ~part, penalty) for name, part in parts.items()}
    return whole, {name: scores for name, scores in found.items() if scores is not None}
