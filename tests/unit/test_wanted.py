"""Files and models that an audit names beside the audited model: found before anything is trained, and part of the audit's key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiny import tiny_bert
from trustbase.audit.options import AuditOptions
from trustbase.audit.wanted import Wanted, find_models, read_wanted
from trustbase.errors import UsageError

ALL = ("explanation", "robustness", "safety")


def options(**robustness: str) -> AuditOptions:
    return AuditOptions.model_validate({"robustness": robustness})


def test_named_models_are_found_from_the_recipes_folder_with_their_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_bert(tmp_path / "recipes" / "judge")
    monkeypatch.chdir(tmp_path)
    named = options(judge="judge")
    found = find_models(named, tmp_path / "recipes", ALL)
    folder, digest = found["robustness.judge"]
    assert folder == tmp_path / "recipes" / "judge" and digest.startswith("sha256:") and set(found) == {"robustness.judge"}
    wanted = Wanted(models=found)
    assert wanted.rooted(named).robustness.judge == str(folder) and named.robustness.judge == "judge"
    assert wanted.digests() == {"robustness.judge": digest}
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert find_models(named, tmp_path / "recipes", ALL)["robustness.judge"][1] != digest
    assert find_models(named, tmp_path / "recipes", ("quality",)) == {}


def test_every_model_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    asked = AuditOptions.model_validate({"robustness": {"judge": "./none", "candidates": "./nor"}, "explanation": {"fluent": "./neither"}})
    with pytest.raises(UsageError) as told:
        find_models(asked, tmp_path, ALL)
    wheres = ["audit.explanation.fluent", "audit.robustness.judge", "audit.robustness.candidates"]
    assert [problem.where for problem in told.value.problems] == wheres


def test_the_usual_judge_counts_where_none_is_named(tmp_path: Path) -> None:
    found = find_models(AuditOptions(), tmp_path, ALL)
    assert set(found) == {"robustness.judge"}
    kept = Wanted(models=found).rooted(AuditOptions())
    assert kept.robustness.judge is None, "the usual one is known by its package"


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("nothing: 1\n")
    asked = AuditOptions.model_validate({"safety": {"policy": "p.yaml"}, "robustness": {"expectations": "none.yaml"}})
    with pytest.raises(UsageError) as told:
        read_wanted(asked, tmp_path, option="--budget ")
    said = [problem.where for problem in told.value.problems]
    assert said[-1] == "--budget robustness.expectations" and any(where.startswith("p.yaml") for where in said)
    assert os.listdir(tmp_path) == ["p.yaml"]
