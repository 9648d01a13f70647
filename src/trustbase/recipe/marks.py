"""YAML with line numbers: plain values, and for each path the line where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from trustbase.errors import Problem, UsageError

Path = tuple[str | int, ...]
MAX_BYTES = 1_000_000
MAX_NODES = 100_000  # aliases can make far more of few bytes
MAX_DEPTH = 50
MAX_BITS = 1_000  # of a whole number; larger ones cannot even be compared with a fraction
_TOO_DEEP = f"is not valid YAML for a recipe: nested deeper than {MAX_DEPTH} levels"
_FLATTEN = "no section of a recipe is that deep; is this the recipe?"
_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


@dataclass
class Marked:
    """Values read from YAML text.

    Attributes:
        value: the document as plain Python values.
        lines: path → 1-based line of its key (or list item).
        problems: what could not be read, in file order.
    """

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0  # built so far

    def line(self, path: Path) -> int | None:
        """Line of the path, or of its nearest ancestor that stands in the file."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


@dataclass
class Locator:
    """Path in a recipe → where a person finds it.

    Attributes:
        name: of the recipe, as messages show it.
        marked: the recipe as it was read.
        overridden: path → the override that set it.
    """

    name: str
    marked: Marked
    overridden: dict[Path, str] = field(default_factory=dict)

    def __call__(self, path: Path) -> str:
        for end in range(len(path), 0, -1):
            if path[:end] in self.overridden:
                return f"override {self.overridden[path[:end]]}"
        line = self.marked.line(path) if path else None
        return f"{self.name}:{line}" if line else self.name

    def move(self, old: Path, new: Path) -> None:
        """What was written under `old` stands under `new` from now on, as when a short form is written out."""
        inner = {path: line for path, line in self.marked.lines.items() if len(path) > len(old) and path[: len(old)] == old}
        self.marked.lines.update({(*new, *path[len(old) :]): line for path, line in inner.items()})


def unwritable(text: str) -> str:
    """What a text holds that no file, name or record can; empty where it holds nothing of the kind."""
    if "\0" in text:
        return "a NUL character"
    return "half of a surrogate pair, which is no text" if any("\ud800" <= character <= "\udfff" for character in text) else ""


def require_text(name: str, what: str) -> None:
    """Refuse a name that cannot be written into records.

    Raises:
        UsageError: it is not UTF-8, or holds a NUL.
    """
    if why := unwritable(name):
        shown = name[:200].encode("utf-8", "backslashreplace").decode()
        raise UsageError(f"{what} '{shown}' holds {why}, so no record can name it", hint="rename it, or name another")


def read_yaml(text: str, name: str) -> Marked:
    """Read one YAML document; syntax errors and duplicate keys become problems, not exceptions.

    Only plain YAML is built (no tags, no Python objects); `2e-4` is a number although YAML calls it a string.
    """
    marked = Marked()
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        marked.problems.append(Problem(name, f"is larger than {MAX_BYTES} bytes, which no recipe is", "is this the data file?"))
        return marked
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        marks = [getattr(error, "problem_mark", None), getattr(error, "context_mark", None)]
        if "stream" in what:
            marks.reverse()  # what was never closed began earlier
        mark = next((mark for mark in marks if mark is not None), None)
        where = f"{name}:{mark.line + 1}" if mark else name
        marked.problems.append(Problem(where, f"is not valid YAML: {what}", "check indentation, quotes and colons at this line"))
        return marked
    except RecursionError:
        marked.problems.append(Problem(name, _TOO_DEEP, _FLATTEN))
        return marked
    if node is not None:
        marked.value = _build(node, (), marked, name, frozenset())
    return marked


def _build(node: yaml.Node, path: Path, marked: Marked, name: str, parents: frozenset[int]) -> Any:
    marked.nodes += 1
    if marked.nodes > MAX_NODES:
        if marked.nodes == MAX_NODES + 1:
            message = f"is not valid YAML for a recipe: it unfolds to more than {MAX_NODES} values"
            marked.problems.append(Problem(f"{name}:{node.start_mark.line + 1}", message, "write values out instead of aliases of aliases"))
        return None
    if len(path) > MAX_DEPTH:
        marked.problems.append(Problem(f"{name}:{node.start_mark.line + 1}", _TOO_DEEP, _FLATTEN))
        return None
    marked.lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in parents:
        marked.problems.append(Problem(f"{name}:{node.start_mark.line + 1}", "refers to itself through an alias"))
        return None
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, path, marked, name, parents | {id(node)})
    if isinstance(node, yaml.SequenceNode):
        inner = parents | {id(node)}
        return [_build(item, (*path, index), marked, name, inner) for index, item in enumerate(node.value) if marked.nodes <= MAX_NODES]
    value = scalar(node)
    if isinstance(value, str) and (why := unwritable(value)):
        _refuse_text(node, why, marked, name)
    return value


def _refuse_text(node: yaml.Node, why: str, marked: Marked, name: str) -> None:
    message = f"is not valid YAML for a recipe: it holds {why}"
    marked.problems.append(Problem(f"{name}:{node.start_mark.line + 1}", message, "write it without that escape"))


def _build_mapping(node: yaml.MappingNode, path: Path, marked: Marked, name: str, parents: frozenset[int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if marked.nodes > MAX_NODES:
            break
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            marked.problems.append(Problem(f"{name}:{line}", "has a key that is not a word"))
            continue
        key = str(key_node.value)  # a key is always its own text: `no:` stays "no"
        if why := unwritable(key):
            _refuse_text(key_node, why, marked, name)
            continue
        if key in result:
            first = marked.lines[(*path, key)]
            marked.problems.append(Problem(f"{name}:{line}", f"'{key}' stands twice (first at line {first})", "keep one of them"))
            continue
        marked.lines[(*path, key)] = line
        result[key] = _build(value_node, (*path, key), marked, name, parents)
    return result


def scalar(node: yaml.Node) -> Any:
    """The plain value of a scalar node; numbers in scientific notation without a dot count as numbers."""
    if node.tag == "tag:yaml.org,2002:str" and getattr(node, "style", None) is None and _FLOAT.fullmatch(str(node.value)):
        return float(node.value)
    if node.tag.startswith("tag:yaml.org,2002:") and node.tag.rsplit(":", 1)[1] in {"int", "float", "bool", "null"}:
        try:
            value = yaml.SafeLoader("").construct_object(node, deep=True)
        except (ValueError, KeyError, IndexError, OverflowError, yaml.YAMLError):  # `!!int many`, `!!int ""`, thousands of digits
            return str(node.value)
        return str(node.value) if isinstance(value, int) and value.bit_length() > MAX_BITS else value
    return str(node.value)  # dates, times and unknown tags stay text
