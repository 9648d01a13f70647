"""What ships: merged weights, a runtime that agrees with fp32, and an artifact.json that says why."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from pydantic import ValidationError

from tiny import tiny_bert
from trustbase import files
from trustbase.compress import candidates, export
from trustbase.compress.options import ReleaseOptions
from trustbase.errors import ModelError
from trustbase.model.adapt import adapt
from trustbase.model.artifact import artifact_digest, read_artifact
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.options import AdaptOptions
from trustbase.model.predict import Predictor
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import Decision, LabelSchema, Trained

LABELS = LabelSchema(("bad", "good"), positive="good", favourable="good", positive_assumed=False)
SAMPLE = ["the film was " + "very " * i + word for i in range(12) for word in ("good", "bad", "poor")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny models on a busy machine spend their time waiting for the second thread
    yield _world(tmp_path_factory)
    torch.set_num_threads(before)


def _world(tmp_path_factory):
    import torch

    folder = tmp_path_factory.mktemp("export")
    base = resolve_base(str(tiny_bert(folder / "base")))
    model = adapt(TEXT_CLASSIFICATION.build(base, LABELS, seed=0), AdaptOptions(method="lora", rank=2), seed=0)
    generator = torch.Generator().manual_seed(0)  # drawn from nowhere else: some heads answer every text alike
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=generator)
            if "classifier.weight" in name:
                parameter.normal_(std=0.4, generator=generator)
    digest = save_checkpoint(model, load_tokenizer(base.folder), folder / "trained", meta={})
    return folder, base, Trained(folder / "trained", digest, 1, 1.0, "quality.accuracy", 0.5, 0.0), model


def make(world, target, *, decide=None, **options):
    folder, base, trained, _ = world
    made = {"decide": decide, "labels": LABELS, "text": "{a} is {b}", "base": base, "max_length": 64, "sample": SAMPLE}
    return export.make_artifact(trained, folder / target, options=ReleaseOptions(**options), **made)


@pytest.fixture(scope="module")
def onnx_info(world):
    return make(world, "onnx", runtime="onnx")


def test_auto_measures_every_candidate_and_says_why(world):
    info = make(world, "auto")
    tried = info.facts["candidates"]
    assert {"fp32", "bf16"} >= {candidate["precision"] for candidate in tried}
    assert ("onnx", "fp32") in {(candidate["runtime"], candidate["precision"]) for candidate in tried}
    fastest = min((c for c in tried if c["accepted"]), key=lambda c: c["seconds"])
    assert (info.runtime, info.precision) == (fastest["runtime"], fastest["precision"])
    assert "fastest that agrees" in info.facts["why"]
    from trustbase.device import choose_device

    assert info.facts["device"] == ("cpu" if info.runtime == "onnx" else choose_device())
    assert (info.task, info.answer_kind) == ("text-classification", "classes")
    assert info.facts["parity"]["n"] == len(SAMPLE)
    assert (info.folder / "model.onnx").exists() == (info.runtime == "onnx")


def test_onnx_answers_as_torch_does_for_any_rows_and_lengths(world, onnx_info):
    assert (onnx_info.runtime, onnx_info.precision) == ("onnx", "fp32")
    items = ["good", "the film was not good and the food is very poor", "", "a " * 50]
    with Predictor.open(onnx_info.folder, threads=1) as shipped, Predictor.open(onnx_info.folder, precision="fp32", threads=1) as again:
        assert shipped.runtime.name == again.runtime.name == "onnx"
        scores, embeddings = shipped.class_scores(items), shipped.embeddings(items)
        one = np.concatenate([again.class_scores([item]) for item in items])
        with shipped.white_box() as box:
            assert "onnx fp32" in box.note
    np.testing.assert_allclose(one, scores, atol=1e-5)
    torch_info = make(world, "torch", runtime="torch", precision="fp32")
    with Predictor.open(torch_info, threads=1) as reference:
        np.testing.assert_allclose(scores, reference.class_scores(items), atol=1e-5)
        np.testing.assert_allclose(embeddings, reference.embeddings(items), atol=1e-4)
    assert scores[:, 1].std() > 0.02, "the comparison would mean nothing where all answers are alike"


def test_merged_weights_answer_as_the_adapter_did(world):
    from trustbase.model.runtime_torch import TorchRuntime

    _folder, base, _, model = world
    merged = make(world, "merged", runtime="torch", precision="fp32")
    assert not (merged.folder / "adapter_config.json").exists()
    before = TorchRuntime(model, load_tokenizer(base.folder), max_length=64, packed=False)
    with Predictor(merged, before) as oracle, Predictor.open(merged, threads=1) as shipped:
        np.testing.assert_allclose(shipped.class_scores(SAMPLE), oracle.class_scores(SAMPLE), atol=1e-5)


def test_the_record_survives_the_disk_and_says_nothing_absolute(world, onnx_info):
    again = read_artifact(onnx_info.folder)
    assert again == onnx_info and again.digest == artifact_digest(onnx_info.folder)
    assert again.labels == LABELS and again.text == "{a} is {b}" and again.max_length == 64
    for path in onnx_info.folder.iterdir():
        assert str(world[0]).encode() not in path.read_bytes(), f"{path.name} holds an absolute path"


def test_the_digest_follows_every_file_and_not_the_place(world, onnx_info, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(onnx_info.folder, copy)
    assert read_artifact(copy).digest == onnx_info.digest
    decided = export.set_decision(copy, Decision(0.3, "expected cost", {"false_negative": 5.0}))
    assert decided.digest != onnx_info.digest and read_artifact(copy).decision == decided.decision
    (copy / "vocab.txt").write_text("changed")
    assert artifact_digest(copy) != decided.digest


def test_a_bundle_folder_opens_its_model(onnx_info, tmp_path):
    shutil.copytree(onnx_info.folder, tmp_path / "bundle" / "model")
    assert read_artifact(tmp_path / "bundle").digest == onnx_info.digest


def test_what_does_not_agree_with_fp32_is_not_shipped(world, monkeypatch):
    options = {"runtime": "torch", "precision": "bf16", "max_difference": 1e-12}
    with pytest.raises(ModelError, match=r"largest \|Δ probability\|"):
        make(world, "refused", **options)
    assert not (world[0] / "refused").exists()
    assert make(world, "fallback", runtime="torch", max_difference=1e-12).precision == "fp32"


def test_parity_counts_differences_and_flips():
    reference = np.array([[0.9, 0.1], [0.51, 0.49], [0.2, 0.8], [0.5, 0.5]])
    other = reference + np.array([[0.01, -0.01], [-0.02, 0.02], [0, 0], [0, 0]])
    found = export.parity(reference, other, labels=LABELS, decision=Decision())
    assert found["n"] == 4 and found["label_flips"] == 1 and found["label_flip_share"] == 0.25
    assert found["max_difference"] == pytest.approx(0.02)
    assert candidates._refusal(found, ReleaseOptions()) != ""
    assert candidates._refusal(export.parity(reference, reference, labels=LABELS, decision=Decision()), ReleaseOptions()) == ""


def test_flips_are_counted_under_the_decision_that_answers():
    reference = np.array([[0.9, 0.1], [0.69, 0.31], [0.2, 0.8], [0.5, 0.5]])
    other = reference + np.array([[0, 0], [0.02, -0.02], [0, 0], [-0.02, 0.02]])
    assert export.parity(reference, other, labels=LABELS, decision=Decision())["label_flips"] == 1  # the last row
    found = export.parity(reference, other, labels=LABELS, decision=Decision(0.3))
    assert found["label_flips"] == 1 and found["threshold"] == 0.3  # the second row, and no longer the last
    assert export.parity(reference, other, labels=LABELS, decision=Decision(0.25))["label_flips"] == 0


def test_a_decision_that_jumps_is_not_shipped():
    reference = np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]])
    allowed = ReleaseOptions(max_label_flips=0.25)
    near, facts = candidates._settle(reference, reference, LABELS, Decision(0.45), Decision(0.55), allowed, "classes")
    assert near.threshold == 0.55 and facts["label_flips_with_its_own"] == 1
    far, facts = candidates._settle(reference, reference, LABELS, Decision(0.45), Decision(0.05), allowed, "classes")
    assert far.threshold == 0.45 and facts["threshold_of_artifact"] == 0.05 and facts["label_flips_with_its_own"] == 2


def test_the_decision_is_chosen_on_all_of_the_sample_and_shipped(world):
    seen = []

    def decide(scores):
        seen.append(scores)
        return Decision(float(np.median(scores[:, 1])), "median")

    info = make(world, "decided", runtime="torch", precision="fp32", sample=10, decide=decide)
    assert [len(scores) for scores in seen] == [len(SAMPLE), len(SAMPLE)] and info.facts["parity"]["n"] == 10
    assert info.decision == read_artifact(info.folder).decision == Decision(float(np.median(seen[-1][:, 1])), "median")
    assert info.facts["parity"]["threshold"] == info.decision.threshold


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precision": "fp16"}, "fp16"),
        ({"runtime": "onnx", "precision": "bf16"}, "fp32 only"),
        ({"runtime": "onnx", "weights": "adapter"}, "cannot be exported"),
        ({"quantize": "int8"}, "cannot quantize"),
        ({"runtime": "tensorrt"}, "runtime"),
        ({"speed": "high"}, "speed"),
    ],
)
def test_impossible_releases_are_refused_when_read(options, words):
    with pytest.raises(ValidationError, match=words):
        ReleaseOptions(**options)


def test_a_graph_that_is_missing_or_broken_is_an_error(onnx_info, tmp_path):
    shutil.copytree(onnx_info.folder, tmp_path / "broken")
    (tmp_path / "broken" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="refuses the graph"):
        Predictor.open(tmp_path / "broken")
    (tmp_path / "broken" / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"there is no model\.onnx"):
        Predictor.open(tmp_path / "broken")
    data = files.read_json(tmp_path / "broken" / "artifact.json")
    files.write_json(tmp_path / "broken" / "artifact.json", data | {"runtime": "abacus"})
    with pytest.raises(ModelError, match="abacus"):
        Predictor.open(tmp_path / "broken")
