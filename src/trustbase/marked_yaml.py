"""YAML that people write: plain values, for each path the line where it stands, and everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from trustbase import files
from trustbase.errors import Problem

Path = tuple[str | int, ...]
MAX_BYTES = 1_000_000
MAX_NODES = 100_000  # aliases can make far more of few bytes
MAX_DEPTH = 50
MAX_BITS = 1_000  # of a whole number; larger ones cannot even be compared with a fraction
_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
_QUOTES = "check indentation, quotes and colons at this line"


@dataclass
class Marked:
    """Values read from YAML text.

    Attributes:
        value: the document as plain Python values.
        lines: path → 1-based line of its key (or list item).
        problems: what could not be read, in file order.
        broken: whether the text is no YAML that is read; then `value` is not what was meant.
        digest: of the bytes of the file, where a file was read.
    """

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: bool = False
    digest: str = ""

    def line(self, path: Path) -> int | None:
        """Line of the path, or of its nearest ancestor that stands in the file."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def unwritable(text: str) -> str:
    """What a text holds that no file, name or record can; empty where it holds nothing of the kind."""
    if "\0" in text:
        return "a NUL character"
    return "half of a surrogate pair, which is no text" if any("\ud800" <= character <= "\udfff" for character in text) else ""


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


def written(node: yaml.Node) -> str:
    """A scalar as its author wrote it, so that `0.10` stays that."""
    return str(node.value)


def read_yaml_file(
    path: FilePath,
    *,
    what: str,
    where: str = "",
    largest: int = MAX_BYTES,
    most: int = MAX_NODES,
    values: Callable[[yaml.Node], Any] = scalar,
) -> Marked:
    """Read a file of one YAML document; what keeps it from being read becomes a problem too.

    Args:
        path: the file.
        what: it is, such as "policy", for messages.
        where: the option that names it, for what is wrong with the file as such; `what` by default.
        largest: bytes that are read.
        most: values that are built.
        values: makes a value of a scalar.
    """
    place = where or what
    try:
        data = files.read_at_most(path, largest + 1)
        size = path.stat().st_size
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        return Marked(broken=True, problems=[Problem(place, f"the file '{str(path)[:200]}' cannot be read: {why}", "check the path")])
    if len(data) > largest:
        too_large = Problem(path.name, f"has {size} bytes; a {what} has fewer than {largest}", f"is this the {what}?")
        return Marked(broken=True, problems=[too_large])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Marked(broken=True, problems=[Problem(path.name, f"is not valid YAML: {error}", "save it as UTF-8")])
    marked = read_yaml(text, path.name, what=what, largest=largest, most=most, values=values)
    marked.digest = "sha256:" + files.sha256_bytes(data)
    return marked


def read_yaml(
    text: str,
    name: str,
    *,
    what: str = "recipe",
    largest: int = MAX_BYTES,
    most: int = MAX_NODES,
    values: Callable[[yaml.Node], Any] = scalar,
) -> Marked:
    """Read one YAML document; syntax errors and duplicate keys become problems, not exceptions.

    Only plain YAML is built (no tags, no Python objects); `2e-4` is a number although YAML calls it a string.
    """
    if len(text.encode("utf-8", "surrogatepass")) > largest:
        too_large = Problem(name, f"is larger than {largest} bytes, which no {what} is", "is this the data file?")
        return Marked(broken=True, problems=[too_large])
    build = _Building(name, what, most, values)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        marks = [getattr(error, "problem_mark", None), getattr(error, "context_mark", None)]
        if "stream" in said:
            marks.reverse()  # what was never closed began earlier
        mark = next((mark for mark in marks if mark is not None), None)
        build.marked.broken = True
        build.marked.problems.append(Problem(f"{name}:{mark.line + 1}" if mark else name, f"is not valid YAML: {said}", _QUOTES))
        return build.marked
    except RecursionError:
        build.refuse(None, f"nested deeper than {MAX_DEPTH} levels", build.flatten)
        return build.marked
    if node is not None:
        build.marked.value = build.value(node, (), frozenset())
    return build.marked


@dataclass
class _Building:
    """The making of values out of one document."""

    name: str
    what: str
    most: int
    values: Callable[[yaml.Node], Any]
    marked: Marked = field(default_factory=Marked)
    nodes: int = 0  # built so far

    @property
    def flatten(self) -> str:
        return f"no section of a {self.what} is that deep; is this the {self.what}?"

    def refuse(self, node: yaml.Node | None, why: str, hint: str) -> None:
        place = self.name if node is None else f"{self.name}:{node.start_mark.line + 1}"
        self.marked.problems.append(Problem(place, f"is not valid YAML for a {self.what}: {why}", hint))
        self.marked.broken = True

    def value(self, node: yaml.Node, path: Path, parents: frozenset[int]) -> Any:
        self.nodes += 1
        if self.nodes > self.most:
            if self.nodes == self.most + 1:
                self.refuse(node, f"it unfolds to more than {self.most} values", "write values out instead of aliases of aliases")
            return None
        if len(path) > MAX_DEPTH:
            self.refuse(node, f"nested deeper than {MAX_DEPTH} levels", self.flatten)
            return None
        line = node.start_mark.line + 1
        self.marked.lines.setdefault(path, line)
        if id(node) in parents:
            self.marked.problems.append(Problem(f"{self.name}:{line}", "refers to itself through an alias"))
            return None
        inner = parents | {id(node)}
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, inner)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index), inner) for index, item in enumerate(node.value) if self.nodes <= self.most]
        value = self.values(node)
        if isinstance(value, str) and (why := unwritable(value)):
            self.refuse(node, f"it holds {why}", "write it without that escape")
        return value

    def mapping(self, node: yaml.MappingNode, path: Path, parents: frozenset[int]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if self.nodes > self.most:
                break
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.marked.problems.append(Problem(f"{self.name}:{line}", "has a key that is not a word"))
                continue
            key = str(key_node.value)  # a key is always its own text: `no:` stays "no"
            if why := unwritable(key):
                self.refuse(key_node, f"it holds {why}", "write it without that escape")
                continue
            if key in result:
                first = self.marked.lines[(*path, key)]
                problem = Problem(f"{self.name}:{line}", f"'{key}' stands twice (first at line {first})", "keep one of them")
                self.marked.problems.append(problem)
                continue
            self.marked.lines[(*path, key)] = line
            result[key] = self.value(value_node, (*path, key), parents)
        return result
