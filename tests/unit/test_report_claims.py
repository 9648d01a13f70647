"""A report says "released" only where a bundle stands that somebody trusted signed, and "limits met" only where they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import RECIPE, World
from report_folders import make

from trustbase import files
from trustbase.bundle.keys import signing_key
from trustbase.errors import VerificationError
from trustbase.gate.decide import decide
from trustbase.report.html import render, report, write_report

STRICT = {"quality.accuracy": ">= 0.99"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRUSTBASE_SIGNING_KEY", raising=False)


def packed_run(folder: Path, gates: dict[str, Any] | None = None) -> Path:
    """A run folder as the journey leaves it: audit, verdict and recipe beside `bundle/` or `rejected/`."""
    world = World(folder, gates=gates)
    world.pack()
    verdict = decide(world.policy, world.report, test_looks=1)
    files.write_json(folder / "audit.json", world.report.to_json())
    files.write_json(folder / "verdict.json", verdict.to_json())
    files.write_text(folder / "recipe.resolved.yaml", RECIPE)
    return folder


def change(path: Path, **changes: Any) -> None:
    files.write_json(path, {**files.read_json(path), **changes})


def passing(path: Path) -> None:
    """Edit a verdict as a forger would: released, and every gate passed."""
    data = files.read_json(path)
    change(path, released=True, gates=[{**gate, "verdict": "pass"} for gate in data["gates"]])


def refused(folder: Path) -> str:
    with pytest.raises(VerificationError) as caught:
        report(folder)
    assert caught.value.exit_code == 4 and not (folder / "report.html").exists()
    return str(caught.value)


def test_a_released_run_and_a_refused_run_say_what_they_are(tmp_path: Path) -> None:
    assert "<title>Released" in report(packed_run(tmp_path / "run")).read_text("utf-8")
    assert "<title>Not released" in report(packed_run(tmp_path / "no", STRICT)).read_text("utf-8")


@pytest.mark.parametrize("forge", [lambda path: change(path, released=True), passing])
def test_a_refused_run_whose_verdict_was_edited_is_not_reported(tmp_path: Path, forge: Callable[[Path], None]) -> None:
    run = packed_run(tmp_path / "run", STRICT)
    forge(run / "verdict.json")
    assert "never signed" in refused(run)
    (run / "audit.json").unlink()  # now the parts in rejected/ are read
    assert "<title>Not released" in report(run).read_text("utf-8")
    (run / "report.html").unlink()
    forge(run / "rejected" / "verdict.json")
    assert "never signed" in refused(run)
    stripped = Path(shutil.copytree(run / "rejected", tmp_path / "stripped"))
    for name in ("REJECTED.txt", "manifest.json"):
        (stripped / name).unlink()
    refused(stripped)
    shutil.rmtree(stripped / "model")
    assert "never signed" in refused(stripped)
    (stripped / "recipe.resolved.yaml").unlink()  # all that is left looks like an audit, whose limits are compared again
    assert "quality.accuracy >= 0.99" in refused(stripped)


@pytest.mark.parametrize("said", ["yes", 1, None, []])
def test_a_word_that_is_neither_yes_nor_no_releases_nothing(tmp_path: Path, said: Any) -> None:
    run = packed_run(tmp_path / "run", STRICT)
    change(run / "verdict.json", released=said)
    refused(run)
    assert "<title>No verdict" in render(run)


def test_a_tampered_bundle_in_a_run_is_not_reported(tmp_path: Path) -> None:
    run = packed_run(tmp_path / "run")
    weights = run / "bundle" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "is not what was signed" in refused(run)
    shutil.rmtree(run / "bundle")
    assert "never signed" in refused(run)


@pytest.mark.parametrize("name", ["audit.json", "verdict.json", "evidence/quality.json", "data_card.json", "artifact/artifact.json"])
def test_a_released_run_that_differs_from_its_bundle_is_not_reported(tmp_path: Path, name: str) -> None:
    run = packed_run(tmp_path / "run")
    change(run / name, added="by somebody")
    assert name in refused(run)


def test_evidence_that_the_bundle_does_not_hold_is_not_reported(tmp_path: Path) -> None:
    run = packed_run(tmp_path / "run")
    files.write_json(run / "evidence" / "efficiency.json", {})
    assert "evidence/efficiency.json" in refused(run)


def test_a_run_signed_by_somebody_unknown_is_written_by_its_own_run_and_reported_with_trust(tmp_path: Path) -> None:
    run = packed_run(tmp_path / "run")
    public = tmp_path / "signer.pub"
    public.write_bytes(signing_key().public.pem)
    (tmp_path / "home" / "trusted" / "own.pub").unlink()
    refused(run)
    assert write_report(run).is_file()
    assert "<title>Released" in report(run, trust=public).read_text("utf-8")


def test_limits_met_in_an_audit_are_compared_again(tmp_path: Path) -> None:
    for name, gates in (("met", None), ("missed", STRICT)):
        world = World(tmp_path / "world" / name, gates=gates)
        folder = tmp_path / name
        files.write_json(folder / "audit.json", world.report.to_json())
        files.write_text(folder / "policy.json", world.policy.to_text())
        files.write_json(folder / "verdict.json", decide(world.policy, world.report, test_looks=1).to_json())
    assert "<title>All limits met" in report(tmp_path / "met").read_text("utf-8")
    assert "<title>Limits not met" in report(tmp_path / "missed").read_text("utf-8")
    (tmp_path / "missed" / "report.html").unlink()
    passing(tmp_path / "missed" / "verdict.json")
    assert "quality.accuracy >= 0.99" in refused(tmp_path / "missed")
    (tmp_path / "missed" / "policy.json").unlink()
    assert "policy.json cannot be read" in refused(tmp_path / "missed")


def test_a_page_never_shows_a_release_that_its_own_gates_contradict(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", kind="rejected")
    change(folder / "verdict.json", released=True)
    page = render(folder)
    assert "<title>No verdict" in page and "says released, but not every gate passed" in page
