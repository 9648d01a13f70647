"""Every number of the model card is an artefact's number, and what nobody said is said to be absent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundles import World, fake_artifact, findings

from trustbase import files
from trustbase.bundle import card
from trustbase.bundle.front import front_matter
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.recipe.lookup import TASKS
from trustbase.records import ArtifactInfo, AuditReport, Finding


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    return World(tmp_path / "run").pack(looks=7).folder


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(key)
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def artefact_numbers(folder: Path) -> tuple[list[float], str]:
    """Numbers of all artefacts, and all their strings as one text."""
    found: list[Any] = []
    for name in ("audit.json", "verdict.json", "policy.json", "data_card.json", "environment.json", "labels.json", "model/artifact.json"):
        found += leaves(json.loads((folder / name).read_text()))
    numbers = [float(item) for item in found if isinstance(item, (int, float)) and not isinstance(item, bool)]
    return numbers, "\n".join(str(item) for item in found if isinstance(item, str))


def test_no_number_in_the_card_comes_from_nowhere(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    numbers, strings = artefact_numbers(folder)
    tokens = re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])", text)
    checked = 0
    for token in tokens:
        digits = len(token.partition(".")[2])
        equal = (
            any(abs(number - float(token)) <= 0.5 * 10**-digits + 1e-12 for number in numbers)
            if "e" not in token
            else float(token) in numbers
        )
        assert equal or token in strings, f"{token} stands in the card, but in no artefact"
        checked += 1
    assert checked > 40
    assert "Looks at this test set so far: 7." in text and "threshold 0.4375" in text and "at most 32 tokens" in text
    assert f"Measured on 16281 test rows (digest `sha256:{'d' * 64}`)" in text and "| `test` | 16281 |" in text


def tables(folder: Path) -> dict[str, dict[str, str]]:
    """Every row of the card's tables whose first cell is a finding's id or a gate, column by column."""
    rows: dict[str, dict[str, str]] = {}
    head: list[str] = []
    for line in (folder / "README.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("| "):
            head = head if line.startswith("|---") else []
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if head and head[0] in ("finding", "gate"):
            name = cells[0].strip("`")
            assert name not in rows, f"{name} stands twice"
            rows[name] = dict(zip(head, cells, strict=True))
        head = head or cells
    return rows


def same(shown: str, number: float | None) -> bool:
    """Whether a cell shows this number: whole, or to four significant digits."""
    if number is None:
        return shown == ""
    if not re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", shown):
        return False
    whole = float(number).is_integer() or abs(number) >= 10_000
    return float(shown) == (round(number) if whole else float(f"{number:.4g}"))


def wrong_cells(folder: Path) -> list[str]:
    """Cells of the card's tables that are not what `audit.json` or `verdict.json` holds of that finding or gate; and missing rows."""
    rows, faults = tables(folder), []
    found = json.loads((folder / "audit.json").read_text())["findings"]
    gates = json.loads((folder / "verdict.json").read_text())["gates"]
    records = {item["id"]: item for item in found} | {item["gate"]: item for item in gates}
    assert set(rows) <= set(records), "a row is about nothing that was recorded"
    for name, record in records.items():
        row = rows.get(name)
        if row is None:
            faults += [] if "=" in name.partition("[")[2].partition("]")[0] else [f"{name} is missing"]  # single groups
            continue
        wanted: dict[str, Any] = {key: record[key] for key in ("value", "n", "confidence") if key in row}
        low, high = record["low"], record["high"]
        if "confidence" in wanted and low == high:
            wanted["confidence"] = None
        faults += [f"{name}: {key} is {row[key]}, not {number}" for key, number in wanted.items() if not same(row[key], number)]
        faults += [f"{name}: {key} is {row[key]!r}" for key in ("unit", "reason", "verdict") if key in row and record[key] != row[key]]
        if "interval" in row:
            span = re.fullmatch(r"\[(\S+), (\S+)\]", row["interval"])
            right = row["interval"] == ("" if low is None else "no interval") if low == high else bool(span)
            right = right and (span is None or (same(span[1], low) and same(span[2], high)))
            faults += [] if right else [f"{name}: interval is {row['interval']}, not {low}, {high}"]
    return faults


def test_every_row_of_the_card_is_what_the_record_of_that_name_holds(folder: Path) -> None:
    assert len(tables(folder)) >= 9 and wrong_cells(folder) == []


@pytest.mark.parametrize("field", ["value", "low", "high", "n", "confidence"])
def test_a_number_of_another_field_or_finding_would_be_noticed(field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number of a table is put in another's place, as a mistake in the card's code would do it."""
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    row, gate = card._row, card._gate
    other = {"value": "low", "low": "value", "high": "value", "n": "value", "confidence": "value"}[field]

    def swapped(record: Any) -> Any:
        changed = object.__new__(type(record))
        changed.__dict__.update({**record.__dict__, field: getattr(record, other)})
        return changed

    monkeypatch.setattr(card, "_row", lambda finding: row(swapped(finding)))
    if field != "confidence":  # a gate has none
        monkeypatch.setattr(card, "_gate", lambda result: gate(swapped(result)))
    faults = wrong_cells(World(tmp_path / "run").pack().folder)
    assert any(fault.startswith("quality.auroc:") for fault in faults), faults
    assert field == "confidence" or any(fault.startswith("quality.accuracy >=") for fault in faults), faults


def test_a_number_without_an_interval_is_not_called_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    world = World(tmp_path / "run", gates={"efficiency.batch_invariance": "<= 0.01"})
    largest = Finding.exact("efficiency.batch_invariance", 0.0021, n=64, unit="probability", direction="lower", method="a maximum")
    bundle = world.pack(findings=(*findings(), largest))
    rows = tables(bundle.folder)
    assert rows["efficiency.batch_invariance"]["interval"] == rows["efficiency.artifact_bytes"]["interval"] == "no interval"
    assert rows["efficiency.batch_invariance <= 0.01"]["interval"] == "no interval"
    text = (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert "| counted |" not in text and "nothing was sampled" not in text and "largest of a sample" in text
    assert wrong_cells(bundle.folder) == []


def test_front_matter_is_what_the_hub_reads(folder: Path) -> None:
    _, front, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    data = yaml.safe_load(front)
    audit = {item["id"]: item for item in json.loads((folder / "audit.json").read_text())["findings"]}
    (result,) = data["model-index"][0]["results"]
    assert data["pipeline_tag"] == "text-classification" and "base_model" not in data
    assert {metric["type"] for metric in result["metrics"]} == {"accuracy", "f1", "roc_auc"}
    assert all(metric["value"] == audit[metric["name"]]["value"] for metric in result["metrics"])
    huggingface = pytest.importorskip("huggingface_hub")
    assert huggingface.ModelCard((folder / "README.md").read_text(encoding="utf-8")).data.eval_results[0].metric_value == 0.861234
    assert body.index("## Verdict") < body.index("## Evaluation")


def test_the_owners_words_stand_there_and_absent_ones_are_said_to_be_absent(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "study of &lt;income&gt;" in text and "- lending\n- hiring" in text and "A. Person" in text
    contact = text.split("## Contact")[1].split("##")[0]
    assert "The recipe does not say" in contact
    assert "CC BY 4.0" in text and "A. \\*Source\\*" in text and "| `train` | 32561 |" in text
    assert "groups under 30 rows: Other (12)" in text.split("## What was not measured")[1]


@pytest.mark.parametrize("word", ["compliant", "certified", "verified", "unbiased", "is fair"])
def test_the_card_promises_nothing(folder: Path, word: str) -> None:
    assert word not in (folder / "README.md").read_text(encoding="utf-8").lower()


def test_a_rejected_models_card_says_so_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    bundle = World(tmp_path / "run", gates={"quality.accuracy": {"limit": ">= 0.99", "judge": "value"}}).pack()
    text = (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert "**Not released.**" in text and "judged by the point value" in text and "trustbase predict" not in text


HUB = {
    "text-classification": "text-classification",
    "text-pair-classification": "text-classification",
    "multi-label-classification": "text-classification",
    "regression": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "relation-extraction": "",
    "multiple-choice": "",
}


@pytest.mark.parametrize("task", list(TASKS))
def test_the_hub_is_told_a_task_only_by_a_name_of_its_own(task: str, tmp_path: Path) -> None:
    folder = tmp_path / task
    info = replace(fake_artifact(folder), task=task, answer_kind=TASKS[task].answers)
    report = World(tmp_path / "run").report
    front = front_of(info, report, {})
    assert front.get("pipeline_tag", "") == HUB[task] and ("pipeline_tag" in front) == bool(HUB[task])
    assert front["model-index"][0]["results"][0]["task"]["type"] == (HUB[task] or task)
    columns = front_of(replace(info, runtime="plain", columns=("age", "sex")), report, {})
    assert columns["pipeline_tag"] == "tabular-classification"


@pytest.mark.parametrize(
    ("texts", "judged", "language"),
    [
        ({"zh": 0.97, "en": 0.03}, 2000, "zh"),
        ({"zh": 0.97, "other": 0.03}, 40, None),  # too few were judged
        ({"en": 0.6, "zh": 0.4}, 2000, None),
        ({"other": 1.0}, 2000, None),
        ({}, 0, None),
    ],
)
def test_a_language_is_named_only_where_nearly_all_texts_are_in_it(
    texts: dict[str, float], judged: int, language: str | None, tmp_path: Path
) -> None:
    world = World(tmp_path / "run")
    card = {"splits": {"train": {"languages": {"texts": texts, "judged": judged}}}}
    assert front_of(world.artifact, world.report, card).get("language") == language
    assert "language" not in front_of(world.artifact, world.report, {})


def front_of(info: ArtifactInfo, report: AuditReport, data_card: dict[str, Any]) -> dict[str, Any]:
    front: dict[str, Any] = yaml.safe_load(front_matter("a name", info, report, {}, data_card).strip("-\n"))
    return front


def test_the_card_shows_of_an_adaptation_what_it_reads_and_the_later_rows(tmp_path: Path) -> None:
    later = {"source": "later.csv", "rows": 31, "in_train": 0, "order": None}
    for method, told in (("full", "`full`"), ("adapter", "`adapter`, style `pfeiffer`, size `32`")):
        options = yaml.safe_dump({"adapt": AdaptOptions(method=method).model_dump(mode="json")})
        made = World(tmp_path / method)
        files.write_json(made.folder / "data_card.json", {"splits": {"test": {"rows": 16281}}, "out_of_time": later})
        text = (made.pack(recipe=options).folder / "README.md").read_text(encoding="utf-8")
        assert f"| adaptation | {told} |" in text
        assert "| later rows, `later.csv` | 31 |" in text
