"""A classifier of text and table columns goes the whole way; what it is asked, and what stands about it, names the columns."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hurry import time_quickly
from table_rows import write_rows
from tiny import tiny_bert
from trustbase import compare, files, recheck
from trustbase.cli.main import app
from trustbase.flow import run

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
base: base
data:
  train: rows.csv
  text: text
  features: {{numeric: [amount], categorical: [channel]}}
  label: label
  positive: "yes"
  groups: [sex]
train: {{epochs: 3, learning_rate: 2e-3, batch_tokens: 512, max_length: 32, precision: fp32, seed: 0, feature_epochs: 8}}
adapt: {adapt}
release: {{runtime: {runtime}, precision: fp32}}
audit: [quality, fairness, efficiency]
gates: {{quality.accuracy: ">= 0.6"}}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


@pytest.mark.parametrize(("runtime", "adapt"), [("torch", "full"), ("onnx", "lora")])
def test_bundle_answers_and_audit_know_the_columns(tmp_path: Path, runtime: str, adapt: str) -> None:
    tiny_bert(tmp_path / "base", ("the", "film", "was", "good", "bad"))
    write_rows(tmp_path / "rows.csv", 700, sex=True)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(adapt=adapt, runtime=runtime), encoding="utf-8")
    result = run(recipe, [] if runtime == "torch" else ["audit=[quality]"], out=tmp_path / "run")
    assert result.exit_code == 0 and not [finding for finding in result.audit.findings if finding.status == "failed"]
    bundle = tmp_path / "run" / "bundle"
    told = files.read_json(bundle / "model" / "artifact.json")
    assert told["columns"] == ["amount", "channel"] and told["features"] == {"numeric": ["amount"], "categorical": ["channel"]}
    card, page = ((place).read_text(encoding="utf-8") for place in (bundle / "README.md", tmp_path / "run" / "report.html"))
    assert "numbers: `amount`; names: `channel`" in card and "amount (numbers)" in page and "\x1e" not in card + page

    write_rows(tmp_path / "new.csv", 60, seed=5, channels=("web", "fax"), sex=True)
    rows = list(csv.DictReader((tmp_path / "new.csv").open(encoding="utf-8")))
    lines = [json.dumps({name: cell or None for name, cell in row.items()}) for row in rows]
    lines += ['{"text": "the film", "amount": "ten", "channel": "web"}', '{"text": "the film", "amount": 3}']
    (tmp_path / "new.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked = ["predict", str(bundle), "--input", str(tmp_path / "new.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    fax = sum(row["channel"] == "fax" for row in rows)
    assert f"column 'channel': {fax} rows hold a name that the model does not know" in said.output
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 62 and all("label" in answer for answer in answers[:60])
    assert "not a finite number" in answers[60]["error"]["message"] and "missing key: 'channel'" in answers[61]["error"]["message"]

    if runtime != "torch":
        return
    audited = [
        "audit",
        str(bundle),
        "--data",
        str(tmp_path / "new.csv"),
        "--label",
        "label",
        "--only",
        "quality",
        "--out",
        str(tmp_path / "a"),
    ]
    assert CliRunner().invoke(app, audited).exit_code in (0, 3)
    right = sum(answer["label"] == row["label"] for answer, row in zip(answers, rows, strict=False)) / 60
    found = files.read_json(tmp_path / "a" / "audit.json")["findings"]
    assert next(finding["value"] for finding in found if finding["id"] == "quality.accuracy") == right

    again = recheck(bundle, data=tmp_path / "rows.csv").to_json()
    assert again["different"] == 0 and again["same"] > 20
    (tmp_path / "other.csv").write_text((tmp_path / "rows.csv").read_text().replace(",web,", ",shop,"))
    with pytest.raises(Exception, match="does not hold the rows that were audited"):
        recheck(bundle, data=tmp_path / "other.csv")
    same = compare(bundle, bundle, data=tmp_path / "new.csv", calls=0, out=tmp_path / "c").contrast("accuracy")
    assert same is not None and (same["champion"], same["difference"]) == (right, 0.0)
