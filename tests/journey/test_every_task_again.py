"""What every task's run leaves can be measured again, tampering is found, and it can be compared with another model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from every_task import SHORT, WORLDS
from safetensors.numpy import load_file, save_file

import trustbase
from trustbase import files
from trustbase.recipe.lookup import TASKS

pytestmark = pytest.mark.usefixtures("one_thread")


def shaken(artifact: Path, target: Path) -> Path:
    """The same model with another head."""
    shutil.copytree(artifact, target)
    weights = load_file(target / "model.safetensors")
    rng = np.random.default_rng(0)
    for name in [name for name in weights if name.startswith(("classifier", "qa_outputs", "cls"))]:
        weights[name] = (weights[name] + rng.normal(0, 0.5, weights[name].shape)).astype(weights[name].dtype)
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_every_task_has_a_world() -> None:
    assert set(WORLDS) == set(TASKS)


@pytest.mark.parametrize("task", list(WORLDS))
def test_it_is_found_again_and_tampering_is_found(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    world, folder = WORLDS[task], tmp_path / "world"
    folder.mkdir()
    recipe, rows, run = world.write(folder), folder / world.rows, tmp_path / "run"
    made = trustbase.run(recipe, SHORT, out=run)
    assert made.exit_code == 0, made
    measured = [finding.id for finding in made.audit.findings if finding.status == "ok"]
    assert len(measured) > 5

    stored, asked = trustbase.recheck(run), trustbase.recheck(run / "bundle", data=rows)
    for again in (stored, asked):
        apart = [(row.id, row.reason) for row in again.rows if row.outcome != "same"]
        assert again.exit_code == 0 and not apart, apart
        assert len(again.rows) == len(made.audit.findings)
    assert stored.score_tolerance == 0 and asked.score_tolerance > 0

    altered = tmp_path / "altered"  # nobody signed this one, so only measuring shows it
    shutil.copytree(run, altered)
    shutil.rmtree(altered / "bundle")
    audit = files.read_json(altered / "audit.json")
    one = next(finding for finding in audit["findings"] if finding["status"] == "ok" and finding["low"] < finding["high"])
    one["value"] = (one["value"] + 3 * one["high"]) / 4 if one["value"] < one["high"] else (one["value"] + 3 * one["low"]) / 4
    (altered / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    found = trustbase.recheck(altered)
    assert found.exit_code == 4 and [row.id for row in found.rows if row.outcome == "different"] == [one["id"]]

    other = shaken(run / "artifact", tmp_path / "other")
    compared = trustbase.compare(run / "bundle", other, data=rows, out=tmp_path / "compared", calls=0)
    told = compared.contrast(world.main)
    assert compared.facts["main"] == world.main and not compared.facts["same_artefact"] and told is not None
    assert told["champion"] == pytest.approx(again_value(run / "bundle", rows, world.label, f"quality.{world.main}", tmp_path / "audited"))
    for lang, word in (("en", "Comparison of two models"), ("zh", "两个模型的比较")):
        from trustbase.report.comparing import comparison_page

        assert word in comparison_page(compared.facts, lang)


def again_value(bundle: Path, rows: Path, label: str, id: str, out: Path) -> float:
    """What `trustbase audit` measures of a bundle on the same rows."""
    found = trustbase.audit(bundle, data=rows, label=label, only=["quality"], out=out).report.find(id)
    assert found is not None and found.value is not None
    return found.value
