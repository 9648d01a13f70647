"""What `trustbase explain` asks: rows read and checked as `predict` does, relations, and inputs with too many units for a method."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trustbase.audit.explain.methods import refusal
from trustbase.audit.explain.units import Units
from trustbase.bundle.rows import BadInput, read_rows
from trustbase.data.cells import Reading
from trustbase.data.marked import columns_of
from trustbase.data.pair import CELL, join
from trustbase.data.template import TextTemplate
from trustbase.errors import DataError, UsageError
from trustbase.explain_command import _shown, _units, read_row

THREE = columns_of("text", "head", "tail")
SENTENCE = "Ann Lee works for Acme today"


def asked(text: str, given: Any, *, columns: tuple[str, ...] = (), numeric: tuple[str, ...] = (), **how: Any) -> tuple[str, Units]:
    info = SimpleNamespace(text=text, columns=columns, features={"numeric": numeric}, numbers=())
    return _units(info, given, how.get("pair"), how.get("characters", False))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("head", "tail"), [("0:7", "18:22"), ("[0, 7]", "[18, 22]"), ([0, 7], [18, 22]), ({"start": 0, "end": 7, "type": "PER"}, [18, 22])]
)
def test_a_relation_is_explained_by_the_words_around_its_entities(head: Any, tail: Any) -> None:
    row = read_row(json.dumps({"text": SENTENCE, "head": head, "tail": tail}))
    whole, units = asked(THREE, row)
    assert units.names == ("works", "for", "today") and units.texts(np.ones((1, 3), bool)) == [whole]
    bare = units.texts(np.zeros((1, 3), bool))[0]
    assert "Ann Lee" in bare and "Acme" in bare and "works" not in bare
    shown, spans = _shown(whole, units)
    assert "Ann Lee]" in shown and spans == (None, None, None)


TEXT, CELLS = Reading(TextTemplate.parse("text", None)), Reading(TextTemplate.parse("text", None), ("age",), ("age",))
FIELDS, PAIR = Reading(TextTemplate.parse("{a} and {b}", None)), Reading(TextTemplate.parse(join("one", "two"), None))
SPANS = Reading(TextTemplate.parse(THREE, None))
ROWS = [
    (TEXT, '{"text": "good\\u001efilm"}'),
    (TEXT, '{"text": "good\\u001ffilm"}'),
    (TEXT, '{"text": ""}'),
    (TEXT, '{"text": ["good", "film"]}'),
    (TEXT, '{"text": "good \\ud800"}'),
    (TEXT, '{"text": "good \\u0000 film"}'),
    (CELLS, '{"text": "good\\u001efilm", "age": 4}'),
    (CELLS, '{"text": "good film", "age": "many"}'),
    (FIELDS, '{"a": null, "b": ""}'),
    (FIELDS, '{"a": "one", "b": {"c": 1}}'),
    (PAIR, '{"one": "good", "two": ""}'),
    (SPANS, '{"text": "Ann works", "head": "0:3", "tail": "2:99"}'),
    (SPANS, '{"text": "Ann works", "head": "", "tail": "4:9"}'),
    (TEXT, '{"text": 70.50}'),
    (CELLS, '{"text": "good film", "age": 1e2}'),
    (CELLS, '{"text": "good film", "age": null}'),
    (FIELDS, '{"a": true, "b": 100000000000000000000000000000}'),
    (PAIR, '{"one": "good", "two": "film"}'),
]


@pytest.mark.parametrize(("reading", "line"), ROWS, ids=[line for _, line in ROWS])
def test_a_row_is_asked_as_predict_asks_it_or_refused_as_it_refuses_it(reading: Reading, line: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(line + "\n", encoding="utf-8")
    (row,) = next(read_rows(tmp_path / "rows.jsonl", reading)).rows
    how = {"columns": reading.columns, "numeric": reading.numeric}
    if isinstance(row, BadInput):
        with pytest.raises(DataError, match="cannot be asked") as told:
            asked(reading.template.source, read_row(line), **how)
        assert [problem.message for problem in told.value.problems] == [row.reason]
    else:
        assert asked(reading.template.source, read_row(line), **how)[0] == row


def test_values_of_numpy_and_pandas_are_cells() -> None:
    import pandas

    for nothing in (pandas.NA, pandas.NaT, None):
        assert asked("text", {"text": "good", "age": nothing}, columns=("age",))[0] == f"good{CELL}"
    assert asked(THREE, {"text": SENTENCE, "head": (0, 7), "tail": (18, 22)})[1].names == ("works", "for", "today")
    assert asked("text", {"text": "good", "age": np.int64(4)}, columns=("age",), numeric=("age",))[0] == f"good{CELL}4"
    assert asked("text", {"text": "good", "age": float("nan")}, columns=("age",), numeric=("age",))[0] == f"good{CELL}"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"a": NaN}', '{"a": 1, "a": 2}', "", "3"])
def test_a_row_that_is_no_object_of_json_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--row"):
        read_row(text)


def test_options_that_would_be_passed_over_are_refused() -> None:
    with pytest.raises(UsageError, match="both texts"):
        asked(join("one", "two"), {"one": "a", "two": "b"}, pair="c")
    with pytest.raises(UsageError, match="not characters"):
        asked("{a} and {b}", {"a": "one", "b": "two"}, characters=True)


def test_a_method_that_would_ask_more_than_it_may_is_refused() -> None:
    assert "20 inputs" in refusal("orders", 10, 19) and refusal("orders", 10, 20) == ""
    assert "11 inputs" in refusal("occlusion", 10, 10) and refusal("occlusion", 10, 11) == ""
    assert refusal("shapley", 10_000, 10) == "" and "10,000 at most" in refusal("shapley", 10_001, 100_000)
    assert refusal("lime", 2_000, 10) == "" and "2,000 at most" in refusal("lime", 2_001, 500)
