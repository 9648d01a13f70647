"""Which label is positive and which favourable, where nobody said it: told when it is assumed, and in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import trustbase
from hurry import time_quickly
from trustbase import files
from trustbase.data.labels import assumed, make_schema

ROWS = "text,label,p,sex,said\n" + "".join(
    f"good film {n},yes,0.9,{'fm'[n % 3 > 0]},yes\nbad film {n},no,0.2,{'mf'[n % 5 > 0]},no\n" for n in range(100)
)
POSITIVE, FAVOURABLE = "no positive label was named, and 'yes' is taken", "no favourable label was named, and 'yes' is taken"


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path / "rows.csv"


def warned(call: Any) -> list[str]:
    found: list[str] = []
    call(lambda event, /, **fields: found.append(fields["text"]) if event == "warning" else None)
    return found


def test_only_what_was_not_named_and_means_something_is_told() -> None:
    two, three = make_schema(["no", "yes"]), make_schema(["a", "b", "c"])
    assert [text.partition(" is taken")[0] + " is taken" for text in assumed(two, groups=True)] == [POSITIVE, FAVOURABLE]
    assert [text[-15:] for text in assumed(two, groups=True, options="--")] == ["it: --positive)", ": --favourable)"]
    assert len(assumed(two, groups=False)) == 1 and assumed(three, groups=False) == [] and len(assumed(three, groups=True)) == 1
    assert assumed(make_schema(["no", "yes"], positive="no", favourable="yes"), groups=True) == []


@pytest.mark.parametrize("answer", [{"score": "p"}, {"predicted": "said"}], ids=["score", "predicted"])
def test_an_audit_of_answers_says_which_class_it_took(answer: dict[str, str], rows: Path) -> None:
    asked: dict[str, Any] = {"predictions": rows, "label": "label", "groups": ["sex"], **answer}
    told = warned(lambda emit: trustbase.audit(**asked, out="assumed", emit=emit))
    assert any(POSITIVE in text and "--positive" in text for text in told) and any(FAVOURABLE in text for text in told)
    assert any("column 'p' is read as the probability of 'yes'" in text for text in told) is ("score" in answer)
    page = Path("assumed/report.html").read_text(encoding="utf-8")
    assert "The positive label, “yes”, was assumed." in page and "The favourable label, “yes”, was assumed." in page
    assert not warned(lambda emit: trustbase.audit(**asked, positive="no", favourable="yes", out="named", emit=emit))
    assert "was assumed" not in Path("named/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("named", [False, True])
def test_a_run_says_which_class_it_took(named: bool, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time_quickly(monkeypatch)
    said = 'positive: "yes", favourable: "yes", ' if named else ""
    Path("recipe.yaml").write_text(
        f"base: linear\ndata: {{train: rows.csv, text: text, label: label, {said}groups: [sex]}}\naudit: [quality, fairness]\n",
        encoding="utf-8",
    )
    trustbase.run("recipe.yaml", out="run")
    log = Path("run/log.jsonl").read_text(encoding="utf-8")
    page = Path("run/report.html").read_text(encoding="utf-8")
    for text in (POSITIVE, FAVOURABLE):
        assert (text in log) is not named
    for text in ("The positive label, “yes”, was assumed.", "The favourable label, “yes”, was assumed."):
        assert (text in page) is not named
    assert files.read_json(Path("run/evidence/quality.json"))["positive_assumed"] is not named
