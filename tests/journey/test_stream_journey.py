"""The whole journey with rows and tokens on disk: the model, the findings and the stage keys are those of rows in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from toy import write_world

import trustbase
from hurry import time_quickly


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy's rows as Parquet."""
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)
    recipe = write_world(tmp_path, rows=600)
    pd.read_csv(tmp_path / "rows.csv").to_parquet(tmp_path / "rows.parquet", row_group_size=90)
    wanted = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    wanted["data"]["train"] = "rows.parquet"
    wanted |= {"audit": ["quality", "fairness"]}
    recipe.write_text(yaml.safe_dump(wanted), encoding="utf-8")
    return recipe


def test_a_streamed_run_is_the_same_run(world: Path, one_thread) -> None:
    folder = world.parent
    whole = trustbase.run(world, ["data.memory=whole"], out=folder / "whole")
    streamed = trustbase.run(world, ["data.memory=stream"], out=folder / "streamed")
    one, other = (json.loads((result.folder / "audit.json").read_text()) for result in (whole, streamed))
    trained = [json.loads((result.folder / "stages" / "train.json").read_text())["result"]["digest"] for result in (whole, streamed)]
    assert trained[0] == trained[1] and one["data"] == other["data"]
    equal = one["findings"] == other["findings"]
    assert equal and streamed.exit_code == whole.exit_code
    cards = [json.loads((result.folder / "data_card.json").read_text()) for result in (whole, streamed)]
    equal = cards[0] == cards[1]
    assert equal
    saved = json.loads((streamed.folder / "data" / "dataset.json").read_text())
    assert all(part["stored"] for part in saved["splits"].values())
    assert not list(streamed.folder.rglob("*.part")) and not list(streamed.folder.rglob("ids.bin"))
    keys = [json.loads((result.folder / "stages" / "data.json").read_text())["inputs"] for result in (whole, streamed)]
    assert keys[0] == keys[1]
    assert not trustbase.run(world, ["data.memory=stream"], out=folder / "streamed").computed
