"""`--out` that cannot be written, in every command that has it: what, where, why and the next step, before anything is computed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from search_kit import write_world
from typer.testing import CliRunner

from trustbase.audit_command import audit
from trustbase.cli.main import app
from trustbase.errors import Interrupted, TrustbaseError, UsageError
from trustbase.places import alone_in

ROWS = "text,label,p\n" + "".join(f"good film {n},yes,0.9\nbad film {n},no,0.2\n" for n in range(60))
COMMANDS = {
    "run": ["run", "recipe.yaml", "--out"],
    "data": ["data", "rows.csv", "--text", "text", "--label", "label", "--out"],
    "corpus": ["corpus", "raw.yaml", "--out"],
    "sweep": ["sweep", "raw.yaml", "--over", "train.learning_rate=3e-4,1e-3", "--trials", "2", "--tokens", "20k", "--out"],
    "scaling": ["scaling", "raw.yaml", *(f"--size=layers=1,width={width}" for width in (16, 32, 48, 64)), "--tokens", "20k", "--out"],
    "audit of a model": ["audit", "package:none", "--data", "rows.csv", "--text", "text", "--label", "label", "--out"],
    "audit of answers": ["audit", "--predictions", "rows.csv", "--label", "label", "--score", "p", "--out"],
    "compare": ["compare", "a", "b", "--data", "rows.csv", "--out"],
    "wheelhouse": ["wheelhouse"],
}
PLACES = ["/proc/x", "/sys/x", "file/x", "file", "closed/x"]


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    write_world(tmp_path, documents=20)
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "closed").mkdir(mode=0o500)
    (tmp_path / "recipe.yaml").write_text("base: linear\ndata: {train: rows.csv, text: text, label: label}\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_written_is_refused(name: str, place: str, world: Path) -> None:
    if place.startswith("closed") and os.access("closed", os.W_OK):
        pytest.skip("this user may write everywhere")
    if place.startswith("/") and not Path(place).parent.is_dir():
        pytest.skip("not on this system")
    before = sorted(path.name for path in world.iterdir())
    answer = CliRunner().invoke(app, [*COMMANDS[name], place])
    assert isinstance(answer.exception, TrustbaseError), answer.output
    assert answer.exception.exit_code == 2 and place in str(answer.exception) and answer.exception.hint
    assert sorted(path.name for path in world.iterdir()) == before and (world / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["data", "audit of answers"])
def test_a_full_disk_is_told(name: str, world: Path) -> None:
    """A limit on the size of files is the same to a process as a disk without room."""
    done = subprocess.run(
        [sys.executable, "-m", "trustbase", *COMMANDS[name], "results"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700)),
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "is used up" in done.stderr and "results" in done.stderr and "Next: free or allow more disk space" in done.stderr
    assert not [path for path in (world / "results").rglob("*") if path.name.endswith(".part")]


def audited(rows: str = "rows.csv") -> None:
    audit(predictions=rows, label="label", score="p", out="results")


def test_two_audits_at_once_do_not_mix_their_results(world: Path) -> None:
    audited()
    before = {path: path.read_bytes() for path in sorted((world / "results").rglob("*")) if path.is_file()}
    with alone_in(Path("results")), pytest.raises(UsageError, match="another process is writing to --out results"):
        audited()
    assert {path: path.read_bytes() for path in sorted((world / "results").rglob("*")) if path.is_file()} == before
    audited()  # nothing holds it any more


@pytest.mark.parametrize("at", ["trustbase.audit.run.run_audit", "trustbase.gate.decide.decide", "trustbase.report.html.report"])
def test_an_audit_that_is_cut_short_leaves_no_verdict_beside_findings_of_another(
    at: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands there afterwards is of one audit alone: the earlier one's, or this one's as far as it came."""
    (world / "limit.yaml").write_text('quality.accuracy: ">= 0.1"\n', encoding="utf-8")
    audit(predictions="rows.csv", label="label", score="p", out="results", policy="limit.yaml")
    parts = ("audit.json", "verdict.json", "report.html", "scores.parquet", "policy.json")
    before = {name: (world / "results" / name).read_bytes() for name in parts}
    (world / "other.csv").write_text(ROWS.replace("0.9", "0.1"), encoding="utf-8")

    def stopped(*_: object, **__: object) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr(at, stopped)
    with pytest.raises(Interrupted):
        audit(predictions="other.csv", label="label", score="p", out="results", policy="limit.yaml")
    left = {name: (world / "results" / name).read_bytes() for name in parts if (world / "results" / name).exists()}
    old = {name for name in left if left[name] == before[name] and name != "policy.json"}
    assert old in (set(), {name for name in parts if name != "policy.json"}), old
