"""Every registered task, and the objective that trains it: losses are the textbook's, scores are probabilities, heads are seeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trustbase.model.load import resolve_base
from trustbase.model.task import Task
from trustbase.recipe.lookup import OBJECTIVES, TASKS, load
from trustbase.records import LabelSchema
from trustbase.train.batches import Batch

LABELS = LabelSchema(("a", "b", "c"), "a", "a")
REGISTERED = [(name, load(entry)) for name, entry in TASKS.items()]
Objective = Callable[[Callable[[Batch], Any], Batch], Any]


def check_task(task: Task, objective: Objective, base: Any) -> None:
    """Loss per row equals cross-entropy computed here, probabilities sum to 1, and the head follows from the seed alone."""
    state = torch.random.get_rng_state()
    model, again, other = (task.build(base, LABELS, seed=seed).eval() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state), "building a model moved the global random state"
    assert list(model.config.id2label.values()) == list(LABELS.names)  # type: ignore[union-attr]
    ids = torch.randint(5, 60, (6, 9), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    with torch.no_grad():
        logits, same, different = (one(**inputs).logits for one in (model, again, other))
        assert logits.shape == (6, 3) and torch.equal(logits, same) and not torch.allclose(logits, different)
        exact = logits.double().numpy() * 50  # far from even, where a wrong loss shows
        shares = np.exp(exact) / np.exp(exact).sum(1, keepdims=True)
        wanted = -np.log(shares[np.arange(6), labels.numpy()])
        large = logits * 50
        batch = Batch(np.arange(6), inputs, labels, 54, owners={"label": np.arange(6)})
        for losses in (task.row_losses(large, labels), objective(lambda _: large, batch)["label"]):
            assert losses.shape == (6,) and losses.dtype == torch.float32
            np.testing.assert_allclose(losses.numpy(), wanted, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(task.loss(model, {**inputs, "labels": labels}), task.row_losses(logits, labels), atol=1e-6)
        scores = task.scores(large.to(torch.bfloat16).float()).numpy()
    assert scores.shape == (6, 3) and (scores >= 0).all()
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)
    assert (scores.argmax(1) == exact.argmax(1)).all()


def test_how_many_tasks_are_covered() -> None:
    names = ["text-classification", "text-pair-classification"]
    assert [name for name, _ in REGISTERED] == names == [name for name in OBJECTIVES if name in TASKS]


@pytest.mark.parametrize(("name", "task"), REGISTERED, ids=list(TASKS))
def test_every_task_keeps_the_contract(name: str, task: Task, tiny_folder: Path) -> None:
    assert task.name == name
    check_task(task, load(OBJECTIVES[name]), resolve_base(str(tiny_folder)))


def averaged(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return task, lambda forward, batch: {"label": objective(forward, batch)["label"].mean().expand(6)}


def smoothed(task: Task, objective: Objective) -> tuple[Task, Objective]:
    smooth = lambda logits, labels: torch.nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1)  # noqa: E731
    return replace(task, row_losses=smooth), objective


def sigmoid(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return replace(task, scores=torch.sigmoid), objective


def unseeded(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return replace(task, build=lambda base, labels, *, seed, dropout=None: task.build(base, labels, seed=5)), objective


def other_order(task: Task, objective: Objective) -> tuple[Task, Objective]:
    turned = LabelSchema(LABELS.names[::-1], "a", "a")
    return replace(task, build=lambda base, labels, *, seed, dropout=None: task.build(base, turned, seed=seed)), objective


@pytest.mark.parametrize("mutant", [averaged, smoothed, sigmoid, unseeded, other_order], ids=lambda mutant: mutant.__name__)
def test_a_broken_task_is_noticed(mutant: Callable[..., tuple[Task, Objective]], tiny_folder: Path) -> None:
    (name, task), *_ = REGISTERED
    with pytest.raises(AssertionError):
        check_task(*mutant(task, load(OBJECTIVES[name])), resolve_base(str(tiny_folder)))
