"""What is shipped in words is true: README commands run, recipes run at toy size, pages match the code."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main
import yaml

from benchmark_world import fill, write_chosen
from hub_kit import stand_in
from hurry import time_quickly
from tiny import tiny_bert
from trustbase.audit.robustness.expectations import read_expectations
from trustbase.audit.safety.policy import read_output_policy
from trustbase.cli.main import app
from trustbase.errors import RecipeError
from trustbase.flow import RunResult
from trustbase.recipe.read import read_recipe
from trustbase.report.words import words as catalogue

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
READABLE = [path for path in RECIPES if re.search(r"^base: (\{kind: )?(linear|tree|rules|boosting)", path.read_text("utf-8"), re.MULTILINE)]
ROWS = "data.sample={train: 300, validation: 100, test: 200}"
THREE = "audit=[quality, fairness, efficiency]"  # dimensions that ask each row once; the others have a test of their own
LITTLE = {
    "explanation": {"texts": 12, "samples": 40, "evaluations": 40, "queries": 12, "stability": 10},
    "robustness": {"texts": 12, "queries": 15, "shift_texts": 40, "certify_texts": 10, "certify_samples": 50, "sensitivity_texts": 10},
    "safety": {"queries": 60, "texts": 60, "searched": 100, "rows": 150, "encoder": False},
}
PAGES = (ROOT / "README.md", ROOT / "README.zh-CN.md")


def test_the_reference_pages_are_what_the_code_says() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import write_reference
    finally:
        sys.path.pop(0)
    assert len(write_reference.PAGES) == 3
    for name, page in write_reference.PAGES.items():
        message = f"{name} is stale; run: python tools/write_reference.py"
        assert (write_reference.FOLDER / name).read_text(encoding="utf-8") == page(), message


def test_the_plan_for_scale_is_what_its_script_says() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import plan_scale
    finally:
        sys.path.pop(0)
    text = plan_scale.PAGE.read_text(encoding="utf-8")
    assert plan_scale.page(text, plan_scale.UTILISATION) == text, "docs/scale.md is stale; run: python tools/plan_scale.py"
    assert plan_scale.page(text, 0.2) != text  # the tables are there, and follow from the utilisation
    one, seven, seventy = plan_scale.SHAPES
    assert plan_scale.days(seven, 8, 0.4) == pytest.approx(6.29e21 / (8 * 989e12 * 0.4 * 86400), rel=0.01)
    assert [plan_scale.tokens(shape) for shape in (one, seven, seventy)] == [2e10, 1.4e11, 1.4e12]


def commands(page: Path) -> list[list[str]]:
    """Every `trustbase …` line in the page's code blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("trustbase ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_readme_exists_with_its_options(page: Path) -> None:
    group = typer.main.get_command(app)
    found = commands(page)
    assert len(found) >= 6
    for words in found:
        command = group.commands[words[1]]  # type: ignore[attr-defined]
        options = {name for parameter in command.params for name in parameter.opts}
        used = {word for word in words[2:] if word.startswith("--")}
        assert used <= options, f"{page.name}: {' '.join(words)} uses {used - options}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make (\w+)", text, flags=re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert len(links) >= 4
    for link in links:
        assert (ROOT / link).exists(), link


def test_both_readmes_show_the_same_commands() -> None:
    assert commands(PAGES[0]) == commands(PAGES[1])


def stands_on(path: Path) -> str | None:
    """The run that a recipe needs first, by name: one whose base, or whose tokenizer, is another recipe's bundle."""
    found = re.search(r"\.\./runs/([\w-]+)/bundle", path.read_text(encoding="utf-8"))
    return found[1] if found else None


@pytest.mark.parametrize("page", ["audit-in-depth.md", "audit-in-depth.zh-CN.md"])
def test_the_files_of_users_that_a_page_shows_are_read(page: str, tmp_path: Path) -> None:
    """The page on audits in depth shows a list of expectations and a policy of outputs."""
    shown = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8"), re.DOTALL)
    _, expectations, policy = shown
    (tmp_path / "expectations.yaml").write_text(expectations, encoding="utf-8")
    (tmp_path / "policy.yaml").write_text(policy, encoding="utf-8")
    assert len(read_expectations("expectations.yaml", tmp_path).wanted) == 3
    assert len(read_output_policy("policy.yaml", tmp_path).conditions()) == 5


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_reads(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(RECIPES) >= 5
    needed = stands_on(path)
    if needed is None:
        folder = tmp_path / "recipes"
        shutil.copytree(ROOT / "recipes", folder)
        for name in re.findall(r"\.\./(runs/[\w-]+/[\w-]+\.jsonl)", path.read_text(encoding="utf-8")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(
                '{"text": "a text", "area": "one", "sections": ["one"], "head": [0, 1], "tail": [2, 6], "relation": "Other"}\n',
                encoding="utf-8",
            )
        if (tmp_path / "runs" / "clue-c3").is_dir():
            for part in ("train", "validation"):
                write_chosen(tmp_path / "runs" / "clue-c3" / f"{part}.jsonl", 10)
        hub = stand_in(tmp_path / "hub", monkeypatch)
        for name in sorted(set(re.findall(r"hub:([\w/-]+):\w+", path.read_text(encoding="utf-8")))):
            fill(hub, name)
        assert read_recipe(folder / path.name).recipe.gates.root
        return
    assert (path.parent / f"{needed}.yaml") in RECIPES, f"{path.name} stands on a run of no recipe"
    with pytest.raises(RecipeError, match=f"there is no folder '../runs/{needed}/bundle'"):
        read_recipe(path)


OF_HUBS = {path.stem for path in RECIPES if re.search(r": hub:|clue/clue", path.read_text("utf-8"))}  # tests/docs/test_benchmark_recipes.py


@pytest.fixture
def toy_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, one thread, and a base model so small that a whole run costs seconds."""
    import torch

    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    tiny_bert(tmp_path / "base")
    time_quickly(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def toy(base: Path) -> tuple[str, ...]:
    """What makes a recipe a toy: few rows and steps, few replicates, and a tiny base in place of the real one."""
    return (ROWS, "train.max_steps=4", "train.precision=fp32", "train.max_length=64", "release.runtime=torch", THREE, f"base={base}")


def check_run(path: Path, result: RunResult, dimensions: set[str]) -> None:
    assert result.exit_code in (0, 3)
    assert {finding.parts.dimension for finding in result.audit.findings} == dimensions
    assert not [finding.id for finding in result.audit.findings if finding.status == "failed"]
    gates = yaml.safe_load(path.read_text(encoding="utf-8"))["gates"]
    assert {gate.gate.split(" ")[0] for gate in result.verdict.gates} == set(gates)
    assert result.report.is_file()


@pytest.mark.slow
def test_the_census_recipes_run_at_toy_size(toy_world: Path) -> None:
    from trustbase import run

    previous = None
    paths = [path for path in RECIPES if path.stem in ("census", "census-strict")]
    for path in paths:
        result = run(path, toy(toy_world / "base"), out=toy_world / path.stem, reuse=previous)
        check_run(path, result, {"quality", "fairness", "efficiency"})
        again = {"data", "train", "artifact", "audit"} & set(result.computed)
        assert previous is None or not again, "the census recipes share all but their limits"
        previous = result.folder
    assert len(paths) == 2


@pytest.mark.slow
def test_the_census_recipe_is_audited_in_depth_at_toy_size(toy_world: Path) -> None:
    """Every dimension, as the recipe has it, with as little as each can ask; what other tools read lies where they look for it."""
    from trustbase import run
    from trustbase.report.html import render

    path = ROOT / "recipes" / "census.yaml"
    small = [item for item in toy(toy_world / "base") if item != THREE]
    result = run(path, [*small, f"audit={json.dumps(LITTLE)}"], out=toy_world / "deep")
    check_run(path, result, {"quality", "fairness", "explanation", "robustness", "safety", "efficiency"})
    evidence = result.folder / "evidence"
    units = json.loads((evidence / "explanation.global.json").read_text(encoding="utf-8"))
    assert units and all(
        set(row) == {"class", "unit", "weight", "low", "high"} and row["low"] <= row["weight"] <= row["high"] for row in units
    )
    assert {row["unit"] for row in units} >= {"age", "occupation", "education"}
    slices = json.loads((evidence / "quality.weak_slices.json").read_text(encoding="utf-8"))
    assert all(set(row) == {"slice", "n", "value", "low", "high", "p_adjusted"} for row in slices)
    assert json.loads((evidence / "robustness.guardrails.json").read_text(encoding="utf-8"))["schema"] == "trustbase/guardrails/1"
    for name in ("explanation", "robustness", "safety"):
        asked = json.loads((evidence / f"{name}.json").read_text(encoding="utf-8"))
        assert asked["budget"].items() >= LITTLE[name].items() and sum(part["questions"] for part in asked["asked"].values()) > 50
    card = (result.folder / "data_card.md").read_text(encoding="utf-8")
    assert "calibration" in card
    for lang in ("en", "zh"):
        page = render(result.folder, lang=lang)
        assert "explanation" in page and catalogue(lang)("page.unreadable") not in page, "a part of the page could not be drawn"


def test_the_recipes_of_models_that_can_be_read_run_at_toy_size(toy_world: Path) -> None:
    from trustbase import run

    for path in READABLE:
        check_run(path, run(path, [ROWS, THREE], out=toy_world / path.stem), {"quality", "fairness", "efficiency"})
    assert [path.stem for path in READABLE] == ["census-linear", "census-tree"]


@pytest.mark.slow
def test_the_recipe_with_table_columns_runs_at_toy_size(toy_world: Path) -> None:
    from trustbase import run

    path = ROOT / "recipes" / "census-features.yaml"
    result = run(path, (*toy(toy_world / "base"), "train.feature_epochs=1"), out=toy_world / path.stem)
    check_run(path, result, {"quality", "fairness", "efficiency"})
    assert json.loads((result.folder / "artifact" / "artifact.json").read_text())["features"]["numeric"][0] == "age"


@pytest.mark.slow
def test_the_recipes_of_pretraining_run_at_toy_size(toy_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that pretrain, in a folder beside `runs/`; then those that stand on what these left."""
    pytest.importorskip("snownlp")
    from trustbase import run

    folder = toy_world / "recipes"
    shutil.copytree(ROOT / "recipes", folder)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import docs_en

    assert len(docs_en.write(toy_world / "runs" / "docstrings", ("networkx",), least=20)) >= 2
    small = ["train.tokens=2000", "train.batch_tokens=512", "train.precision=fp32", "estimate.seconds=0.1"]
    shape = ["model.layers=1", "model.width=32", "model.heads=2", "tokenizer.train=bpe", "tokenizer.vocab_size=3000"]
    first = [path for path in sorted(folder.glob("*.yaml")) if "stage: pretrain" in path.read_text(encoding="utf-8")]
    for path in first:
        new = "tokenizer:" in path.read_text(encoding="utf-8")
        limits = yaml.safe_load(path.read_text(encoding="utf-8"))["gates"]  # which a toy does not meet, and the next recipe needs a release
        loose = [f"gates.{id}={'<= 1e9' if '<' in limit else '>= -1e9'}" for id, limit in limits.items()]
        other = shape if new else [f"model.base={toy_world / 'base'}", "corpus.held_out=0.3"]  # of one package's texts
        result = run(path, [*small, *other, *loose], out=toy_world / "runs" / path.stem)
        check_run(path, result, {"quality", "fairness", "privacy", "efficiency"})
        assert result.verdict.released, [gate.reason for gate in result.verdict.gates]
    rows = [
        "data.sample={train: 200, validation: 100, test: 200}",
        "train.epochs=1",
        "train.max_steps=2",
        "train.precision=fp32",
        "release.runtime=torch",
        THREE,
    ]
    then = [path for path in sorted(folder.glob("*.yaml")) if stands_on(path)]
    for path in then:
        scratch = (
            ["base.model.layers=1", "base.model.width=32", "base.model.heads=2"]
            if "from: scratch" in path.read_text(encoding="utf-8")
            else []
        )
        check_run(path, run(path, [*rows, *scratch], out=toy_world / "runs" / path.stem), {"quality", "fairness", "efficiency"})
    others = {"census", "census-strict", "census-features", "age", "docs-sections", "relations", *OF_HUBS}
    assert len(first) >= 3 and len(then) >= 4 and len(first) + len(then) + len(READABLE) + len(others) == len(RECIPES)


def test_the_recipe_of_relations_runs_at_toy_size(toy_world: Path) -> None:
    from trustbase import run

    shutil.copytree(ROOT / "recipes", toy_world / "recipes")
    (toy_world / "runs" / "semeval-relations").mkdir(parents=True)
    for part, rows in (("train", 300), ("test", 100)):
        write_related(toy_world / "runs" / "semeval-relations" / f"{part}.jsonl", rows)
    path = toy_world / "recipes" / "relations.yaml"
    tiny_bert(toy_world / "nouns", ("flood", "damage", "lamp", "caused", "by", "and", "the", "@", "#", *"0123456789"))
    made_small = [item for item in toy(toy_world / "nouns") if not item.startswith("data.sample")]
    result = run(path, made_small, out=toy_world / path.stem)
    check_run(path, result, {"quality", "fairness", "efficiency"})
    assert result.audit.find("quality.relation_f1") is not None


def write_related(path: Path, rows: int) -> None:
    """Sentences of two nouns: the first causes the second, the second the first, or neither."""
    words = (("caused", "Cause-Effect(e1,e2)"), ("by", "Cause-Effect(e2,e1)"), ("and", "Other"))
    with path.open("w", encoding="utf-8") as out:
        for number in range(rows):
            word, relation = words[number % 3]
            text = f"flood {word} the damage {number}"
            start = text.index("damage")
            out.write(json.dumps({"text": text, "head": [0, 5], "tail": [start, start + 6], "relation": relation}) + "\n")


@pytest.mark.slow
def test_the_recipes_of_numbers_and_sets_of_labels_run_at_toy_size(toy_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trustbase import run

    folder = toy_world / "recipes"
    shutil.copytree(ROOT / "recipes", folder)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import docs_en

    docs_en.write(toy_world / "runs" / "docstrings", ("networkx",), least=20)
    for name, gains in (("age", 3), ("docs-sections", 2)):
        path = folder / f"{name}.yaml"
        result = run(path, toy(toy_world / "base"), out=toy_world / "runs" / name)
        check_run(path, result, {"quality", "fairness", "efficiency"})
        assert len([f for f in result.audit.findings if f.parts.metric.startswith("gain_over_") and f.status == "ok"]) == gains


@pytest.mark.slow
def test_the_commands_of_the_readme_do_what_it_says(toy_world: Path) -> None:
    """Each `trustbase …` line of the page, in its order, in one folder; between `init` and `run` the recipe is made a toy."""
    from typer.testing import CliRunner

    rng = np.random.default_rng(0)
    truth, sex = rng.integers(0, 2, 200), rng.choice(["f", "m"], 200)
    answers = [
        f"{'yes' if y else 'no'},{0.7 if y else 0.4},{s},{a}" for y, s, a in zip(truth, sex, rng.choice(["old", "young"], 200), strict=True)
    ]
    (toy_world / "answers.csv").write_text("\n".join(["truth,probability,sex,age_band", *answers]) + "\n")
    (toy_world / "rows.csv").write_text(
        "age,education,marital_status,occupation,hours_per_week\n40,Bachelors,Divorced,Sales,40\n23,HS-grad,,,12\n"
    )
    news = [
        f"{20 + i % 50},HS-grad,Divorced,Sales,{i % 60},{('<=50K', '>50K')[y]},{s}" for i, (y, s) in enumerate(zip(truth, sex, strict=True))
    ]
    (toy_world / "new.csv").write_text("\n".join(["age,education,marital_status,occupation,hours_per_week,urgent,region", *news]) + "\n")
    ran = []
    for words in commands(PAGES[0]):
        if words[1:3] == ["run", "my-model.yaml"]:
            words = [*words, *toy(toy_world / "base"), "gates={quality.accuracy: '>= 0.05'}"]
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{' '.join(words)}: {result.output}\n{result.exception!r}"
        ran.append(words[1])
        if ran == ["init", "run", "run"]:
            assert "nothing was computed" in result.stdout
    assert ran == ["init", "run", "run", "verify", "recheck", "predict", "explain", "report", "audit", "audit"]
    given = [json.loads(line) for line in (toy_world / "answers.jsonl").read_text().splitlines()]
    assert [set(answer["probabilities"]) for answer in given] == [{"<=50K", ">50K"}] * 2
    assert 'lang="zh' in (toy_world / "runs" / "my-model" / "report.html").read_text()
    assert (toy_world / "audit" / "report.html").is_file() and (toy_world / "audit-new" / "report.html").is_file()
    assert (toy_world / "runs" / "my-model" / "bundle").is_dir()


def test_the_two_census_recipes_differ_only_in_one_gate() -> None:
    easy, strict = (yaml.safe_load((ROOT / "recipes" / name).read_text()) for name in ("census.yaml", "census-strict.yaml"))
    differing = {key for key in easy["gates"] if easy["gates"][key] != strict["gates"][key]}
    assert differing == {"fairness.demographic_parity_difference[sex]"}
    assert {**easy, "gates": None} == {**strict, "gates": None}
