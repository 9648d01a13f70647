"""A recipe with later rows: they are audited beside the test rows, gates can name them, and report and recheck know them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from toy import write_rows, write_world

import trustbase
from hurry import time_quickly
from trustbase import files
from trustbase.errors import DataError, RecipeError
from trustbase.recipe.read import read_recipe


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy's rows with days, and later rows in which the tell-tale words have begun to mean the opposite."""
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)
    recipe = write_world(tmp_path, rows=900)
    dated(tmp_path / "rows.csv", "2024-01")
    write_rows(tmp_path / "later.csv", 300, seed=9, noise=0.5)
    dated(tmp_path / "later.csv", "2024-03")
    wanted = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    wanted["data"] |= {"out_of_time": "later.csv", "split": {"by": {"time": "day"}}}
    wanted |= {"audit": ["quality", "fairness"]}
    wanted["gates"]["quality.accuracy@out-of-time"] = ">= 0.7"
    recipe.write_text(yaml.safe_dump(wanted), encoding="utf-8")
    return recipe


def dated(path: Path, month: str) -> None:
    with path.open(encoding="utf-8", newline="") as handle:
        header, *rows = csv.reader(handle)
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([[*header, "day"], *([*row, f"{month}-{1 + 28 * i // len(rows):02d}"] for i, row in enumerate(rows))])


def test_later_rows_are_audited_beside_the_test_rows(world: Path, one_thread) -> None:
    folder = world.parent
    result = trustbase.run(world, out=folder / "run")
    audit = result.audit
    here, later = audit.find("quality.accuracy"), audit.find("quality.accuracy@out-of-time")
    assert here.value > 0.75 and later.n == 300 and 0.3 < later.value < 0.7  # a model of yesterday's words
    assert audit.find("fairness.demographic_parity_difference[sex]@out-of-time").status == "ok"
    gates = {gate.gate: gate.verdict for gate in result.verdict.gates}
    assert gates["quality.accuracy >= 0.7"] == "pass" and gates["quality.accuracy@out-of-time >= 0.7"] == "fail"
    assert result.exit_code == 3 and audit.data["out-of-time"]["rows"] == 300
    assert not any("gain_over" in finding.id and "@" in finding.id for finding in audit.findings)
    page = result.report.read_text(encoding="utf-8")
    assert "on out-of-time rows" in page and "later.csv" in page and "2024-03-28" in page
    later_rows = {"source": "later.csv", "rows": 300, "in_train": 0}
    order = {"column": "day", "first": "2024-03-01", "last": "2024-03-28", "times": 28, "early": 0}
    assert files.read_json(result.folder / "data_card.json")["out_of_time"] == {**later_rows, "order": order}
    assert "| `later.csv` | 300 | 2024-03-01 | 2024-03-28 | 0 |" in (result.folder / "data_card.md").read_text(encoding="utf-8")
    kept = {path.name for path in (result.folder / "evidence").iterdir()}
    assert {"quality.json", "quality-out-of-time.json", "fairness-out-of-time.json"} <= kept
    looks = [json.loads(line) for path in (folder / "home").rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert audit.data["out-of-time"]["digest"] in json.dumps(looks)
    assert not trustbase.run(world, out=folder / "run").computed
    again = trustbase.recheck(result.folder)
    outcomes = {row.id: row for row in again.rows}
    assert outcomes["quality.accuracy"].outcome == "same" and outcomes["quality.accuracy@out-of-time"].outcome == "not recomputable"


def test_later_rows_are_audited_of_a_model_that_a_person_can_read_too(world: Path) -> None:
    wanted = yaml.safe_load(world.read_text(encoding="utf-8"))
    for section in ("train", "adapt", "release"):
        wanted.pop(section, None)
    world.write_text(yaml.safe_dump(wanted | {"base": "linear"}), encoding="utf-8")
    result = trustbase.run(world, out=world.parent / "linear")
    later = result.audit.find("quality.accuracy@out-of-time")
    assert later.n == 300 and 0.3 < later.value < 0.7 < result.audit.find("quality.accuracy").value
    assert result.exit_code == 3 and not trustbase.run(world, out=world.parent / "linear").computed
    assert files.read_json(result.folder / "data_card.json")["out_of_time"]["rows"] == 300


def test_what_cannot_be_is_refused_before_anything_runs(world: Path) -> None:
    def gated(id: str, **data) -> str:
        wanted = yaml.safe_load(world.read_text(encoding="utf-8"))
        wanted["gates"] = {id: ">= 0.5"}
        wanted["data"] |= data
        path = world.with_name("other.yaml")
        path.write_text(yaml.safe_dump(wanted), encoding="utf-8")
        with pytest.raises((RecipeError, DataError)) as told:
            read_recipe(path)
        return str(told.value)

    assert "no such set is audited" in gated("quality.accuracy@next-year")
    assert "name its file: data.out_of_time" in gated("quality.accuracy@out-of-time", out_of_time=None)
    assert "on the test rows alone" in gated("quality.gain_over_majority@out-of-time")
    assert "later-still.csv" in gated("quality.accuracy", out_of_time="later-still.csv")
    world.with_name("narrow.csv").write_text("text,label\na,yes\n")
    assert "'sex'" in gated("quality.accuracy", out_of_time="narrow.csv")


def test_rows_that_are_not_later_are_told(world: Path) -> None:
    from trustbase.data.later import load_later
    from trustbase.data.load import load
    from trustbase.data.options import DataOptions

    root = world.parent
    options = {"train": "rows.csv", "text": "text", "label": "label", "split": {"by": {"time": "day"}}}
    dataset = load(DataOptions(**options), root=root, seed=0)
    told: list[tuple[str, str]] = []

    def listen(event: str, /, **fields) -> None:
        told.append((event, fields["text"]))

    (root / "later.txt").write_bytes((root / "later.csv").read_bytes())
    unnamed = load_later(DataOptions(**options, out_of_time="later.txt", format="csv"), dataset, root=root, emit=listen)
    later = load_later(DataOptions(**options, out_of_time="later.csv"), dataset, root=root, emit=listen)
    assert unnamed.splits["out-of-time"].digest == later.splits["out-of-time"].digest
    assert len(later.splits["out-of-time"]) == 300 and not told
    early = load_later(DataOptions(**options, out_of_time="rows.csv"), dataset, root=root, emit=listen)
    assert early.facts["in_train"] == len(dataset.splits["train"])
    assert [event for event, _ in told] == ["note", "warning"] and "900 of 900 rows of data.out_of_time are not later" in told[1][1]
