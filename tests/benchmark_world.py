"""Toys of public data sets: their documented columns, kinds and names of labels, and made-up rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from hub_kit import put

NEWS = ["100", "101", "102", "103", "104", "106", "107", "108", "109", "110", "112", "113", "114", "115", "116"]
_PAIR = ("sentence1", "sentence2")
#: configuration → columns of text, names of labels (none: a number)
SHAPES: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "nyu-mll/glue/mrpc": (_PAIR, ["not_equivalent", "equivalent"]),
    "nyu-mll/glue/sst2": (("sentence",), ["negative", "positive"]),
    "nyu-mll/glue/stsb": (_PAIR, []),
    "nyu-mll/glue/rte": (_PAIR, ["entailment", "not_entailment"]),
    "nyu-mll/glue/qnli": (("question", "sentence"), ["entailment", "not_entailment"]),
    "clue/clue/tnews": (("sentence",), NEWS),
    "clue/clue/afqmc": (_PAIR, ["0", "1"]),
}


def rows_of(name: str, rows: int, first: int = 0) -> tuple[pa.Table, dict[str, Any]]:
    """A part of a toy, and what `datasets` says of its columns."""
    if name == "clue/clue/cmrc2018":
        return _asked(rows, first), {}
    if name == "clue/clue/c3":
        return _chosen(rows, first), {}
    texts, names = SHAPES[name]
    places = [first + place for place in range(rows)]
    words = ("the old film", "good food", "a poor service")
    columns: dict[str, Any] = {text: [f"{words[(place + at) % 3]} {place}" for place in places] for at, text in enumerate(texts)}
    if not names:
        columns["label"] = pa.array([place % 26 / 5 for place in places], pa.float32())
        kind: dict[str, Any] = {"dtype": "float32", "_type": "Value"}
    else:
        columns["label"] = pa.array([place % len(names) for place in places], pa.int64())
        kind = {"names": names, "_type": "ClassLabel"}
    columns["idx"] = pa.array(places, pa.int32())
    return pa.table(columns), {"label": kind}


def _asked(rows: int, first: int) -> pa.Table:
    made = []
    for number in range(first, first + rows):
        place = ("the old film", "good food")[number % 2]
        context = f"it was very good {number} and {place} is a service of years"
        answers = {"text": [place], "answer_start": [context.index(place)]}
        made.append({"id": str(number), "context": context, "question": f"is it {number}", "answers": answers})
    return pa.Table.from_pylist(made)


def _chosen(rows: int, first: int) -> pa.Table:
    made = []
    for number in range(first, first + rows):
        choices = ["good food", "the old film", "a poor service", "years"][: 2 + number % 3]
        answer = choices[number % len(choices)]
        lines = [f"it was {answer} {number}", "and so on"]
        made.append({"id": number, "context": lines, "question": f"what was it {number}", "choice": choices, "answer": answer})
    return pa.Table.from_pylist(made)


def fill(folder: Path, name: str, train: int = 10, validation: int = 10) -> None:
    """A toy of one data set, as the stand-in of `datasets` finds it."""
    (rows, features), (others, _) = rows_of(name, train), rows_of(name, validation, train)
    put(folder, name, {"train": rows, "validation": others}, features)


def script_of(recipe: Path) -> str:
    """The Python that a recipe's comment has one run first."""
    lines = [line.removeprefix("#").removeprefix("   ") for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    begin = next(place for place, line in enumerate(lines) if line.endswith("<<'END'"))
    return "\n".join(lines[begin + 1 : lines.index("END", begin)])


def write_chosen(path: Path, rows: int) -> None:
    """What the script of recipes/clue-c3.yaml leaves."""
    with path.open("w", encoding="utf-8") as out:
        for row in _chosen(rows, 0).to_pylist():
            letters = dict(zip("abcd", [*row["choice"], "无", "无"], strict=False))
            made = {"context": "\n".join(row["context"]), "question": row["question"], "answer": "abcd"[row["choice"].index(row["answer"])]}
            out.write(json.dumps({**made, **letters}, ensure_ascii=False) + "\n")
