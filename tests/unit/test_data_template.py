"""Templates: what is written is what the model reads, in training and in a bundle alike."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbase.data.template import TextTemplate
from trustbase.errors import DataError

COLUMNS = ["age", "job title", "a|b", "text"]


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("text", {"text": "as it stands "}, "as it stands "),
        ("{age} years", {"age": "39"}, "39 years"),
        ("{age}{age}", {"age": 39}, "3939"),
        ("{{{age}}} {{x}}", {"age": "39"}, "{39} {x}"),
        ("works as {job title}", {"job title": None}, "works as unknown"),
        ("works as {job title}", {"job title": "  "}, "works as unknown"),
        ("works as {job title|nothing}", {}, "works as nothing"),
        ("{age|}!", {"age": math.nan}, "!"),
        ("{a|b} {a|b|none}", {"a|b": None}, "unknown none"),
        ("{age}", {"age": True}, "true"),
    ],
)
def test_rendering(text, row, expected):
    template = TextTemplate.parse(text, COLUMNS)
    assert template.render(row) == expected
    again = TextTemplate.parse(template.source, COLUMNS)
    assert again == template and again.render(row) == expected
    assert TextTemplate.parse(template.source, None).render(row) == expected, "a bundle does not know the columns"


def test_the_source_carries_the_words_for_empty_cells():
    template = TextTemplate.parse("{age}, {text|-}", COLUMNS, missing="n/a")
    assert template.source == "{age|n/a}, {text|-}"
    assert TextTemplate.parse(template.source, COLUMNS).render({}) == "n/a, -"
    assert template.columns == ("age", "text") and not template.plain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{agee} years and {jobtitle}", ["'agee'", "did you mean 'age'?", "'jobtitle'", "did you mean 'job title'?"]),
        ("txet", ["no column 'txet'", "did you mean 'text'?"]),
        ("{age years", ["'{' at character 1 has no '}'"]),
        ("age} years", ["'}' at character 4 has no '{'"]),
        ("{} years", ["'{}' names no column"]),
        ("{{age}}", ["names no column"]),
        ("{age:>3}", ["no column 'age:>3'", "did you mean 'age'?"]),
    ],
)
def test_every_mistake_in_a_template_is_named(text, words):
    with pytest.raises(DataError) as caught:
        TextTemplate.parse(text, COLUMNS)
    assert all(word in str(caught.value) for word in words), str(caught.value)


CELLS = st.lists(
    st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)), min_size=3, max_size=3
)


@given(rows=st.lists(CELLS, max_size=5), text=st.sampled_from(["{a}", "{a} and {b|none}", "x{c}", "{b}{b} {{x}}", "a"]))
def test_a_table_renders_as_its_rows_do(rows, text):
    template = TextTemplate.parse(text, ["a", "b", "c"])
    table = pa.table({name: pa.array([row[index] for row in rows], pa.string()) for index, name in enumerate("abc")})
    assert template.render_table(table) == [template.render(row) for row in table.to_pylist()]


@pytest.mark.parametrize("text", ["{age}", "age}", "{"])
def test_a_column_with_braces_in_its_name_cannot_be_the_text(text):
    """A bundle, which knows its columns by this text alone, would read it as a template over others."""
    with pytest.raises(DataError, match="cannot name column") as error:
        TextTemplate.parse(text, [text, "age"])
    assert "rename the column" in error.value.problems[0].hint


def test_empty_braces_name_no_column_even_where_one_has_no_name():
    for columns in (["", "age"], None):
        with pytest.raises(DataError, match="names no column"):
            TextTemplate.parse("{} and {age}", columns)
