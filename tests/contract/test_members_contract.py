"""Every answer kind that says how members are averaged, on the runtimes that ship weights: answers are the mean of the members' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tiny import tiny_bert
from trustbase.compress.graph import export_onnx
from trustbase.data.pair import join
from trustbase.data.tags import tag_names
from trustbase.data.truth.span import SCORES
from trustbase.errors import ModelError, PredictionError
from trustbase.model.artifact import ONNX_FILE, read_artifact, write_artifact
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.questions import KINDS, Question
from trustbase.model.runtime_torch import load_model
from trustbase.model.tokenizer import load_tokenizer
from trustbase.recipe.entries import load, load_named
from trustbase.recipe.lookup import ANSWER_KINDS, TASKS
from trustbase.records import ArtifactInfo, LabelSchema

TEXTS = ["the film was " + "very " * (i * 7 % 11) + word for i in range(6) for word in ("good", "bad", "poor")]
AVERAGED = [name for name, kind in ANSWER_KINDS.items() if kind.averaged]
#: A graph takes seconds to make, and gives logits whatever they mean; of units in another form (of parts: test_members_tables.py).
CASES = [*((kind, "torch") for kind in AVERAGED), ("classes", "onnx"), ("tokens", "onnx")]
TAGS = tag_names(["X", "Y"])
SCHEMAS = {
    "classes": LabelSchema(("a", "b", "c"), "a", "a"),
    "labels": LabelSchema(("a", "b"), "a", "a"),
    "number": LabelSchema(("price",), "price", "price", center=100.0, scale=30.0),
    "tokens": LabelSchema(TAGS, TAGS[-1], TAGS[-1]),
    "span": LabelSchema(SCORES, SCORES[-1], SCORES[-1]),
}


def asked_of(kind: str) -> list[str]:
    """Inputs, some of which are longer than what is read; of texts alone one holds no unit."""
    texts = [*TEXTS, "   "] if kind == "tokens" else TEXTS
    return [join("good", text) for text in TEXTS] if kind == "span" else texts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> dict[tuple[str, str], ArtifactInfo]:
    """An artefact of two members of each kind, for each runtime; their answers lie far apart."""
    root = tmp_path_factory.mktemp("members")
    base = resolve_base(str(tiny_bert(root / "base")))
    tokenizer, found = load_tokenizer(base.folder), {}
    for kind in AVERAGED:
        name = next(name for name, task in TASKS.items() if task.answers == kind)
        for place in range(2):
            model: Any = load(TASKS[name]).build(base, SCHEMAS[kind], seed=place)
            with torch.no_grad():
                getattr(model, "classifier" if kind != "span" else "qa_outputs").weight.mul_(30)
            folder = root / kind / f"member-{place}"
            save_checkpoint(model, tokenizer, folder, meta={})
            if (kind, "onnx") in CASES:
                export_onnx(load_model(folder), tokenizer, folder / ONNX_FILE, texts=asked_of(kind)[:2], max_length=24)
        for runtime in [runtime for each, runtime in CASES if each == kind]:
            info = ArtifactInfo(root / kind, "", name, kind, SCHEMAS[kind], runtime, "fp32", 24, "base", "local", "text", members=2)
            found[kind, runtime] = write_artifact(info)
    return found


def test_which_kinds_are_covered() -> None:
    assert set(SCHEMAS) == set(AVERAGED) == set(ANSWER_KINDS), "an answer kind without a mean: say so in docs/how-to/ensembles.md"
    assert all(callable(load_named(ANSWER_KINDS[kind].averaged)) for kind in AVERAGED)
    assert all(f"{ANSWER_KINDS[kind].question}_of_members" in KINDS for kind in AVERAGED)


@pytest.mark.parametrize(("kind", "runtime"), CASES)
def test_the_answer_is_the_mean_of_what_members_answer_alone(kind: str, runtime: str, made: Any) -> None:
    """Of the parts of a text it is the mean of what these are found in: tests/unit/test_members_tables.py."""
    info, texts = made[kind, runtime], asked_of(kind)
    alone = []
    for place in range(2):
        member = ArtifactInfo(
            info.folder / f"member-{place}", "", info.task, kind, info.labels, runtime, "fp32", 24, "base", "local", "text"
        )
        with Predictor.open(member, device="cpu") as predictor:
            alone.append(list(predictor.scores(texts)))
    unit = info.labels.scale
    both = [np.stack(rows) for rows in zip(*alone, strict=True)]  # (members, …) of each row
    assert max(np.abs(one - other).max(initial=0) for one, other in both) > 0.05 * unit, "members are too much alike to tell a mean"
    with Predictor.open(info, device="cpu") as predictor:
        assert predictor.runtime.name == runtime
        for row, told in zip(both, predictor.scores(texts), strict=True):
            if kind != "span":
                np.testing.assert_allclose(told, row.mean(axis=0), atol=1e-5 * unit)
        asked = predictor.ask_all([Question(f"{ANSWER_KINDS[kind].question}_of_members", text) for text in texts])
        for answer, row in zip(asked, both, strict=True):
            np.testing.assert_allclose(answer.value, row, atol=1e-5 * unit)
            assert not answer.value.flags.writeable
        with pytest.raises(PredictionError, match="cannot compute 'embedding'"):
            predictor.embeddings(texts[:1])
        with pytest.raises(ModelError, match="no one model to lend"), predictor.white_box():
            pass


def test_one_model_has_no_members_to_ask(made: Any) -> None:
    info = made["classes", "torch"]
    with Predictor.open(info.folder / "member-0", device="cpu") as predictor:
        answer = predictor.ask_all([Question("class_scores_of_members", TEXTS[0])])[0]
    assert getattr(answer, "code", "") == "bad_question"


def test_a_lost_member_is_noticed_when_the_artefact_is_opened(made: Any, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(made["number", "torch"].folder, tmp_path / "model")
    info = read_artifact(tmp_path / "model")
    assert info.members == 2
    shutil.rmtree(tmp_path / "model" / "member-1")
    with pytest.raises(ModelError, match="says 2 members, and 1 are there"):
        Predictor.open(read_artifact(tmp_path / "model"))
