"""The one catalogue of words, read from `words/LANG.yaml`: everything a report says, in English and in Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from trustbase import finding_id
from trustbase.errors import UsageError
from trustbase.report import forms

LANGUAGES = ("en", "zh")
#: Measured on a named set each; its name is no column of groups.
_OF_SETS = {"probe_accuracy", "contamination", "likelihood_gap", "likelihood_association"}
_OF_PARTS = {"slice_accuracy", "slice_mae"}  # whose slices have names of the audit's own making
_FOLDER = Path(__file__).with_name("words")


@dataclass(frozen=True)
class Words:
    """The catalogue in one language. Calling it gives a phrase: `t("gates.title")`, `t("limit.at_most", limit="10 %")`."""

    lang: str
    table: Mapping[str, str]

    def __call__(self, key: str, /, **values: object) -> str:
        """The phrase of a key with its values filled in.

        Raises:
            KeyError: the catalogue has no such key (a mistake in the report's code, held by a test).
        """
        return self.table[key].format(**values) if values else self.table[key]

    def count(self, key: str, n: int, /, **values: object) -> str:
        """The phrase for a number of things: `KEY.one` for one, else `KEY.other`."""
        return self(f"{key}.{'one' if n == 1 else 'other'}", n=f"{n:,}", **values)

    def of(self, family: str, name: str) -> str:
        """The word of an open family (`status`, `dimension`, …); an unknown member is shown as it is written."""
        return self.table.get(f"{family}.{name}", name)

    def has(self, key: str) -> bool:
        """Whether the catalogue holds this key."""
        return key in self.table

    def metric(self, id: str) -> str:
        """The name of a finding's metric; an unknown metric is shown by its id."""
        parts = finding_id.parse(id)
        if parts.metric == "audit":  # what an audit that broke as a whole leaves
            return self("label.colon", label=self.of("dimension", parts.dimension)) + self("finding.whole")
        return self.table.get(f"metric.{parts.dimension}.{parts.metric}.name", f"{parts.dimension}.{parts.metric}")

    def metric_about(self, id: str) -> str:
        """One line on what the metric says; empty for an unknown metric."""
        parts = finding_id.parse(id)
        return self.table.get(f"metric.{parts.dimension}.{parts.metric}.about", "")

    def recorded(self, family: str, text: str) -> str | None:
        """A text that an audit recorded, in this language; None where the catalogue has no such form in this family."""
        return text if self.lang == "en" else _translated(self.lang, family, text)

    def part(self, column: str, value: str) -> str:
        """One part of the rows in words: `sex = Female`. Lengths and quartiles have names of the audit's own making."""
        told = self.recorded("part", value)
        return self("finding.group", column=self.recorded("column", column) or column, group=value if told is None else told)

    def finding(self, id: str) -> str:
        """A finding's full name: metric, then slice, data set and variant in plain words."""
        parts = finding_id.parse(id)
        name = self.metric(id)
        if parts.slice:
            say = self.part if parts.metric in _OF_PARTS else lambda c, group: self("finding.group", column=c, group=group)
            columns = self("list.pair").join(c if group is None else say(c, group) for c, group in parts.slice)
            between = any(group is None for _, group in parts.slice) and not names_a_set(id)
            key = "finding.between" if between else "finding.within"
            name = self(key, name=name, slice=columns)
        if parts.variant:
            name = self("finding.variant", name=name, variant=self.of("variant", parts.variant))
        return self("finding.dataset", name=name, dataset=self.of("dataset", parts.dataset)) if parts.dataset else name


def names_a_set(id: str) -> bool:
    """Whether the slice of a finding is the name of a set that it was measured on."""
    return finding_id.parse(id).metric in _OF_SETS


@lru_cache(maxsize=len(LANGUAGES))
def words(lang: str) -> Words:
    """The catalogue of a language.

    Raises:
        UsageError: there is no such catalogue.
    """
    if lang not in LANGUAGES:
        raise UsageError(f"the language of a report must be one of {', '.join(LANGUAGES)}, got '{lang}'", hint="use --lang en or --lang zh")
    data = yaml.safe_load((_FOLDER / f"{lang}.yaml").read_text(encoding="utf-8"))
    return Words(lang, dict(_flatten(data)))


@lru_cache(maxsize=8)
def _forms(family: str) -> tuple[forms.Form, ...]:
    return forms.forms_of(words("en").table, family)


@lru_cache(maxsize=4096)
def _translated(lang: str, family: str, text: str) -> str | None:
    """A recorded text: its first clause, and then the rest of it."""
    t = words(lang)
    for head, rest in forms.cuts(text):
        told = _clause(t, family, head)
        if told is not None and rest:
            after = _translated(lang, family, rest)
            told = None if after is None else t("list.items").join((told, after))
        if told is not None:
            return told
    return None


def _clause(t: Words, family: str, text: str) -> str | None:
    for form, places in forms.match(text, _forms(family)):
        values = {place: _value(t, family, place, value) for place, value in places.items()}
        if None not in values.values():
            return t(form.key, **values)
    return None


def _value(t: Words, family: str, place: str, value: str) -> str | None:
    """What stands in one place of a form, in the language of `t`."""
    if place in forms.NESTED:
        return _translated(t.lang, family, value)
    if place == "dimension":
        return t.of("dimension", value)
    if place in ("split", "other_split"):
        return t.table.get(f"split.{value}")  # what stands before a colon may be something else
    if place == "part" and " = " in value:
        return t.part(*value.split(" = ", 1))
    return value


def _flatten(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(_flatten(value, f"{name}."))
        elif isinstance(value, str):
            rows.append((name, value))
        else:
            raise TypeError(f"the catalogue key '{name}' must be a text, got {value!r}; put it in quotes")
    return rows
