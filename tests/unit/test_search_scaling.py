"""A scaling fit as it is called: the prediction stands before the largest size is trained."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from search_kit import write_world
from typer.testing import CliRunner

from trustbase.cli.main import app
from trustbase.errors import UsageError
from trustbase.search.power_law import Law, fit_law
from trustbase.search.scaling import read_size, scaling

SIZES = ["layers=1,width=32,heads=1", "layers=1,width=8,heads=1", "layers=2,width=32,heads=1", "layers=1,width=16,heads=1"]
SHORT = {"tokens": "6k", "repeats": 2}


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """One fit; the events of the call, and what the table said whenever a trial began."""
    world, events, tables = tmp_path_factory.mktemp("world"), [], []

    def listen(record):
        events.append(record)
        path = world / "out" / "scaling.json"
        if record["event"] == "stage_started" and record["stage"].startswith("trial-"):
            tables.append(json.loads(path.read_text()) if path.exists() else None)

    return scaling(write_world(world), SIZES, out=world / "out", listeners=(listen,), **SHORT), events, tables


def test_sizes_stand_by_their_parameters_and_the_largest_is_predicted(scaled):
    result = scaled[0]
    counts = [size.parameters for size in (*result.fitted, result.target)]
    assert counts == sorted(counts) and len(set(counts)) == 4
    assert result.target.settings == {"model.layers": "2", "model.width": "32", "model.heads": "1"}
    assert [len(size.losses) for size in (*result.fitted, result.target)] == [2, 2, 2, 1]
    assert result.law == fit_law(counts[:3], [np.mean(size.losses) for size in result.fitted])
    assert result.prediction.value == pytest.approx(result.law.at(counts[3]))
    assert result.prediction.low <= result.prediction.value <= result.prediction.high


def test_the_prediction_was_written_before_the_largest_was_trained(scaled):
    result, _, tables = scaled
    assert len(tables) == 7 and tables[:6] == [None] * 6
    assert tables[6]["reached"] is None and tables[6]["target"]["losses"] == []
    assert tables[6]["predicted"]["value"] == result.prediction.value


def test_the_table_puts_predicted_beside_reached(scaled):
    result = scaled[0]
    told = json.loads((result.folder / "scaling.json").read_text())
    assert told == json.loads(json.dumps(result.to_json()))
    assert told["reached"] == result.target.losses[0] and told["error"] == pytest.approx(told["reached"] - told["predicted"]["value"])
    assert told["inside_interval"] == (result.prediction.low <= told["reached"] <= result.prediction.high)
    assert told["predicted"]["unchanged"] == pytest.approx(result.fitted[-1].loss) and told["tokens"] == 6000


def test_all_sizes_read_the_same_tokens(scaled):
    result, events, _ = scaled
    read = {}
    for record in events:
        if record["event"] == "step":
            read.setdefault(record["stage"], []).append(record["tokens"])
    first = [tokens for number, tokens in enumerate(read.values()) if number in (0, 2, 4, 6)]
    assert len(read) == 7 and all(tokens == first[0] for tokens in first) and sum(first[0]) >= 6000
    assert result.target.facts["tokens"] == result.fitted[0].facts["tokens"]


def test_the_same_call_again_trains_nothing(scaled):
    result, events = scaled[0], []
    again = scaling(result.folder.parent / "raw.yaml", SIZES, out=result.folder, listeners=(events.append,), **SHORT)
    assert again.to_json() == result.to_json()
    assert not [record for record in events if record["event"] in {"stage_started", "step"}]


def test_the_command_says_it_in_a_few_lines(scaled):
    result = scaled[0]
    sizes = [word for size in SIZES for word in ("--size", size)]
    asked = [str(result.folder.parent / "raw.yaml"), *sizes, "--tokens", "6k", "--repeats", "2", "--out", str(result.folder)]
    answer = CliRunner().invoke(app, ["scaling", *asked])
    assert answer.exit_code == 0, answer.output
    assert f"predicted {result.prediction.value:.4f}" in answer.stdout and f"reached   {result.reached:.4f}" in answer.stdout
    assert ("inside the interval" if result.inside else "OUTSIDE the interval") in answer.stdout


def test_a_law_at_its_bounds_is_doubted(scaled):
    result = scaled[0]
    plain, flat, usual = (replace(result, law=Law(*values)) for values in [(0.0, 4.0, 0.02), (3.0, 1.0, 0.0), (1.7, 40.0, 0.3)])
    assert "too few tokens" in plain.doubt and "do not fall with size" in flat.doubt and usual.doubt == ""
    assert usual.to_json()["doubt"] == ""


def test_sizes_are_read():
    assert read_size("layers=2, width=64,train.learning_rate=1e-3") == {
        "model.layers": "2",
        "model.width": "64",
        "train.learning_rate": "1e-3",
    }
    assert read_size({"layers": 2, "model.width": 64}) == {"model.layers": "2", "model.width": "64"}
    with pytest.raises(UsageError, match="cannot be read"):
        read_size("layers,width=4")


def test_what_has_no_law_is_refused(tmp_path):
    recipe = write_world(tmp_path)
    with pytest.raises(UsageError, match="4 sizes or more, got 3"):
        scaling(recipe, SIZES[:3], out=tmp_path / "out", **SHORT)
    with pytest.raises(UsageError, match=r"model\.context"):
        scaling(recipe, [*SIZES[:3], "layers=3,context=64"], out=tmp_path / "out", **SHORT)
    with pytest.raises(UsageError, match="no cross-entropy"):
        scaling(recipe, SIZES, ["objective=contrastive", "gates={}"], out=tmp_path / "out", **SHORT)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="same number of parameters"):
        scaling(recipe, [*SIZES[:3], SIZES[0] + ",train.learning_rate=1e-3"], out=tmp_path / "out", **SHORT)
