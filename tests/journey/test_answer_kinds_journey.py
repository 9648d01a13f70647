"""Numbers and sets of labels go the whole way, beat what counts words by a stated margin, and every command knows what they answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from order_world import LABELS, NUMBER, write_order_world, write_rows
from typer.testing import CliRunner

from hurry import time_quickly
from trustbase import compare, files, recheck
from trustbase.cli.main import app
from trustbase.errors import RecipeError, UsageError
from trustbase.flow import RunResult, run


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> dict[str, RunResult]:
    """A released run of each kind."""
    found = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for kind, recipe, limit, runtime in (("number", NUMBER, 20, "onnx"), ("labels", LABELS, 0.8, "torch")):
            folder = tmp_path_factory.mktemp(kind)
            monkeypatch.setenv("TRUSTBASE_HOME", str(folder.parent / "home"))
            time_quickly(monkeypatch)
            found[kind] = run(write_order_world(folder, recipe, limit=limit, runtime=runtime), out=folder / "run")
        write_rows(folder.parent / "new.jsonl", 200, seed=9)
    return found


@pytest.fixture(autouse=True)
def home(worlds: dict[str, RunResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(worlds["number"].folder.parents[1] / "home"))


def new_rows(worlds: dict[str, RunResult]) -> Path:
    return worlds["number"].folder.parents[1] / "new.jsonl"


def told(worlds: dict[str, RunResult], kind: str, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What `trustbase predict` answers to the new rows, and the rows."""
    bundle, out = worlds[kind].folder / "bundle", folder / f"{kind}.jsonl"
    result = CliRunner().invoke(app, ["predict", str(bundle), "--input", str(new_rows(worlds)), "--output", str(out)])
    assert result.exit_code == 0, result.output
    lines = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in (out, new_rows(worlds))]
    return lines[0], lines[1]


def value(path: Path, id: str) -> float:
    return next(finding["value"] for finding in files.read_json(path / "audit.json")["findings"] if finding["id"] == id)


@pytest.mark.parametrize(("kind", "least"), [("number", 15.0), ("labels", 0.2)])
def test_the_recipe_beats_the_best_rival_by_a_stated_margin(worlds: dict[str, RunResult], kind: str, least: float) -> None:
    """Numbers are told at least 15 better on average (they lie 80 apart), and 20 more of 100 sets are wholly right."""
    result = worlds[kind]
    assert result.exit_code == 0, [(gate.gate, gate.reason) for gate in result.verdict.gates]
    assert not [finding.id for finding in result.audit.findings if finding.status == "failed"]
    gains = [finding for finding in result.audit.findings if finding.id.startswith("quality.gain_over_") and finding.status == "ok"]
    assert len(gains) == 2 and min(finding.low for finding in gains if finding.low is not None) > least
    dimensions = {finding.parts.dimension for finding in result.audit.findings if finding.status == "ok"}
    assert dimensions == {"quality", "fairness", "efficiency"}
    page = result.report.read_text(encoding="utf-8")
    assert "Some files could not be read" not in page and ("Told against true" in page) == (kind == "number")


def test_numbers_are_answered_with_their_interval_and_audited_as_they_are_answered(worlds: dict[str, RunResult], tmp_path: Path) -> None:
    answers, rows = told(worlds, "number", tmp_path)
    values, truth = np.array([answer["value"] for answer in answers]), np.array([row["price"] for row in rows])
    widths = {round(answer["interval"]["high"] - answer["interval"]["low"], 6) for answer in answers}
    assert len(answers) == 200 and len(widths) == 1 and answers[0]["interval"]["coverage"] == 0.9
    policy = tmp_path / "limits.yaml"
    policy.write_text('quality.mae: "<= 20"\n"fairness.mae_difference[sex]": "<= 20"\n', encoding="utf-8")
    asked = ["audit", str(worlds["number"].folder / "bundle"), "--data", str(new_rows(worlds)), "--label", "price", "--groups", "sex"]
    asked += ["--only", "quality,fairness", "--policy", str(policy), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert value(tmp_path / "out", "quality.mae") == pytest.approx(np.abs(values - truth).mean(), rel=1e-6)
    half = widths.pop() / 2
    assert value(tmp_path / "out", "quality.interval_coverage") == (np.abs(values - truth) <= half).mean()


def test_sets_of_labels_are_answered_as_lists_and_audited_as_they_are_answered(worlds: dict[str, RunResult], tmp_path: Path) -> None:
    answers, rows = told(worlds, "labels", tmp_path)
    assert all(set(answer["probabilities"]) == {"fine", "lead"} for answer in answers)
    right = sum(sorted(answer["labels"]) == sorted(row["tags"]) for answer, row in zip(answers, rows, strict=True)) / 200
    asked = ["audit", str(worlds["labels"].folder / "bundle"), "--data", str(new_rows(worlds)), "--label", "tags", "--only", "quality"]
    result = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert value(tmp_path / "out", "quality.exact_match") == right


@pytest.mark.parametrize(("kind", "limit"), [("number", "quality.accuracy"), ("labels", "quality.rmse")])
def test_limits_of_another_kind_are_refused_before_a_look_is_counted(
    worlds: dict[str, RunResult], tmp_path: Path, kind: str, limit: str
) -> None:
    from trustbase import audit

    policy = tmp_path / "limits.yaml"
    policy.write_text(f'{limit}: ">= 0"\n', encoding="utf-8")
    label = {"number": "price", "labels": "tags"}[kind]
    with pytest.raises(RecipeError, match="is measured of a model that gives"):
        audit(worlds[kind].folder / "bundle", data=new_rows(worlds), label=label, policy=policy, out=tmp_path / "out")
    assert not (tmp_path / "out" / "audit.json").exists()


@pytest.mark.parametrize(("kind", "label", "main"), [("number", "price", "mae"), ("labels", "tags", "exact_match")])
def test_champion_and_challenger(worlds: dict[str, RunResult], tmp_path: Path, kind: str, label: str, main: str) -> None:
    """The bundle against what was trained, which answers alike, and against itself, which differs by exactly nothing."""
    bundle, plain = worlds[kind].folder / "bundle", worlds[kind].folder / "checkpoints" / "trained"
    named = {"data": new_rows(worlds), "label": label, "groups": ["sex"], "text": "text", "calls": 0}
    found = compare(bundle, plain, out=tmp_path / "plain", **named)
    contrast = found.contrast(main)
    assert contrast is not None and contrast["n"] == 200 and found.facts["main"] == main
    assert contrast["champion"] == pytest.approx(contrast["challenger"], abs=1e-4 if kind == "number" else 0.1)
    assert {item["group"] for item in found.facts["groups"]} == {"f", "m"} and found.facts["gaps"]
    assert (found.facts["mcnemar"] is None) == (kind == "number")
    same = compare(bundle, bundle, out=tmp_path / "same", **named)
    assert all(item["difference"] == item["low"] == item["high"] == 0 for item in same.facts["metrics"])
    assert len(same.facts["metrics"]) == 4 and "the same artefact" in (tmp_path / "same" / "compare.html").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="leave it out"):
        compare(bundle, plain, positive="lead", out=tmp_path / "refused", **named)


def test_two_kinds_are_no_pair(worlds: dict[str, RunResult], tmp_path: Path) -> None:
    named = {"data": new_rows(worlds), "label": "price", "calls": 0, "out": tmp_path}
    with pytest.raises(UsageError, match="the champion is a model that gives a number, the challenger a model that gives any number"):
        compare(worlds["number"].folder / "bundle", worlds["labels"].folder / "bundle", **named)


@pytest.mark.parametrize("kind", ["number", "labels"])
def test_what_was_measured_is_found_again(worlds: dict[str, RunResult], kind: str) -> None:
    found = recheck(worlds[kind].folder / "bundle", data=worlds[kind].folder.parent / "rows.jsonl")
    assert found.exit_code == 0
