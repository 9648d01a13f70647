"""Two released bundles together: one finds the people in a text, the other says of each pair what `predict` says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from relation_world import write_relation_world

import trustbase
from hurry import time_quickly
from trustbase import files
from trustbase.errors import UsageError
from trustbase.flow import run

pytestmark = pytest.mark.usefixtures("one_thread")

FINDER = """
task: token-classification
base: base
data: {train: people.jsonl, text: text, label: people}
train: {epochs: 3, learning_rate: 4e-3, max_length: 32, batch_tokens: 512, precision: fp32, seed: 0}
release: {runtime: torch, precision: fp32}
gates: {quality.entity_f1: ">= 0.9"}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows whose entities have no types, as `[start, end]`."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["head"] = [row["head"]["start"], row["head"]["end"]]
        row["tail"] = list(map(int, row["tail"].split(":"))) if isinstance(row["tail"], str) else row["tail"]
    return rows


def test_the_people_of_a_text_are_found_and_related_as_predict_relates_them(tmp_path: Path) -> None:
    recipe = write_relation_world(tmp_path, epochs=8, limit=0.3)
    rows = rows_of(tmp_path / "rows.jsonl")
    files.write_text(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    people = [{"text": row["text"], "people": sorted([*row["head"], "PER"] for row in (row, {"head": row["tail"]}))} for row in rows]
    files.write_text(tmp_path / "people.jsonl", "".join(json.dumps(row) + "\n" for row in people))
    files.write_text(tmp_path / "people.yaml", FINDER)
    finder, teller = run(tmp_path / "people.yaml", out=tmp_path / "finder"), run(recipe, out=tmp_path / "teller")
    assert (finder.exit_code, teller.exit_code) == (0, 0)
    bundles = (tmp_path / "finder" / "bundle", tmp_path / "teller" / "bundle")

    new = rows[:60]
    found = trustbase.relations(*bundles, [row["text"] for row in new])
    whole = [item for item, row in zip(found, new, strict=True) if spans(item) == sorted([row["head"], row["tail"]])]
    assert len(whole) > 50 and all(item.pairs == 2 for item in whole)
    asked = [{"text": item.text, "head": list(span), "tail": list(other)} for item in found for span, other in ordered(item)]
    files.write_text(tmp_path / "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in asked))
    trustbase.predict(bundles[1], input=tmp_path / "pairs.jsonl", output=tmp_path / "out.jsonl")
    alone = [json.loads(line)["label"] for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [answer for item in found for answer in labels(item)] == alone and len(set(alone)) > 1

    with pytest.raises(UsageError) as caught:
        trustbase.relations(*bundles[::-1], ["any"], types={"person": "PER"}, farthest=-1)
    assert len(caught.value.problems) == 3 and "token-classification" in str(caught.value)
    with pytest.raises(UsageError, match="the model finds PER"):
        trustbase.relations(*bundles, ["any"], types={"person": "PER"})


def spans(item: Any) -> list[list[int]]:
    return [[entity.start, entity.end] for entity in item.entities]


def ordered(item: Any) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    places = [(entity.start, entity.end) for entity in item.entities]
    return [(one, other) for one in places for other in places if one != other]


def labels(item: Any) -> list[str]:
    """The answer to each pair, in the order of `ordered`."""
    answers = {(item.entities[pair.head].start, item.entities[pair.tail].start): pair.label for pair in item.relations}
    return [answers.get((one[0], other[0]), "none") for one, other in ordered(item)]
