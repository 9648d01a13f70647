"""What the commands print beside a verdict: a release that a simple rival beats is not told without it, on the page neither."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from report_folders import make

from trustbase import files
from trustbase.cli.show import show_audit, show_run
from trustbase.cli.watch import watching
from trustbase.records import AuditReport, Verdict
from trustbase.report.html import render

BEATEN = {"value": -0.6, "low": -0.64, "high": -0.56, "n": 500}


def shown(folder: Path, gain: dict[str, Any], capsys: pytest.CaptureFixture[str], *, released: bool = True) -> tuple[list[str], list[str]]:
    """What `run` and `audit` print of a folder whose model gains so much over the bag of words."""
    audit = files.read_json(folder / "audit.json")
    for rival, given in (("bag_of_words", gain), ("boosting", {"value": 0.1, "low": 0.05, "high": 0.15})):
        next(finding for finding in audit["findings"] if finding["id"] == f"quality.gain_over_{rival}").update(given)
    files.write_json(folder / "audit.json", audit)
    report, verdict = AuditReport.from_json(audit), Verdict.from_json({**files.read_json(folder / "verdict.json"), "released": released})
    bundle, page = SimpleNamespace(folder=folder / "bundle"), folder / "report.html"
    show_run(SimpleNamespace(verdict=verdict, audit=report, report=page, bundle=bundle, taken=(), computed=("audit",)))  # type: ignore[arg-type]
    ran = capsys.readouterr().out.splitlines()
    show_audit(SimpleNamespace(verdict=verdict, report=report, folder=folder))  # type: ignore[arg-type]
    return ran, capsys.readouterr().out.splitlines()


def test_a_release_that_a_simple_rival_beats_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path / "run")
    for lines, word in zip(shown(folder, BEATEN, capsys), ("RELEASED", "ALL LIMITS MET"), strict=True):
        place = next(number for number, line in enumerate(lines) if line.startswith("warning: "))
        assert lines[0].startswith(word) and not any(line.startswith("  quality.") for line in lines[:place])
        assert lines[place].endswith("quality.gain_over_bag_of_words: -0.6000 [-0.6400, -0.5600] n=500")
        assert "a simpler model does better (word counts with a linear model)" in lines[place]
    head = {lang: render(folder, lang=lang).split('<nav class="contents"')[0] for lang in ("en", "zh")}
    assert "Word counts with a linear model does better than this model" in head["en"] and "优于本模型" in head["zh"]


@pytest.mark.parametrize("gain", [{"value": -0.01, "low": -0.04, "high": 0.02}, {"value": 0.2, "low": 0.1, "high": 0.3}])
def test_a_rival_that_may_be_no_better_is_not_warned_of(gain: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not any(line.startswith("warning") for lines in shown(make(tmp_path / "run"), gain, capsys) for line in lines)


def test_what_was_not_released_needs_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not any(line.startswith("warning") for line in shown(make(tmp_path / "run"), BEATEN, capsys, released=False)[0])


def test_names_in_a_file_do_not_steer_the_terminal(tmp_path: Path) -> None:
    odd = "t\x1b]0;mine\x07\x9b2Jext"
    (tmp_path / "rows.csv").write_text(f"{odd},名\u3000字\nfilm,b\n", encoding="utf-8")
    (tmp_path / "twice.csv").write_text(f"{odd},{odd}\nfilm,b\n", encoding="utf-8")
    for name, code in (("rows.csv", 0), ("twice.csv", 2)):
        done = subprocess.run([sys.executable, "-m", "trustbase", "data", name], cwd=tmp_path, capture_output=True, check=False)
        told = (done.stdout + done.stderr).decode("utf-8")
        assert done.returncode == code and "t\\x1b]0;mine\\x07\\x9b2Jext" in told, told
        assert not {"\x1b", "\x07", "\x9b"} & set(told)


def test_what_would_steer_a_terminal_in_a_warning_is_shown_as_its_escape(capsys: pytest.CaptureFixture[str]) -> None:
    with watching() as listener:
        listener({"event": "warning", "stage": "data", "text": "column 'a\x1b[2J\u202eb 名\u3000字'"})
    assert capsys.readouterr().err == "data: warning: column 'a\\x1b[2J\\u202eb 名\u3000字'\n"
