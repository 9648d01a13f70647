"""Audits that put questions of their own (explanation, robustness, safety), of models of every answer kind that really answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trustbase
from trustbase import files
from trustbase.audit.catalogue import CATALOGUE, why_never
from trustbase.recipe.lookup import ANSWER_KINDS, AUDITS, TASKS
from trustbase.records import Finding

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "journey"))  # where the worlds of single tasks are

from every_task import WORLDS

pytestmark = pytest.mark.usefixtures("one_thread")

ASKING = ("explanation", "robustness", "safety")
KINDS = tuple(ANSWER_KINDS)
TASK = {TASKS[name].answers: name for name in ("question-answering", "token-classification", "regression", "multi-label-classification")}
TASK["classes"] = "text-classification"
#: As little as these can be asked with.
LITTLE: dict[str, dict[str, Any]] = {
    "explanation": {"texts": 12, "samples": 60, "evaluations": 60, "stability": 10},
    "robustness": {"texts": 12, "queries": 20},
    "safety": {"queries": 60, "searched": 300, "encoder": False},
}
REGISTERED = [(dimension, kind) for dimension, kind in AUDITS if dimension in ASKING]
NAMED = pytest.mark.parametrize(("dimension", "kind"), REGISTERED, ids=[f"{dimension}-{kind}" for dimension, kind in REGISTERED])
Made = Callable[..., list[Finding]]


def group_of(kind: str) -> str:
    """The group column of a kind's toy rows."""
    return "origin" if kind == "tokens" else "sex"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run of a few updates, by answer kind; each is trained once."""
    made: dict[str, Path] = {}

    def model(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            recipe = WORLDS[TASK[kind]].write(folder)
            trustbase.run(recipe, ["train.max_steps=6", "audit=[quality]"], out=folder / "run")
            made[kind] = folder
        return made[kind]

    return model


@pytest.fixture
def audited(models: Callable[[str], Path], tmp_path: Path) -> Made:
    """The findings of an audit of one dimension."""

    def audit(dimension: str, kind: str, name: str = "out", **more: Any) -> list[Finding]:
        world, folder = WORLDS[TASK[kind]], models(kind)
        rows = folder / world.rows
        asked: dict[str, Any] = {
            "data": rows,
            "label": world.label,
            "groups": [group_of(kind)],
            "only": [dimension],
            "train": rows,
            **more,
        }
        budget = {dimension: LITTLE[dimension]}
        result = trustbase.audit(folder / "run" / "artifact", **asked, budget=budget, out=tmp_path / name)
        return list(result.report.findings)

    return audit


def test_how_many_of_these_audits_are_covered() -> None:
    assert [(dimension, kind) for dimension in dict.fromkeys(name for name, _ in REGISTERED) for kind in KINDS] == REGISTERED
    assert {dimension for dimension, _ in REGISTERED} == set(ASKING) & set(CATALOGUE)


@NAMED
def test_each_keeps_the_contract_of_findings(dimension: str, kind: str, audited: Made, tmp_path: Path) -> None:
    found = audited(dimension, kind)
    assert {finding.parts.dimension for finding in found} == {dimension}
    assert not [(finding.id, finding.reason) for finding in found if finding.status == "failed"]
    for finding in found:
        whole = finding.status == "not_applicable" and not finding.parts.slice  # says for all slices that there are none
        assert finding.parts.metric in CATALOGUE[dimension] and (whole or why_never(finding.parts, [group_of(kind)], kind) is None), (
            finding.id
        )
        assert finding.status != "ok" or finding.n or finding.low == finding.high, f"{finding.id} has an interval, but no n"
        assert finding.status != "ok" or finding.method, f"{finding.id} does not say how it was measured"
    if kind == "classes":
        measured = [finding for finding in found if finding.status == "ok"]
        assert any(finding.low < finding.high for finding in measured), "nothing has any doubt"  # type: ignore[operator]
        assert {finding.parts.metric for finding in found} == set(CATALOGUE[dimension])
    written = files.read_json(tmp_path / "out" / "evidence" / f"{dimension}.json")
    assert written["budget"] and written["asked"]


@pytest.mark.parametrize("dimension", [name for name in ASKING if name in CATALOGUE])
def test_the_same_audit_again_finds_the_same(dimension: str, audited: Made, tmp_path: Path) -> None:
    one, two = audited(dimension, "classes", "one"), audited(dimension, "classes", "two")
    assert [finding.to_json() for finding in one] == [finding.to_json() for finding in two]
    evidence = [files.digest_folder(tmp_path / name / "evidence") for name in ("one", "two")]
    assert evidence[0] == evidence[1]


@pytest.mark.parametrize("dimension", [name for name in ASKING if name in CATALOGUE])
def test_without_training_rows_nothing_fails(dimension: str, audited: Made) -> None:
    found = audited(dimension, "classes", train=None)
    assert not [(finding.id, finding.reason) for finding in found if finding.status == "failed"]


@pytest.mark.parametrize("dimension", [name for name in ASKING if name in CATALOGUE])
def test_evidence_holds_no_row(dimension: str, audited: Made, models: Callable[[str], Path], tmp_path: Path) -> None:
    audited(dimension, "classes")
    rows = (models("classes") / "rows.csv").read_text(encoding="utf-8").splitlines()[1:]
    texts = [row.split(",")[0] for row in rows]
    for path in (tmp_path / "out" / "evidence").glob("*.json"):
        held = path.read_text(encoding="utf-8")
        assert not [text for text in texts if text in held], f"{path.name} holds a row"
