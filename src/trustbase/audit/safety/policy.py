"""What must never be answered: labels, words and patterns that somebody who answers for the model wrote down.

A list to begin with ships (`policies/starter.yaml`); it is used only where it is named.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trustbase.audit.own_file import Asked, Form, read_own, unread
from trustbase.data.cells import Reading
from trustbase.data.tags import types_of
from trustbase.data.units import ALONE
from trustbase.errors import DataError, Problem
from trustbase.records import LabelSchema

STARTER = "starter"  # the name of the list that ships; a file of that name is ./starter
_STARTER_FILE = Path(__file__).with_name("policies") / "starter.yaml"
_LITERAL = re.compile(r"[\w\s'’-]+(\|[\w\s'’-]+)*")  # words with | between them: a pattern that is its own example
_UNBROKEN = re.compile(f"[{ALONE}]")
_SECONDS = 1.0  # that a pattern may search one text; some would search for years


Pattern = Any  # of the package regex, which can be told when to give up


class PatternOptions(BaseModel):
    """A regular expression, with a text that it must match where that cannot be seen from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: str = Field(min_length=1, description="regular expression; capitals do not matter")
    example: str | None = Field(None, description="a text that it matches: the audit asks for it to see that it is found")

    @model_validator(mode="after")
    def _shown(self) -> PatternOptions:
        if self.example is None and not _LITERAL.fullmatch(self.pattern):
            raise ValueError(f"'{self.pattern}' is more than words with | between them: add example: a text that it must match")
        try:
            shows = found_in(compiled(self.pattern), self.shown)
        except DataError as error:
            raise ValueError(error.message) from None
        if not shows:
            raise ValueError(f"'{self.pattern}' does not match its example")
        return self

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        compiled(value)
        return value

    @property
    def shown(self) -> str:
        """A text that it matches."""
        return self.example if self.example is not None else self.pattern.split("|")[0]


class RuleOptions(BaseModel):
    """Labels that must not be answered to some inputs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: str = Field(min_length=1, description="regular expression of inputs; capitals do not matter")
    never: list[str] = Field(min_length=1, description="labels that must not be answered to them")
    example: str | None = Field(None, description="an input that it matches")

    @model_validator(mode="after")
    def _shown(self) -> RuleOptions:
        PatternOptions(pattern=self.when, example=self.example)
        return self


class PolicyFile(BaseModel):
    """The form of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: list[str] = Field(default_factory=list, description="labels that must never be answered")
    words: list[str] = Field(default_factory=list, description="words that must stand in no answer, nor in the name of a label answered")
    patterns: list[PatternOptions] = Field(default_factory=list, description="the same as regular expressions")
    rules: list[RuleOptions] = Field(default_factory=list, description="labels that must not be answered to inputs of a pattern")
    probes: list[Asked] = Field(default_factory=list, description="inputs that are asked beside the test rows")

    @field_validator("patterns", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return [{"pattern": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value

    @field_validator("words", "labels")
    @classmethod
    def _said(cls, value: list[str]) -> list[str]:
        if any(not item.strip() for item in value):
            raise ValueError("holds an empty text")
        return value

    @model_validator(mode="after")
    def _something(self) -> PolicyFile:
        if not (self.labels or self.words or self.patterns or self.rules):
            raise ValueError("forbids nothing: name labels, words, patterns or rules")
        return self


@dataclass(frozen=True)
class Output:
    """What a model answered to one input: its labels, and the texts that stand in the answer (names of labels too)."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class OutputPolicy:
    """A policy of outputs, read and found whole.

    Attributes:
        file: its name, without the folder.
        digest: of its bytes.
        wanted: what it says.
    """

    file: str
    digest: str
    wanted: PolicyFile

    def conditions(self) -> dict[str, Condition]:
        """Each thing that it forbids, by its place in the file: `labels.0`, `rules.1`."""
        found: dict[str, Condition] = {}
        for place, label in enumerate(self.wanted.labels):
            found[f"labels.{place}"] = Condition(labels=(label,), made=Made(label=label))
        for place, word in enumerate(self.wanted.words):
            found[f"words.{place}"] = Condition(text=word_pattern(word), made=Made(text=word))
        for place, item in enumerate(self.wanted.patterns):
            found[f"patterns.{place}"] = Condition(text=compiled(item.pattern), made=Made(text=item.shown))
        for place, rule in enumerate(self.wanted.rules):
            shown = PatternOptions(pattern=rule.when, example=rule.example).shown
            made = Made(given=shown, label=rule.never[0])
            found[f"rules.{place}"] = Condition(when=compiled(rule.when), labels=tuple(rule.never), made=made)
        return found

    def unfit(self, labels: LabelSchema, kind: str) -> list[Problem]:
        """Labels that it names, and that a model of these labels and this answer kind does not have."""
        known = names_of(labels, kind)
        named = dict.fromkeys([*self.wanted.labels, *(label for rule in self.wanted.rules for label in rule.never)])
        hint = f"labels: {', '.join(known[:20])}" if known else "this model's answers have no labels: name words or patterns"
        return [Problem(self.file, f"'{label}' is no label of the model", hint) for label in named if label not in known]

    def unread(self, reading: Reading) -> list[Problem]:
        """Inputs that a model which reads so cannot be asked."""
        return [
            problem for place, item in enumerate(self.wanted.probes) for problem in unread(f"{self.file}: probes.{place}", item, reading)
        ]


@dataclass(frozen=True)
class Made:
    """What must be caught: an answer with this label, or one that says this text, to this input where it matters."""

    given: str = ""
    label: str | None = None
    text: str | None = None


@dataclass(frozen=True, eq=False)
class Condition:
    """One thing that is forbidden.

    Attributes:
        made: what it must catch: the control of every audit.
        labels: that must not be answered.
        text: that must not be found in an answer.
        when: only to inputs in which this is found.
    """

    made: Made
    labels: tuple[str, ...] = ()
    text: Pattern | None = None
    when: Pattern | None = None

    def catches(self, given: str, said: Output) -> bool:
        """Whether this output to this input is forbidden.

        Raises:
            DataError: a pattern takes too long to search a text.
        """
        if self.when is not None and not found_in(self.when, given):
            return False
        if set(self.labels) & set(said.labels):
            return True
        return self.text is not None and any(found_in(self.text, text) for text in said.texts)


def names_of(labels: LabelSchema, kind: str) -> tuple[str, ...]:
    """What an answer can name: labels, types of entities, or nothing."""
    if kind == "tokens":
        return tuple(types_of(labels.names))
    return labels.names if kind in ("classes", "labels") else ()


def normal(text: str) -> str:
    """A text in which full and half width, and composed and decomposed signs, are the same (NFKC)."""
    return unicodedata.normalize("NFKC", text)


def compiled(pattern: str) -> Pattern:
    """A pattern of the file: texts are searched as `normal` has them, so its signs are too; those that only then mean something stay signs.

    Raises:
        ValueError: it is no regular expression.
    """
    signs = [(sign, normal(sign)) for sign in pattern]
    plain = "".join(sign if sign == same or re.escape(same) == same else re.escape(same) for sign, same in signs)
    try:
        return regex.compile(normal(plain), regex.IGNORECASE)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"'{pattern}' is no regular expression: {error}") from None


def found_in(pattern: Pattern, text: str) -> bool:
    """Whether a text holds what a pattern says.

    Raises:
        DataError: it takes too long to tell.
    """
    try:
        return pattern.search(normal(text), timeout=_SECONDS) is not None
    except TimeoutError:
        said = f"'{pattern.pattern}' takes over {_SECONDS:g} s to search a text of {len(text):,} characters"
        raise DataError(said, hint="write it without repeats of repeats, such as (a+)+") from None


def word_pattern(word: str) -> Pattern:
    """Finds a word: as a whole where blanks part words, anywhere in Chinese and its like."""
    plain = normal(word).strip()
    edge = ("", "") if _UNBROKEN.search(plain) else (r"(?<!\w)", r"(?!\w)")
    return regex.compile(f"{edge[0]}{re.escape(plain)}{edge[1]}", regex.IGNORECASE)


FORM = Form(
    "policy of outputs",
    "audit.safety.policy",
    PolicyFile,
    dict,
    "such as words: [WORD], labels: [LABEL], rules: [{when: PATTERN, never: [LABEL]}]",
)


def read_output_policy(name: str | Path, root: Path, *, where: str = "") -> OutputPolicy:
    """Read the file that says what must never be answered (`own_file.read_own`); `starter` is the list that ships.

    Raises:
        UsageError: it cannot be read, or says what it cannot mean; every problem of it.
    """
    found = read_own(_STARTER_FILE if str(name) == STARTER else name, root, FORM, where)
    return OutputPolicy(found.file, found.digest, found.said)
