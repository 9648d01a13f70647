"""Raw text → a base model in a bundle that verifies → the base of a fine-tuning; killed in every stage, and continued."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from raw import write_raw_world, write_texts
from toy import write_rows

import trustbase
from hurry import time_quickly
from trustbase import files
from trustbase.errors import ModelError, RecipeError, TrustbaseError, UsageError
from trustbase.flow import RunResult
from trustbase.model.load import resolve_base

STAGES = ("wishes", "corpus", "tokenizer", "tokens", "card", "estimate", "train", "artifact", "audit", "gate", "release")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    patch = pytest.MonkeyPatch()
    patch.setenv("TRUSTBASE_HOME", str(tmp_path_factory.mktemp("home")))
    time_quickly(patch)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, home: None) -> RunResult:
    world = tmp_path_factory.mktemp("raw")
    return trustbase.run(write_raw_world(world), out=world / "run")


def found(result: RunResult, id: str) -> Any:
    finding = result.audit.find(id)
    assert finding is not None, f"{id} is not among {[other.id for other in result.audit.findings]}"
    return finding


def test_a_base_model_is_released_with_evidence_of_what_it_learned(released: RunResult) -> None:
    assert released.exit_code == 0 and released.computed == STAGES
    perplexity = found(released, "quality.perplexity")
    assert 1 < perplexity.low < perplexity.value < perplexity.high < 80, "80 tokens are the vocabulary: guessing would be worse"
    for id in ("quality.masked_accuracy", "quality.next_sentence_accuracy"):
        finding = found(released, id)
        assert 0 < finding.low < finding.value < finding.high < 1 and finding.n > 60
    for name in ("training_flops", "training_energy_kwh", "training_seconds", "model_flops_utilisation"):
        assert found(released, f"efficiency.{name}").value > 0
    trustbase.verify(released.bundle.folder)
    estimate = files.read_json(released.folder / "estimate.json")
    assert estimate["steps"] > 10 and estimate["energy_kwh"] > 0 and estimate["peak_flops"] > 0
    card = files.read_json(released.folder / "data_card.json")
    assert card["tokenizer"]["vocab_size"] == 80 and card["sources"][0]["licence"] == "made up"


def test_its_log_tells_loss_tokens_and_utilisation_of_each_step(released: RunResult) -> None:
    log = [json.loads(line) for line in (released.folder / "log.jsonl").read_text().splitlines()]
    steps = [event for event in log if event["event"] == "step" and event["stage"] == "train"]
    assert [event["step"] for event in steps] == list(range(1, len(steps) + 1)) and len(steps) > 20
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.2
    assert all(event["tokens_per_second"] > 0 and 0 < event["utilisation"] < 1.5 for event in steps)
    evaluations = [event["quality.perplexity"] for event in log if event["event"] == "evaluation"]
    assert len(evaluations) > 2 and evaluations[-1] < evaluations[0]


def test_a_finished_run_computes_nothing_and_its_resolved_recipe_is_a_recipe(released: RunResult) -> None:
    recipe = released.folder.parent / "raw.yaml"
    again = trustbase.run(recipe, out=released.folder)
    assert again.computed == () and again.exit_code == 0
    resolved = released.folder.parent / "resolved.yaml"
    resolved.write_text((released.folder / "recipe.resolved.yaml").read_text())
    taken = trustbase.run(resolved, out=released.folder.parent / "taken", reuse=released.folder)
    assert "train" in taken.taken and set(taken.computed) <= {"gate", "release"}


def test_the_next_recipe_names_it_as_its_base(released: RunResult, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 400)
    recipe = {
        "base": str(released.bundle.folder),
        "data": {"train": str(tmp_path / "rows.csv"), "text": "text", "label": "label"},
        "train": {"epochs": 1, "max_length": 32, "precision": "fp32"},
        "audit": ["quality"],
        "gates": {"quality.accuracy": ">= 0.99"},
    }
    tuned = trustbase.run(recipe, ["data.allow_unknown_tokens=0.99"], out=tmp_path / "tuned")
    base = files.read_json(tuned.folder / "checkpoints" / "trained" / "trustbase.json")["base"]
    assert any("pretrained on corpus sha256:" in line for line in base["lineage"])
    assert base["digest"] == files.read_json(tuned.folder / "stages" / "base.json")["result"]["digest"]


def test_random_weights_of_the_same_shape_can_be_named_for_comparison(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 400)
    recipe = {
        "base": {
            "from": "scratch",
            "model": {"layers": 1, "width": 32, "heads": 2, "context": 32},
            "tokenizer": {"train": "wordpiece", "vocab_size": 80},
        },
        "data": {"train": str(tmp_path / "rows.csv"), "text": "text", "label": "label"},
        "train": {"epochs": 1, "max_length": 32, "precision": "fp32", "seed": 1},
        "audit": ["quality"],
        "gates": {"quality.accuracy": ">= 0.99"},
    }
    result = trustbase.run(recipe, out=tmp_path / "run")
    lineage = files.read_json(result.folder / "stages" / "base.json")["result"]
    assert (result.folder / "base" / "model" / "model.safetensors").is_file() and lineage["digest"].startswith("sha256:")
    other = trustbase.run(recipe, ["train.seed=2"], out=tmp_path / "other")
    weights = [files.sha256_file(run.folder / "base" / "model" / "model.safetensors") for run in (result, other)]
    assert weights[0] != weights[1], "another seed draws other weights"
    with pytest.raises(RecipeError, match=r"base\.model\.context: reads 32 tokens at most"):
        trustbase.run(recipe, ["train.max_length=64"], out=tmp_path / "long")


@pytest.mark.parametrize(
    ("objective", "family", "tokenizer", "vocabulary", "accuracy"),
    [
        ("causal", "decoder", "byte_bpe", 300, "quality.token_accuracy"),
        ("span_corruption", "encoder-decoder", "unigram", 130, "quality.span_corruption_accuracy"),
        ("contrastive", "encoder", "wordpiece", 80, "quality.contrastive_accuracy"),
        ("replaced_token", "encoder", "wordpiece", 80, ""),
    ],
)
def test_every_family_goes_the_whole_way(
    tmp_path: Path, objective: str, family: str, tokenizer: str, vocabulary: int, accuracy: str
) -> None:
    recipe = write_raw_world(tmp_path, objective=objective, family=family, tokenizer=tokenizer, vocabulary=vocabulary, tokens=6_000)
    gate = "efficiency.parameters"
    result = trustbase.run(recipe, ["gates=null", f"gates.{gate}=<= 1000000"], out=tmp_path / "run")
    assert result.exit_code == 0
    failed = [f"{finding.id}: {finding.reason}" for finding in result.audit.findings if finding.status == "failed"]
    assert not failed, failed
    if accuracy:
        assert 0 <= found(result, accuracy).value <= 1
    trustbase.verify(result.bundle.folder)


def test_pretraining_goes_on_and_the_lineage_is_kept(released: RunResult, tmp_path: Path) -> None:
    write_texts(tmp_path / "more.txt", 600, seed=5)
    recipe = {
        "stage": "pretrain",
        "corpus": {"files": str(tmp_path / "more.txt"), "held_out": 0.2},
        "model": {"base": str(released.bundle.folder), "context": 32},
        "objective": "masked+next_sentence",
        "train": {"tokens": 4000, "batch_tokens": 512, "precision": "fp32"},
        "estimate": {"seconds": 0.1},
        "gates": {"quality.perplexity": "<= 1000"},
    }
    result = trustbase.run(recipe, out=tmp_path / "run")
    assert result.exit_code == 0
    lineage = files.read_json(result.folder / "artifact" / "trustbase.json")["base"]["lineage"]
    assert sum("pretrained on corpus" in line for line in lineage) == 2
    assert found(result, "quality.perplexity").value < found(released, "quality.perplexity").value + 30
    with pytest.raises(RecipeError, match=r"model\.base: reads 32 tokens at most"):
        trustbase.run(recipe, ["model.context=64"], out=tmp_path / "long")


def test_canaries_a_live_probe_and_two_workers_go_the_whole_way(tmp_path: Path) -> None:
    recipe = write_raw_world(tmp_path, tokenizer="characters", vocabulary=95, tokens=6_000)
    write_rows(tmp_path / "rows.csv", 1200)
    more = ["canaries={count: 10, repeats: 5, digits: 4}", "model.context=64", "cluster={workers: 2}", "train.tokens=6000"]
    probe = "probes=[{name: words, data: rows.csv, rows: 200, live: true}]"
    result = trustbase.run(recipe, [*more, probe], out=tmp_path / "run")
    assert result.exit_code == 0
    exposure, probed = found(result, "privacy.canary_exposure"), found(result, "quality.probe_accuracy[words]")
    assert exposure.status == "ok" and exposure.n == 10 and 0 <= exposure.low <= exposure.high <= 10, exposure.reason
    assert probed.status == "ok" and probed.n > 100
    assert found(result, "efficiency.model_flops_utilisation").status == "insufficient", "the peak of two workers was not measured"
    log = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    assert any("quality.probe_accuracy[words]" in event for event in log if event["event"] == "evaluation")
    assert any("2 processes" in str(event.get("text")) for event in log)
    card = files.read_json(result.bundle.folder / "data_card.json")
    assert card["planted"]["count"] == 10 and card["planted"]["digest"] != card["digest"]
    trustbase.verify(result.bundle.folder)


def test_a_grown_vocabulary_is_compared_with_what_it_grew_from(released: RunResult, tmp_path: Path) -> None:
    write_texts(tmp_path / "more.txt", 600, seed=5)
    recipe = {
        "stage": "pretrain",
        "corpus": {"files": str(tmp_path / "more.txt"), "held_out": 0.2},
        "tokenizer": {"extend": str(released.bundle.folder), "add": ["kasunlo", "retovi"]},
        "model": {"base": str(released.bundle.folder), "context": 32},
        "objective": "masked",
        "train": {"tokens": 2000, "batch_tokens": 512, "precision": "fp32"},
        "estimate": {"seconds": 0.1},
        "gates": {"quality.perplexity": "<= 1000"},
    }
    result = trustbase.run(recipe, out=tmp_path / "run")
    about = files.read_json(result.folder / "data_card.json")["tokenizer"]
    assert about["vocab_size"] == about["base"]["vocab_size"] + 2
    assert about["base_name"].startswith("local:") and str(tmp_path) not in (result.folder / "data_card.json").read_text()


def test_the_data_of_a_probe_and_the_dropout_of_a_base_are_inputs(released: RunResult, tmp_path: Path) -> None:
    from trustbase.pretraining import _probes, model_at_start
    from trustbase.raw_text import Start
    from trustbase.recipe.read import read_recipe

    recipe = write_raw_world(tmp_path)
    write_rows(tmp_path / "rows.csv", 400)
    plan = read_recipe(recipe, ["probes=[{name: words, data: rows.csv}]"])
    before = _probes(plan)
    write_rows(tmp_path / "rows.csv", 401)
    assert _probes(plan) != before
    gone_on = read_recipe(recipe, ["tokenizer=null", f"model={{base: {released.bundle.folder}, context: 32}}"])
    (tmp_path / "resolved.yaml").write_text(gone_on.resolved.replace("texts.txt", str(tmp_path / "texts.txt")))
    again = read_recipe(tmp_path / "resolved.yaml")
    base = resolve_base(str(released.bundle.folder))
    rates = []
    for plan in (
        gone_on,
        again,
        read_recipe(recipe, ["tokenizer=null", f"model={{base: {released.bundle.folder}, context: 32, dropout: 0.3}}"]),
    ):
        model, _ = model_at_start(plan, Start(base.folder, base.digest, base), None)
        rates.append(model.config.hidden_dropout_prob)
    assert rates == [0.1, 0.1, 0.3]
    assert again.pretrain.model.dropout is None


def test_a_run_whose_checkpoint_was_altered_is_no_base(released: RunResult, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(released.folder, run)
    assert resolve_base(str(run)).digest == resolve_base(str(released.folder)).digest
    weights = run / "checkpoints" / "trained" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="is not what that run trained"):
        resolve_base(str(run))


def test_damaged_files_of_a_corpus_are_named_and_a_cache_is_made_anew(released: RunResult, tmp_path: Path) -> None:
    recipe, run = released.folder.parent / "raw.yaml", tmp_path / "run"
    for name, refused in (("corpus/files.json", False), ("corpus/corpus.json", True), ("corpus/documents/store.json", True)):
        shutil.copytree(released.folder, run)
        (run / name).write_text("{")
        if refused:
            with pytest.raises(TrustbaseError) as caught:
                trustbase.run(recipe, out=run)
            assert Path(name).name in str(caught.value) or "corpus" in str(caught.value)
        else:
            assert trustbase.run(recipe, out=run).computed == ()
        shutil.rmtree(run)


def test_a_budget_of_endless_passes_is_refused_before_it_is_counted(tmp_path: Path) -> None:
    recipe = write_raw_world(tmp_path)
    with pytest.raises(UsageError, match="passes over a corpus of about"):
        trustbase.run(recipe, ["train.tokens=10000000000000"], out=tmp_path / "run")


def test_the_corpus_alone_is_what_the_run_then_finds(tmp_path: Path) -> None:
    recipe = write_raw_world(tmp_path)
    prepared = trustbase.corpus(recipe, out=tmp_path / "run")
    assert prepared.card["result"]["train"]["documents"] > 900
    changed = (tmp_path / "run" / "corpus" / "documents" / "store.json").stat().st_mtime_ns
    trustbase.run(recipe, ["train.tokens=2000"], out=tmp_path / "run")
    assert (tmp_path / "run" / "corpus" / "documents" / "store.json").stat().st_mtime_ns == changed
    assert "documents are held out, too few" not in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8")
    trustbase.corpus(recipe, ["corpus.held_out=0.002"], out=tmp_path / "few")
    assert "documents are held out, too few" in (tmp_path / "few" / "log.jsonl").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="fine-tuning"):
        trustbase.corpus({"data": {"train": "sample:census-income", "text": "{age}", "label": "income"}}, out=tmp_path / "none")


def _start(recipe: Path, out: Path, home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "trustbase.cli", "run", str(recipe), "--out", str(out), "train.save_every=0.05"]
    environment = {**os.environ, "TRUSTBASE_HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _events(out: Path) -> list[dict[str, Any]]:
    path = out / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.strip().endswith("}")]


def _kill_in(stage: str, recipe: Path, out: Path, home: Path) -> None:
    """Kill the run as soon as a stage has begun; in training, once a checkpoint lies behind."""
    process = _start(recipe, out, home)
    wanted = "checkpoint" if stage == "train" else "stage_started"
    deadline = time.monotonic() + 120
    seen = len(_events(out))
    while time.monotonic() < deadline and process.poll() is None:
        if any(event["event"] == wanted and event["stage"] == stage for event in _events(out)[seen:]):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    _, complaint = process.communicate()
    ended = (-signal.SIGKILL, 0) if stage == "release" else (-signal.SIGKILL,)  # the last may be done before it is killed
    assert process.returncode in ended, f"{stage}: {process.returncode} {complaint.decode()[-2000:]}"


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    recipe = write_raw_world(tmp_path, tokens=120_000)
    killed, straight, home = tmp_path / "killed", tmp_path / "straight", tmp_path / "home"
    for stage in ("corpus", "tokenizer", "tokens", "estimate", "train", "audit", "release"):
        _kill_in(stage, recipe, killed, home)
    for out in (killed, straight):
        process = _start(recipe, out, home)
        _, complaint = process.communicate(timeout=240)
        assert process.returncode == 0, complaint.decode()[-2000:]
    log = _events(killed)
    resumed = [event["step"] for event in log if event["event"] == "resumed"]
    assert resumed and resumed[0] > 0, "training began again from nothing"
    paths = ["checkpoints/trained/model.safetensors", "tokenizer/tokenizer.json", "tokens/train/tokens.bin"]
    for path in paths:
        assert files.sha256_file(killed / path) == files.sha256_file(straight / path), path
    reports = [[(item["id"], item["value"]) for item in files.read_json(out / "audit.json")["findings"]] for out in (killed, straight)]
    quality = [[pair for pair in report if pair[0].startswith("quality")] for report in reports]
    assert quality[0] == quality[1] and len(quality[0]) >= 3
