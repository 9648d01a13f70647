"""docs/reference/cells.md, on what goes together, is true: its refusals are the code's, and a few of its runs are made."""

from __future__ import annotations

import random
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest

from cells_kit import ADAPTS, BESIDE, Cell, Outcome, cells, refusal, try_cell, write_worlds
from cells_page import PAGE, outcomes_on, page
from trustbase.recipe.lookup import ADAPTATIONS, TASKS

pytestmark = pytest.mark.usefixtures("one_thread")

FOUND = outcomes_on(PAGE.read_text(encoding="utf-8"))


def installed(cell: Cell) -> bool:
    """Whether this machine has the library that an adaptation beyond the core needs."""
    needs = ADAPTATIONS[cell.adapt.split(",")[0]].needs
    return not needs or find_spec(needs) is not None


WORKING = [cell for cell in cells() if FOUND.get(cell) == Outcome("works") and installed(cell)]
CHOICE = random.Random(5)
HOW = "run: python tools/cells.py --work DIR, then once more with --write"
#: One run of each thing that may stand beside the rest in this process, each with another task where there is one, and one export.
RUN = [CHOICE.choice([cell for cell in WORKING if cell.runtime == "torch" and cell.beside == beside]) for beside in list(BESIDE)[:-1]]
RUN += [CHOICE.choice([cell for cell in WORKING if cell.runtime == "onnx"])]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_worlds(tmp_path_factory.mktemp("cells") / "worlds")


def test_the_page_speaks_of_cells_that_there_are_and_none_fails() -> None:
    assert len({cell.name for cell in cells()}) == len(cells()) > 500
    assert set(FOUND) <= set(cells()) and {(cell.task, cell.adapt) for cell in FOUND} == set(product(TASKS, ADAPTS)), HOW
    assert not [cell.name for cell, outcome in FOUND.items() if outcome.state == "failed"]
    assert {cell.task for cell in WORKING} == set(TASKS) and {cell.beside for cell in WORKING} == set(BESIDE)


def test_a_page_is_read_as_it_was_written() -> None:
    told = {**FOUND, WORKING[0]: Outcome("failed", ("this", "and that"))}
    assert outcomes_on(page(told, 1)) == told
    few: dict[Cell, Outcome | None] = dict(list(FOUND.items())[:9])
    assert outcomes_on(page(few, 1)) == few and "9 cells" in page(few, 1)


def test_every_refusal_is_told_when_the_recipe_is_read(worlds: dict[str, Path]) -> None:
    refused = {cell: outcome for cell, outcome in FOUND.items() if outcome.state == "refused" and installed(cell)}
    assert len(refused) > 100
    different = {cell.name: told for cell, outcome in refused.items() if (told := refusal(cell, worlds[cell.task])) != outcome}
    assert not different, HOW
    for cell in CHOICE.sample(WORKING, 40):
        assert refusal(cell, worlds[cell.task]) is None, cell.name


@pytest.mark.parametrize("cell", RUN, ids=lambda cell: cell.name)
def test_what_is_said_to_work_is_released_and_answers(
    cell: Cell, worlds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(worlds[cell.task].parents[1] / "hub"))
    assert try_cell(cell, worlds[cell.task], tmp_path / "run") == Outcome("works")
