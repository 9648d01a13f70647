"""A row's cells travel with its text, come apart again as they were, and make other rows of equal texts."""

from __future__ import annotations

import pyarrow as pa
import pytest

from trustbase.data.cells import Reading, text_and_cells, with_cells
from trustbase.data.rows import RawTable, check_rows
from trustbase.data.template import TextTemplate

TEMPLATE = TextTemplate.parse("{age} years, {job}", ["age", "job"])
TABLE = pa.table({"age": ["39", None], "job": ["cook, 3 years", "clerk"]})


def test_text_and_cells_come_apart_as_they_were() -> None:
    found = Reading(TEMPLATE, ("job", "age")).render_table(TABLE)
    assert [text_and_cells(value, 2) for value in found] == [
        ("39 years, cook, 3 years", ["cook, 3 years", "39"]),
        ("unknown years, clerk", ["clerk", ""]),
    ]
    assert found == [Reading(TEMPLATE, ("job", "age")).render(row) for row in TABLE.to_pylist()]


def test_without_columns_the_text_is_all() -> None:
    texts = TEMPLATE.render_table(TABLE)
    assert with_cells(texts, TABLE, ()) is texts and Reading(TEMPLATE).render_table(TABLE) == texts
    assert Reading(TEMPLATE).render({"age": 39}) == "39 years, unknown"


def test_equal_texts_of_other_cells_are_other_inputs() -> None:
    """Both rows read "3, 4, 5": what was a cell is not to be guessed from the words."""
    table = pa.table({"a": ["3, 4", "3"], "b": ["5", "4, 5"]})
    template = TextTemplate.parse("{a}, {b}", ["a", "b"])
    first, second = Reading(template, ("a", "b")).render_table(table)
    assert template.render_table(table) == ["3, 4, 5"] * 2 and first != second


def test_needed_columns_are_named_once() -> None:
    assert Reading(TEMPLATE, ("job", "income")).needed == ("age", "job", "income")


def test_another_number_of_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a text and 2 cells after it, got 0"):
        text_and_cells("a text alone", 2)


def test_a_row_that_holds_the_sign_between_cells_is_a_bad_row() -> None:
    import numpy as np

    table = pa.table({"age": ["39", "4\x1e0"], "job": ["cook", "clerk"]})
    raw = RawTable(table, np.array([1, 2]), np.array([2, 3]), (), 2, "rows.csv", "", 0)
    checked = check_rows(raw, shown=[["age", "job"]])
    assert len(checked) == 1 and "U+001E" in checked.bad_rows[0].reason
