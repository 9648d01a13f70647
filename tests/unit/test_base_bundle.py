"""A base model in a bundle: golden outputs without classes, a card that is no classifier's, and refusals that say what to do with it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from base_folders import ESTIMATE, RECIPE, corpus_card, log_lines
from base_folders import findings as base_findings
from bundles import World
from test_card import artefact_numbers, leaves, tables
from test_verify import reseal

from trustbase import files
from trustbase.bundle import golden
from trustbase.bundle.answer import predict
from trustbase.bundle.course import read_course
from trustbase.bundle.keys import signing_key
from trustbase.bundle.pack import pack
from trustbase.bundle.portable import portable_recipe
from trustbase.bundle.subject import open_subject
from trustbase.bundle.verify import verify
from trustbase.errors import ModelError, UsageError, VerificationError
from trustbase.gate.decide import decide
from trustbase.gate.policy import read_policy
from trustbase.model.artifact import write_artifact
from trustbase.model.predict import Predictor
from trustbase.records import ArtifactInfo, AuditReport, Bundle, Finding, LabelSchema
from trustbase.report.html import render, report

FACTS = {
    "objective": {"masked": 1.0, "next_sentence": 0.5},
    "objectives": ["masked", "next_sentence"],
    "context": 128,
    "family": "encoder",
    "model_type": "bert",
}
GATES = {"quality.perplexity": "<= 40", "efficiency.training_energy_kwh": "<= 0.1"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TRUSTBASE_SIGNING_KEY", raising=False)


def fake_base(folder: Path, **facts: Any) -> ArtifactInfo:
    """Files with the names of a real base model; nobody parses them."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    labels = LabelSchema((), "", "")
    about = {**FACTS, **facts}
    files.write_json(folder / "trustbase.json", {"kind": "model", "base": {"reference": "random weights", "lineage": ["one", "two"]}})
    where = (folder, "", "pretraining", "language", labels, "language", "fp32", 128)
    return write_artifact(ArtifactInfo(*where, "random weights", "seed 0", "text", facts=about))


def likely(texts: Sequence[str]) -> Any:
    """A total log-likelihood and tokens for each text."""
    return np.array([[-3.25 * len(text.split()) - 0.5, len(text.split())] for text in texts])


def packed(folder: Path, *, gates: Any = GATES, recipe: str = RECIPE, artifact: ArtifactInfo | None = None, ask: Any = likely) -> Bundle:
    """A pretraining's run folder, packed."""
    artifact = artifact or fake_base(folder / "artifact")
    policy = read_policy(gates)
    model = {"digest": artifact.digest, "runtime": "language", "precision": "fp32", "base": artifact.base, "revision": artifact.revision}
    found = tuple(Finding(**item) for item in base_findings())
    made = AuditReport(model, {"digest": "sha256:" + "d" * 64, "rows": 595}, policy.digest, {"processor": "a small one"}, found, True)
    files.write_text(folder / "policy.json", policy.to_text())
    files.write_text(folder / "recipe.resolved.yaml", recipe)
    files.write_json(folder / "audit.json", made.to_json())
    files.write_json(folder / "data_card.json", corpus_card())
    files.write_text(folder / "data_card.md", "# Corpus card\n")
    files.write_json(folder / "estimate.json", ESTIMATE)
    files.write_json(folder / "evidence" / "language.json", {"terms": {"masked": {"loss": 3.5, "accuracy": 0.4, "units": 22114}}})
    files.write_text(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log_lines(64)))
    verdict = decide(policy, made, test_looks=1, model_digest=artifact.digest)
    files.write_json(folder / "verdict.json", verdict.to_json())
    purpose = {"intended_use": "a base <model> to start from", "owner": "A. Person"}
    return pack(folder, artifact=artifact, report=made, verdict=verdict, recipe_text=recipe, purpose=purpose, ask=ask)


def test_a_base_model_is_packed_signed_and_verified(tmp_path: Path) -> None:
    bundle = packed(tmp_path / "run")
    assert bundle.released and bundle.signer
    checked = verify(bundle.folder)
    assert json.loads(checked.read("labels.json"))["names"] == []
    record = json.loads(checked.read("golden.json"))
    assert record["asks"] == "log_likelihood" and record["labels"] == [] and len(record["inputs"]) >= 8
    assert all(set(item) == {"row", "text", "log_likelihood", "tokens"} for item in record["inputs"])
    names = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*.json")}
    assert {"estimate.json", "evidence/course.json", "evidence/language.json", "data_card.json"} <= names
    assert "probabilities" not in (bundle.folder / "golden.json").read_text()


def test_a_base_model_that_missed_a_limit_is_rejected(tmp_path: Path) -> None:
    bundle = packed(tmp_path / "run", gates={"quality.perplexity": "<= 20"})
    assert not bundle.released and bundle.folder.name == "rejected"
    text = (bundle.folder / "README.md").read_text("utf-8")
    assert "**Not released.**" in text and "trustbase predict" not in text and "base: PATH" not in text


class Scorer:
    """Answers as it did when the bundle was made, but for what a test changes."""

    factor, extra, width = 1.0, 0, 12

    def log_likelihoods(self, texts: Sequence[str]) -> Any:
        return likely(texts) * [self.factor, 1] + [0, self.extra]

    def embeddings(self, texts: Sequence[str]) -> Any:
        return spread(texts, self.width) * self.factor


def spread(texts: Sequence[str], width: int = 12) -> Any:
    return np.array([[np.sin(len(text) + place) for place in range(width)] for text in texts])


def test_golden_outputs_are_compared_as_a_share_of_them_and_tokens_exactly(tmp_path: Path) -> None:
    artifact, scorer = fake_base(tmp_path / "a"), Scorer()
    record = golden.golden_record(artifact, likely)
    assert golden.check_golden(record, scorer) == 0.0 and golden.repeat_golden(record, scorer) == 0.0
    scorer.factor = 1 + 5e-5
    assert golden.repeat_golden(record, scorer) == pytest.approx(5e-5, rel=1e-3)
    scorer.factor = 1.001
    with pytest.raises(ModelError, match=r"answers differ by up to 0\.001, over 0\.0001"):
        golden.repeat_golden(record, scorer)
    scorer.factor, scorer.extra = 1.0, 1
    assert golden.check_golden(record, scorer) == float("inf")
    scorer.extra, scorer.factor = 0, float("nan")
    assert golden.check_golden(record, scorer) == float("inf")


def test_a_model_without_a_word_head_is_asked_for_embeddings(tmp_path: Path) -> None:
    artifact, scorer = fake_base(tmp_path / "a", objective={"contrastive": 1.0}, objectives=["contrastive"]), Scorer()
    record = golden.golden_record(artifact, spread)
    assert record["asks"] == "embedding" and {len(item["embedding"]) for item in record["inputs"]} == {9}
    assert golden.repeat_golden(record, scorer) == 0.0
    scorer.factor = 1.01
    assert golden.check_golden(record, scorer) == pytest.approx(0.01, rel=0.05)
    scorer.width, scorer.factor = 4, 1.0
    with pytest.raises(ModelError, match="is this the bundle's model"):
        golden.check_golden(record, scorer)


def test_answers_that_are_no_log_likelihoods_are_refused(tmp_path: Path) -> None:
    artifact = fake_base(tmp_path / "a")
    for bad in (lambda texts: likely(texts)[:, :1], lambda texts: likely(texts) * np.nan, lambda texts: likely(texts)[1:]):
        with pytest.raises(ModelError, match="need \\(texts, 2\\)"):
            golden.golden_record(artifact, bad)
    with pytest.raises(ModelError, match="above 0"):
        golden.golden_record(artifact, lambda texts: -likely(texts))


def edit_golden(folder: Path, change: Any) -> None:
    data = files.read_json(folder / "golden.json")
    change(data)
    files.write_json(folder / "golden.json", data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g.update(asks="classes"), "must say what a base model was asked"),
        (lambda g: g.pop("asks"), "must say what a base model was asked"),
        (lambda g: g.update(tolerance=2), "must allow a difference between"),
        (lambda g: g["inputs"][0].update(log_likelihood=0.5), "without a usable log-likelihood"),
        (lambda g: g["inputs"][0].update(tokens=2.5), "without a usable log-likelihood"),
        (lambda g: g["inputs"][0].pop("tokens"), "without a usable log-likelihood"),
        (lambda g: g["inputs"][0].pop("row"), "without a row or a text"),
    ],
)
def test_golden_outputs_that_nobody_could_repeat_make_no_bundle(tmp_path: Path, change: Any, said: str) -> None:
    folder = packed(tmp_path / "run").folder
    edit_golden(folder, change)
    reseal(folder, signing_key())
    with pytest.raises(VerificationError) as caught:
        verify(folder)
    assert "golden.json" in str(caught.value) and said in str(caught.value)


def test_golden_outputs_of_a_base_model_make_no_classifiers_bundle(tmp_path: Path) -> None:
    folder = World(tmp_path / "run").pack().folder
    edit_golden(folder, lambda g: g.update(asks="log_likelihood"))
    reseal(folder, signing_key())
    with pytest.raises(VerificationError, match="is that of a base model"):
        verify(folder)


def test_predict_and_audit_refuse_a_base_model_and_say_what_it_is_for(tmp_path: Path) -> None:
    bundle = packed(tmp_path / "run")
    rows = tmp_path / "rows.csv"
    rows.write_text("text\nhello\n")
    with pytest.raises(UsageError) as caught:
        predict(bundle.folder, input=rows, output=tmp_path / "out.jsonl")
    assert caught.value.exit_code == 2 and "has no task" in str(caught.value) and f"base: {bundle.folder}" in (caught.value.hint or "")
    assert not (tmp_path / "out.jsonl").exists()
    for place in (bundle.folder, tmp_path / "run", bundle.folder / "model"):
        with pytest.raises(UsageError, match="is a base model: it has no task"), open_subject(place):
            pass
    shutil.rmtree(tmp_path / "run" / "bundle")
    with pytest.raises(UsageError, match="is a base model"), open_subject(tmp_path / "run"):
        pass


def test_no_number_in_the_card_comes_from_nowhere(tmp_path: Path) -> None:
    folder = packed(tmp_path / "run").folder
    text = (folder / "README.md").read_text("utf-8")
    numbers, strings = artefact_numbers(folder)
    strings += (folder / "recipe.resolved.yaml").read_text("utf-8")
    tokens = re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])", text)
    known = [float(item) for item in leaves(json.loads((folder / "data_card.json").read_text())) if type(item) in (int, float)]
    assert len(tokens) > 100
    for token in tokens:
        digits = len(token.partition(".")[2])
        near = any(abs(number - float(token)) <= 0.5 * 10**-digits + 1e-12 for number in (*numbers, *known))
        assert near or token in strings, f"{token} stands in the card, but in no artefact"


def test_the_card_says_what_it_learned_from_and_calls_it_no_classifier(tmp_path: Path) -> None:
    folder = packed(tmp_path / "run").folder
    text = (folder / "README.md").read_text("utf-8")
    _, front, body = text.split("---\n", 2)
    data = yaml.safe_load(front)
    assert data["pipeline_tag"] == "fill-mask" and data["language"] == ["zh"] and data["library_name"] == "transformers"
    (result,) = data["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "perplexity", "name": "quality.perplexity", "value": 34.1}]
    for said in (
        "knows no task yet",
        "`masked` (weight 1), `next_sentence` (weight 0.5)",
        "| context | 128 tokens |",
        "`wordpiece`, trained on this corpus",
        "| sample:people-daily | not stated | 1 |",
        "| sample:reviews-zh | MIT | 2 |",
        "Learned from: 29121 documents",
        "| reviews-zh | 7025 | 7025 | 7025 |",
        "| lineage | `one`, `two` |",
        "| energy | 0.01183 kWh | assuming 65 W |",
        "assuming 65 W and 480 g CO2-equivalent per kWh",
        "| zh | 1.18 | 0.004 | 1.71 | 0.63 |",
        "held-out documents (digest",
        "base: PATH/OF/THIS/FOLDER",
        "a base &lt;model&gt; to start from",
        "\\*snownlp\\*",
    ):
        assert said in text, said
    for never in ("classif", "label", "favourable", "threshold", "trustbase predict", "test rows", "compliant", "certified", "unbiased"):
        assert never not in text.lower(), never
    assert body.index("## Verdict") < body.index("## What it was pretrained on") < body.index("## Evaluation")
    shown = tables(folder)
    assert shown["quality.perplexity"]["interval"] == "[32.5, 35.7]" and shown["quality.perplexity <= 40"]["verdict"] == "pass"
    huggingface = pytest.importorskip("huggingface_hub")
    assert huggingface.ModelCard(text).data.eval_results[0].metric_value == 34.1


@pytest.mark.parametrize(
    ("facts", "tag"),
    [
        ({"family": "decoder", "objective": {"causal": 1.0}, "objectives": ["causal"]}, "text-generation"),
        ({"family": "encoder-decoder", "objective": {"span_corruption": 1.0}, "objectives": ["span_corruption"]}, "text2text-generation"),
        ({"family": "encoder", "objective": {"contrastive": 1.0}, "objectives": ["contrastive"]}, "feature-extraction"),
        ({"family": "encoder", "objective": {"replaced_token": 1.0}, "objectives": ["replaced_token"]}, "feature-extraction"),
    ],
)
def test_the_card_names_what_each_kind_can_do(tmp_path: Path, facts: dict[str, Any], tag: str) -> None:
    ask = likely if facts["family"] != "encoder" else spread
    folder = packed(tmp_path / "run", artifact=fake_base(tmp_path / "artifact", **facts), ask=ask).folder
    front = yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])
    assert front["pipeline_tag"] == tag
    verify(folder)


def test_a_card_without_a_corpus_card_or_a_cost_says_that_they_are_absent(tmp_path: Path) -> None:
    from trustbase.bundle.base_card import base_card

    artifact = fake_base(tmp_path / "a", objective={})
    (tmp_path / "a" / "trustbase.json").unlink()
    policy = read_policy({"quality.perplexity": "<= 40"})
    made = AuditReport({"digest": artifact.digest}, {"rows": 5}, policy.digest, {}, (Finding("quality.perplexity", 30, 29, 31, 5),), True)
    verdict = decide(policy, made, test_looks=1, model_digest=artifact.digest)
    text = base_card(artifact=artifact, report=made, verdict=verdict, recipe_text="", purpose={}, data_card={}, environment={})
    for said in (
        "No corpus card came with this model",
        "*Not measured.*",
        "| lineage | not stated |",
        "| objective | not stated |",
        "not counted",
    ):
        assert said in text, said


def test_paths_of_a_corpus_become_names(tmp_path: Path) -> None:
    recipe = """stage: pretrain
corpus:
  sources:
  - {files: ['/srv/one/texts/*.txt', texts/b.jsonl, 'sample:people-daily', 'hub:owner/set@main'], licence: /not/a/path}
  - {files: [../more/c.txt], weight: 0.5}
  contamination: {sets: [{files: [/srv/one/test.csv], name: /kept}]}
tokenizer: {from: /srv/one/models/tok}
model: {base: ~/models/base-one}
probes: [{name: a, data: /srv/one/probe.csv, text: text}]
purpose: {intended_use: /srv/one is where it stood}
"""
    said = yaml.safe_load(portable_recipe(recipe))
    corpus = said["corpus"]
    assert corpus["sources"][0]["files"] == ["*.txt", "texts/b.jsonl", "sample:people-daily", "hub:owner/set@main"]
    assert corpus["sources"][1]["files"] == ["c.txt"] and corpus["contamination"]["sets"][0]["files"] == ["test.csv"]
    assert said["tokenizer"] == {"from": "local:tok"} and said["model"] == {"base": "local:base-one"}
    assert said["probes"][0] == {"name": "a", "data": "probe.csv", "text": "text"}
    assert corpus["sources"][0]["licence"] == "/not/a/path" and said["purpose"]["intended_use"].startswith("/srv/one")
    short = yaml.safe_load(
        portable_recipe("corpus: [/srv/a.txt, b.txt]\ntokenizer: /srv/tok\nbase: {from: scratch, tokenizer: {from: /srv/t}}\n")
    )
    assert short == {"corpus": ["a.txt", "b.txt"], "tokenizer": "local:tok", "base": {"from": "scratch", "tokenizer": {"from": "local:t"}}}
    untouched = "corpus: {sources: [{files: ['sample:people-daily']}]}\n"
    assert portable_recipe(untouched) == untouched


def test_the_course_of_a_training_is_what_was_said_last(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in log_lines(640)) + '{"event": "st')
    course = read_course(log)
    assert course["steps"] == 640 and course["tokens"] == 640 * 7810 and course["resumed"] == course["spike"] == 1
    assert len(course["points"]) <= 240 and course["points"][-1]["step"] == 640 and course["points"][-1]["tokens"] == course["tokens"]
    assert all(point["low"] <= point["loss"] <= point["high"] for point in course["points"])
    assert [look["tokens"] for look in course["looks"]] == [7810 * 32 * (place + 1) for place in range(20)]
    again = log_lines(640)
    last = next(line for line in reversed(again) if line.get("step") == 301 and line["event"] == "step")
    log.write_text("".join(json.dumps(line) + "\n" for line in [*again[:323], {**last, "loss": 99.0}, *again[323:]]))
    assert read_course(log)["points"] == course["points"]
    assert read_course(tmp_path / "none.jsonl") == {}
    log.write_text('{"event": "step", "stage": "train", "step": true, "loss": 1}\n[]\n5\n{"event": "step", "step": 1, "loss": null}\n')
    assert read_course(log) == {}


def test_a_report_of_a_release_shows_the_course_that_was_signed(tmp_path: Path) -> None:
    bundle = packed(tmp_path / "run")
    assert "Course of the training" in render(bundle.folder)
    report(tmp_path / "run")
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    number = next(index for index, line in enumerate(lines) if '"evaluation"' in line)
    changed = json.loads(lines[number]) | {"quality.perplexity": 1.5}
    (tmp_path / "run" / "log.jsonl").write_text("\n".join([*lines[:number], json.dumps(changed), *lines[number + 1 :]]) + "\n")
    with pytest.raises(VerificationError, match="differs from its bundle"):
        report(tmp_path / "run")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from base_kit import base, tokenizers  # needs torch, which the other tests here do without

    root = tmp_path_factory.mktemp("real")
    made = tokenizers(root / "tokenizers")
    return lambda case: base(root, case, made)


#: What each kind of base model is asked.
ASKED = {
    **dict.fromkeys(("masked", "pairs", "causal", "llama", "spans", "infilling"), "log_likelihood"),
    **dict.fromkeys(("contrastive", "order", "replaced"), "embedding"),
}


@pytest.mark.parametrize("case", sorted(ASKED))
def test_every_kind_of_base_model_repeats_its_golden_outputs(real: Any, case: str) -> None:
    artifact = real(case)
    record = golden.golden_record(artifact)
    assert record["asks"] == ASKED[case]
    with Predictor.open(artifact) as predictor:
        assert golden.repeat_golden(record, predictor) <= 1e-5
    if record["asks"] == "log_likelihood":
        assert min(item["log_likelihood"] for item in record["inputs"]) < -1 and max(item["tokens"] for item in record["inputs"]) > 5


def test_another_models_golden_outputs_are_not_repeated(real: Any, tmp_path: Path) -> None:
    from base_kit import base, tokenizers

    artifact = real("masked")
    record = golden.golden_record(artifact)
    other = base(tmp_path, "masked", tokenizers(tmp_path / "tokenizers"), seed=1)
    with Predictor.open(other) as predictor, pytest.raises(ModelError, match="does not reproduce"):
        golden.repeat_golden(record, predictor)


def test_a_real_base_model_becomes_a_bundle_that_verifies(real: Any, tmp_path: Path) -> None:
    artifact = real("pairs")
    bundle = packed(tmp_path / "run", artifact=replace(artifact), ask=None)
    checked = verify(bundle.folder)
    with pytest.raises(UsageError, match="is a base model"), open_subject(artifact.folder):
        pass
    with checked.private_model() as copy, Predictor.open(copy) as predictor:
        assert golden.repeat_golden(json.loads(checked.read("golden.json")), predictor) <= 1e-5
