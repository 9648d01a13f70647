"""What is shipped in words is true: README commands run, recipes run at toy size, pages match the code."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import typer.main
import yaml

from trustbase.cli.main import app
from trustbase.recipe.read import read_recipe

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
PAGES = (ROOT / "README.md", ROOT / "README.zh-CN.md")


def test_the_reference_pages_are_what_the_code_says() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import write_reference
    finally:
        sys.path.pop(0)
    assert len(write_reference.PAGES) == 2
    for name, page in write_reference.PAGES.items():
        message = f"{name} is stale; run: python tools/write_reference.py"
        assert (write_reference.FOLDER / name).read_text(encoding="utf-8") == page(), message


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


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_reads(path: Path) -> None:
    assert len(RECIPES) >= 2
    assert read_recipe(path).recipe.data.text


TOY = ("data.sample={train: 300, validation: 200, test: 400}", "train.max_steps=6", "train.precision=fp32", "release.runtime=torch")


@pytest.mark.slow
def test_every_recipe_runs_at_toy_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trustbase import run

    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path / "home"))
    previous = None
    for path in RECIPES:
        result = run(path, TOY, out=tmp_path / path.stem, reuse=previous)
        assert result.exit_code in (0, 3)
        assert not [finding.id for finding in result.audit.findings if finding.status == "failed"]
        assert result.report.is_file()
        previous = result.folder


def test_the_two_census_recipes_differ_only_in_one_gate() -> None:
    easy, strict = (yaml.safe_load((ROOT / "recipes" / name).read_text()) for name in ("census.yaml", "census-strict.yaml"))
    differing = {key for key in easy["gates"] if easy["gates"][key] != strict["gates"][key]}
    assert differing == {"fairness.demographic_parity_difference[sex]"}
    assert {**easy, "gates": None} == {**strict, "gates": None}
