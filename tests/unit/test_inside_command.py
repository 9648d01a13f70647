"""`trustbase explain` by white-box methods: on texts, Chinese texts and templates, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inside_kit import classifier
from typer.testing import CliRunner

from trustbase.audit.explain.inside import no_inside
from trustbase.audit.explain.methods import INSIDE
from trustbase.audit.explain.tokens import places_of
from trustbase.audit.explain.units import fields
from trustbase.audit.explain.whitebox import Subject, explained_inside
from trustbase.cli.main import app
from trustbase.data.cells import Reading
from trustbase.data.template import TextTemplate
from trustbase.errors import UsageError
from trustbase.explain_command import explain
from trustbase.model.artifact import read_artifact
from trustbase.model.predict import Predictor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("model"), labels=3)


@pytest.mark.parametrize("method", INSIDE)
def test_every_white_box_method_says_that_it_is_one(model: Path, method: str) -> None:
    found = explain(model, "the film was very good", method=method)  # type: ignore[arg-type]
    assert found.about["method"] == method and "not of the shipped runtime" in found.about["white_box"]
    assert len(found.weights) == 5 and found.errors is None and set(found.faithful) >= {"comprehensiveness", "sufficiency"}
    if method == "integrated_gradients":
        assert sum(found.weights) == pytest.approx(found.about["score"] - found.about["base"], abs=0.01)
        chance = 1 / (1 + np.exp(-found.about["score"]))
        assert found.score == pytest.approx(chance, abs=1e-5)  # the log-odds are those of the answer
    other = explain(model, "the film was very good", method=method, label="LABEL_0")  # type: ignore[arg-type]
    assert other.label == "LABEL_0"


def test_the_command_prints_it_and_its_page_says_so(model: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    told = CliRunner().invoke(app, ["explain", str(model), "这部电影很好看 fine", "--method", "attention_relevance", "--html", str(page)])
    assert told.exit_code == 0, told.output
    assert "from 1 gradient\n" in told.stdout and "white-box" in told.stdout and "signs and special tokens" in told.stdout
    assert "white-box" in page.read_text(encoding="utf-8")
    coarse = CliRunner().invoke(app, ["explain", str(model), "good film", "--method", "integrated_gradients", "--samples", "10"])
    assert "from 10 gradients" in coarse.stdout and "their sum misses" in coarse.stdout


def test_fields_of_a_template_get_what_their_cells_get(model: Path) -> None:
    reading = Reading(TextTemplate.parse("{a} years old, works as {b}; {a}", None))
    row = {"a": "not very", "b": "good film"}
    text, places = reading.render(row), places_of(fields(row, reading), reading, row)
    with Predictor.open(model) as predictor:
        (by_field,), _ = explained_inside(predictor, [Subject(text, places, 1)], "gradient_input")
        alone = tuple(((start, end),) for spans in places for start, end in spans)
        (by_place,), _ = explained_inside(predictor, [Subject(text, alone, 1)], "gradient_input")
        (path,), _ = explained_inside(predictor, [Subject(text, places, 1)], "integrated_gradients", most=400)
    assert not isinstance(by_field, str) and not isinstance(by_place, str) and not isinstance(path, str)
    first, again, other = by_place.weights
    assert by_field.weights == pytest.approx([first + again, other], abs=1e-9)
    assert abs(path.details["sum_error"] or 0.0) <= 0.01 * np.abs(path.weights).sum() and path.details["elsewhere"] == 0.0


def test_what_cannot_be_followed_is_refused(model: Path) -> None:
    info = read_artifact(model)
    assert no_inside(info) == ""
    for change, why in (
        ({"runtime": "plain"}, "no torch weights"),
        ({"members": 2}, "mean of 2 models"),
        ({"answer_kind": "tokens"}, "labels and numbers"),
        ({"columns": ("age",)}, "columns beside the text"),
        ({"task": "multiple-choice"}, "choices"),
    ):
        assert why in no_inside(replace(info, **change))
    odd = classifier(model.parent / "odd", hidden_act="gelu_new")
    with pytest.raises(UsageError, match="no rule is known"):
        explain(odd, "good film", method="attention_relevance")
    assert explain(odd, "good film", method="integrated_gradients").units == ("good", "film")
