"""What a plain model says of itself is what it does: rows are sent through the printed tree and rules, and values lie on cuts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from plain_world import labels, learned, table_rows
from trustbase.model.plain.rules import RulesModel
from trustbase.model.plain.store import read_plain
from trustbase.model.plain.tree import TreeModel
from trustbase.records import Split
from trustbase.train.plain.tree import grown, tree_arrays

Row = dict[str, str | None]


def rows_of(split: Split) -> list[Row]:
    return [dict(row) for row in split.table.to_pylist()]


def holds(condition: str, row: Row, fill: float) -> bool:
    """Whether a row is what a printed condition says, by its cells alone."""
    if number := re.fullmatch(r"age (<=|>) (\S+)", condition):
        age = float(row["age"]) if row["age"] else fill
        return (age > float(number[2])) == (number[1] == ">")
    if missing := re.fullmatch(r"age is (missing|given)", condition):
        return (row["age"] is None) == (missing[1] == "missing")
    if name := re.fullmatch(r"job is (not )?(\w+)", condition):
        own = {"missing": row["job"] is None, "another": row["job"] not in (None, "cook", "clerk", "nurse")}
        return own.get(name[2], row["job"] == name[2]) != bool(name[1])
    word = re.fullmatch(r"note (has|lacks) '(\w+)'", condition)
    assert word is not None, condition
    return (word[2] in str(row["note"]).split()) == (word[1] == "has")


def through_tree(lines: Sequence[str], row: Row, fill: float) -> str:
    """The answer that somebody finds who reads the tree from above."""
    place, depth = 0, 0
    while True:
        line = lines[place]
        assert len(line) - len(line.lstrip(" ")) == 2 * depth, line
        if line.strip().startswith("→ "):
            return line.strip().removeprefix("→ ")
        if holds(line.strip().removeprefix("if ").removesuffix(":"), row, fill):
            place, depth = place + 1, depth + 1
            continue
        place = next(at for at in range(place + 1, len(lines)) if len(lines[at]) - len(lines[at].lstrip(" ")) == 2 * depth)


def through_rules(lines: Sequence[str], row: Row, fill: float) -> str:
    """The answer of the first printed rule whose conditions all hold."""
    for line in lines:
        _, _, said = line.strip().partition(". ")
        conditions, _, answer = said.rpartition(": ")
        if conditions == "otherwise" or all(holds(each, row, fill) for each in conditions.removeprefix("if ").split(" and ")):
            return answer
    raise AssertionError("no line answers")


@pytest.mark.parametrize(("kind", "read"), [("tree", through_tree), ("rules", through_rules)])
@pytest.mark.parametrize("classes", [2, 3])
def test_rows_reach_by_the_printed_text_what_the_model_answers(
    kind: str, read: Callable[[Sequence[str], Row, float], str], classes: int, tmp_path: Path
) -> None:
    train, other = table_rows(500, 0, classes=classes), table_rows(300, 1, classes=classes)
    found = read_plain(learned(kind, train, other, tmp_path, classes=classes).folder)
    told = found.told(labels(classes)).lines
    fill = next(float(match[1]) for line in told if (match := re.fullmatch(r"\(an empty age counts as (\S+)\)", line)))
    lines = [line for line in told if not line.startswith("(")]
    assert len(set(lines)) > 4
    for split in (train, other):
        cells = [[row[name] or "" for name in found.columns] for row in rows_of(split)]
        scores = np.exp(found.logits(split.texts, cells))
        reached = [read(lines, row, fill) for row in rows_of(split)]
        for line, own in zip(reached, scores, strict=True):
            best = int(own.argmax())
            assert line.startswith(f"{labels(classes).names[best]} {own[best]:.2f}"), (line, own)
    arrived = [read(lines, row, fill) for row in rows_of(train)]
    counts = {line: int(re.search(r"\(([\d,]+) rows\)", line)[1].replace(",", "")) for line in set(arrived)}  # type: ignore[index]
    assert counts == {line: arrived.count(line) for line in counts}, "each line names the training rows that it answers"


ONE, BETWEEN, TWO = 1.0, 1.0 + 2.0**-23, 1.0 + 2.0**-22  # neighbours in float32, and the cut between the outer two


def on_the_cut() -> np.ndarray[Any, Any]:
    """Values of which float64 says that they lie over the cut at `BETWEEN`, and float32 that they lie on it; and some that agree."""
    return np.array([[ONE], [BETWEEN], [BETWEEN + 2.0**-26], [BETWEEN + 2.0**-25], [TWO], [BETWEEN - 2.0**-25]])


def test_values_on_a_cut_go_where_scikit_learn_sends_them() -> None:
    """It compares in float32, as it learned; so must the leaves of a tree."""
    rows = np.array([[ONE]] * 40 + [[TWO]] * 40)
    oracle = grown(sparse.csr_matrix(rows), np.array([0] * 40 + [1] * 40), depth=2, least_leaf=5, state=0)
    model = TreeModel(tree_arrays(oracle), 1, 2)
    assert model.arrays["threshold"][0] == BETWEEN
    values = on_the_cut()
    found = model.leaves(sparse.csr_matrix(values))
    assert found.tolist() == oracle.apply(values).tolist() == [1, 1, 1, 1, 2, 1]
    assert (values[:, 0] > BETWEEN).tolist() == [False, False, True, True, True, False], "in float64 two rows would go elsewhere"


def test_values_on_a_cut_meet_the_rule_that_learned_it() -> None:
    counts = np.array([[0.0, 9.0], [9.0, 0.0]])
    one: dict[str, Any] = {"feature": np.zeros(1, np.int32), "threshold": np.array([BETWEEN]), "above": np.ones(1, np.uint8)}
    assert RulesModel({**one, "bounds": np.arange(2, dtype=np.int32), "counts": counts}, 1, 2).fired(
        sparse.csr_matrix(on_the_cut())
    ).tolist() == [1, 1, 1, 1, 0, 1]


def test_of_two_rules_that_hold_the_first_answers() -> None:
    arrays: dict[str, Any] = {"feature": np.zeros(2, np.int32), "threshold": np.array([1.0, 5.0]), "above": np.ones(2, np.uint8)}
    model = RulesModel({**arrays, "bounds": np.arange(3, dtype=np.int32), "counts": np.eye(3)}, 1, 3)
    assert model.fired(sparse.csr_matrix([[9.0], [2.0], [0.0]])).tolist() == [0, 0, 2]
