"""One direction of travel: a stage never imports a later one, and what must stay light stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import trustbase

ROOT = Path(trustbase.__file__).parent

#: A module may import its own level and those before it.
ORDER = (
    {"errors", "files", "seeds", "finding_id", "events", "home", "callable_folder", "machine", "lines", "places", "leftovers"},
    {"records"},
    {"recipe.lookup", "device"},
    {"data"},
    {"model"},
    {"train"},
    {"outputs"},
    {"compress"},
    {"audit"},
    {"gate"},
    {"bundle", "wheels"},
    {"report"},
    {"recipe"},  # composes options and checks them against what exists; nothing before flow imports it
    {"stages"},
    {"releasing"},
    {"steps", "raw_text", "pretraining", "interpretable"},
    {
        "flow",
        "audit_command",
        "recheck_command",
        "compare_command",
        "corpus_command",
        "data_command",
        "wheelhouse_command",
        "relating",
        "doctor",
    },
    {"search"},  # chooses before the expensive run: above flow, which knows nothing of it
    {"cli", "__main__"},
)
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}


def level(module: str) -> int:
    name = module.removeprefix("trustbase.")
    for index, names in enumerate(ORDER):
        if name in names:
            return index
    head = name.split(".")[0]
    for index, names in enumerate(ORDER):
        if head in names:
            return index
    raise AssertionError(f"{module} has no place in ORDER: give it one")


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def type_checking_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def imports(tree: ast.Module, *, top_only: bool = False) -> set[str]:
    skipped = type_checking_lines(tree)
    nodes = tree.body if top_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import) and node.lineno not in skipped:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.lineno not in skipped and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


MODULES = modules()


def test_a_stage_never_imports_a_later_one() -> None:
    assert len(MODULES) > 60, f"only {len(MODULES)} modules were looked at"
    looked_at, faults = 0, []
    for name, tree in MODULES.items():
        if name == "trustbase":
            continue
        for target in imports(tree):
            if not target.startswith("trustbase.") or target not in MODULES:
                continue
            looked_at += 1
            lazy_face = name == "trustbase.records" and target.startswith("trustbase.report")  # notebook faces, imported when shown
            if level(target) > level(name) and not lazy_face:
                faults.append(f"{name} imports {target}")
    assert looked_at > 150, f"only {looked_at} imports were looked at"
    assert not faults, "\n".join(faults)


def test_options_are_leaves() -> None:
    names = [name for name in MODULES if name.endswith(".options")]
    assert len(names) >= 7, names
    for name in names:
        own = {target for target in imports(MODULES[name]) if target.startswith("trustbase.") and target in MODULES}
        allowed = {
            "trustbase.errors",
            "trustbase.finding_id",
            "trustbase.recipe.lookup",
            "trustbase.data.samples",
            "trustbase.data.reference",
            "trustbase.data.hub_name",
            "trustbase.data.pair",
            "trustbase.data.marked",
        }
        assert own - allowed <= set(names), f"{name} imports {own - allowed}"


def test_no_drawers_for_anything() -> None:
    assert not [path for path in ROOT.rglob("*.py") if path.name in FORBIDDEN_NAMES]


def test_only_the_command_line_prints() -> None:
    faults = []
    for name, tree in MODULES.items():
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        if any(call.func.id == "print" for call in calls if isinstance(call.func, ast.Name)) and not name.startswith("trustbase.cli"):
            faults.append(name)
    assert not faults


def test_no_remote_code_and_no_pickle() -> None:
    """No literal that lets a checkpoint run code stands anywhere in the source."""
    looked_at = 0
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            looked_at += 1
            called = ast.unparse(node.func)
            assert called not in {"pickle.load", "pickle.loads", "joblib.load"}, name
            for keyword in node.keywords:
                if keyword.arg == "trust_remote_code":
                    assert isinstance(keyword.value, ast.Constant) and keyword.value.value is False, name
                if keyword.arg == "weights_only":
                    assert isinstance(keyword.value, ast.Constant) and keyword.value.value is True, name
            if called == "torch.load":
                assert any(keyword.arg == "weights_only" for keyword in node.keywords), f"{name}: torch.load without weights_only=True"
    assert looked_at > 1000


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("trustbase", {"torch", "transformers", "numpy", "pydantic"}),
        ("trustbase.cli.main", {"torch", "transformers", "numpy", "pydantic", "pandas", "pyarrow", "sklearn"}),
        ("trustbase.recipe.read", {"torch", "transformers", "sklearn"}),
        ("trustbase.audit_command", {"torch", "transformers"}),
        ("trustbase.recheck_command", {"torch", "transformers"}),
        ("trustbase.compare_command", {"torch", "transformers"}),
        ("trustbase.data_command", {"torch", "transformers", "numpy", "pydantic", "pyarrow"}),
        ("trustbase.bundle.verify", {"torch", "transformers", "onnxruntime"}),
        ("trustbase.report.html", {"torch", "transformers"}),
    ],
)
def test_light_modules_stay_light(module: str, heavy: set[str]) -> None:
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(json.loads(answer.stdout))


def test_every_public_name_is_callable_also_after_everything_was_imported() -> None:
    names = [name for name in trustbase.__all__ if name != "__version__"]
    assert len(names) == 16
    modules = ("trustbase.audit.run", "trustbase.report.html", "trustbase.data.load", "trustbase.audit_command")
    order = "; ".join(f"import {module}" for module in modules)
    code = f"{order}; import trustbase; print([name for name in {names!r} if not callable(getattr(trustbase, name))])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_module_that_bears_a_functions_name_is_called_as_often_as_one_likes() -> None:
    code = "import trustbase; print(len(trustbase.doctor()) == len(trustbase.doctor()) > 5)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "True"
