"""The answers to each row's question: spans of characters of its text, any of which is right; none where the text holds no answer.

A cell is JSON: SQuAD's `{"text": [...], "answer_start": [...]}`, or a list of `{"start", "text"}` or `{"start", "end"}`; `[]` says that
there is no answer. An empty cell is a bad row, since it may as well mean that nobody has looked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase.data.answers import Span
from trustbase.data.pair import sides
from trustbase.data.rows import in_quotes
from trustbase.data.truth.base import Named, Read, Truth, got, read_json, trimmed
from trustbase.errors import DataError, Problem
from trustbase.records import LabelSchema

#: What the scores of a row are: the best span, its share and that of the best other one, and whether there is an answer at all.
SCORES = ("start", "end", "score", "runner_up", "answerable")
_FORM = "(label) is neither SQuAD's {text, answer_start} nor a list of {start, text}"

_IMPOSSIBLE = "contradicts itself: is_impossible must be true where it gives no answer, and false where it gives one"


class Spans(Truth):
    """A tuple of `(start, end)` of each row, in order, each once."""

    nested = True

    def schema(self, column: pa.ChunkedArray, named: Named) -> LabelSchema:
        roles = (("data.positive", named.positive), ("data.favourable", named.favourable))
        problems = [Problem(where, f"names a label '{name}', and this task's truth are parts of a text") for where, name in roles if name]
        if not any(_answers(cell)[0] for cell in set(trimmed(column)[0])):
            problems.append(Problem(named.source, f"column '{named.column}' (label) holds no answer in any row"))
        if problems:
            raise DataError("the labels are not as described", problems=problems)
        return LabelSchema(SCORES, SCORES[-1], SCORES[-1])

    def read(self, column: pa.ChunkedArray, schema: LabelSchema, texts: Sequence[str], *, whose: str) -> Read:
        cells, changed = trimmed(column)
        values = np.empty(len(cells), dtype=object)
        bad: dict[int, tuple[str, str]] = {}
        for row, (cell, text) in enumerate(zip(cells, texts, strict=True)):
            answers, fault = _answers(cell)
            spans, wrong = _placed(answers, sides(text)[-1])
            values[row] = tuple(spans)
            if fault or wrong:
                bad[row] = fault or wrong or ("", "")
        return Read(values, bad, changed)

    def write(self, values: NDArray[Any], schema: LabelSchema) -> list[str]:
        return [json.dumps([list(span) for span in row]) for row in values]

    def counts(self, values: NDArray[Any], schema: LabelSchema) -> dict[str, Any]:
        none = sum(not row for row in values)
        lengths = [end - start for row in values for start, end in row]
        return {
            "labels": {"answer": len(values) - none, "no answer": none},
            "rows_without_label": none,
            "labels_a_row": len(lengths) / len(values),
            "characters_an_answer": float(np.mean(lengths)) if lengths else 0.0,
            "counted": "rows",
        }

    def from_arrow(self, column: pa.ChunkedArray, schema: LabelSchema) -> NDArray[Any]:
        values = np.empty(len(column), dtype=object)
        for row, cell in enumerate(column.to_pylist()):
            values[row] = tuple((start, end) for start, end in json.loads(cell))
        return values

    def refused(self, values: NDArray[Any], schema: LabelSchema) -> list[Problem]:
        return [] if any(values) else [Problem("data.label", "no training row has an answer, so nothing says how one is found")]


Answer = tuple[int, int | None, str | None]  # where it begins, and where it ends or what it says, or both


def _answers(cell: str | None) -> tuple[list[Answer], tuple[str, str] | None]:
    """The answers in a cell, and why they are none."""
    wrong = (_FORM, got(cell or ""))
    try:
        found = read_json(cell or "")
    except ValueError as error:
        return [], (_FORM, got(cell or "", error))
    if isinstance(found, dict):
        texts, starts = found.get("text"), found.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            return [], wrong
        if found.get("is_impossible") not in (None, not texts):
            return [], (f"(label) {_IMPOSSIBLE}", got(cell or ""))
        found = [{"text": text, "start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(found, list):
        return [], wrong
    made = [_answer(item) for item in found]
    whole = [answer for answer in made if answer is not None]
    return whole, wrong if len(whole) != len(made) else None


def answers_in(cell: str) -> int | None:
    """How many answers a cell tells; None where it is no list of answers."""
    found, fault = _answers(cell)
    return None if fault else len(found)


def _answer(item: Any) -> Answer | None:
    if isinstance(item, list) and len(item) == 2:
        item = {"start": item[0], "end": item[1]}
    if not isinstance(item, dict) or ("start" in item and item.get("answer_start", item["start"]) != item["start"]):
        return None
    start, end, text = item.get("start", item.get("answer_start")), item.get("end"), item.get("text")
    numbers = [value for value in (start, end) if value is not None]
    if start is None or any(not isinstance(value, int) or isinstance(value, bool) for value in numbers):
        return None
    return (start, end, text) if isinstance(text, str) or (text is None and end is not None) else None


def _placed(answers: Sequence[Answer], context: str) -> tuple[list[Span], tuple[str, str] | None]:
    """Answers as spans of the text, and why one of them is none."""
    found = set()
    for start, end, text in answers:
        if text is not None and not text.strip():
            return [], ("(label) names an answer without words; an empty list says that there is none", f"got {in_quotes(text)} at {start}")
        last = start + len(text) if text is not None else end
        assert last is not None
        if end not in (None, last):
            shown = f"got {in_quotes(text or '')} from {start} to {end}"
            return [], ("(label) names an answer that does not end where its text does", shown)
        if last <= start:
            return [], ("(label) names an answer that ends where it begins, or before", f"got [{start}, {last})")
        if not 0 <= start < last <= len(context):
            return [], ("(label) names an answer that is not in the text", f"got [{start}, {last}) of {len(context)} characters")
        if text is not None and context[start:last] != text:
            return [], ("(label) names an answer that does not stand where it says", f"got {in_quotes(text)} at {start}")
        inner = context[start:last]
        if not inner.strip():
            return [], ("(label) names an answer of blanks", f"got [{start}, {last})")
        found.add((start + len(inner) - len(inner.lstrip()), last - len(inner) + len(inner.rstrip())))
    return sorted(found), None


SPANS = Spans()
