"""Tasks whose answers are of units: losses, targets and scores are the textbook's, and every adaptation comes back from disk as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import special

from optional import adaptations_here
from tiny import WORDS, tiny_bert
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.ragged import ragged
from trustbase.model.task import Task
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import ADAPTATIONS, OBJECTIVES, TASKS
from trustbase.records import LabelSchema, Split
from trustbase.train.batches import Batch
from trustbase.train.fit import fit
from trustbase.train.labelled import TokenRows
from trustbase.train.options import TrainOptions
from trustbase.train.units import UnitRows

pytestmark = pytest.mark.usefixtures("one_thread")

TAGGERS = [name for name, entry in TASKS.items() if entry.answers == "tokens"]
TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
LABELS = LabelSchema(TAGS, TAGS[-1], TAGS[-1])
TEXTS = ["the food was good", "a film, very old film", "not fine years as film and food was the"]
TRUTH = ragged([((4, 8, "LOC"),), ((0, 6, "PER"), (17, 21, "LOC")), ((18, 20, "PER"),)])  # the last one covers half of a word
WANTED = [[0, 1, 0, 0], [3, 4, 0, 0, 0, 1], [0, 0, 0, 0, 3, 0, 0, 0, 0]]
Objective = Callable[[Callable[[Batch], Any], Batch], Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return resolve_base(str(tiny_bert(tmp_path_factory.mktemp("tagger") / "base", WORDS)))


def material(task: Task, base: Any, stride: int | None) -> UnitRows:
    """Of at most five tokens of text at once, beside two special ones."""
    from trustbase.model.token_units import encode_units
    from trustbase.model.tokenizer import load_tokenizer

    encoded = encode_units(load_tokenizer(base.folder), TEXTS, max_length=7, stride=stride)
    rows = TokenRows(encoded.ids, encoded.offsets, np.zeros(3, np.int64), 0, sequences=encoded.sequences)
    return UnitRows(rows, encoded, task.targets(TRUTH, LABELS, TEXTS))


def check_tagger(task: Task, objective: Objective, base: Any, stride: int | None = None) -> None:
    """Targets are BIO, each row's loss is the mean over the units that are read, and the head follows from the seed alone."""
    model, again, other = (task.build(base, LABELS, seed=seed).eval() for seed in (1, 1, 2))
    assert list(model.config.id2label.values()) == list(TAGS)  # type: ignore[union-attr]
    assert [row.tolist() for row in task.targets(TRUTH, LABELS, TEXTS)] == WANTED
    rows = material(task, base, stride)
    batch = rows.take(np.array([2, 0, 1]), "cpu")
    with torch.no_grad():
        logits, same, different = (one(**batch.inputs).logits for one in (model, again, other))
    assert torch.equal(logits, same) and not torch.allclose(logits, different)
    read = 50 * logits.flatten(0, 1)[batch.targets["places"]]
    chances = special.softmax(read.double().numpy(), axis=1)
    own, counts = -np.log(chances[np.arange(len(chances)), batch.labels.numpy()]), [5, 4, 5] if stride is None else [9, 4, 6]
    assert batch.labels.tolist() == [*WANTED[2][: counts[0]], *WANTED[0], *WANTED[1][: counts[2]]]
    wanted = [part.mean() for part in np.split(own, np.cumsum(counts)[:-1])]
    losses = objective(lambda _: read, batch)["label"]
    assert losses.shape == (3,) and losses.dtype == torch.float32
    np.testing.assert_allclose(losses.numpy(), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(task.row_losses(read, batch.labels).numpy(), own, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(task.scores(read).numpy(), chances, rtol=1e-4, atol=1e-6)
    tables = rows.by_row(np.array([2, 0, 1]), chances)
    assert [table.shape for table in tables] == [(9, 5), (4, 5), (6, 5)]
    assert tables[0][5:].tolist() == ([[1, 0, 0, 0, 0]] * 4 if stride is None else chances[5:9].tolist())


def test_how_many_taggers_are_covered() -> None:
    assert TAGGERS == ["token-classification"]


@pytest.mark.parametrize("stride", [None, 2])
@pytest.mark.parametrize("name", TAGGERS)
def test_every_tagger_keeps_the_contract(name: str, stride: int | None, base: Any) -> None:
    assert load(TASKS[name]).name == name
    check_tagger(load(TASKS[name]), load(OBJECTIVES[name]), base, stride)


def averaged(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return task, lambda forward, batch: {"label": objective(forward, batch)["label"].mean().expand(3)}


def summed(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return task, lambda forward, batch: {"label": 5 * objective(forward, batch)["label"]}


def untyped(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return replace(task, targets=lambda *given: ragged(np.minimum(row, 2) for row in task.targets(*given))), objective


def sigmoid(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return replace(task, scores=torch.sigmoid), objective


def unseeded(task: Task, objective: Objective) -> tuple[Task, Objective]:
    return replace(task, build=lambda base, labels, *, seed, dropout=None: task.build(base, labels, seed=5)), objective


@pytest.mark.parametrize("mutant", [averaged, summed, untyped, sigmoid, unseeded], ids=lambda mutant: mutant.__name__)
def test_a_broken_tagger_is_noticed(mutant: Callable[..., tuple[Task, Objective]], base: Any) -> None:
    with pytest.raises(AssertionError):
        check_tagger(*mutant(load(TASKS["token-classification"]), load(OBJECTIVES["token-classification"])), base)


def split(name: str) -> Split:
    table, numbers = pa.table({"text": TEXTS}), np.arange(1, 4)
    return Split(name, TEXTS, TRUTH, {}, table, numbers, "made up", f"sha256:{name}")


@pytest.mark.parametrize("stride", [None, 3], ids=["whole", "windows"])
@pytest.mark.parametrize("method", [*adaptations_here(ADAPTATIONS), "first layer frozen"])
def test_every_adaptation_is_trained_and_reloads_equal(method: str, stride: int | None, base: Any, tmp_path: Path) -> None:
    given = {"method": "frozen", "layers": 1} if method == "first layer frozen" else {"method": method}
    adapt = AdaptOptions.model_validate(given)
    options = TrainOptions(
        epochs=2, batch_tokens=64, max_length=16 if stride is None else 7, learning_rate=1e-2, precision="fp32", threads=1
    )
    trained = fit(
        base,
        load(TASKS["token-classification"]),
        LABELS,
        split("train"),
        split("validation"),
        adapt=adapt,
        options=options,
        folder=tmp_path,
        stride=stride,
    )
    assert trained.reload_difference <= 1e-6 and trained.best_metric == "quality.entity_f1"
    assert trained.facts["unread_units"] == trained.facts["truncated_rows"] == 0 and trained.facts["trained_parameters"] > 0
