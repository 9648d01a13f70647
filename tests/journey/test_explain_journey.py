"""`trustbase explain` of released models and of a checkpoint: words, fields, labels, methods, the page, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import trustbase
from hurry import time_quickly
from plain_world import table_rows, text_rows
from tiny import tiny_bert
from trustbase.cli.main import app
from trustbase.errors import DataError, TrustbaseError, UsageError
from trustbase.explain_command import Explanation, explain
from trustbase.model.predict import Predictor

RECIPE = """
base: {base}
data: {{train: {train}, text: {text}, label: label, positive: "yes"}}
audit: [quality]
gates: {{quality.accuracy: ">= 0.75"}}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`tree` reads columns, `linear` a text."""
    folder = tmp_path_factory.mktemp("explained")
    table, text = table_rows(900, 0), text_rows(700, 0)
    with (folder / "table.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([*table.table.column_names, "label"])
        rows.writerows(
            [*(cell or "" for cell in row.values()), ("no", "yes")[label]]
            for row, label in zip(table.table.to_pylist(), table.labels, strict=True)
        )
    with (folder / "text.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text", "label"])
        rows.writerows([one, ("no", "yes")[label]] for one, label in zip(text.texts, text.labels, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTBASE_HOME", str(folder / "home"))
        time_quickly(patch, forked=False)
        for base, train, reads in (("tree", "table.csv", '"{age} years, {job}: {note}"'), ("linear", "text.csv", "text")):
            (folder / f"{base}.yaml").write_text(RECIPE.format(base=base, train=train, text=reads), encoding="utf-8")
            assert trustbase.run(folder / f"{base}.yaml", out=folder / base).exit_code == 0
        yield folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForSequenceClassification

    folder = tiny_bert(tmp_path_factory.mktemp("model"), seed=3)
    model = AutoModelForSequenceClassification.from_pretrained(folder, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    for parameter in model.classifier.parameters():
        parameter.data *= 40  # else a model that nobody trained says one half to everything
    model.save_pretrained(folder)
    return folder


def command(*arguments: str | Path) -> tuple[int, str]:
    answer = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    if isinstance(answer.exception, TrustbaseError):
        return answer.exception.exit_code, str(answer.exception)
    return answer.exit_code, answer.stdout


def by_unit(found: Explanation) -> dict[str, float]:
    return dict(zip(found.units, found.weights, strict=True))


def test_the_word_that_tells_the_answer_is_its_reason(runs: Path) -> None:
    found = explain(runs / "linear" / "bundle", "the film was good, row 5")
    assert found.label == "yes" and found.reasons[0].unit == "good" and found.kind == "words"
    assert found.reasons[0].moved > 0.3 and found.faithful["comprehensiveness"] > 0.3
    assert sum(found.weights) == pytest.approx(found.score - found.base, abs=1e-9)
    against = explain(runs / "linear" / "bundle", "the film was good, row 5", label="no")
    assert by_unit(against)["good"] == pytest.approx(-by_unit(found)["good"]) and against.reasons[:1] != found.reasons[:1]


def test_a_model_of_columns_is_explained_by_its_columns(runs: Path) -> None:
    found = explain(runs / "tree" / "bundle", {"age": "70", "job": "clerk", "note": "a good note 3"})
    assert found.units == ("age", "job", "note") and found.kind == "fields" and found.spans == (None, None, None)
    assert (
        found.label == "yes" and {each.unit for each in found.reasons} == {"age", "job"} and found.about["asked"] == 8
    )  # exact: all combinations
    assert set(found.errors or ()) == {0.0}
    assert {frozenset(pair[:2]) for pair in found.together} == {frozenset(p) for p in (("age", "job"), ("age", "note"), ("job", "note"))}
    assert set(found.together[0][:2]) == {"age", "job"} and found.together[0][2] > 0.05  # over 40 and no cook: neither tells it alone


def test_exact_values_of_a_transformer_are_the_mean_over_all_orders(checkpoint: Path) -> None:
    text = "good film, bad food not"
    found = explain(checkpoint, text)
    parts = text.split()
    with Predictor.open(checkpoint) as predictor:

        def score(kept: tuple[int, ...]) -> float:
            words = [part if place in kept else part.strip("abcdefghijklmnopqrstuvwxyz") for place, part in enumerate(parts)]
            left = "".join(word + (" " if word[-1:].isalpha() or word == "," else "") for word in words)
            return float(predictor.class_scores([left.rstrip(" ") if kept and 4 in kept else left])[0, found.about["place"]])

        total = np.zeros(5)
        for order in permutations(range(5)):
            joined: tuple[int, ...] = ()
            for unit in order:
                total[unit] += score((*joined, unit)) - score(joined)
                joined = (*joined, unit)
    assert np.allclose(found.weights, total / 120, atol=1e-6) and found.about["asked"] == 32


@pytest.mark.parametrize("method", ["shapley", "orders", "lime", "occlusion"])
def test_every_method_finds_the_word_and_the_same_again(method: str, runs: Path) -> None:
    text = "the film was bad, row 7, and the rest of it is told in many words that say nothing at all of what it was"
    first, again = (explain(runs / "linear", text, method=method, samples=300, seed=4) for _ in range(2))
    assert first == again and first.label == "no" and first.reasons[0].unit == "bad"
    assert first.about["asked"] <= 300
    assert (first.errors is None) == (method == "shapley")


def test_the_command_prints_it_and_writes_a_page_in_both_languages(runs: Path, tmp_path: Path) -> None:
    code, said = command(runs / "linear" / "bundle", "the film was good <b>", "--html", tmp_path / "en.html")
    assert code == 0 and said.startswith("yes: ") and "reason: good" in said and "page: " in said
    page = (tmp_path / "en.html").read_text(encoding="utf-8")
    assert '<mark class="for4">good</mark>' in page and "&lt;" in page and "<b>" not in page and "Why yes?" in page
    assert command(runs / "linear", "the film was good", "--html", tmp_path / "zh.html", "--lang", "zh")[0] == 0
    assert "为什么是 yes？" in (tmp_path / "zh.html").read_text(encoding="utf-8")
    code, said = command(runs / "tree", "--row", '{"age": 70, "job": null, "note": "a bad note"}', "--json")
    facts = json.loads(said)
    assert code == 0 and facts["schema"] == "trustbase/explanation/1" and facts["units"] == ["age", "job", "note"]
    assert facts["text"] == "70 years, unknown: a bad note" and facts["answer"]["label"] == facts["label"]


def test_an_input_longer_than_the_model_reads_says_so(checkpoint: Path, tmp_path: Path) -> None:
    long = "good " * 200
    code, said = command(checkpoint, long, "--method", "occlusion", "--html", tmp_path / "long.html")
    assert code == 0 and "of its tokens are not read" in said and "are not read" in (tmp_path / "long.html").read_text(encoding="utf-8")
    found = explain(checkpoint, long, method="occlusion")
    assert found.about["unread_tokens"] > 50 and set(found.weights[150:]) == {0.0}


def test_a_notebook_shows_the_page_in_a_frame(runs: Path) -> None:
    shown = explain(runs / "linear", "the film was good")._repr_html_()
    assert shown.startswith("<iframe") and "Why yes?" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["linear"], 2, "name a text, or a row"),
        (["linear", "good", "--row", "{}"], 2, "name a text, or a row"),
        (["linear", "good", "--method", "magic"], 2, "'magic' is no method"),
        (["linear", "good", "--samples", "3"], 2, "must be 10 to 100,000"),
        (["linear", "good", "--label", "maybe"], 2, "no label 'maybe'"),
        (["linear", "good", "--text-pair", "bad"], 2, "reads 1 text"),
        (["linear", "?!"], 2, "no word in this input"),
        (["tree", "good"], 2, "reads columns age, job, note"),
        (["tree", "--row", '{"age": 4}'], 2, "this column is missing"),
        (["tree", "--row", "[1]"], 2, "one JSON object"),
        (["tree", "--row", "{"], 2, "no JSON"),
        (["nowhere", "good"], 1, "nowhere"),
        (["linear", "good", "--html", "linear/bundle/x.html"], 2, "bundle"),
        (["linear", "good", "--lang", "xx"], 2, "xx"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    arguments: list[str], code: int, words: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    before = sorted(path for path in runs.rglob("*") if path.is_file())
    found, said = command(*arguments)
    assert found == code and words in said, said
    assert sorted(path for path in runs.rglob("*") if path.is_file()) == before


def test_errors_are_told_to_who_calls_the_function(runs: Path) -> None:
    with pytest.raises(UsageError, match="no method"):
        explain(runs / "linear", "good", method="magic")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no word"):
        explain(runs / "linear", "…")
