"""Limits as people write them: read, refused with reasons, tightened, never loosened, known by a digest."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from trustbase.audit.catalogue import why_never
from trustbase.errors import RecipeError
from trustbase.gate.options import GateOptions
from trustbase.gate.policy import Policy, read_policy

ACCURACY = "quality.accuracy"


@pytest.mark.parametrize(
    ("written", "operator", "limit", "shown"),
    [
        (">= 0.75", ">=", 0.75, "0.75"),
        ("<=0.10", "<=", 0.10, "0.10"),
        ("  >  2e-4 ", ">", 2e-4, "2e-4"),
        ("< -.5", "<", -0.5, "-.5"),
        ("<= 100M", "<=", 100e6, "100M"),
        ("≥ 0.9", ">=", 0.9, "0.9"),
    ],
)
def test_limits_are_read_and_kept_as_written(written: str, operator: str, limit: float, shown: str) -> None:
    (gate,) = read_policy({ACCURACY: written}).gates
    assert (gate.operator, gate.limit, gate.judge) == (operator, limit, "interval")
    assert str(gate) == f"{ACCURACY} {operator} {shown}"


@pytest.mark.parametrize(
    "written",
    [
        0.75,
        True,
        None,
        "",
        "0.75",
        ">= ",
        ">= 10 %",
        ">= 30 ms",
        "== 1",
        "=> 1",
        ">= nan",
        ">= 1e999",
        ">= inf",
        [],
        {"judge": "value"},
        {"limit": ">= 1", "jugde": "value"},
        {"limit": ">= 1", "judge": "mean"},
        [">= 1", ">= 2"],
    ],
)
def test_what_is_no_limit_is_refused_with_its_place(written: object) -> None:
    with pytest.raises(RecipeError) as caught:
        read_policy({ACCURACY: written})
    assert {problem.where for problem in caught.value.problems} == {f"gates.{ACCURACY}"}


def test_all_problems_are_told_at_once_with_did_you_mean() -> None:
    wanted = {
        "quality.acuracy": ">= 0.5",
        "quality.macro_f1": "0.5",
        "nonsense": ">= 1",
        "fairness.demographic_parity_difference[sex]": "<= 0.1",
        "fairness.accuracy_difference[sxe]": "<= 0.1",
    }
    with pytest.raises(RecipeError) as caught:
        read_policy(wanted, never=lambda id: why_never(id, ["sex"]))
    text = str(caught.value)
    assert len(caught.value.problems) == 4 and "did you mean 'sex'?" in text
    assert "did you mean 'quality.accuracy'?" in text and "'0.5' is not a limit" in text and "'nonsense' is not a finding id" in text


def test_a_band_needs_two_limits_and_judge_value_is_kept() -> None:
    policy = read_policy({"quality.positive_rate": [">= 0.1", {"limit": "<= 0.9", "judge": "value"}]})
    assert [str(gate) for gate in policy.gates] == ["quality.positive_rate >= 0.1", "quality.positive_rate <= 0.9"]
    assert [gate.judge for gate in policy.gates] == ["interval", "value"]


def test_the_digest_changes_with_any_limit_and_survives_the_file() -> None:
    policy = read_policy({ACCURACY: ">= 0.75"})
    assert Policy.from_json(json.loads(policy.to_text())) == policy
    assert Policy.from_json(json.loads(policy.to_text())).digest == policy.digest
    others = [
        {ACCURACY: ">= 0.76"},
        {ACCURACY: "> 0.75"},
        {ACCURACY: {"limit": ">= 0.75", "judge": "value"}},
        {"quality.auroc": ">= 0.75"},
        {},
    ]
    assert len({read_policy(other).digest for other in others} | {policy.digest}) == 6


@pytest.mark.parametrize("change", [{"limit": 0.1}, {"written": "0.1"}, {"operator": "=="}, {"judge": "x"}, {"finding": "x"}, {"more": 1}])
def test_a_policy_json_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    data = read_policy({ACCURACY: ">= 0.75"}).to_json()
    data["gates"][0].update(change)
    with pytest.raises(ValueError, match=r"policy\.json|not a limit|judge|finding id"):
        Policy.from_json(data)


def test_a_newer_policy_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="trustbase/policy/1"):
        Policy.from_json({**read_policy({}).to_json(), "schema": "trustbase/policy/2"})


def owner_file(folder: Path) -> Path:
    path = folder / "owner.yaml"
    path.write_text("schema: trustbase/policy/1\nowner: Risk\ngates:\n  quality.accuracy: '>= 0.80'\n  efficiency.latency_p95_ms: '< 30'\n")
    return path


def test_a_recipe_may_tighten_and_add(tmp_path: Path) -> None:
    owner_file(tmp_path)
    options = GateOptions.model_validate({"from": "owner.yaml", "quality.accuracy": ">= 0.9", "quality.auroc": ">= 0.9"})
    policy = read_policy(options, root=tmp_path)
    assert [str(gate) for gate in policy.gates] == ["quality.accuracy >= 0.9", "efficiency.latency_p95_ms < 30", "quality.auroc >= 0.9"]
    assert policy.owner is not None and policy.owner["file"] == "owner.yaml" and policy.owner["digest"].startswith("sha256:")


@pytest.mark.parametrize(
    ("id", "limit"),
    [
        ("quality.accuracy", ">= 0.79"),
        ("quality.accuracy", {"limit": ">= 0.95", "judge": "value"}),
        ("efficiency.latency_p95_ms", "<= 30"),
        ("efficiency.latency_p95_ms", "< 31"),
    ],
)
def test_a_recipe_may_not_loosen(tmp_path: Path, id: str, limit: object) -> None:
    owner_file(tmp_path)
    with pytest.raises(RecipeError, match="loosens") as caught:
        read_policy({"from": "owner.yaml", id: limit}, root=tmp_path)
    (problem,) = caught.value.problems
    assert "it says '" in problem.message and "the recipe says '" in problem.message


@pytest.mark.parametrize("text", ["quality.accuracy: '>= 0.8'\n", "gates:\n  quality.accuracy: '>= 0.8'\n"])
def test_the_forms_of_a_policy_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    for options in ("p.yaml", GateOptions.model_validate("p.yaml")):
        assert [str(gate) for gate in read_policy(options, root=tmp_path).gates] == ["quality.accuracy >= 0.8"]


def test_the_policy_of_a_run_is_itself_a_policy_file(tmp_path: Path) -> None:
    policy = read_policy({ACCURACY: {"limit": ">= 0.80", "judge": "value"}, "quality.auroc": "> 2e-1"})
    (tmp_path / "policy.json").write_text(policy.to_text())
    assert read_policy(tmp_path / "policy.json").gates == policy.gates


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mapping"),
        ("- a\n", "mapping"),
        ("gates: {}\n", "sets no limit"),
        ("owner: me\n", "sets no limit"),
        ("quality.accuracy: '>= 1'\nquality.accuracy: '>= 0'\n", "stands twice"),
        ("schema: trustbase/policy/9\nquality.accuracy: '>= 1'\n", "schema"),
        ("gates: {quality.accuracy: '>= 1'}\nlimits: {}\n", "not a known key"),
        ("quality.accuracy: [\n", "YAML"),
        ("quality.accuracy: 0.8\n", "not a limit"),
        ("!!python/object/apply:os.system ['true']\n", "mapping"),
    ],
)
def test_a_bad_policy_file_is_refused_whole(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        read_policy(tmp_path / "p.yaml")


def test_faults_of_a_policy_file_are_told_together_each_with_its_line_and_finding(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("schema: trustbase/policy/9\ngates: {quality.accuracy: about 3, quality.auroc: 1}\nlimits: {}\n")
    with pytest.raises(RecipeError) as caught:
        read_policy(tmp_path / "p.yaml")
    assert [(problem.where, problem.message.split(" ")[0]) for problem in caught.value.problems] == [
        ("p.yaml:1", "schema"),
        ("p.yaml:3", "'limits'"),
        ("p.yaml:2", "'quality.accuracy':"),
        ("p.yaml:2", "'quality.auroc':"),
    ]
    (tmp_path / "p.yaml").write_text("quality.accuracy: '>= 1'\nquality.auroc: '>= 1\n")
    with pytest.raises(RecipeError, match=r"p\.yaml:2: is not valid YAML"):
        read_policy(tmp_path / "p.yaml")


def test_a_missing_policy_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_policy("nothing.yaml", root=tmp_path)


@pytest.mark.parametrize("value", [3, [1], " ", True])
def test_options_of_another_form_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="policy file"):
        GateOptions.model_validate(value)


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder", "long", "NUL"])
def test_only_a_regular_file_is_read_as_a_policy(tmp_path: Path, kind: str) -> None:
    """A pipe would be waited for and a device read without end; the alarm ends the test where they are."""
    paths = {"pipe": tmp_path / "pipe", "endless": Path("/dev/zero"), "folder": tmp_path, "long": tmp_path / ("z" * 300)}
    os.mkfifo(tmp_path / "pipe")
    signal.alarm(20)
    try:
        with pytest.raises(RecipeError, match="cannot be read"):
            read_policy(paths.get(kind, Path("a\0b")))
    finally:
        signal.alarm(0)


def test_a_policy_that_is_far_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    with path.open("wb") as stream:
        stream.truncate(10**12)  # a hole: no machine could hold it
    with pytest.raises(RecipeError, match="has 1000000000000 bytes"):
        read_policy(path)
