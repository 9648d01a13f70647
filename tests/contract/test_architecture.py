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
    {
        "errors",
        "files",
        "marked_yaml",
        "seeds",
        "finding_id",
        "events",
        "home",
        "callable_folder",
        "machine",
        "lines",
        "places",
        "leftovers",
        "escapes",
    },
    {"records"},
    {"recipe.entries", "device"},
    {"recipe.lookup"},
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
    {"releasing", "bases", "shifted"},
    {"steps", "labelled_rows", "raw_text", "pretraining", "interpretable"},
    {
        "flow",
        "audit_command",
        "audit_limits",
        "audit_rows",
        "recheck_command",
        "compare_command",
        "explain_command",
        "explain_training",
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
            "trustbase.data.shares",
            "trustbase.data.split_options",
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


UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
UNSAFE_CALLS = {"torch.jit.load", "torch.package", "read_pickle", "unsafe_load", "full_load", "exec", "eval", "apply_chat_template"}
OWN = {"trustbase.train.on_ray": ["cloudpickle", "cloudpickle"]}  # work that goes from one of our processes to another; no file
ONLY = {"trust_remote_code": False, "weights_only": True, "allow_pickle": False}


def unsafe(tree: ast.Module) -> list[str]:
    """What in a source file would let a file that is read run code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            found += [name for name in names if name.split(".")[0] in UNSAFE_MODULES]
        named: list[tuple[object, ast.expr]] = []
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            named = [(keyword.arg, keyword.value) for keyword in node.keywords]
            found += [called] if called in UNSAFE_CALLS or called.split(".")[-1] in UNSAFE_CALLS - {"exec", "eval"} else []
            given = dict(named)
            found += [called] if called == "torch.load" and "weights_only" not in given else []
            found += [called] if called == "yaml.load" and "Safe" not in ast.unparse(given.get("Loader", ast.Constant(""))) else []
        elif isinstance(node, ast.Dict):
            named = [(getattr(key, "value", None), value) for key, value in zip(node.keys, node.values, strict=True)]
        for name, value in named:
            if name in ONLY and not (isinstance(value, ast.Constant) and value.value is ONLY[str(name)]):
                found.append(f"{name}={ast.unparse(value)}")
    return found


def test_no_remote_code_and_no_pickle() -> None:
    """Nothing that lets a file run code stands anywhere in the source, nor in the tools beside it."""
    tools = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in (Path(__file__).parents[2] / "tools").glob("*.py")}
    assert len(tools) > 3 and len(MODULES) > 60
    found = {name: faults for name, tree in {**MODULES, **tools}.items() if (faults := unsafe(tree))}
    assert found == OWN


@pytest.mark.parametrize(
    "code",
    [
        *("import pickle", "from joblib import load", "from pickle import loads as read", "import marshal", "torch.jit.load(x)", "exec(x)"),
        *("torch.load(x)", "torch.load(x, weights_only=False)", "torch.load(x, weights_only=given)", "np.load(x, allow_pickle=True)"),
        *("f(trust_remote_code=True)", "f(trust_remote_code=given)", "f(**{'trust_remote_code': True})", "pd.read_pickle(x)"),
        *("yaml.unsafe_load(x)", "yaml.load(x)", "yaml.load(x, Loader=yaml.UnsafeLoader)", "t.apply_chat_template(x)"),
    ],
)
def test_the_look_for_unsafe_calls_sees_them(code: str) -> None:
    assert unsafe(ast.parse(code))


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
    assert len(names) == 17
    modules = ("trustbase.audit.run", "trustbase.report.html", "trustbase.data.load", "trustbase.audit_command")
    order = "; ".join(f"import {module}" for module in modules)
    code = f"{order}; import trustbase; print([name for name in {names!r} if not callable(getattr(trustbase, name))])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_module_that_bears_a_functions_name_is_called_as_often_as_one_likes() -> None:
    code = "import trustbase; print(len(trustbase.doctor()) == len(trustbase.doctor()) > 5)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "True"
