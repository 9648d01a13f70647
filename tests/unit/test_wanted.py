"""Files and models that an audit names beside the audited model: found before anything is trained, and part of the audit's key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiny import tiny_bert
from trustbase.audit.options import AuditOptions
from trustbase.audit.robustness.expectations import read_expectations
from trustbase.audit.safety.policy import Output, OutputPolicy, read_output_policy
from trustbase.audit.wanted import Wanted, find_models, read_wanted
from trustbase.errors import DataError, UsageError
from trustbase.records import ArtifactInfo, LabelSchema

LABELS = LabelSchema(("no", "yes"), "yes", "yes")
ALL = ("explanation", "robustness", "safety")


def options(**robustness: str) -> AuditOptions:
    return AuditOptions.model_validate({"robustness": robustness})


def test_named_models_are_found_from_the_recipes_folder_with_their_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_bert(tmp_path / "recipes" / "judge")
    monkeypatch.chdir(tmp_path)
    named = options(judge="judge")
    found = find_models(named, tmp_path / "recipes", ALL)
    folder, digest = found["robustness.judge"]
    assert folder == tmp_path / "recipes" / "judge" and digest.startswith("sha256:") and set(found) == {"robustness.judge"}
    wanted = Wanted(models=found)
    assert wanted.rooted(named).robustness.judge == str(folder) and named.robustness.judge == "judge"
    assert wanted.digests() == {"robustness.judge": digest}
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert find_models(named, tmp_path / "recipes", ALL)["robustness.judge"][1] != digest
    assert find_models(named, tmp_path / "recipes", ("quality",)) == {}


def test_every_model_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    asked = AuditOptions.model_validate({"robustness": {"judge": "./none", "candidates": "./nor"}, "explanation": {"fluent": "./neither"}})
    with pytest.raises(UsageError) as told:
        find_models(asked, tmp_path, ALL)
    wheres = ["audit.explanation.fluent", "audit.robustness.judge", "audit.robustness.candidates"]
    assert [problem.where for problem in told.value.problems] == wheres


def test_the_usual_judge_counts_where_none_is_named(tmp_path: Path) -> None:
    found = find_models(AuditOptions(), tmp_path, ALL)
    assert set(found) == {"robustness.judge"}
    kept = Wanted(models=found).rooted(AuditOptions())
    assert kept.robustness.judge is None, "the usual one is known by its package"


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("nothing: 1\n")
    asked = AuditOptions.model_validate({"safety": {"policy": "p.yaml"}, "robustness": {"expectations": "none.yaml"}})
    with pytest.raises(UsageError) as told:
        read_wanted(asked, tmp_path, option="--budget ")
    said = [problem.where for problem in told.value.problems]
    assert said[-1] == "--budget robustness.expectations" and any(where.startswith("p.yaml") for where in said)
    assert os.listdir(tmp_path) == ["p.yaml"]


def policy_of(folder: Path, text: str) -> OutputPolicy:
    (folder / "p.yaml").write_text(text, encoding="utf-8")
    return read_output_policy("p.yaml", folder)


def test_signs_of_full_width_are_signs_and_no_operators(tmp_path: Path) -> None:
    policy = policy_of(
        tmp_path, 'rules: [{when: "退款？", never: [yes], example: "我要退款？"}]\npatterns: [{pattern: "１０％", example: "10%"}]'
    )
    pattern, rule = policy.conditions().values()
    said = Output(("yes",), ("yes",))
    assert rule.catches("我要退款？", said) and rule.catches("我要退款?", said) and not rule.catches("我要退货", said)
    assert pattern.catches("", Output((), ("收益 10％",))) and policy.wanted.rules[0].never == ["yes"], "yes is a word, not true"


def test_a_pattern_that_would_search_for_ever_gives_up_and_is_named(tmp_path: Path) -> None:
    (condition,) = policy_of(tmp_path, 'rules: [{when: "(a|aa)+$", never: [bad], example: "aa"}]').conditions().values()
    with pytest.raises(DataError, match=r"takes over 1 s to search a text of 61 characters"):
        condition.catches("a" * 60 + "!", Output(("bad",), ("bad",)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('- {name: a, expect: same, pairs: [["x", " "]]}', "is empty"),
        ('- {name: a, expect: same, pairs: [["x", "y\\x1fz"]]}', "parts what a model reads"),
        ("- {name: a, expect: same, margin: .inf, pairs: [[x, y]]}", "margin"),
        ('- {name: a, expect: "yes", margin: 0.1, texts: [x]}', "margin"),
    ],
)
def test_what_no_model_can_be_asked_is_refused_when_it_is_read(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as told:
        read_expectations("e.yaml", tmp_path)
    assert said in str(told.value.problems[0]), told.value.problems


def test_columns_and_margins_that_a_model_has_no_use_for_are_refused(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("- {name: a, expect: same, margin: 0.2, pairs: [[{txt: x}, {txt: y}]]}", encoding="utf-8")
    read = read_expectations("e.yaml", tmp_path)
    assert [problem.message for problem in read.unfit(("no", "yes"), "classes")] == ["margin is of one label's score, and none is named"]
    policy = policy_of(tmp_path, "words: [bad]\nprobes: [{txt: hello}, plain]")
    info = ArtifactInfo(tmp_path, "sha256:1", "text-classification", "classes", LABELS, "plain", "fp32", 64, "b", "r", text="text")
    with pytest.raises(UsageError) as told:
        Wanted(forbidden=policy, expectations=read).refuse_unread(info)
    said = [str(problem) for problem in told.value.problems]
    for part in ("names the column 'txt'", "lacks the column 'text'"):
        assert sum(part in line for line in said) == 2, said


def test_a_model_without_a_head_for_hidden_words_cannot_say_how_edits_read(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "base")
    asked = AuditOptions.model_validate({"explanation": {"fluent": str(tmp_path / "base")}})
    with pytest.raises(UsageError) as told:
        find_models(asked, tmp_path, ("explanation",), option="--budget ")
    assert told.value.problems[0].where == "--budget explanation.fluent" and "predicts no hidden words" in told.value.problems[0].message
