"""The report as a browser shows it: offline, in both languages, with nothing refused by its own policy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import trustbase

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--window-size=1280,1500"),
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here; .ci/run installs Debian's")
@pytest.mark.parametrize(("lang", "words"), [("en", "No verdict"), ("zh", "准确率")])
def test_the_report_opens_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str, words: str) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    rows = [f"{'yes' if i % 3 else 'no'},{0.8 if i % 3 else 0.3},{'f' if i % 2 else 'm'}" for i in range(300)]
    (tmp_path / "answers.csv").write_text("truth,p,sex\n" + "\n".join(rows) + "\n")
    given = tmp_path / "answers.csv"
    result = trustbase.audit(predictions=given, label="truth", score="p", groups=["sex"], out=tmp_path / "out", lang=lang)
    page, picture = (result.folder / "report.html").resolve().as_uri(), tmp_path / "page.png"
    common = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run([*common, "--dump-dom", page], capture_output=True, text=True, timeout=60)
    assert words in shown.stdout
    assert "Content Security Policy" not in shown.stderr and "Uncaught" not in shown.stderr
    subprocess.run([*common, f"--screenshot={picture}", page], capture_output=True, timeout=60)
    assert picture.read_bytes()[:4] == b"\x89PNG" and picture.stat().st_size > 30_000
