"""Batch answers: one line for each row in its order, bad rows alone, nothing at all from a bundle that is not what was signed."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import LABELS, World, fake_report

from tiny import tiny_bert
from trustbase import files
from trustbase.bundle.answer import predict
from trustbase.bundle.golden import check_golden
from trustbase.bundle.rows import BadInput, Row, read_rows
from trustbase.bundle.verify import verify
from trustbase.data.cells import Reading
from trustbase.data.rows import check_rows
from trustbase.data.source import read_table
from trustbase.data.template import TextTemplate
from trustbase.errors import DataError, ModelError, TrustbaseError, UsageError, VerificationError
from trustbase.gate.decide import decide
from trustbase.model.artifact import write_artifact
from trustbase.records import ArtifactInfo, Bundle, Decision


def real_artifact(folder: Path, *, text: str, threshold: float | None) -> ArtifactInfo:
    """A tiny BERT with a random head, as an artefact."""
    import torch

    from trustbase.model.checkpoint import save_checkpoint
    from trustbase.model.load import resolve_base
    from trustbase.model.task import TEXT_CLASSIFICATION
    from trustbase.model.tokenizer import load_tokenizer

    base = resolve_base(str(tiny_bert(folder / "base")))
    model = TEXT_CLASSIFICATION.build(base, LABELS, seed=0)
    with torch.no_grad():
        model.classifier.weight.mul_(20)
    save_checkpoint(model, load_tokenizer(base.folder), folder / "artifact", meta={})
    decision = Decision(threshold, "highest score" if threshold is None else "chosen", {})
    info = ArtifactInfo(
        folder / "artifact", "", "text-classification", "classes", LABELS, "torch", "fp32", 32, "tiny", "local", text, decision
    )
    return write_artifact(info)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    root = tmp_path_factory.mktemp("answer")
    patch = pytest.MonkeyPatch()
    patch.setenv("TRUSTBASE_HOME", str(root / "home"))
    artifact = real_artifact(root, text="{job} is {mood|fine}", threshold=0.9)
    world = World(root / "run", artifact=artifact)
    world.report = fake_report(artifact, world.policy)
    verdict = decide(world.policy, world.report, test_looks=1)
    from trustbase.bundle.pack import pack

    recipe = "data: {text: '{job} is {mood|fine}', label: income}\n"
    yield pack(world.folder, artifact=artifact, report=world.report, verdict=verdict, recipe_text=recipe, purpose={})
    patch.undo()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


GOOD = [("film", "good"), ("food", ""), ('a, "quoted" job', "bad"), ("服务", "很好"), ("film", "good")]


def test_all_formats_give_the_same_answers_in_order(bundle: Bundle, tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("id", "mood", "job"), *((n, mood, job) for n, (job, mood) in enumerate(GOOD))])
    (tmp_path / "a.tsv").write_text(
        "mood\tjob\n" + "".join('{}\t"{}"\n'.format(mood, job.replace('"', '""')) for job, mood in GOOD), "utf-8"
    )
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"job": job, "mood": mood or None, "x": [1]}) + "\n" for job, mood in GOOD), "utf-8"
    )
    pq.write_table(pa.table({"job": [job for job, _ in GOOD], "mood": [mood for _, mood in GOOD]}), tmp_path / "a.parquet")
    found = []
    for kind in ("csv", "tsv", "jsonl", "parquet"):
        summary = predict(bundle.folder, input=tmp_path / f"a.{kind}", output=tmp_path / "out" / f"{kind}.jsonl")
        assert (summary.rows, summary.answered, summary.failed) == (5, 5, 0)
        assert summary.manifest_digest == bundle.manifest_digest
        found.append(lines(tmp_path / "out" / f"{kind}.jsonl"))
    assert found[0] == found[1] == found[2] == found[3]
    from trustbase.model.predict import Predictor

    with Predictor.open(bundle.folder) as predictor:
        expected = predictor.class_scores([f"{job} is {mood or 'fine'}" for job, mood in GOOD])
    for line, scores in zip(found[0], expected, strict=True):
        assert set(line) == {"label", "probabilities"}
        np.testing.assert_allclose([line["probabilities"][name] for name in LABELS.names], scores, atol=1e-6)
        assert line["label"] == (LABELS.names[1] if scores[1] >= 0.9 else LABELS.names[0])  # the threshold, not the higher score


def test_a_bad_row_gets_its_own_error_and_leaves_the_others_alone(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(b"job,mood\nfilm,good\nfilm\nfilm,good,more\n,\nfi\0lm,x\n\xff\xfe,x\nfilm,good\n")
    summary = predict(bundle.folder, input=tmp_path / "bad.csv", output=tmp_path / "o.jsonl")
    answers = lines(tmp_path / "o.jsonl")
    assert (summary.rows, summary.answered, summary.failed) == (7, 2, 5)
    assert answers[0] == answers[6] and "label" in answers[0]
    for number, said in ((1, "too few columns"), (2, "too many columns"), (3, "empty"), (4, "NUL"), (5, "UTF-8")):
        assert set(answers[number]) == {"error"} and set(answers[number]["error"]) == {"type", "message"}
        assert f"bad.csv:{number + 2}: " in answers[number]["error"]["message"] and said in answers[number]["error"]["message"]
    (tmp_path / "bad.jsonl").write_bytes(
        b'{"job":"film","mood":"good"}\n{"mood":"good"}\n[]\n{"job":"\\ud800","mood":""}\n\n{"job":1e999}\n{"job":"a","mood":NaN}\n{\n'
    )
    predict(bundle.folder, input=tmp_path / "bad.jsonl", output=tmp_path / "o.jsonl")
    answers = lines(tmp_path / "o.jsonl")
    assert len(answers) == 8 and "label" in answers[0] and all(set(answer) == {"error"} for answer in answers[1:])


def test_an_input_that_cannot_be_read_at_all_leaves_nothing(bundle: Bundle, tmp_path: Path) -> None:
    for name, content in {"a.csv": b"work,mood\nx,y\n", "b.csv": b"", "c.xlsx": b"x", "d.csv": b"PK\x03\x04xx", "e.parquet": b"no"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError):
            predict(bundle.folder, input=tmp_path / name, output=tmp_path / "o.jsonl")
    with pytest.raises(DataError, match="does not exist"):
        predict(bundle.folder, input=tmp_path / "none.csv", output=tmp_path / "o.jsonl")
    assert not list(tmp_path.glob("*o.jsonl*"))


def test_outputs_that_would_destroy_something_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"job":"a","mood":"b"}\n')
    for target in (source, bundle.folder / "answers.jsonl", bundle.folder / "model" / "config.json"):
        with pytest.raises(UsageError):
            predict(bundle.folder, input=source, output=target)
    assert source.read_text() and verify(bundle.folder)


def test_an_altered_bundle_is_asked_nothing(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    (tmp_path / "a.jsonl").write_text('{"job":"a","mood":"b"}\n')
    weights = bytearray((folder / "model" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model" / "model.safetensors").write_bytes(weights)
    opened: list[Any] = []
    monkeypatch.setattr("trustbase.model.predict.Predictor.open", lambda *a, **k: opened.append(a))
    with pytest.raises(VerificationError):
        predict(folder, input=tmp_path / "a.jsonl", output=tmp_path / "o.jsonl")
    assert not opened and not (tmp_path / "o.jsonl").exists()


def test_a_failure_in_the_middle_leaves_no_output(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text('{"job":"a","mood":"b"}\n')
    (tmp_path / "o.jsonl").write_text("of before\n")
    monkeypatch.setattr("trustbase.bundle.answer.answer_rows", lambda *a: (_ for _ in ()).throw(RuntimeError("lost")))
    with pytest.raises(RuntimeError, match="lost"):
        predict(bundle.folder, input=tmp_path / "a.jsonl", output=tmp_path / "o.jsonl")
    assert (tmp_path / "o.jsonl").read_text() == "of before\n" and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("room", "told"), [(100, "a private copy of the model"), (None, "the output ")])
def test_a_full_disk_is_no_failed_check_of_the_bundle(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int | None, told: str
) -> None:
    import resource
    import signal

    model = (bundle.folder / "model" / "model.safetensors").stat().st_size
    (tmp_path / "a.jsonl").write_text('{"job":"film","mood":"good"}\n' * (model // 40))  # each answer is longer than 40 bytes
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails, as on a full disk
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room or model, hard))
        with pytest.raises(TrustbaseError) as caught:
            predict(bundle.folder, input=tmp_path / "a.jsonl", output=tmp_path / "o.jsonl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.exit_code == 1 and told in caught.value.message and "disk space" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_golden_outputs_are_repeated_by_the_shipped_model(bundle: Bundle) -> None:
    from trustbase.model.predict import Predictor

    record = json.loads(verify(bundle.folder).read("golden.json"))
    with Predictor.open(bundle.folder) as predictor:
        assert check_golden(bundle.folder, predictor) <= 1e-5 < record["tolerance"]
    assert max(len(item["text"].split()) for item in record["inputs"]) > 32  # truncation is repeated too


def test_a_machine_that_answers_otherwise_is_not_asked(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trustbase.model.predict import Predictor

    honest = Predictor.class_scores
    monkeypatch.setattr(Predictor, "class_scores", lambda self, texts: honest(self, texts)[:, ::-1])
    (tmp_path / "a.jsonl").write_text('{"job":"a","mood":"b"}\n')
    with pytest.raises(ModelError, match="does not reproduce the bundle's golden outputs"):
        predict(bundle.folder, input=tmp_path / "a.jsonl", output=tmp_path / "o.jsonl")
    assert not (tmp_path / "o.jsonl").exists()


def whole_file(path: Path, template: TextTemplate) -> list[Row]:
    """The oracle: the same rows by the reader of training data, which takes a file as a whole."""
    raw = check_rows(read_table(str(path), root=Path(), columns=template.columns), shown=[template.columns])
    texts = template.render_table(raw.table)
    rows: dict[int, Row] = dict(zip(raw.row_numbers.tolist(), texts, strict=True))
    rows |= {bad.row: BadInput(f"{path.name}:{bad.line}", bad.reason) for bad in raw.bad_rows}
    return [rows[number] for number in sorted(rows)]


@pytest.mark.parametrize("seed", range(12))
def test_reading_in_pieces_is_reading_as_a_whole(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    template = TextTemplate.parse("{a}-{b}", None)
    cells = ["x", "", "long " * 9, 'quo"te', "com,ma", "new\nline", "\n\n", "服务", "a\r\nb", " "]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator=rng.choice(["\n", "\r\n"]))
        writer.writerow(["a", "c", "b"])
        for _ in range(80):
            writer.writerow([rng.choice(cells) for _ in range(rng.choice([3, 3, 3, 3, 2, 4]))])
            if seed % 3 == 0 and rng.random() < 0.05:
                stream.write(rng.choice(['a"b,c,d\n', '"a"b,c,d\n', "a\rb,c,d\n"]))
            if rng.random() < 0.1:
                stream.write("\n" * rng.randint(1, 3))
    if rng.random() < 0.5:
        path.write_bytes(path.read_bytes() + b"\n\n")
    expected = whole_file(path, template)
    for block in (90, 257, 4_000_000):
        found = [row for chunk in read_rows(path, Reading(template), block=block) for row in chunk.rows]
        assert found == expected, block
    objects = tmp_path / "rows.jsonl"
    made = [
        json.dumps({"a": rng.choice(cells), "b": rng.choice(cells)}) if rng.random() < 0.8 else rng.choice(["", "{", "[]", "{}"])
        for _ in range(60)
    ]
    files.write_text(objects, "\n".join([*made, '{"a":"x","b":"y"}']) + rng.choice(["", "\n", "\n\n"]))
    expected = whole_file(objects, template)
    for block in (33, 257, 4_000_000):
        assert [row for chunk in read_rows(objects, Reading(template), block=block) for row in chunk.rows] == expected, block


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    template = TextTemplate.parse("{a}-{b}", None)
    peaks = []
    for rows in (30_000, 90_000):
        path = tmp_path / f"{rows}.jsonl"
        path.write_text('{"a":"some words here","b":"more of them"}\n' * rows)
        tracemalloc.start()
        assert sum(len(chunk.rows) for chunk in read_rows(path, Reading(template), block=40_000)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
