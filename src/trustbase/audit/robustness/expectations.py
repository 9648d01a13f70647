"""Expectations that users write down: what a model should answer to texts of theirs, or how an answer should move from one to another.

A YAML file of them; `docs/how-to/audit-in-depth.md` describes it. No text of it is written anywhere, only counts by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trustbase.audit.catalogue import EXPECTATIONS
from trustbase.audit.own_file import Asked, Form, read_own, unread
from trustbase.data.cells import Reading
from trustbase.errors import Problem

MOVES = ("same", "higher", "lower", "not_higher", "not_lower")
_WITHOUT_LABEL = ("same",)

Text = Asked


class ExpectationOptions(BaseModel):
    """One expectation, of texts or pairs of texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.+-]{1,60}$", description="of the finding: robustness.expectation_failures#NAME")
    expect: str = Field(min_length=1, description="same, higher, lower, not_higher or not_lower, of pairs; a label, of texts")
    label: str | None = Field(None, description="whose score must move so; of numbers none")
    margin: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="by how much more it must, or may not; a probability, of numbers standard deviations"
    )
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
        if not self.moves and self.margin:
            raise ValueError("margin is by how much a score must move, and expect names a label: leave one of them out")
        if not self.moves and self.label is not None:
            raise ValueError("label is whose score must move, and expect names a label: leave one of them out")
        return self

    @property
    def moves(self) -> bool:
        """Whether two texts are compared."""
        return self.expect in MOVES


class _File(BaseModel):
    items: list[ExpectationOptions] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_once(self) -> _File:
        names = [item.name for item in self.items]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names that stand twice, and each finding needs one of its own: {', '.join(twice)}")
        return self


FORM = Form(
    "expectations",
    "audit.robustness.expectations",
    _File,
    list,
    "such as - {name: polite, expect: same, pairs: [[TEXT, TEXT], …]}",
    lambda value: {"items": value},
)


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

    def unread(self, reading: Reading) -> list[Problem]:
        """Texts and rows that a model which reads so cannot be asked."""
        asked = [
            (place, text) for place, item in enumerate(self.wanted) for text in (*item.texts, *(t for pair in item.pairs for t in pair))
        ]
        return list(dict.fromkeys(problem for place, text in asked for problem in unread(f"{self.file}: {place}", text, reading)))

    def unfit(self, labels: Sequence[str], kind: str) -> Iterator[Problem]:
        """What cannot be meant of a model of these labels and this answer kind."""
        hint = f"labels: {', '.join(labels[:20])}"
        for place, item in enumerate(self.wanted):
            named = item.label if item.moves else item.expect
            if kind != "number" and item.moves and item.label is None and item.margin:
                yield Problem(f"{self.file}: {place}", "margin is of one label's score, and none is named", f"add label; {hint}")
            if kind != "number" and item.margin >= 1:
                yield Problem(
                    f"{self.file}: {place}", f"margin is {item.margin:g}, and probabilities never differ by more than 1", "lower it"
                )
            if kind == "number" and named is not None:
                yield Problem(f"{self.file}: {place}", f"names the label '{named}', and this model gives numbers", "leave it out")
            elif kind != "number" and named is not None and named not in labels:
                yield Problem(f"{self.file}: {place}", f"'{named}' is no label of the model", hint)
            elif kind != "number" and named is None and item.expect not in _WITHOUT_LABEL:
                yield Problem(
                    f"{self.file}: {place}", f"expect: {item.expect} is of one label's score, and none is named", f"add label; {hint}"
                )


def read_expectations(name: str | Path, root: Path, *, where: str = "") -> Expectations:
    """Read a file of expectations (`own_file.read_own`).

    Raises:
        UsageError: it cannot be read, or says what it cannot mean; every problem of it.
    """
    found = read_own(name, root, FORM, where)
    return Expectations(found.file, found.digest, tuple(found.said.items))
