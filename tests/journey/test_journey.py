"""The whole journey at toy size: recipe → checked bundle → answers; refused, repeated, reused, changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy import write_world

import trustbase
from hurry import time_quickly
from optional import unless_installed
from trustbase.errors import RecipeError, StaleRunError, UsageError, VerificationError
from trustbase.flow import RunResult
from trustbase.model.load import resolve_base

KEYS = {"id", "dimension", "metric", "slice", "value", "low", "high", "confidence", "n", "unit", "direction", "method"}
KEYS |= {"source", "seed", "status", "reason"}
QUALITY = (
    *("accuracy", "macro_f1", "weighted_f1", "auroc", "auprc", "log_loss", "brier", "expected_calibration_error"),
    *("unknown_tokens", "gain_over_majority", "gain_over_bag_of_words", "gain_over_boosting"),
)
GAPS = (
    *("demographic_parity_difference", "demographic_parity_ratio", "equalized_odds_difference"),
    *("equal_opportunity_difference", "average_odds_difference", "accuracy_difference"),
)
EFFICIENCY = (
    *("latency_p50_ms", "latency_p95_ms", "throughput", "artifact_bytes", "parameters", "flops_per_input"),
    *("peak_memory_bytes", "batch_invariance", "cost_per_1000"),
)
IDS = {f"quality.{name}" for name in QUALITY} | {f"fairness.{name}[sex]" for name in GAPS} | {f"efficiency.{name}" for name in EFFICIENCY}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    patch = pytest.MonkeyPatch()
    patch.setenv("TRUSTBASE_HOME", str(tmp_path_factory.mktemp("home")))
    time_quickly(patch)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def released(world: Path, home: None) -> RunResult:
    return trustbase.run(write_world(world), out=world / "run")


def test_a_good_model_is_released_with_everything_the_contract_names(released: RunResult) -> None:
    assert released.exit_code == 0 and released.verdict.released
    for name in ("recipe.resolved.yaml", "policy.json", "log.jsonl", "audit.json", "verdict.json", "report.html", "data_card.json"):
        assert (released.folder / name).is_file(), name
    for name in ("checkpoints", "evidence", "bundle"):
        assert (released.folder / name).is_dir(), name
    assert not (released.folder / "rejected").exists()
    accuracy = released.audit.find("quality.accuracy")
    assert accuracy is not None and accuracy.value is not None and accuracy.value > 0.8
    assert accuracy.low is not None and accuracy.high is not None and accuracy.low < accuracy.value < accuracy.high
    assert released.verdict.test_looks == 1


def test_audit_json_keeps_the_contract(released: RunResult) -> None:
    audit = json.loads((released.folder / "audit.json").read_text())
    assert audit["schema"] == "trustbase/audit/1"
    assert audit["policy"]["digest"] and audit["policy"]["set_before_measuring"] is True
    for finding in audit["findings"]:
        assert set(finding) >= KEYS, finding["id"]
        assert finding["status"] == "ok" or finding["reason"], finding["id"]
        if finding["value"] is not None:
            assert finding["low"] <= finding["value"] <= finding["high"], finding["id"]
    failed = [finding["id"] for finding in audit["findings"] if finding["status"] == "failed"]
    assert not failed
    ids = {finding["id"] for finding in audit["findings"]}
    assert ids >= IDS, IDS - ids


def test_the_limits_are_older_than_the_first_measurement(released: RunResult) -> None:
    stages = {path.stem: json.loads(path.read_text()) for path in (released.folder / "stages").glob("*.json")}
    assert stages["wishes"]["started"] <= stages["audit"]["started"]
    events = [json.loads(line) for line in (released.folder / "log.jsonl").read_text().splitlines()]
    order = [event["stage"] for event in events if event["event"] == "stage_done"]
    assert order.index("wishes") < order.index("audit") < order.index("gate")


def test_the_same_command_on_a_finished_run_computes_nothing(released: RunResult, world: Path) -> None:
    again = trustbase.run(world / "toy.yaml", out=world / "run")
    assert again.computed == () and again.exit_code == 0
    assert again.verdict == released.verdict


def test_changed_wishes_are_refused(released: RunResult, world: Path) -> None:
    before = (world / "run" / "policy.json").read_bytes()
    with pytest.raises(StaleRunError, match="gates"):
        trustbase.run(world / "toy.yaml", ["gates.quality.accuracy=>= 0.1"], out=world / "run")
    assert (world / "run" / "policy.json").read_bytes() == before


def test_the_bundle_is_checked_and_answers(released: RunResult, world: Path) -> None:
    checked = trustbase.verify(released.bundle.folder)
    assert checked.manifest_digest == released.bundle.manifest_digest
    rows = world / "ask.csv"
    rows.write_text("text,sex\nthe film was lovely,f\n,m\nthe food was awful,m\n", encoding="utf-8")
    summary = trustbase.predict(released.bundle.folder, input=rows, output=world / "answers.jsonl")
    answers = [json.loads(line) for line in (world / "answers.jsonl").read_text().splitlines()]
    assert (summary.rows, summary.failed, len(answers)) == (3, 1, 3)
    assert answers[0]["label"] == "yes" and answers[2]["label"] == "no"
    assert abs(sum(answers[0]["probabilities"].values()) - 1) < 1e-6
    assert "error" in answers[1] and "label" not in answers[1]


def test_no_row_of_user_data_ships(released: RunResult) -> None:
    assert (released.folder / "scores.parquet").is_file()
    assert not list(released.bundle.folder.rglob("*.parquet"))
    row = (released.folder.parent / "rows.csv").read_text().splitlines()[5].split(",")[0].encode()
    for path in released.bundle.folder.rglob("*"):
        assert not path.is_file() or row not in path.read_bytes(), path


def test_nothing_in_a_bundle_depends_on_where_it_stands(released: RunResult, world: Path) -> None:
    place = str(world.resolve()).encode()
    for path in released.bundle.folder.rglob("*"):
        assert not path.is_file() or place not in path.read_bytes(), path
    moved = world / "elsewhere"
    shutil.copytree(released.bundle.folder, moved)
    assert trustbase.verify(moved).manifest_digest == released.bundle.manifest_digest


def test_absolute_paths_in_a_recipe_do_not_enter_the_bundle(tmp_path: Path) -> None:
    place = tmp_path.resolve()
    recipe = write_world(place, rows=700, adapt="frozen", limit=0.3)
    said = recipe.read_text(encoding="utf-8").replace("base: base", f"base: {place}/base").replace("rows.csv", f"{place}/rows.csv")
    (place / "policy.yaml").write_text('quality.accuracy: ">= 0.3"\n', encoding="utf-8")
    recipe.write_text(said.replace("gates:", f"gates:\n  from: {place}/policy.yaml"), encoding="utf-8")
    result = trustbase.run(recipe, out=place / "run")
    assert result.verdict.released
    assert str(place) in (place / "run/recipe.resolved.yaml").read_text(), "the run keeps what was asked of it"
    names = (str(place), str(tmp_path), place.parent.name)
    shipped = [path for path in result.bundle.folder.rglob("*") if path.is_file()]
    assert len(shipped) > 15
    for path in shipped:
        assert not any(name.encode() in path.read_bytes() for name in names), path
    assert trustbase.verify(result.bundle.folder).manifest_digest == result.bundle.manifest_digest


def test_an_altered_bundle_answers_nothing(released: RunResult, world: Path) -> None:
    altered = world / "altered"
    shutil.copytree(released.bundle.folder, altered)
    weights = altered / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    with pytest.raises(VerificationError):
        trustbase.predict(altered, input=world / "ask.csv", output=world / "none.jsonl")
    assert not (world / "none.jsonl").exists()


def test_a_stricter_limit_is_refused_in_seconds_with_reuse_and_its_look_is_counted(released: RunResult, world: Path) -> None:
    strict = trustbase.run(world / "toy.yaml", ["gates.quality.accuracy=>= 0.999"], out=world / "strict", reuse=world / "run")
    assert strict.exit_code == 3 and not strict.verdict.released
    assert set(strict.computed) == {"wishes", "gate", "release"}
    assert strict.verdict.test_looks == 2
    assert (strict.folder / "rejected").is_dir() and not (strict.folder / "bundle").exists()
    audit = json.loads((strict.folder / "audit.json").read_text())
    assert audit["policy"]["set_before_measuring"] is False
    with pytest.raises(VerificationError):
        trustbase.verify(strict.folder / "rejected")


def test_reuse_of_nothing_is_refused(world: Path) -> None:
    with pytest.raises(UsageError, match="not a run folder"):
        trustbase.run(world / "toy.yaml", out=world / "other", reuse=world / "nothing")


@pytest.mark.parametrize(("adapt", "runtime"), [("lora", "onnx"), ("frozen", "torch")])
def test_other_adaptations_and_runtimes_make_the_same_journey(tmp_path: Path, adapt: str, runtime: str) -> None:
    recipe = write_world(tmp_path, rows=700, adapt=adapt, runtime=runtime, limit=0.3)
    result = trustbase.run(recipe, out=tmp_path / "run")
    assert result.audit.model["runtime"] == runtime
    assert result.verdict.released and result.exit_code == 0
    assert trustbase.verify(result.folder / "bundle").manifest_digest == result.bundle.manifest_digest


ADDING = [("adalora", "torch", 0.002), ("adapter", "auto", 0.002), ("prefix", "onnx", 0.03), ("prompt", "torch", 0.03)]
ADDING += [pytest.param("qlora", "onnx", 0.005, marks=unless_installed("bitsandbytes"))]


@pytest.mark.parametrize(("adapt", "runtime", "rate"), ADDING)
def test_adaptations_that_add_modules_make_the_same_journey(tmp_path: Path, adapt: str, runtime: str, rate: float) -> None:
    recipe = write_world(tmp_path, rows=700, adapt=adapt, runtime=runtime, limit=0.3)
    result = trustbase.run(recipe, ["audit=[quality, fairness, efficiency]", f"train.learning_rate={rate}"], out=tmp_path / "run")
    assert result.verdict.released and result.exit_code == 0
    bundle = result.folder / "bundle"
    assert trustbase.verify(bundle).manifest_digest == result.bundle.manifest_digest
    trained = result.folder / "checkpoints" / "trained"
    assert (trained / "adapter_model.safetensors").is_file() and not (trained / "model.safetensors").exists()
    merged = adapt in ("adalora", "qlora")
    assert (bundle / "model" / "model.safetensors").is_file() is merged
    assert (bundle / "model" / "adapted_model.safetensors").is_file() is not merged
    # the bundle stands alone: base and run are gone, and it answers as the artefact did
    shutil.move(bundle, tmp_path / "elsewhere")
    before = (tmp_path / "run" / "artifact").rename(tmp_path / "artifact")
    shutil.rmtree(tmp_path / "base")
    shutil.rmtree(result.folder)
    for path in (tmp_path / "elsewhere").rglob("*"):
        assert not path.is_file() or str(tmp_path).encode() not in path.read_bytes(), path
    trustbase.predict(tmp_path / "elsewhere", input=tmp_path / "rows.csv", output=tmp_path / "answers.jsonl")
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 700 and {answer["label"] for answer in answers} <= {"no", "yes"}
    with trustbase.Predictor.open(before) as predictor:
        scores = predictor.class_scores([line.split(",")[0] for line in (tmp_path / "rows.csv").read_text().splitlines()[1:21]])
    assert [answer["probabilities"]["yes"] for answer in answers[:20]] == pytest.approx(scores[:, 1].tolist(), abs=1e-5)


def test_a_new_base_without_room_for_a_prefix_is_refused_before_training(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=60, adapt="prefix")
    scratch = "base={from: scratch, model: {layers: 1, width: 16, heads: 2, context: 40}, tokenizer: {from: base}}"
    with pytest.raises(RecipeError, match="reads at most 40, of which adapt: prefix takes 16"):
        trustbase.run(recipe, [scratch], out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_text_longer_than_the_base_can_read_is_refused_before_training(tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=60)
    with pytest.raises(RecipeError, match="reads at most 128"):
        trustbase.run(recipe, ["train.max_length=256"], out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_released_bundle_serves_as_the_next_base_and_its_lineage_is_kept(released: RunResult, world: Path, tmp_path: Path) -> None:
    recipe = write_world(tmp_path, rows=200, limit=0.1)
    result = trustbase.run(recipe, [f"base={released.bundle.folder}", "train.max_steps=3"], out=tmp_path / "run")
    first, second = (json.loads((run.folder / "artifact" / "trustbase.json").read_text())["base"] for run in (released, result))
    assert first["lineage"] == [] and first["digest"] == resolve_base(str(world / "base")).digest
    assert second["lineage"] == [f"{first['reference']} at {first['revision']} ({first['digest']})"]
    altered = tmp_path / "altered"
    shutil.copytree(released.bundle.folder, altered)
    (altered / "policy.json").write_text("{}")
    with pytest.raises(VerificationError):
        trustbase.run(recipe, [f"base={altered}"], out=tmp_path / "other")
