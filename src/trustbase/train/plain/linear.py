"""Learns logistic regression."""

from __future__ import annotations

import warnings
from typing import Any

from numpy.typing import NDArray

from trustbase.model.plain.linear import LinearModel
from trustbase.model.plain.options import LinearOptions
from trustbase.train.plain.learned import Learned, Material

_MOST_STEPS = 1000


def learn(material: Material, options: LinearOptions, *, state: int) -> Learned:
    """Weights under an L2 penalty, by L-BFGS.

    Source: scikit-learn's LogisticRegression; Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, section 4.4.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    c = options.c if options.c is not None else 10.0 if material.words_alone else 1.0
    model = LogisticRegression(C=c, max_iter=_MOST_STEPS, random_state=state)
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(material.matrix, material.labels)
    if any(issubclass(item.category, ConvergenceWarning) for item in said):
        notes.append(f"the weights had not settled after {_MOST_STEPS} steps; lower base.c")
    arrays: dict[str, NDArray[Any]] = {"weights": model.coef_, "intercepts": model.intercept_}
    return Learned(LinearModel(arrays, material.width, material.classes), model.predict_proba, notes)
