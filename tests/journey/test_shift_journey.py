"""Rows kept apart, what they are for, and the thresholds that a bundle carries: from a recipe, and from a file of rows alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import write_rows, write_world

import trustbase
from trustbase import files
from trustbase.audit.robustness import audit
from trustbase.audit.robustness.distance import Shape
from trustbase.errors import DataError, RecipeError
from trustbase.records import Finding

pytestmark = pytest.mark.usefixtures("one_thread")

LITTLE = {"texts": 10, "queries": 20, "shift_texts": 60}
OWN = (
    "ood_auroc",
    "aurc",
    "selective_risk",
    "selective_coverage",
    "conformal_coverage",
    "conformal_coverage_difference",
    "conformal_set_size",
)


@pytest.fixture(scope="module", autouse=True)
def own_parts() -> Iterator[None]:
    """The parts that this file is about; the others ask thousands of questions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "PARTS", tuple(part for part in audit.PARTS if part.name in ("shift", "abstention", "conformal")))
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, rows=1_200)
    write_rows(folder / "fresh.csv", 400, seed=9)
    (folder / "other.csv").write_text("text\n" + "\n".join(f"zzz qqq {n} xyx" for n in range(50)) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTBASE_HOME", str(tmp_path_factory.mktemp("home")))
        little = ", ".join(f"{name}: {value}" for name, value in LITTLE.items())
        wanted = f"audit=[quality, fairness, {{robustness: {{{little}}}}}]"
        return trustbase.run(world / "toy.yaml", [wanted, "train.epochs=1"], out=world / "run")


def own(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.id: finding for finding in findings if finding.parts.dimension == "robustness" and finding.parts.metric in OWN}


def test_a_run_keeps_rows_apart_and_measures_on_all_test_rows(run: Any, world: Path) -> None:
    folder = world / "run"
    card = files.read_json(folder / "data_card.json")
    kept = card["splits"]["calibration"]["rows"]
    assert (
        55 <= kept <= 120
        and kept + card["splits"]["train"]["rows"] + card["splits"]["validation"]["rows"] + card["splits"]["test"]["rows"] == 1_200
    )
    found = own(list(run.audit.findings))
    assert {finding.status for finding in found.values()} == {"ok"}
    tests = card["splits"]["test"]["rows"]
    assert found["robustness.conformal_coverage"].n == found["robustness.aurc"].n == tests
    assert f"{kept:,} rows kept apart from training" in found["robustness.conformal_coverage"].method
    assert found["robustness.conformal_coverage[sex=f]"].n < tests  # type: ignore[operator]


def test_the_same_recipe_without_such_dimensions_keeps_its_rows(run: Any, world: Path) -> None:
    other = trustbase.run(world / "toy.yaml", ["audit=[quality, fairness]", "train.max_steps=2"], out=world / "plain")
    card, kept = (files.read_json(world / name / "data_card.json") for name in ("plain", "run"))
    assert "calibration" not in card["splits"] and other.audit.find("robustness.ood_auroc") is None
    assert card["splits"]["test"]["digest"] == kept["splits"]["test"]["digest"]
    none = trustbase.run(
        world / "toy.yaml",
        ["audit.dimensions=[quality, fairness, robustness]", "train.max_steps=2", "data.split.calibration=0", "audit.robustness.texts=10"],
        out=world / "none",
    )
    found = own(list(none.audit.findings))
    assert {finding.status for finding in found.values()} == {"insufficient"}
    assert "data.split.calibration" in found["robustness.aurc"].reason
    assert files.read_json(world / "none" / "data_card.json")["splits"]["train"]["digest"] == card["splits"]["train"]["digest"]


def test_a_bundle_carries_the_thresholds(run: Any, world: Path) -> None:
    place = run.bundle.folder / "evidence" / "robustness.guardrails.json"
    guard = files.read_json(place)
    assert guard["schema"] == "trustbase/guardrails/1" and guard["model"] == run.audit.model["digest"]
    assert [row["answered"] for row in guard["abstention"]["thresholds"]] == pytest.approx([0.8, 0.9, 0.95], abs=0.02)
    assert 0 < guard["prediction_sets"]["threshold"] < 1 and guard["prediction_sets"]["labels"] == ["no", "yes"]
    beyond = guard["out_of_distribution"]
    shape = Shape.from_json(beyond["mahalanobis"])
    assert set(shape.names) == {"no", "yes"} and np.isfinite(beyond["energy"]["threshold"])
    with trustbase.Predictor.open(run.bundle.folder / "model") as predictor:
        rows = [line.split(",")[0] for line in (world / "rows.csv").read_text().splitlines()[1:300]]
        own_, other = (shape.distances(predictor.embeddings(texts)) for texts in (rows, ["银行 账户", "xqz qqq"]))
    assert (own_ > beyond["mahalanobis"]["threshold"]).mean() < 0.15 and (other > beyond["mahalanobis"]["threshold"]).all()


def test_an_audit_of_a_file_fits_on_a_part_of_it_and_measures_quality_on_all(run: Any, world: Path) -> None:
    asked: dict[str, Any] = {"data": world / "fresh.csv", "label": "label", "groups": ["sex"], "only": ["quality", "robustness"]}
    result = trustbase.audit(world / "run" / "artifact", **asked, budget={"robustness": LITTLE}, out=world / "audit")
    found = own(list(result.report.findings))
    measured = found["robustness.aurc"].n
    assert 240 <= measured <= 320 and result.report.find("quality.accuracy").n == 400  # type: ignore[operator, union-attr]
    assert (
        f"a seeded {400 - measured} of the 400 rows, measured on the other {measured} alone"
        in found["robustness.conformal_coverage"].method
    )  # type: ignore[operator]
    backwards = world / "backwards.csv"
    lines = (world / "fresh.csv").read_text().splitlines()
    backwards.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    again = own(
        list(
            trustbase.audit(
                world / "run" / "artifact", **{**asked, "data": backwards}, budget={"robustness": LITTLE}, out=world / "again"
            ).report.findings
        )
    )
    same = ("robustness.conformal_coverage", "robustness.selective_risk#0.80", "robustness.conformal_set_size")
    assert [again[id].value for id in same] == [found[id].value for id in same]
    one, two = found["robustness.ood_auroc"], again["robustness.ood_auroc"]
    assert one.value == pytest.approx(two.value, abs=0.03)


def test_a_file_of_other_texts_is_what_is_told_apart(run: Any, world: Path) -> None:
    asked: dict[str, Any] = {"data": world / "fresh.csv", "label": "label", "only": ["robustness"], "out": world / "shifted"}
    budget = {"robustness": {**LITTLE, "shift": str(world / "other.csv")}}
    found = own(list(trustbase.audit(world / "run" / "artifact", **asked, budget=budget).report.findings))
    assert found["robustness.ood_auroc#knn"].value > 0.75  # type: ignore[operator]
    assert "50 texts that are given" in found["robustness.ood_auroc"].method, "by a score that ships, which a toy need not tell well"
    with pytest.raises(DataError, match="there is no such file"):
        trustbase.audit(world / "run" / "artifact", **asked, budget={"robustness": {"shift": "none.csv"}})
    with pytest.raises(RecipeError, match=r"none\.csv"):
        trustbase.run(world / "toy.yaml", ["audit.robustness.shift=none.csv"], out=world / "refused")
