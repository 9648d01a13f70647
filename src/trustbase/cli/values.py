"""Values of options that several commands read alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trustbase.errors import UsageError
from trustbase.escapes import escaped
from trustbase.finding_id import NOTHING


def names(given: Sequence[str] | None) -> tuple[str, ...]:
    """Names out of an option that may be repeated: at each comma a new one begins, unless a backslash stands before it."""
    parts = [part for text in given or () for part in re.split(r"(?<!\\),", text)]
    return tuple(part.strip().replace("\\,", ",") for part in parts if part.strip())


def shown(text: str) -> str:
    """A text of several lines for a terminal: what would steer one (names of columns and files can hold it) stands there as its escape."""
    return escaped(text, lines=True, spaces=True)


def four_places(value: float, *, signed: bool = False) -> str:
    """A measured number with four places, more where these would hide it; what sums of floats leave of nothing is 0, without a sign."""
    if abs(value) < NOTHING:
        return "0"
    places = f"{value:+.4f}" if signed else f"{value:.4f}"
    return places if float(places) else f"{value:+.2g}" if signed else f"{value:.2g}"


def meanings(given: Sequence[str] | None, option: str) -> dict[str, str] | None:
    """What names mean, out of an option such as `PER=person,ORG=company`; None where nothing was given.

    Raises:
        UsageError: a part that is no NAME=MEANING, or a name that has two.
    """
    if not given:
        return None
    found: dict[str, str] = {}
    for part in names(given):
        name, sign, meaning = (piece.strip() for piece in part.partition("="))
        if not sign or not name or not meaning or found.get(name, meaning) != meaning:
            raise UsageError(
                f"{option} takes NAME=MEANING with commas between, each name once, got '{part}'", hint=f"{option} PER=person,ORG=company"
            )
        found[name] = meaning
    return found


def budgets(given: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """Options by dimension, out of an option such as `explanation.texts=20`.

    Raises:
        UsageError: a part that is no DIMENSION.OPTION=VALUE, or an option that has two values.
    """
    found: dict[str, dict[str, str]] = {}
    for part in names(given):
        path, sign, value = (piece.strip() for piece in part.partition("="))
        dimension, dot, option = path.partition(".")
        if not (sign and dot and dimension and option and value) or found.get(dimension, {}).get(option, value) != value:
            raise UsageError(f"--budget takes DIMENSION.OPTION=VALUE, each once, got '{part}'", hint="--budget explanation.texts=20")
        found.setdefault(dimension, {})[option] = value
    return found


def language(lang: str | None) -> str | None:
    """The language of a page, or None where none was named.

    Raises:
        UsageError: there is no such language.
    """
    if lang is not None and lang not in {"en", "zh"}:
        raise UsageError(f"--lang must be en or zh, got '{lang}'")
    return lang
