"""Every registered task, and the objective that trains it: losses and scores are the textbook's, heads are seeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

from trustbase.model.load import resolve_base
from trustbase.model.task import Task
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import ANSWER_KINDS, OBJECTIVES, TASKS
from trustbase.records import LabelSchema
from trustbase.train.batches import Batch

REGISTERED = [(name, load(entry)) for name, entry in TASKS.items()]
Objective = Callable[[Callable[[Batch], Any], Batch], Any]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Case:
    """What the tasks of an answer kind are tried with, and the textbook's word on it.

    Attributes:
        labels: of the model.
        truth: as in `Split.labels`, of six rows.
        losses: logits and targets `(6, …)`, float64 → the loss of each row.
        scores: logits → scores, both `(6, width)`.
    """

    labels: LabelSchema
    truth: Array
    losses: Callable[[Array, Array], Array]
    scores: Callable[[Array], Array]


def own_log_loss(logits: Array, codes: Array) -> Array:
    return np.asarray(special.logsumexp(logits, axis=1) - logits[np.arange(len(codes)), codes])


def mean_log_loss(logits: Array, has: Array) -> Array:
    return np.asarray(np.where(has > 0.5, np.logaddexp(0, -logits), np.logaddexp(0, logits)).mean(axis=1))


BY_UNIT = {"tokens", "span"}  # whose losses and scores are those of units or tokens: test_taggers.py and test_spans.py hold them
THREE = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=bool)
CASES = {
    "classes": Case(
        LabelSchema(("a", "b", "c"), "a", "a"), np.array([0, 1, 2, 2, 1, 0]), own_log_loss, lambda x: special.softmax(x, axis=1)
    ),
    "labels": Case(LabelSchema(("a", "b", "c"), "c", "c"), THREE, mean_log_loss, special.expit),
    "number": Case(
        LabelSchema(("price",), "price", "price", center=10.0, scale=4.0),
        np.array([10.0, 14.0, 2.0, -6.0, 11.0, 30.0]),
        lambda logits, targets: (logits[:, 0] - targets) ** 2,
        lambda logits: logits,
    ),
}


def check_task(task: Task, objective: Objective, base: Any) -> None:
    """Loss per row and scores equal those computed here, targets are in the model's units, and the head follows from the seed alone."""
    case = CASES[task.answer_kind]
    state = torch.random.get_rng_state()
    model, again, other = (task.build(base, case.labels, seed=seed).eval() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state), "building a model moved the global random state"
    each = (
        len(case.labels.names) if TASKS[task.name].reads == "choices" else 1
    )  # sequences of a row, with one output where they are several
    assert list(model.config.id2label.values()) == (list(case.labels.names) if each == 1 else ["choice"])  # type: ignore[union-attr]
    targets = task.targets(case.truth, case.labels, [""] * 6)
    wanted_targets = (case.truth - case.labels.center) / case.labels.scale if task.answer_kind == "number" else case.truth
    np.testing.assert_allclose(targets, wanted_targets, rtol=1e-6)
    ids = torch.randint(5, 60, (6 * each, 9), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    labels = torch.as_tensor(targets)
    with torch.no_grad():
        logits, same, different = (one(**inputs).logits.reshape(6, -1) for one in (model, again, other))
        assert logits.shape == (6, len(case.labels.names)) and torch.equal(logits, same) and not torch.allclose(logits, different)
        exact = logits.double().numpy() * 50  # far from even, where a wrong loss shows
        wanted = case.losses(exact, np.asarray(targets))
        large = logits * 50
        batch = Batch(np.arange(6), inputs, labels, 54, owners={"label": np.arange(6)})
        for losses in (task.row_losses(large, labels), objective(lambda _: large, batch)["label"]):
            assert losses.shape == (6,) and losses.dtype == torch.float32
            np.testing.assert_allclose(losses.numpy(), wanted, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(task.loss(model, {**inputs, "labels": labels}), task.row_losses(logits, labels), rtol=1e-5, atol=1e-6)
        scores = task.scores(large.to(torch.bfloat16).float()).numpy()
        told = task.scores(logits).numpy()
    assert scores.shape == exact.shape and scores.dtype == np.float32
    np.testing.assert_allclose(told, case.scores(logits.double().numpy()), rtol=1e-5, atol=1e-6)
    assert (scores.argmax(1) == exact.argmax(1)).all()


def test_how_many_tasks_are_covered() -> None:
    names = [
        "text-classification",
        "text-pair-classification",
        "relation-extraction",
        "multi-label-classification",
        "token-classification",
        "regression",
        "question-answering",
        "multiple-choice",
    ]
    assert [name for name, _ in REGISTERED] == names == [name for name in OBJECTIVES if name in TASKS]
    assert {task.answer_kind for _, task in REGISTERED} == {*CASES, *BY_UNIT} == set(ANSWER_KINDS)
    assert [task.answer_kind for _, task in REGISTERED] == [entry.answers for entry in TASKS.values()]


OF_ROWS = [(name, task) for name, task in REGISTERED if task.answer_kind in CASES]


@pytest.mark.parametrize(("name", "task"), OF_ROWS, ids=[name for name, _ in OF_ROWS])
def test_every_task_keeps_the_contract(name: str, task: Task, tiny_folder: Path) -> None:
    assert task.name == name
    check_task(task, load(OBJECTIVES[name]), resolve_base(str(tiny_folder)))


def averaged(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return task, lambda forward, batch: {"label": objective(forward, batch)["label"].mean().expand(6)}


def doubled(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return replace(task, row_losses=lambda logits, labels: 2 * task.row_losses(logits, labels)), objective


def otherwise_scored(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return replace(task, scores=torch.sigmoid if task.answer_kind != "labels" else lambda logits: logits.softmax(-1)), objective


def unseeded(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return replace(task, build=lambda base, labels, *, seed, dropout=None: task.build(base, labels, seed=5)), objective


def shifted(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return replace(task, targets=lambda *given: np.roll(task.targets(*given), 1, axis=0)), objective


def otherwise_named(task: Task, objective: Objective) -> tuple[Task, Objective]:
    def build(base: Any, labels: LabelSchema, *, seed: int, dropout: float | None = None) -> Any:
        turned = (*labels.names[::-1][:-1], "z")
        return task.build(base, LabelSchema(turned, "z", "z"), seed=seed)

    return replace(task, build=build), objective


MUTANTS = (averaged, doubled, otherwise_scored, unseeded, shifted, otherwise_named)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
@pytest.mark.parametrize("name", ["text-classification", "multi-label-classification", "regression"])
def test_a_broken_task_is_noticed(name: str, mutant: Callable[..., tuple[Task, Objective]], tiny_folder: Path) -> None:
    task = load(TASKS[name])
    with pytest.raises(AssertionError):
        check_task(*mutant(task, load(OBJECTIVES[name])), resolve_base(str(tiny_folder)))
