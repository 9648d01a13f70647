"""Reading a recipe: every problem at once, each where a person finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustbase.errors import RecipeError
from trustbase.recipe.marks import read_yaml
from trustbase.recipe.read import read_recipe

ROWS = "text,label,sex\n" + "".join(f"row {i},{'yes' if i % 2 else 'no'},{'f' if i % 3 else 'm'}\n" for i in range(60))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


GOOD = "data:\n  train: rows.csv\n  text: text\n  label: label\n  groups: [sex]\n"


def problems(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(folder, text), overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_short_recipe_is_filled_with_defaults(folder: Path) -> None:
    plan = read_recipe(write(folder, GOOD))
    assert plan.name == "recipe"
    assert plan.recipe.adapt.method == "full"
    assert plan.recipe.train.batch_tokens == 1024
    assert plan.recipe.release.runtime == "auto"
    assert "batch_tokens: 1024" in plan.resolved


def test_the_resolved_recipe_reads_back_to_itself(folder: Path) -> None:
    plan = read_recipe(write(folder, GOOD + "gates:\n  quality.accuracy: '>= 0.5'\n"))
    again = read_recipe(write(folder, plan.resolved))
    assert again.resolved == plan.resolved


def test_all_problems_are_reported_at_once_with_file_and_line(folder: Path) -> None:
    data = "task: text-clasification\ndata:\n  train: rows.csv\n  text: text\n  lable: label\n  label: label\n"
    text = data + "train:\n  epochs: many\n  learnin_rate: 1e-4\n"
    message = problems(folder, text)
    assert "recipe.yaml:5" in message and "did you mean 'label'?" in message
    assert "recipe.yaml:8" in message and "'train.epochs'" in message
    assert "recipe.yaml:9" in message and "did you mean 'learning_rate'?" in message
    assert "3 problems" in message


def test_possible_in_form_but_impossible_in_fact_is_refused(folder: Path) -> None:
    text = GOOD + (
        "mitigate: {fairness: {constraint: demographic_parity, group: race, limit: 0.05}}\n"
        "audit: [quality, privacy]\n"
        "gates: {'fairness.demographic_parity_difference[age]': '<= 0.1'}\n"
    )
    message = problems(folder, text)
    assert "'race', which data.groups does not name" in message
    assert "a mitigation of fairness is one that this version" in message
    assert "the privacy audit is one that this version" in message
    assert "'age', which data.groups does not name" in message
    assert "which `audit:` does not measure" in message


def test_a_later_section_is_refused_not_ignored(folder: Path) -> None:
    message = problems(folder, GOOD + "corpus: {files: '*.txt'}\n")
    assert "section 'corpus' is one that this version of Trustbase cannot do yet" in message


def test_later_task_and_unknown_adaptation(folder: Path) -> None:
    message = problems(folder, GOOD + "task: token-classification\n")
    assert "cannot do yet" in message
    message = problems(folder, GOOD + "adapt: prefix\n")
    assert "prefix" in message and "lora" in message


def test_fp16_on_a_cpu_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "would silently be fp32" in problems(folder, GOOD + "train: {precision: fp16}\n")


def test_an_unmergeable_artefact_for_onnx_is_refused(folder: Path) -> None:
    assert "adapter" in problems(folder, GOOD + "adapt: lora\nrelease: {runtime: onnx, weights: adapter}\n")
    assert "leaves none" in problems(folder, GOOD + "adapt: full\nrelease: {runtime: torch, weights: adapter}\n")


def test_missing_columns_get_did_you_mean(folder: Path) -> None:
    message = problems(folder, "data:\n  train: rows.csv\n  text: txt\n  label: label\n  groups: [sexx]\n")
    assert "text" in message and "sex" in message


def test_overrides_change_values_and_name_themselves_in_errors(folder: Path) -> None:
    plan = read_recipe(write(folder, GOOD), ["train.epochs=2", "train.learning_rate=2e-4", "adapt=lora", "gates.quality.accuracy=>= 0.5"])
    assert plan.recipe.train.epochs == 2
    assert plan.recipe.train.learning_rate == pytest.approx(2e-4)
    assert plan.recipe.adapt.method == "lora"
    assert "override train.epochs=lots" in problems(folder, GOOD, "train.epochs=lots")
    assert "did you mean 'epochs'?" in problems(folder, GOOD, "train.epoch=1")
    assert "key=value" in problems(folder, GOOD, "nonsense")


def test_override_inside_the_short_form_of_adapt(folder: Path) -> None:
    plan = read_recipe(write(folder, GOOD + "adapt: lora\n"), ["adapt.rank=4"])
    assert (plan.recipe.adapt.method, plan.recipe.adapt.rank) == ("lora", 4)


def test_yaml_faults_are_problems(folder: Path) -> None:
    assert "recipe.yaml:2" in problems(folder, "data:\n  train: [1\n")
    assert "stands twice" in problems(folder, GOOD + "task: text-classification\ntask: text-classification\n")
    assert "must be a mapping" in problems(folder, "- a\n- b\n")
    assert "'data' is missing" in problems(folder, "task: text-classification\n")


def test_a_missing_recipe_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "census.yaml").write_text(GOOD)
    with pytest.raises(RecipeError, match=r"did you mean .*census\.yaml"):
        read_recipe(tmp_path / "cencus.yaml")


@pytest.mark.parametrize(
    ("text", "value"), [("2e-4", 2e-4), ("1.5E3", 1500.0), ("-3e2", -300.0), ("'2e-4'", "2e-4"), ("20M", "20M"), ("no", False)]
)
def test_numbers_that_yaml_calls_strings(text: str, value: object) -> None:
    assert read_yaml(f"a: {text}", "x").value == {"a": value}


def test_multiples_are_numbers_where_numbers_are_wanted(folder: Path) -> None:
    assert read_recipe(write(folder, GOOD + "train: {batch_tokens: 2k}\n")).recipe.train.batch_tokens == 2000


def test_keys_stay_words_and_tags_build_nothing() -> None:
    assert read_yaml("no: 1\non: 2", "x").value == {"no": 1, "on": 2}
    assert read_yaml("a: !!python/object/apply:os.system ['echo']", "x").value == {"a": ["echo"]}


def test_an_alias_that_contains_itself_is_a_problem() -> None:
    assert "refers to itself" in str(read_yaml("a: &x [*x]", "x").problems[0])


def test_a_gate_on_an_unknown_metric_is_noticed_when_the_recipe_is_read(folder: Path) -> None:
    assert "quality.accuracy" in problems(folder, GOOD + "gates:\n  quality.acuracy: '>= 0.5'\n")


@pytest.mark.parametrize(
    "id",
    [
        "quality.balanced_accuracy",
        "quality.recall_at_fpr",
        "quality.recall_at_fpr#0.10",
        "quality.accuracy@foo",
        "quality.accuracy#foo",
        "quality.accuracy[sex]",
        "quality.accuracy[sex=f]",
        "quality.recall",
        "quality.recall[label]",
        "quality.recall[sex=f]",
        "quality.slice_accuracy[sex]",
        "fairness.selection_rate",
        "fairness.selection_rate[sex]",
        "fairness.selection_rate[sex=f,race]",
        "fairness.demographic_parity_difference",
        "fairness.demographic_parity_difference[sex=f]",
        "fairness.demographic_parity_difference[label=yes]",
        "fairness.demographic_parity_difference[race,sex]",
        "fairness.demographic_parity_difference[sex,sex]",
        "fairness.demographic_parity_difference[sex,race,age]",
        "fairness.accuracy_difference[sex]#yes",
        "fairness.demographic_parity_difference[sex=]",
        "efficiency.throughput[sex]",
    ],
)
def test_a_gate_that_no_audit_can_ever_measure_is_refused_with_a_next_step(folder: Path, id: str) -> None:
    (folder / "rows.csv").write_text(
        ROWS.replace("sex\n", "sex,race,age,town\n").replace(",f\n", ",f,b,1,x\n").replace(",m\n", ",m,w,2,y\n")
    )
    text = GOOD.replace("[sex]", "[sex, race, age, town]") + f"gates: {{'{id}': '>= 0.5'}}\n"
    message = problems(folder, text)
    assert "1 problem" in message and "recipe.yaml:6" in message


@pytest.mark.parametrize(
    "id",
    [
        "quality.recall[label=yes]",
        "quality.recall_at_fpr#0.05",
        "quality.slice_accuracy[text length=1 to 9 characters]",
        "fairness.demographic_parity_difference[sex]",
        "fairness.equalized_odds_difference[sex,race]#maybe",
        "fairness.auroc[sex=f,race=b]",
        "fairness.demographic_parity_ratio[sex,race,age]",
        "efficiency.parity_max_difference",
    ],
)
def test_a_gate_that_an_audit_can_measure_is_taken(folder: Path, id: str) -> None:
    (folder / "rows.csv").write_text(ROWS.replace("sex\n", "sex,race,age\n").replace(",f\n", ",f,b,1\n").replace(",m\n", ",m,w,2\n"))
    plan = read_recipe(write(folder, GOOD.replace("[sex]", "[sex, race, age]") + f"gates: {{'{id}': '>= 0.5'}}\n"))
    assert list(plan.recipe.gates.root) == [id] and plan.warnings == []


def test_impossible_gates_are_all_named_at_once(folder: Path) -> None:
    gates = "gates:\n  quality.acuracy: '>= 0.5'\n  quality.auroc[sex]: '>= 0.5'\n  fairness.selection_rate[sx=f]: '>= 0.1'\n"
    message = problems(folder, GOOD + gates)
    assert "3 problems" in message and "did you mean 'quality.accuracy'?" in message and "did you mean 'sex'?" in message
    assert "write quality.auroc" in message
    assert "did you mean 'quality.accuracy'?" in problems(folder, GOOD + "gates: {acuracy: '>= 0.5'}\n")


def test_a_recipe_without_gates_is_warned_of_before_it_runs(folder: Path) -> None:
    (warning,) = read_recipe(write(folder, GOOD)).warnings
    assert "no gates" in warning and "exit code 3" in warning
