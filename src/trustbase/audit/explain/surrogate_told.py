"""A tree and a rule list as plain JSON, which a report can print in any language."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.model.plain.readers import FIRST, Categories, Numbers, Reader, Words
from trustbase.model.plain.shared import PlainModel

Told = dict[str, Any]
_SIDES = {"0": "first_has", "1": "second_has", "both": "both_have", "shared": "shared_tenths"}


def told_tree(model: PlainModel, readers: Sequence[Reader], labels: Sequence[str]) -> Told:
    """`{"if": condition, "then": node, "else": node}`, or a leaf, `{"answer", "share", "rows"}`, also where a question turns no answer."""
    arrays, features = model.arrays, told_features(readers)

    def node(place: int) -> Told:
        left, right = int(arrays["left"][place]), int(arrays["right"][place])
        if left == place:
            return _answer(arrays["counts"][place], labels)
        held = _condition(features[int(arrays["feature"][place])], float(arrays["threshold"][place]), above=True)
        then, other = node(right), node(left)
        if then.get("answer", "then") == other.get("answer", "else") and "if" not in then and "if" not in other:
            return _answer(arrays["counts"][place], labels)
        return {"if": held, "then": then, "else": other}

    return node(int(arrays["roots"][0]))


def told_rules(model: PlainModel, readers: Sequence[Reader], labels: Sequence[str]) -> list[Told]:
    """`[{"if": [condition, …], "answer", "share", "rows"}, …]`; the first that holds answers, and the last one has no condition."""
    arrays, features = model.arrays, told_features(readers)
    bounds = [*arrays["bounds"].tolist(), int(arrays["bounds"][-1])]
    found = []
    for rule, (start, end) in enumerate(pairwise(bounds)):
        held = [
            _condition(features[int(arrays["feature"][i])], float(arrays["threshold"][i]), above=bool(arrays["above"][i]))
            for i in range(start, end)
        ]
        found.append({"if": held, **_answer(arrays["counts"][rule], labels)})
    return found


def told_features(readers: Sequence[Reader]) -> list[Told]:
    """What each number that a surrogate reads stands for: a column (null: the text), what is asked of it, and of which value."""
    found: list[Told] = []
    for reader in readers:
        if isinstance(reader, Numbers):
            found += [{"column": reader.column, "is": "number"}, {"column": reader.column, "is": "missing"}]
        elif isinstance(reader, Categories):
            states = [{"is": "missing"}, {"is": "another"}, *({"is": "value", "value": name} for name in reader.names)]
            assert len(states) == FIRST + len(reader.names)
            found += [{"column": reader.column, **state} for state in states]
        else:
            assert isinstance(reader, Words)
            found += [_word(reader, term) for term in reader.terms]
    return found


def _word(reader: Words, term: str) -> Told:
    if not reader.pairs:
        return {"column": reader.column, "is": "has", "value": term}
    side, word = term.split(" ", 1)
    return {"column": reader.column, "is": _SIDES[side], "value": word}


def _condition(feature: Told, threshold: float, *, above: bool) -> Told:
    """A feature that holds, or does not (`"not": true`); of a number, on which side of a limit it lies."""
    if feature["is"] == "number":
        return {"column": feature["column"], "is": "above" if above else "at_most", "value": float(f"{threshold:.6g}")}
    return feature if above else {**feature, "not": True}


def _answer(counts: NDArray[np.float64], labels: Sequence[str]) -> Told:
    """The answer that most rows of a place had, its share among them, and how many there were."""
    rows = float(counts.sum())
    best = int(counts.argmax())
    return {"answer": labels[best], "share": float(counts[best] / rows) if rows else None, "rows": int(rows)}
