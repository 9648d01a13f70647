"""Two trainings that tag units, and two that search texts, go the whole way as one model: audited, asked, rechecked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from question_world import write_question_world
from typer.testing import CliRunner

from entity_world import AFTER, CUES, FILL, NAMES, SECOND, write_entity_world
from hurry import time_quickly
from tiny import tiny_bert
from trustbase import compare, files, recheck
from trustbase.cli.main import app
from trustbase.data.answers import exact_match, texts_of, token_f1
from trustbase.data.pair import sides
from trustbase.data.save import load_dataset
from trustbase.flow import run
from trustbase.model.artifact import read_artifact
from trustbase.model.predict import Predictor
from trustbase.outputs.answers.base import answering, decided
from trustbase.records import ArtifactInfo, Split

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = sorted({word.lower() for text in (*FILL, *AFTER, *NAMES, *SECOND, *sum(CUES.values(), ())) for word in text.split()})


def entities(folder: Path) -> Path:
    tiny_bert(folder / "base", WORDS)
    return write_entity_world(folder, base="base", rows=500, epochs=8, rate=4e-3, limit=0.0)


def questions(folder: Path) -> Path:
    return write_question_world(folder, rows=500, epochs=3, limit=0.0)


def entity_f1(told: Any, test: Split) -> float:
    hits = sum(len(set(row) & set(true)) for row, true in zip(told, test.labels, strict=True))
    return 2 * hits / (sum(map(len, told)) + sum(map(len, test.labels)))


def by_row(fit: Callable[[str | None, list[str]], float]) -> Callable[[Any, Split], float]:
    def mean(told: Any, test: Split) -> float:
        values = []
        for answer, spans, text in zip(told, test.labels, test.texts, strict=True):
            context = sides(text)[-1]
            values.append(fit(context[answer[0][0] : answer[0][1]] if answer else None, texts_of(context, spans)))
        return float(np.mean(values))

    return mean


ENTITIES: dict[str, Any] = {"seeds": ("entity_f1", entity_f1)}
QUESTIONS: dict[str, Any] = {"seeds": ("exact_match", by_row(exact_match)), "seeds-token_f1": ("token_f1", by_row(token_f1))}
CASES = [
    pytest.param(entities, "names.jsonl", ENTITIES, "torch", id="entities"),
    pytest.param(questions, "rows.jsonl", QUESTIONS, "onnx", id="questions"),
]


@pytest.mark.parametrize(("write", "rows", "metrics", "runtime"), CASES)
def test_members_go_the_whole_way(
    write: Callable[[Path], Path], rows: str, metrics: dict[str, Any], runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    time_quickly(monkeypatch)
    recipe = write(tmp_path)
    result = run(recipe, ["train.members=2", f"release.runtime={runtime}"], out=tmp_path / "run")
    bundle = result.folder / "bundle"
    assert result.exit_code == 0 and not [finding.id for finding in result.audit.findings if finding.status == "failed"]
    info, test = read_artifact(bundle / "model"), load_dataset(result.folder / "data").splits["test"]
    assert (info.members, info.runtime) == (2, runtime)
    check_seeds(info, test, metrics, {finding.id: finding for finding in result.audit.findings}, bundle)

    assert CliRunner().invoke(app, ["verify", str(bundle)]).exit_code == 0
    source, out = tmp_path / rows, tmp_path / "out.jsonl"
    asked = CliRunner().invoke(app, ["predict", str(bundle), "--input", str(source), "--output", str(out)])
    assert asked.exit_code == 0, asked.output
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    places = [number - 1 for number in test.row_numbers.tolist()]
    with Predictor.open(info, device="cpu") as predictor:
        scores, way = predictor.scores(test.texts), answering(info.answer_kind)
    for place, row in zip(places, scores, strict=True):
        for name, value in way.line(row, info.labels, info.decision).items():
            assert same(lines[place][name], value)

    for again in (recheck(bundle, data=source), recheck(result.folder)):
        assert again.exit_code == 0, [row.to_json() for row in again.rows if row.outcome == "different"]
    measured = {row.id: row.outcome for row in recheck(bundle, data=source).rows}
    assert all(measured[f"quality.{metric}#seeds"] == "same" for metric, _ in metrics.values())
    reads = {"text": "text"} if write is entities else {"text": "context", "question": "question"}
    one = result.folder / "checkpoints" / "member-0" / "trained"
    compared = compare(bundle, one, data=source, out=tmp_path / "compared", calls=0, **reads)
    assert all(compared.contrast(metric) is not None for metric, _ in metrics.values())


def same(one: Any, other: Any) -> bool:
    """Whether two pieces of JSON are, to the fifth decimal of their scores."""
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in other)
    if isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == (pytest.approx(other, abs=1e-5) if isinstance(other, float) else other))


def check_seeds(info: ArtifactInfo, test: Split, metrics: dict[str, Any], found: dict[str, Any], bundle: Path) -> None:
    """Each member's number is that of its own artefact, asked by itself, and the finding is their mean."""
    told = []
    for place in range(info.members):
        with Predictor.open(replace(info, folder=info.folder / f"member-{place}", members=1), device="cpu") as predictor:
            told.append(decided(predictor.scores(test.texts), info.labels, info.decision, info.answer_kind))
    for name, (metric, reached) in metrics.items():
        alone = [reached(answers, test) for answers in told]
        assert alone[0] != alone[1] and max(alone) > 0.05, f"{metric} of {alone} shows nothing"
        evidence = files.read_json(bundle / "evidence" / f"{name}.json")
        assert [member["value"] for member in evidence["members"]] == pytest.approx(alone)
        seeds = found[f"quality.{metric}#seeds"]
        assert (seeds.status, seeds.n, seeds.value) == ("ok", 2, pytest.approx(np.mean(alone)))
        assert evidence["together"] == found[f"quality.{metric}"].value
