"""Expectations that users write down: what a model should answer to texts of theirs, or how an answer should move from one to another.

A YAML file of them; `docs/how-to/audit-in-depth.md` describes it. No text of it is written anywhere, only counts by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trustbase import files
from trustbase.audit.catalogue import EXPECTATIONS
from trustbase.errors import Problem, UsageError

_LARGEST = 10_000_000  # bytes
_FORM = "a list, such as - {name: polite, expect: same, pairs: [[TEXT, TEXT], …]}"
MOVES = ("same", "higher", "lower", "not_higher", "not_lower")
_WITHOUT_LABEL = ("same",)

Text = Annotated[str, Field(min_length=1)] | dict[str, str | int | float | bool | None]  # a text, or a row of the recipe's columns


class ExpectationOptions(BaseModel):
    """One expectation, of texts or pairs of texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.+-]{1,60}$", description="of the finding: robustness.expectation_failures#NAME")
    expect: str = Field(min_length=1, description="same, higher, lower, not_higher or not_lower, of pairs; a label, of texts")
    label: str | None = Field(None, description="whose score must move so; of numbers none")
    margin: float = Field(0.0, ge=0, description="by how much more it must, or may not; a probability, of numbers standard deviations")
    pairs: list[tuple[Text, Text]] = Field(default_factory=list, description="a text, and the same changed")
    texts: list[Text] = Field(default_factory=list, description="texts that are all to be answered with the label")

    @model_validator(mode="after")
    def _whole(self) -> ExpectationOptions:
        if self.name in EXPECTATIONS:
            raise ValueError(f"the name '{self.name}' is that of an expectation of every audit")
        if self.moves and (not self.pairs or self.texts):
            raise ValueError(f"expect: {self.expect} compares two texts: give pairs, and no texts")
        if not self.moves and (not self.texts or self.pairs):
            raise ValueError(f"expect: {self.expect} is a label (a move is one of {', '.join(MOVES)}): give texts, and no pairs")
        if not self.moves and self.label is not None:
            raise ValueError("label is whose score must move, and expect names a label: leave one of them out")
        return self

    @property
    def moves(self) -> bool:
        """Whether two texts are compared."""
        return self.expect in MOVES


class _File(BaseModel):
    items: list[ExpectationOptions] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class Expectations:
    """A file of expectations, read and found whole.

    Attributes:
        file: its name, without the folder.
        digest: of its bytes.
        wanted: what it says.
    """

    file: str
    digest: str
    wanted: tuple[ExpectationOptions, ...]

    def refuse_unfit(self, labels: Sequence[str], kind: str) -> None:
        """Refuse what cannot be meant of a model of these labels and this answer kind.

        Raises:
            UsageError: every such place.
        """
        problems = list(self._problems(labels, kind))
        if problems:
            raise UsageError("the expectations do not fit this model", problems=problems)

    def _problems(self, labels: Sequence[str], kind: str) -> Iterator[Problem]:
        hint = f"labels: {', '.join(labels[:20])}"
        for place, item in enumerate(self.wanted):
            named = item.label if item.moves else item.expect
            if kind == "number" and named is not None:
                yield Problem(f"{self.file}: {place}", f"names the label '{named}', and this model gives numbers", "leave it out")
            elif kind != "number" and named is not None and named not in labels:
                yield Problem(f"{self.file}: {place}", f"'{named}' is no label of the model", hint)
            elif kind != "number" and named is None and item.expect not in _WITHOUT_LABEL:
                yield Problem(
                    f"{self.file}: {place}", f"expect: {item.expect} is of one label's score, and none is named", f"add label; {hint}"
                )


def read_expectations(name: str | Path, root: Path, *, where: str = "audit.robustness.expectations") -> Expectations:
    """Read a file of expectations.

    Args:
        name: path of a YAML file, from `root` where it is relative.
        root: the recipe's folder, or the current one.
        where: the option that names it, for messages.

    Raises:
        UsageError: it cannot be read, or says what it cannot mean; every problem of it.
    """
    found = expectation_problems(name, root, where=where)
    if isinstance(found, Expectations):
        return found
    raise UsageError("the expectations cannot be used", problems=found)


def expectation_problems(name: str | Path, root: Path, *, where: str = "audit.robustness.expectations") -> Expectations | list[Problem]:
    """The expectations, or everything that is wrong with them."""
    try:
        path = root / Path(name).expanduser()
        data = files.read_at_most(path, _LARGEST + 1)
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        return [Problem(where, f"the file '{str(name)[:200]}' cannot be read: {why}", "check the path")]
    if len(data) > _LARGEST:
        return [Problem(path.name, f"has more than {_LARGEST} bytes", "are these expectations?")]
    try:
        value = yaml.safe_load(data.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        place = f"{path.name}:{mark.line + 1}" if mark is not None else path.name
        return [Problem(place, f"is not valid YAML: {what}", "check indentation, quotes and colons at this line")]
    if not isinstance(value, list) or not value:
        return [Problem(path.name, "must be a list of expectations", _FORM)]
    try:
        wanted = _File.model_validate({"items": value}).items
    except ValidationError as error:
        return list(_told(error, path.name))
    names = [item.name for item in wanted]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return [Problem(path.name, f"the name '{name}' stands twice", "each finding needs a name of its own") for name in twice]
    return Expectations(path.name, "sha256:" + files.sha256_bytes(data), tuple(wanted))


def _told(error: ValidationError, file: str) -> Iterator[Problem]:
    """What pydantic found, in our form, each once."""
    seen: set[str] = set()
    for item in error.errors():
        parts: list[Any] = [part for part in item["loc"][1:] if isinstance(part, int) or part in ExpectationOptions.model_fields]
        place = ".".join(str(part) for part in parts)
        problem = Problem(f"{file}: {place}" if place else file, str(item["msg"]).removeprefix("Value error, "), _FORM)
        if str(problem) not in seen:
            seen.add(str(problem))
            yield problem
