"""The grammar of finding ids: what is written is what is read, and nothing that is malformed is mended silently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbase.finding_id import DIMENSIONS, FindingId, parse

NAME = st.text(st.one_of(st.sampled_from(",=]\\[ \n"), st.characters(codec="utf-8")), min_size=1, max_size=8)
MARK = st.text("abcXYZ019_.-", min_size=1, max_size=6)
IDS = st.builds(
    FindingId,
    st.sampled_from(DIMENSIONS),
    st.text("abc019_", min_size=1, max_size=6),
    st.lists(st.tuples(NAME, st.none() | NAME), max_size=3).map(tuple),
    st.none() | MARK,
    st.none() | MARK,
)


@given(IDS)
def test_every_id_is_read_back_as_it_was_written(id: FindingId) -> None:
    assert parse(str(id)) == id


@given(st.text(",=]\\[ab", max_size=8))
def test_a_text_is_an_id_only_in_its_canonical_form(slice_: str) -> None:
    text = f"quality.accuracy[{slice_}]"
    try:
        found = parse(text)
    except ValueError as error:
        assert text in str(error)
    else:
        assert str(found) == text and all(column and group != "" for column, group in found.slice)


@pytest.mark.parametrize(
    "slice_", ["sex=a=b", "sex=", "sex,,race", ",", "=x", "sex,", ",sex", "", "=", "sex==", r"s\ex", "a\\", "a]b", "sex=f,,race=x"]
)
def test_malformed_slices_are_refused(slice_: str) -> None:
    with pytest.raises(ValueError, match="is not a finding id"):
        parse(f"fairness.selection_rate[{slice_}]")


@pytest.mark.parametrize(
    "text", ["", "quality", "quality.", "nothing.accuracy", "quality.Accuracy", "quality.accuracy@", "quality.a#", "quality.a#b@c"]
)
def test_texts_that_are_no_ids(text: str) -> None:
    with pytest.raises(ValueError, match="is not a finding id"):
        parse(text)


def test_parts_are_told_apart() -> None:
    assert parse(r"fairness.selection_rate[sex=a\=b,race=x\,y]@out#v-1").slice == (("sex", "a=b"), ("race", "x,y"))
    assert parse("fairness.auroc[sex,race]").slice == (("sex", None), ("race", None))
