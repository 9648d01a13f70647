"""Sentence pairs that differ only in a group term, written for this purpose: `pairs/NAME.yaml`, every template with every pair of terms.

A template is ordinary, or says what is commonly said of the first or of the second group. The two kinds balance each other, so that how
common a term is falls out of their difference. They are stereotypes so as to be measured, not as statements about anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

Side = Literal["ordinary", "first", "second"]
SIDES: tuple[Side, ...] = ("ordinary", "first", "second")
_FOLDER = Path(__file__).with_name("pairs")
_SLOT = "{}"


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in one term; `start` is where the term stands in both."""

    template: int
    terms: int
    first: str
    second: str
    start: int


@dataclass(frozen=True)
class PairSet:
    """A set of sentence pairs.

    Attributes:
        name: as in a finding's slice.
        language: "zh" or "en".
        about: what is compared, in the set's own language.
        terms: terms of the first and of the second group, alike in all but the group.
        templates: sentences with a place for the term, each with its side.
    """

    name: str
    language: str
    about: str
    terms: tuple[tuple[str, str], ...]
    templates: tuple[tuple[Side, str], ...]

    @property
    def pairs(self) -> list[Pair]:
        """Every template with every pair of terms."""
        return [
            Pair(number, index, text.replace(_SLOT, first), text.replace(_SLOT, second), text.index(_SLOT))
            for number, (_, text) in enumerate(self.templates)
            for index, (first, second) in enumerate(self.terms)
        ]


def read_pairs(name: str) -> PairSet:
    """A set that comes with this version.

    Raises:
        KeyError: a set that lacks a part.
    """
    data = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    terms = tuple((str(first), str(second)) for first, second in data["terms"])
    templates = tuple((side, str(text)) for side in SIDES for text in data[side])
    return PairSet(name, data["language"], data["about"], terms, templates)
