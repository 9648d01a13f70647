"""Toys of public data sets: their documented columns, kinds and names of labels, and made-up rows."""

from __future__ import annotations

import json
from collections.abc import Callable
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
_EMOTIONS = (
    "admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval disgust embarrassment "
    "excitement fear gratitude grief joy love nervousness optimism pride realization relief remorse sadness surprise neutral"
)
EMOTIONS = _EMOTIONS.split()
TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
_PAIRED = "Cause-Effect Component-Whole Content-Container Entity-Destination Entity-Origin Instrument-Agency Member-Collection"
_RELATED = [*_PAIRED.split(), "Message-Topic", "Product-Producer"]
RELATIONS = [*(f"{name}({ends})" for name in _RELATED for ends in ("e1,e2", "e2,e1")), "Other"]
CHARACTERS = "江明李好在北京上海说"


def rows_of(name: str, rows: int, first: int = 0) -> tuple[pa.Table, dict[str, Any]]:
    """A part of a toy, and what `datasets` says of its columns."""
    if name in MADE:
        return MADE[name](rows, first)
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


def _asked(rows: int, first: int) -> tuple[pa.Table, dict[str, Any]]:
    made = []
    for number in range(first, first + rows):
        place = ("the old film", "good food")[number % 2]
        context = f"it was very good {number} and {place} is a service of years"
        answers = {"text": [place], "answer_start": [context.index(place)]}
        made.append({"id": str(number), "title": "years", "context": context, "question": f"is it {number}", "answers": answers})
    return pa.Table.from_pylist(made), {}


def _chosen(rows: int, first: int) -> tuple[pa.Table, dict[str, Any]]:
    made = []
    for number in range(first, first + rows):
        choices = ["good food", "the old film", "a poor service", "years"][: 2 + number % 3]
        answer = choices[number % len(choices)]
        lines = [f"it was {answer} {number}", "and so on"]
        made.append({"id": number, "context": lines, "question": f"what was it {number}", "choice": choices, "answer": answer})
    return pa.Table.from_pylist(made), {}


def _ended(rows: int, first: int) -> tuple[pa.Table, dict[str, Any]]:
    made = []
    for number in range(first, first + rows):
        endings = {f"ending{place}": f"the film {'works' if place == number % 4 else 'is poor'} {place}" for place in range(4)}
        told = {"startphrase": f"a film {number} it", "sent1": f"a film {number}", "sent2": "it", "gold-source": "gold"}
        made.append({"video-id": f"film {number}", "fold-ind": str(number), **told, **endings, "label": number % 4})
    return pa.Table.from_pylist(made), {"label": _names(["0", "1", "2", "3"])}


def _felt(rows: int, first: int) -> tuple[pa.Table, dict[str, Any]]:
    """Comments with one emotion or two, none of which is in ten of a hundred rows."""
    made = []
    for number in range(first, first + rows):
        found = [number % len(EMOTIONS), *([(number + 5) % len(EMOTIONS)] if number % 3 == 0 else [])]
        made.append({"text": f"it was {' and '.join(EMOTIONS[place] for place in found)} {number}", "labels": found, "id": f"e{number}"})
    return pa.Table.from_pylist(made), {"labels": {"feature": _names(EMOTIONS), "_type": "List"}}


def _tagged(rows: int, first: int) -> tuple[pa.Table, dict[str, Any]]:
    """Characters and their tags: 江 and 李 begin a person's name, 在 precedes a place; the last row of all holds nothing."""
    made: list[dict[str, Any]] = []
    for number in range(first, first + rows):
        tokens = [*("江明", "李好")[number % 2], "在", *("北京", "上海")[number // 2 % 2], "说", *str(number)]
        place = [3, 4] if number % 5 == 0 else [5, 6]
        made.append({"id": str(number), "tokens": tokens, "ner_tags": [1, 2, 0, *place, 0, *[0] * len(str(number))]})
    made.append({"id": str(first + rows), "tokens": [], "ner_tags": []})
    return pa.Table.from_pylist(made), {"ner_tags": {"feature": _names(TAGS), "_type": "List"}}


def _related(rows: int, first: int) -> tuple[pa.Table, dict[str, Any]]:
    made = []
    for number in range(first, first + rows):
        sentence = f"the <e1>film</e1> was {number} {'and' * (number % 2)} a <e2>service</e2> ."
        made.append({"sentence": sentence, "relation": number % len(RELATIONS)})
    return pa.Table.from_pylist(made), {"relation": _names(RELATIONS)}


def _names(names: list[str]) -> dict[str, Any]:
    return {"names": names, "_type": "ClassLabel"}


#: data sets that are more than texts and one label
MADE: dict[str, Callable[[int, int], tuple[pa.Table, dict[str, Any]]]] = {
    "clue/clue/cmrc2018": _asked,
    "clue/clue/c3": _chosen,
    "rajpurkar/squad": _asked,
    "allenai/swag/regular": _ended,
    "google-research-datasets/go_emotions/simplified": _felt,
    "levow/msra_ner": _tagged,
    "SemEvalWorkshop/sem_eval_2010_task_8": _related,
}
#: what the parts of a data set are called, where they are not the usual two
PARTS = {
    "google-research-datasets/go_emotions/simplified": ("train", "validation", "test"),
    "levow/msra_ner": ("train", "test"),
    "SemEvalWorkshop/sem_eval_2010_task_8": ("train", "test"),
}


def fill(folder: Path, name: str, train: int = 10, others: int = 10) -> None:
    """A toy of one data set, as the stand-in of `datasets` finds it."""
    parts, features, first = {}, {}, 0
    for part in PARTS.get(name, ("train", "validation")):
        rows = train if part == "train" else others
        parts[part], features = rows_of(name, rows, first)
        first += rows
    put(folder, name, parts, features)


def script_of(recipe: Path) -> str:
    """The Python that a recipe's comment has one run first."""
    lines = [line.removeprefix("#").removeprefix("   ") for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    begin = next(place for place, line in enumerate(lines) if line.endswith("<<'END'"))
    return "\n".join(lines[begin + 1 : lines.index("END", begin)])


def write_chosen(path: Path, rows: int) -> None:
    """What the script of recipes/clue-c3.yaml leaves."""
    with path.open("w", encoding="utf-8") as out:
        for row in _chosen(rows, 0)[0].to_pylist():
            letters = dict(zip("abcd", [*row["choice"], "无", "无"], strict=False))
            made = {"context": "\n".join(row["context"]), "question": row["question"], "answer": "abcd"[row["choice"].index(row["answer"])]}
            out.write(json.dumps({**made, **letters}, ensure_ascii=False) + "\n")
