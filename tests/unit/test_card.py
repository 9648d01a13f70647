"""Every number of the model card is an artefact's number, and what nobody said is said to be absent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bundles import World


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


def test_every_number_in_the_card_is_an_artefacts_number(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    numbers, strings = artefact_numbers(folder)
    tokens = re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])", card)
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


def test_a_changed_number_would_be_noticed(folder: Path) -> None:
    numbers, strings = artefact_numbers(folder)
    assert not any(abs(number - 0.8613) <= 0.5e-4 for number in numbers) and "0.8613" not in strings


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
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "study of &lt;income&gt;" in card and "- lending\n- hiring" in card and "A. Person" in card
    contact = card.split("## Contact")[1].split("##")[0]
    assert "The recipe does not say" in contact
    assert "CC BY 4.0" in card and "A. \\*Source\\*" in card and "| `train` | 32561 |" in card
    assert "groups under 30 rows: Other (12)" in card.split("## What was not measured")[1]


@pytest.mark.parametrize("word", ["compliant", "certified", "verified", "unbiased", "is fair"])
def test_the_card_promises_nothing(folder: Path, word: str) -> None:
    assert word not in (folder / "README.md").read_text(encoding="utf-8").lower()


def test_a_rejected_models_card_says_so_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    bundle = World(tmp_path / "run", gates={"quality.accuracy": {"limit": ">= 0.99", "judge": "value"}}).pack()
    card = (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert "**Not released.**" in card and "judged by the point value" in card and "trustbase predict" not in card
