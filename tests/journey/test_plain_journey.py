"""A tree and its rivals in kind go the whole journey: released, checked, asked, measured again and compared, through the command line."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import trustbase
from hurry import time_quickly
from plain_world import table_rows, text_rows
from trustbase import files
from trustbase.cli.main import app
from trustbase.errors import ModelError, PredictionError, StaleRunError, TrustbaseError
from trustbase.model.predict import Predictor
from trustbase.records import Split

RECIPE = """
base: {base}
data: {{train: {train}, text: {text}, label: label, positive: "yes", groups: [sex]}}
purpose: {{intended_use: tests, owner: nobody}}
audit: [quality, fairness, efficiency]
gates: {{quality.accuracy: ">= 0.75", quality.gain_over_majority: ">= 0.1", efficiency.latency_p95_ms: "<= 1000"}}
"""


#: How pickles, and archives that hold some, begin; and names in them.
PICKLED = (b"\x80\x04\x95", b"\x80\x05\x95", b"joblib", b"csklearn", b"PK\x03\x04", b"\x1f\x8b\x08")


@dataclass(frozen=True)
class Runs:
    folder: Path
    tree: Path  # over columns
    linear: Path  # over columns too
    rules: Path  # over a text

    @property
    def rows(self) -> Path:
        return self.folder / "table.csv"


def write(split: Split, path: Path) -> None:
    columns = split.table.column_names
    with path.open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream)
        out.writerow([*columns, "sex", "label"])
        for number, (row, label) in enumerate(zip(split.table.to_pylist(), split.labels, strict=True)):
            out.writerow([*(row[name] or "" for name in columns), "fm"[number % 7 < 3], ("no", "yes")[label]])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("plain")
    write(table_rows(1200, 0), folder / "table.csv")
    write(text_rows(900, 0), folder / "text.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTBASE_HOME", str(folder / "home"))
        time_quickly(patch, forked=False)
        made = {}
        shapes = {
            "tree": ("table.csv", '"{age} years, {job}: {note}"'),
            "linear": ("table.csv", '"{job}, {age}, {note}"'),
            "rules": ("text.csv", "text"),
        }
        for base, (train, text) in shapes.items():
            (folder / f"{base}.yaml").write_text(RECIPE.format(base=base, train=train, text=text), encoding="utf-8")
            result = trustbase.run(folder / f"{base}.yaml", out=folder / base)
            assert result.exit_code == 0, [gate for gate in result.verdict.gates if gate.verdict != "pass"]
            assert not [finding.id for finding in result.audit.findings if finding.status == "failed"]
            made[base] = folder / base
        yield Runs(folder, **made)


def command(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and standard output; what a command raises has the exit code that `main` gives it."""
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(answer.exception, TrustbaseError):
        return answer.exception.exit_code, str(answer.exception)
    return answer.exit_code, answer.stdout


def test_a_finished_run_computes_nothing_and_its_folder_is_whole(runs: Runs) -> None:
    again = trustbase.run(runs.folder / "tree.yaml", out=runs.tree)
    assert again.computed == () and again.exit_code == 0
    assert {path.name for path in (runs.tree / "bundle" / "model").iterdir()} == {"artifact.json", "plain.json", "plain.safetensors"}
    resolved = runs.folder / "resolved.yaml"
    resolved.write_bytes((runs.tree / "recipe.resolved.yaml").read_bytes())
    assert trustbase.run(resolved, out=runs.tree).computed == ()  # it names adapt and train too, as they are by default


@pytest.mark.parametrize("kind", ["tree", "linear", "rules"])
def test_the_bundle_holds_numbers_and_words_and_nothing_that_can_run(kind: str, runs: Runs) -> None:
    bundle = getattr(runs, kind) / "bundle"
    paths = [path for path in bundle.rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} <= {".json", ".safetensors", ".yaml", ".md", ".sig"}
    for path in paths:
        kept = path.read_bytes()
        assert not any(mark in kept for mark in PICKLED), path
    assert command("verify", bundle)[0] == 0


def test_card_and_report_write_the_model_down(runs: Runs) -> None:
    for kind, said in (("tree", "if age"), ("linear", "to begin with"), ("rules", " 1. if text ")):
        folder: Path = getattr(runs, kind)
        lines = files.read_json(folder / "artifact" / "artifact.json")["facts"]["model"]["lines"]
        assert any(said in line for line in lines)
        card = (folder / "bundle" / "README.md").read_text(encoding="utf-8")
        assert all(line in card for line in lines) and "adaptation" not in card and "tokens" not in card.partition("## Evaluation")[0]
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert 'class="written"' in page and lines[0].lstrip() in page.replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
    trustbase.report(runs.tree, lang="zh")
    assert "整棵树" in (runs.tree / "report.html").read_text(encoding="utf-8")


def test_what_it_costs_is_measured_in_a_process_of_its_own(runs: Runs) -> None:
    audit = files.read_json(runs.tree / "audit.json")
    found = {item["id"]: item for item in audit["findings"]}
    assert audit["model"]["runtime"] == "plain" and audit["model"]["base"] == "tree"
    assert found["efficiency.artifact_bytes"]["value"] < 20_000 and found["efficiency.parameters"]["value"] < 2_000
    assert found["efficiency.startup_seconds"]["value"] > 0 and found["efficiency.peak_memory_bytes"]["value"] > 0
    assert found["efficiency.batch_invariance"]["value"] <= 1e-6
    assert found["quality.unknown_tokens"]["status"] == "not_applicable"


def test_predict_reads_columns_and_tells_bad_rows_without_torch(runs: Runs, tmp_path: Path) -> None:
    rows = [
        {"age": 50, "job": "clerk", "note": "a good note"},
        {"age": None, "job": "cook", "note": None},
        {"age": 3, "job": "a\x1eb", "note": "x"},
        dict.fromkeys(("age", "job", "note")),
        {"age": "forty", "job": "clerk", "note": "a good note"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code = (
        f"import sys, trustbase; trustbase.predict({str(runs.tree / 'bundle')!r}, input={str(tmp_path / 'rows.jsonl')!r}, "
        f"output={str(tmp_path / 'out.jsonl')!r}); print(sorted({{'torch', 'transformers', 'sklearn'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "a plain model needs numpy alone"
    first, second, third, fourth, fifth = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert first["label"] == "yes" and second["label"] == "no" and 0 < second["probabilities"]["yes"] < 1
    assert "U+001E" in third["error"]["message"] and "every column of the template is empty" in fourth["error"]["message"]
    assert fifth["error"]["message"] == "rows.jsonl:5: column 'age' (numeric feature) is not a finite number: got 'forty'"


def test_there_are_no_weights_to_lend_and_no_embedding_to_ask_for(runs: Runs) -> None:
    with Predictor.open(runs.tree / "artifact") as predictor:
        with pytest.raises(ModelError, match="runtime plain has no torch weights to lend"), predictor.white_box():
            pass
        with pytest.raises(PredictionError, match="runtime plain of this artefact cannot compute 'embedding'"):
            predictor.embeddings(["a text"])


def test_answers_of_predict_are_those_that_were_audited(runs: Runs, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    assert command("predict", runs.tree / "bundle", "--input", runs.rows, "--output", tmp_path / "out.jsonl")[0] == 0
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    audited = pq.read_table(runs.tree / "scores.parquet").to_pylist()
    assert len(answers) == 1200 and len(audited) > 100
    assert all(abs(answers[row["row"] - 1]["probabilities"]["yes"] - row["score:yes"]) < 1e-6 for row in audited)
    assert all(answers[row["row"] - 1]["label"] == row["predicted"] for row in audited)


def test_recheck_finds_the_same(runs: Runs) -> None:
    texts = runs.folder / "text.csv"
    for words in ((runs.tree / "bundle", "--data", runs.rows), (runs.tree,), (runs.rules / "bundle", "--data", texts)):
        code, out = command("recheck", *words)
        assert code == 0 and "0 different" in out, out


def test_audit_takes_bundles_and_artefacts_and_no_other_text(runs: Runs, tmp_path: Path) -> None:
    usual = ("--data", runs.rows, "--label", "label", "--out", tmp_path / "out")
    own = ("--only", "quality,fairness,efficiency", "--train", runs.rows)
    assert command("audit", runs.tree / "bundle", *usual, *own)[0] == 0  # under its own limits
    accuracy = next(item for item in files.read_json(tmp_path / "out" / "audit.json")["findings"] if item["id"] == "quality.accuracy")
    assert accuracy["value"] > 0.85 and accuracy["n"] == 1200
    usual = (*usual, "--only", "quality")
    assert command("audit", runs.tree / "artifact", *usual)[0] == 0
    code, said = command("audit", runs.tree / "artifact", *usual, "--text", "note")
    assert code == 2 and "reads columns of its own" in said


@pytest.mark.parametrize("changed", ["rows", "base", "code"])
def test_a_run_whose_rows_base_or_code_changed_is_refused_and_keeps_what_it_has(
    changed: str, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("table.csv", "tree.yaml"):
        shutil.copy(runs.folder / name, tmp_path)
    shutil.copytree(runs.tree, tmp_path / "tree")
    assert trustbase.run(tmp_path / "tree.yaml", out=tmp_path / "tree").computed == ()
    before = files.digest_folder(tmp_path / "tree" / "bundle")
    overrides = ["base=linear"] if changed == "base" else []
    if changed == "rows":
        with (tmp_path / "table.csv").open("a", encoding="utf-8") as rows:
            rows.write((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[-1] + "\n")
    if changed == "code":
        monkeypatch.setattr("trustbase.stages.code_digest", lambda packages: "sha256:of another version")
    with pytest.raises(StaleRunError, match={"rows": "data", "base": "base", "code": "code"}[changed]):
        trustbase.run(tmp_path / "tree.yaml", overrides, out=tmp_path / "tree")
    assert files.digest_folder(tmp_path / "tree" / "bundle") == before
    forced = trustbase.run(tmp_path / "tree.yaml", overrides, out=tmp_path / "tree", force=True)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "tree" / "stages").glob("*.json")]
    assert forced.computed and any(record.get("forced") for record in records)


def test_a_number_that_is_none_is_a_bad_row_of_every_command(runs: Runs, tmp_path: Path) -> None:
    lines = runs.rows.read_text(encoding="utf-8").splitlines()
    lines[5] = "forty," + lines[5].partition(",")[2]
    (tmp_path / "dirty.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    usual = ("--data", tmp_path / "dirty.csv", "--label", "label")
    for words in (
        ("audit", runs.tree / "bundle", *usual, "--out", tmp_path / "out"),
        ("compare", runs.linear / "bundle", runs.tree / "bundle", "--data", tmp_path / "dirty.csv", "--out", tmp_path / "cmp"),
        ("recheck", runs.tree / "bundle", "--data", tmp_path / "dirty.csv"),
        ("run", runs.folder / "tree.yaml", f"data.train={tmp_path / 'dirty.csv'}", "--out", tmp_path / "run"),
    ):
        code, said = command(*words)
        assert code == 2 and "dirty.csv:6: column 'age' (a column of numbers) is not a finite number: got 'forty'" in said, said


def test_compare_tells_the_price(runs: Runs, tmp_path: Path) -> None:
    """Two models that read the same columns in other templates: each through its own."""
    both = (runs.linear / "bundle", runs.tree / "bundle")
    code, out = command("compare", *both, "--data", runs.rows, "--out", tmp_path / "cmp", "--calls", "30")
    assert code == 0 and "accuracy:" in out and "latency, challenger / champion" in out
    facts = files.read_json(tmp_path / "cmp" / "compare.json")
    assert [facts[side]["runtime"] for side in ("champion", "challenger")] == ["plain", "plain"] and not facts["same_artefact"]


def test_nothing_is_trained_from_a_bundle_of_plain_numbers(runs: Runs, tmp_path: Path) -> None:
    text = (runs.folder / "tree.yaml").read_text(encoding="utf-8").replace("base: tree", f"base: {runs.tree / 'bundle'}")
    (runs.folder / "onto.yaml").write_text(text, encoding="utf-8")
    code, said = command("run", runs.folder / "onto.yaml", "--out", tmp_path / "run")
    assert code == 2 and "is a model of plain numbers (kind tree)" in said


def test_one_changed_byte_is_refused(runs: Runs, tmp_path: Path) -> None:
    import shutil

    bundle = tmp_path / "bundle"
    shutil.copytree(runs.tree / "bundle", bundle)
    path = bundle / "model" / "plain.safetensors"
    kept = bytearray(path.read_bytes())
    kept[-1] ^= 1
    path.write_bytes(bytes(kept))
    assert command("verify", bundle)[0] == 4
    assert command("predict", bundle, "--input", runs.rows, "--output", tmp_path / "out.jsonl")[0] == 4
