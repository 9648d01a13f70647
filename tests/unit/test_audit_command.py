"""Both forms of `trustbase audit`: what they leave, what they refuse, and that the light one stays light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import RECIPE, World
from sklearn import metrics

from tiny import tiny_bert
from trustbase import files
from trustbase.audit.context import fresh_evidence
from trustbase.audit_command import audit
from trustbase.bundle.subject import open_subject
from trustbase.errors import DataError, RecipeError, UsageError, VerificationError


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))


def table(n: int = 600, seed: int = 0) -> dict[str, list[str]]:
    rng = np.random.default_rng(seed)
    score = rng.beta(0.7, 1.3, n).round(4)
    return {
        "truth": [str(x) for x in np.where(rng.random(n) < score, "yes", "no")],
        "score": [str(x) for x in score],
        "said": [str(x) for x in np.where(score >= 0.5, "yes", "no")],
        "sex": [str(x) for x in rng.choice(["f", "m", ""], n, p=[0.5, 0.4, 0.1])],
    }


def write(path: Path, columns: dict[str, list[str]]) -> Path:
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        typed = {name: [float(x) for x in values] if name == "score" else values for name, values in columns.items()}
        pq.write_table(pa.table(typed), path)
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        path.write_text("\n".join(mark.join(row) for row in [tuple(columns), *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_scores_in_any_format(tmp_path: Path, suffix: str) -> None:
    columns = table()
    path = write(tmp_path / f"answers{suffix}", columns)
    notes: list[str] = []
    result = audit(
        predictions=path,
        label="truth",
        score="score",
        groups=["sex"],
        out=tmp_path / "out",
        emit=lambda e, /, **f: notes.append(str(f.get("text"))),
    )
    score = np.array(columns["score"], float)
    area = result.report.find("quality.auroc")
    assert area is not None and area.value == pytest.approx(metrics.roc_auc_score(np.array(columns["truth"]) == "yes", score))
    assert result.exit_code == 0 and result.verdict.gates == () and "no limits were given" in result.verdict.reason
    for name in ("audit.json", "verdict.json", "report.html", "evidence/quality.json", "evidence/fairness.json", "scores.parquet"):
        assert (tmp_path / "out" / name).is_file(), name
    assert any("probability of 'yes'" in note for note in notes)
    assert {f.parts.dimension for f in result.report.findings} == {"quality", "fairness"}
    evidence = files.read_json(tmp_path / "out/evidence/fairness.json")
    assert "unknown" in json.dumps(evidence), "a missing group is its own cell"


def test_predicted_labels_alone(tmp_path: Path) -> None:
    columns = table()
    result = audit(predictions=write(tmp_path / "a.csv", columns), label="truth", predicted="said", out=tmp_path / "out", only=["quality"])
    accuracy, area = result.report.find("quality.accuracy"), result.report.find("quality.auroc")
    assert accuracy is not None and accuracy.value == np.mean(np.array(columns["truth"]) == np.array(columns["said"]))
    assert area is not None and area.status == "not_applicable"
    assert {f.parts.dimension for f in result.report.findings} == {"quality"}


def test_the_positive_label_can_be_named(tmp_path: Path) -> None:
    columns = table()
    columns["score"] = [str(round(1 - float(x), 4)) for x in columns["score"]]  # now the probability of "no"
    path = write(tmp_path / "a.csv", columns)
    notes: list[str] = []
    result = audit(
        predictions=path, label="truth", score="score", positive="no", out=tmp_path / "o", emit=lambda e, /, **f: notes.append(e)
    )
    area = result.report.find("quality.auroc")
    assert area is not None and area.value is not None and area.value > 0.7 and "note" not in notes


def test_every_row_that_is_no_probability_is_named(tmp_path: Path) -> None:
    columns = table(200)
    for row, bad in ((0, "nan"), (5, "1.01"), (7, ""), (9, "high"), (11, "-0.1"), (13, "inf")):
        columns["score"][row] = bad
    columns["truth"][20] = ""
    with pytest.raises(DataError) as caught:
        audit(predictions=write(tmp_path / "a.csv", columns), label="truth", score="score", out=tmp_path / "out")
    lines = [str(problem) for problem in caught.value.problems]
    assert len(lines) == 7 and caught.value.exit_code == 2
    for line in (2, 7, 9, 11, 13, 15, 22):
        assert any(f"a.csv:{line}: " in text for text in lines), (line, lines)
    assert not (tmp_path / "out").exists(), "nothing is written about rows that cannot be audited"


def test_many_bad_rows_are_counted_and_the_first_shown(tmp_path: Path) -> None:
    columns = table(200)
    columns["score"] = ["2"] * 200
    with pytest.raises(DataError, match="200 of 200 rows") as caught:
        audit(predictions=write(tmp_path / "a.csv", columns), label="truth", score="score", out=tmp_path / "out")
    assert len(caught.value.problems) == 50


def test_more_labels_than_two_have_no_single_score(tmp_path: Path) -> None:
    columns = table(100)
    columns["truth"][:30] = ["maybe"] * 30
    path = write(tmp_path / "a.csv", columns)
    with pytest.raises(DataError, match="two labels"):
        audit(predictions=path, label="truth", score="score", out=tmp_path / "out")
    result = audit(predictions=path, label="truth", predicted="said", out=tmp_path / "out")
    assert result.report.find("quality.macro_f1") is not None


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        audit(predictions=write(tmp_path / "a.csv", table(50)), label="thruth", score="scores", groups=["sex", "age"], out=tmp_path / "out")
    text = str(caught.value)
    assert len(caught.value.problems) == 3 and "did you mean 'truth'" in text and "did you mean 'score'" in text and "'age'" in text


def test_options_that_do_not_go_together_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        audit(predictions="a.csv", data="b.csv", score="x", predicted="y", only=["speed"], out=tmp_path)
    assert len(caught.value.problems) == 4
    with pytest.raises(UsageError) as caught:
        audit(out=tmp_path)
    assert len(caught.value.problems) == 2
    with pytest.raises(UsageError) as caught:
        audit("model", label="x", score="y", out=tmp_path)
    assert {problem.where for problem in caught.value.problems} == {"--data", "--score/--predicted"}


@pytest.mark.parametrize(
    ("options", "where", "said"),
    [
        ({"predicted": "truth"}, "--predicted", "the truth would be compared with itself"),
        ({"score": "truth"}, "--score", "the truth would be compared with itself"),
        ({"score": "score", "groups": ["truth"]}, "--groups", "column of the true label"),
        ({"score": "score", "groups": ["sex", "score"]}, "--groups", "column of the score"),
        ({"predicted": "said", "groups": ["said"]}, "--groups", "column of the predicted label"),
        ({"score": "score", "groups": ["sex", "sex"]}, "--groups", "more than once"),
        ({"score": "score", "only": ["privacy"]}, "--only", "can be measured from given answers: quality, fairness"),
        ({"score": "score", "only": ["efficiency"]}, "--only", "can be measured from given answers: quality, fairness"),
        ({"score": "score", "only": ["quality", "quality"]}, "--only", "more than once"),
        ({"score": "score", "only": ["Qualty"]}, "--only", "did you mean 'quality'?"),
        ({"score": "score", "only": ["fairness"]}, "--groups", "nothing would be measured"),
        ({"score": "score", "workers": 2}, "--workers", "with --predictions nothing is asked"),
        ({"score": "score", "workers": 0}, "--workers", "processes on this machine, got 0"),
    ],
)
def test_what_would_measure_nothing_or_nonsense_is_refused(tmp_path: Path, options: dict[str, Any], where: str, said: str) -> None:
    path = write(tmp_path / "a.csv", table(50))
    with pytest.raises(UsageError) as caught:
        audit(predictions=path, label="truth", out=tmp_path / "out", **options)
    (problem,) = caught.value.problems
    assert problem.where == where and said in str(problem) and caught.value.exit_code == 2
    assert not (tmp_path / "out").exists(), "no report is written about nothing"


def test_nonsense_is_refused_all_at_once_in_both_forms(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        audit(predictions="a.csv", label="x", predicted="x", groups=["x", "x"], only=["privacy", "efficiency"], out=tmp_path)
    assert [problem.where for problem in caught.value.problems] == ["--predicted", "--groups", "--groups", "--only", "--only"]
    with pytest.raises(UsageError) as caught:
        audit("model", data="d.csv", label="x", groups=["x"], only=["privacy"], out=tmp_path)
    assert [problem.where for problem in caught.value.problems] == ["--groups", "--only"]
    assert "can be measured: quality, fairness" in str(caught.value)


def test_a_policy_is_judged_and_looks_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", table())
    policy = tmp_path / "policy.yaml"
    policy.write_text('quality.accuracy: ">= 0.99"\nquality.auroc: ">= 0.6"\n', encoding="utf-8")
    strict = audit(predictions=path, label="truth", score="score", policy=policy, out=tmp_path / "strict")
    assert strict.exit_code == 3 and not strict.verdict.released
    assert {gate.gate.split()[0]: gate.verdict for gate in strict.verdict.gates} == {"quality.accuracy": "fail", "quality.auroc": "pass"}
    assert strict.report.policy_set_before is True and (tmp_path / "strict/policy.json").is_file()
    policy.write_text('quality.auroc: ">= 0.6"\n', encoding="utf-8")
    easy = audit(predictions=path, label="truth", score="score", policy=policy, out=tmp_path / "easy")
    assert easy.exit_code == 0 and easy.verdict.released
    assert (strict.verdict.test_looks, easy.verdict.test_looks) == (1, 2)
    again = audit(predictions=path, label="truth", score="score", policy=policy, out=tmp_path / "easy")
    assert again.verdict.test_looks == 3 and again.report == easy.report  # the same numbers, and another look


def test_limits_on_what_can_never_be_measured_are_all_refused_before_a_look_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", table())
    policy = tmp_path / "policy.yaml"
    limits = ("quality.acuracy", "fairness.accuracy_difference[age]", "fairness.accuracy_difference[sxe]", "efficiency.throughput")
    limits = (*limits, "privacy.membership_advantage", "quality.accuracy", "fairness.accuracy_difference[sex]")
    policy.write_text("".join(f'"{id}": ">= 0"\n' for id in limits), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        audit(predictions=path, label="truth", score="score", groups=["sex"], policy=policy, out=tmp_path / "out")
    assert caught.value.exit_code == 2 and [problem.where for problem in caught.value.problems] == [f"policy.yaml:{i}" for i in range(1, 6)]
    text = str(caught.value)
    assert "did you mean 'quality.accuracy'?" in text and "did you mean 'sex'?" in text and "which --groups does not name" in text
    assert not (tmp_path / "home").exists() and not (tmp_path / "out").exists()
    policy.write_text('fairness.accuracy_difference[sex]: "<= 1"\n', encoding="utf-8")
    with pytest.raises(RecipeError, match="is not measured by this audit, which measures quality"):
        audit("no model", data=path, label="truth", groups=["sex"], policy=policy, only=["quality"], out=tmp_path / "out")


def test_evidence_and_limits_of_an_earlier_audit_do_not_stay(tmp_path: Path) -> None:
    path, out = write(tmp_path / "a.csv", table()), tmp_path / "out"
    policy = tmp_path / "policy.yaml"
    policy.write_text('quality.auroc: ">= 0.6"\n', encoding="utf-8")
    audit(predictions=path, label="truth", score="score", groups=["sex"], policy=policy, out=out)
    assert (out / "evidence/fairness.json").is_file() and (out / "policy.json").is_file()
    audit(predictions=path, label="truth", score="score", only=["quality"], out=out)
    assert sorted(item.name for item in (out / "evidence").iterdir()) == ["quality.json", "quality.weak_slices.json"]
    assert not (out / "policy.json").exists()


def test_an_audit_that_is_cut_short_leaves_the_earlier_evidence(tmp_path: Path) -> None:
    with fresh_evidence(tmp_path) as evidence:
        evidence.write("quality", {"accuracy": 1})
    with pytest.raises(KeyboardInterrupt), fresh_evidence(tmp_path) as evidence:
        evidence.write("quality", {"accuracy": 2})
        raise KeyboardInterrupt
    assert files.read_json(tmp_path / "evidence/quality.json") == {"accuracy": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["evidence"]


def test_a_bundle_is_checked_before_its_model_or_limits_are_believed(tmp_path: Path) -> None:
    bundle = World(tmp_path / "run").pack().folder
    notes: list[str] = []
    emit = lambda event, /, **fields: notes.append(str(fields.get("text")))  # noqa: E731
    with open_subject(str(bundle), emit) as (info, policy):
        assert policy is not None and "quality.accuracy" in policy.to_text()
        assert info.folder.is_relative_to(bundle) is False  # a copy that nobody can change meanwhile
    data = write(tmp_path / "t.csv", {"text": ["a"] * 40, "truth": ["<=50K", ">50K"] * 20})
    whole = (bundle / "policy.json").read_bytes()
    (bundle / "policy.json").write_bytes(whole.replace(b"0.8", b"0.1"))
    for gone in ((), ("manifest.json",), ("model.sig",)):
        for name in gone:
            (bundle / name).unlink()
        with pytest.raises(VerificationError) as caught:
            audit(bundle, data=data, label="truth", only=["quality"], out=tmp_path / "out")
        assert caught.value.exit_code == 4 and not (tmp_path / "out").exists()


def test_the_limits_of_what_was_rejected_are_not_used(tmp_path: Path) -> None:
    rejected = World(tmp_path / "run", gates={"quality.accuracy": ">= 0.99"}).pack().folder
    assert (rejected / "policy.json").is_file() and not (rejected / "model.sig").exists()
    notes: list[str] = []
    with open_subject(str(rejected), lambda event, /, **fields: notes.append(str(fields.get("text")))) as (info, policy):
        assert policy is None and info.folder == rejected / "model"
    assert len(notes) == 1 and "was not released" in notes[0] and "--policy" in notes[0]


def test_a_run_is_judged_by_its_signed_bundle_or_by_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    world = World(run)
    files.write_text(run / "recipe.resolved.yaml", RECIPE)
    notes: list[str] = []
    emit = lambda event, /, **fields: notes.append(str(fields.get("text")))  # noqa: E731
    with open_subject(run, emit) as (info, policy):  # policy.json lies there, and nobody signed it
        assert policy is None and info.folder == run / "artifact"
    assert len(notes) == 1 and "was not released" in notes[0]
    bundle = world.pack().folder
    files.write_text(run / "policy.json", world.policy.to_text().replace("0.80", "0.99"))
    with open_subject(run, emit) as (info, policy):
        assert policy == world.policy and not info.folder.is_relative_to(run) and len(notes) == 1
    (bundle / "model.sig").unlink()
    with pytest.raises(VerificationError), open_subject(run, emit):
        pass


def test_given_answers_import_no_torch(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", table())
    code = (
        "import sys, trustbase; trustbase.audit(predictions='a.csv', label='truth', score='score', groups=['sex'], out='out');"
        "heavy = {'torch', 'transformers', 'sklearn', 'onnxruntime'} & set(sys.modules); sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier as anybody might have saved it."""
    from transformers import AutoModelForSequenceClassification

    folder = tiny_bert(tmp_path_factory.mktemp("model"))
    names = {0: "no", 1: "yes"}
    model = AutoModelForSequenceClassification.from_pretrained(folder, id2label=names, label2id={v: k for k, v in names.items()})
    model.save_pretrained(folder)
    return folder


def test_any_checkpoint_is_audited_on_rows(tmp_path: Path, checkpoint: Path) -> None:
    from trustbase.model.predict import Predictor

    rng = np.random.default_rng(0)
    words = np.array(["good", "bad", "fine", "poor", "film", "food"])
    texts = [" ".join(rng.choice(words, 6)) for _ in range(400)]
    columns = {
        "text": texts,
        "truth": ["yes" if "good" in text else "no" for text in texts],
        "sex": [str(x) for x in rng.choice(["f", "m"], 400)],
    }
    train = write(tmp_path / "train.csv", {name: values[:200] for name, values in columns.items()})
    data = write(tmp_path / "test.csv", {name: values[200:] for name, values in columns.items()})
    result = audit(
        str(checkpoint),
        data=data,
        text="text",
        label="truth",
        groups=["sex"],
        train=train,
        only=["quality", "fairness"],
        out=tmp_path / "out",
    )
    with Predictor.open(checkpoint) as predictor:
        said = predictor.class_scores(texts[200:]).argmax(axis=1)
    accuracy = result.report.find("quality.accuracy")
    assert accuracy is not None and accuracy.value == np.mean(said == (np.array(columns["truth"][200:]) == "yes"))
    words_gain = result.report.find("quality.gain_over_bag_of_words")
    assert words_gain is not None and words_gain.status == "ok" and words_gain.value is not None and words_gain.value < -0.2
    boosting = result.report.find("quality.gain_over_boosting")
    assert boosting is not None and boosting.status == "not_applicable"
    assert result.report.model["runtime"] == "torch" and str(tmp_path) not in (tmp_path / "out/audit.json").read_text()
    assert (tmp_path / "out/report.html").stat().st_size > 5000


def test_two_workers_find_what_one_process_finds(tmp_path: Path, checkpoint: Path) -> None:
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(["good", "bad", "fine", "poor", "film", "food"], 90)) for _ in range(150)]  # some parts to share
    data = write(tmp_path / "test.csv", {"text": texts, "truth": [str(x) for x in rng.choice(["yes", "no"], 150)]})
    notes: list[str] = []

    def told(event: str, /, **fields: Any) -> None:
        notes.extend([fields["text"]] if event == "note" else [])

    asked: dict[str, Any] = {"data": data, "text": "text", "label": "truth", "only": ["quality"], "emit": told}
    one, two = (audit(str(checkpoint), **asked, workers=count, out=tmp_path / str(count)) for count in (1, 2))
    assert [note for note in notes if "asking in" in note] == ["asking in 2 processes of this machine"]
    assert len(one.report.findings) == len(two.report.findings) > 10
    for first, second in zip(one.report.findings, two.report.findings, strict=True):
        assert (first.id, first.status, first.n) == (second.id, second.status, second.n)
        assert first.value == pytest.approx(second.value, abs=1e-5), first.id


def test_labels_that_the_model_does_not_have_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    data = write(tmp_path / "t.csv", {"text": ["good film"] * 40, "truth": ["maybe", "no"] * 20})
    with pytest.raises(DataError, match=r"."):
        audit(str(checkpoint), data=data, text="text", label="truth", only=["quality"], out=tmp_path / "out")
    with pytest.raises(UsageError, match="labels are not"):
        audit(str(checkpoint), data=data, text="text", label="truth", positive="maybe", out=tmp_path / "out")
    with pytest.raises(UsageError) as caught:
        audit(str(checkpoint), data=data, label="truth", out=tmp_path / "out")
    assert caught.value.problems[0].where == "--text"


@pytest.mark.parametrize("name", ["manifest.json", "stages", "recipe.resolved.yaml"])
def test_a_run_or_bundle_is_not_overwritten_by_an_audit(tmp_path: Path, name: str) -> None:
    place = tmp_path / "run"
    (place / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="is a run or a bundle"):
        audit(predictions=tmp_path / "answers.csv", label="truth", score="p", out=place)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        audit(predictions=tmp_path / "answers.csv", label="truth", score="p", out=tmp_path / "file" / "x")
