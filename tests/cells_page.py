"""The page docs/reference/cells.md, written from outcomes and read back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cells_kit import ADAPTS, BESIDE, RUNTIMES, Cell, Outcome, cells
from trustbase.recipe.lookup import TASKS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cells.md"
UNTRIED = "–"

_HEAD = """# What goes together: tasks, adaptations, runtimes

Every task of a recipe with every adaptation and runtime, and what may stand beside them. Each cell was run: a whole `trustbase run` at
toy size (a BERT of two layers, {rows} rows, four updates, fp32), from the recipe to a signed bundle that was then asked with
`trustbase predict`. **ok** says that the run ended in a release, that the model which was saved gave the answers of the one in memory
(difference 0), that no finding failed, and that what stood beside was done and not passed over. A number says that the recipe is
refused when it is read, before any row, and which of the reasons below it is told. Nothing here says that a model is any good: that is
what gates are for.

{counts}

`python tools/cells.py --work DIR` makes the runs, and once more with `--write` this page; `tests/contract/test_cells.py` holds the page
to the code: every refusal, and a few of the runs. A dash is a cell that was not run{left_out}.
Left out on purpose, since nothing new could be seen of it: ONNX with streamed rows and with averaged weights, which are over before
there is a runtime; ONNX with something beside an adaptation that merges, as the graph is then that of `full`; two workers with each
adaptation of each task.
"""
_ABOUT = {
    "": "Nothing beside it",
    "table columns": "`data.features`: columns of a table at the head ([how to](../how-to/table-columns.md))",
    "windows": "`data.stride`: texts longer than `train.max_length` are read in windows",
    "streamed rows": "`data.memory: stream`: texts stay on disk ([how to](../how-to/data.md))",
    "two members": "`train.members: 2`: an ensemble ([how to](../how-to/ensembles.md))",
    "averaged weights": "`train.averaging` ([how to](../how-to/frozen-layers.md))",
    "adapter alone": "`release.weights: adapter`: the base is named by its digest, and not shipped",
    "two workers": "`cluster: {workers: 2}`: two processes train and audit",
}


def page(found: Mapping[Cell, Outcome | None], rows: int) -> str:
    """The page, from what came of each cell; None for one that was not run."""
    notes: dict[str, int] = {}
    tables = [_table(beside, runtime, found, notes) for beside in BESIDE for runtime in RUNTIMES]
    states = Counter("untried" if outcome is None else outcome.state for outcome in found.values())
    counts = f"{len(found)} cells: {states['works']} work, {states['refused']} are refused, {states['failed']} fail"
    untried = f", {states['untried']} were not run." if states["untried"] else "."
    dashes = sum(line.split("|").count(f" {UNTRIED} ") for line in "\n".join(tables).splitlines())
    left_out = f" ({states['untried']} are counted above; {dashes - states['untried']} were\nleft out on purpose, and are not counted)"
    head = _HEAD.format(rows=rows, counts=f"{counts}{untried}", left_out=left_out if dashes else "")
    reasons = "\n".join(f"{number}. {note}" for note, number in notes.items())
    return "\n".join([head, *(table for table in tables if table), "## Reasons\n", reasons, ""])


def _table(beside: str, runtime: str, found: Mapping[Cell, Outcome | None], notes: dict[str, int]) -> str:
    """One table, or nothing where none of its cells is run; new reasons are numbered in `notes`."""
    lines = [[_said(found.get(Cell(task, adapt, runtime, beside)), notes) for adapt in ADAPTS] for task in TASKS]
    if all(said == UNTRIED for line in lines for said in line):
        return ""
    rows = [f"| {task} | {' | '.join(line)} |" for task, line in zip(TASKS, lines, strict=True)]
    title = f"## {runtime}{', ' if beside else ''}{beside}"
    return "\n".join([title, "", f"{_ABOUT[beside]}.", "", f"| task | {' | '.join(ADAPTS)} |", f"|---{'|---' * len(ADAPTS)}|", *rows, ""])


def _said(outcome: Outcome | None, notes: dict[str, int]) -> str:
    if outcome is None:
        return UNTRIED
    if outcome.state == "works":
        return "ok"
    numbers = ", ".join(str(notes.setdefault(why, len(notes) + 1)) for why in outcome.why)
    return numbers if outcome.state == "refused" else f"fails: {numbers}"


def outcomes_on(text: str) -> dict[Cell, Outcome]:
    """What a page says of each cell that was run."""
    notes = dict(re.findall(r"^(\d+)\. (.*)$", text.split("## Reasons")[1], re.MULTILINE))
    found: dict[Cell, Outcome] = {}
    for section in text.split("\n## ")[1:]:
        runtime, _, beside = section.splitlines()[0].partition(", ")
        for line in section.splitlines():
            task, *said = [part.strip() for part in line.strip("|").split("|")]
            if line.startswith("| ") and task in TASKS:
                for adapt, word in zip(ADAPTS, said, strict=True):
                    if word != UNTRIED:
                        found[Cell(task, adapt, runtime, beside)] = _outcome(word, notes)
    assert set(found) <= set(cells())
    return found


def _outcome(word: str, notes: Mapping[str, str]) -> Outcome:
    if word == "ok":
        return Outcome("works")
    failed = word.startswith("fails: ")
    return Outcome("failed" if failed else "refused", tuple(notes[number] for number in word.removeprefix("fails: ").split(", ")))
