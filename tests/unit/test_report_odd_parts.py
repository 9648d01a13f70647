"""Files that can be parsed but are of a shape nobody writes: a report names what it cannot show, and shows the rest."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_folders import make

from trustbase import files
from trustbase.errors import TrustbaseError
from trustbase.report.html import render, write_report

ODD: tuple[Any, ...] = (None, 5, -1.5, "a", "\ud800", True, [], [None], {}, {"a": None}, float("nan"), 10**400)
CARD = {
    "splits": {"train": {"rows": 10, "labels": {">50K": 3}, "groups": {"sex": {"Male": 6}}, "tokens": {"quantiles": {"0.5": 4}}}},
    "label": {"column": "income", "names": ["<=50K", ">50K"]},
    "groups": {"columns": ["sex"], "shown_to_model": [], "hidden_from_model": ["sex"]},
    "sources": {"train": {"name": "t.csv", "rows": 10}},
    "overlap": {"train/test": 0},
    "notes": ["one"],
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    changed = copy.deepcopy(value)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = odd
    return changed


def write(path: Path, value: Any) -> None:
    import json

    path.write_text(json.dumps(value), encoding="utf-8")  # with NaN and half characters, which Trustbase itself never writes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make(tmp_path_factory.mktemp("odd") / "run", kind="rejected")
    write(made / "data_card.json", CARD)
    return made


@pytest.mark.parametrize(
    "name", ["audit", "verdict", "data_card", "artifact/artifact", "evidence/quality", "evidence/fairness", "evidence/efficiency"]
)
def test_no_single_odd_value_breaks_a_report(folder: Path, name: str) -> None:
    path = folder / f"{name}.json"
    good = files.read_json(path)
    draw = random.Random(name)
    everywhere = list(places(good))
    shallow = [place for place in everywhere if len(place) <= 2]
    chosen = draw.sample(shallow, min(12, len(shallow))) + draw.sample(everywhere, min(12, len(everywhere)))
    try:
        for place in chosen:
            write(path, put(good, place, draw.choice(ODD)))
            try:
                assert "<h1>" in render(folder)
            except TrustbaseError as error:  # an audit that is none is refused as a whole
                assert name == "audit" and "is not an audit" in error.message
    finally:
        write(path, good)


@pytest.mark.parametrize(
    ("name", "place", "odd", "section"),
    [
        ("data_card", ("splits", "train", "tokens"), 5, "Data"),
        ("artifact/artifact", ("labels",), 5, "Model and artefact"),
        ("evidence/quality", ("classes", 0, "n"), "a", "Quality"),
        ("evidence/efficiency", ("latency_ms", "histogram", "counts"), 7, "Cost and speed"),
    ],
)
def test_what_cannot_be_shown_is_named_with_its_reason_and_the_rest_stands(
    folder: Path, name: str, place: tuple[Any, ...], odd: Any, section: str
) -> None:
    path = folder / f"{name}.json"
    good = files.read_json(path)
    told: list[str] = []
    try:
        write(path, put(good, place, odd))
        page = write_report(folder, emit=lambda event, /, **fields: told.append(f"{event}: {fields['text']}")).read_text("utf-8")
    finally:
        write(path, good)
    assert any(item.startswith("warning: ") and f"{section}: " in item for item in told), told
    assert "Some files could not be read" in page and f"<li>{section}: " in page
    assert "<title>Not released" in page and page.count('<tr class="fail">') == 1 and page.count("<section id=") > 9
    assert "could not be read" not in render(folder)


def test_numbers_that_are_none_make_no_audit(folder: Path) -> None:
    path = folder / "audit.json"
    good = files.read_json(path)
    try:
        for key, odd in (("n", "a"), ("value", "0.9"), ("low", []), ("high", 10**400), ("reason", 5), ("value", True)):
            write(path, put(good, ("findings", 0, key), odd))
            with pytest.raises(TrustbaseError, match="is not an audit"):
                render(folder)
    finally:
        write(path, good)
