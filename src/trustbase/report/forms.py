"""Texts that the audits recorded, taken apart by the forms they were written in, so that nothing they say is lost in another language.

The English catalogue holds each form as it is recorded, with a place for each thing that varies: `{n} rows, fewer than the minimum of
{minimum}`. A recorded text is one form, or several with "; " between them; a place named in `NESTED` holds a text of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter

SEPARATOR = "; "
NESTED = {"reason", "method", "cells", "measure"}
_NUMBER = r"[-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?"
_PLACES = {
    **dict.fromkeys(
        (
            "n",
            "minimum",
            "rows",
            "most",
            "low",
            "high",
            "value",
            "tokens",
            "inputs",
            "seconds",
            "watts",
            "grams",
            "price",
            "digits",
            "repeats",
            "bits",
        ),
        _NUMBER,
    ),
    "rate": r"[\d.]+%",
    "code": r"-?\d+",
    "exception": r"[A-Z]\w*",  # the name of its class
}


@dataclass(frozen=True)
class Form:
    """One form: its key in the catalogue, and what finds it."""

    key: str
    pattern: re.Pattern[str]


def forms_of(table: Mapping[str, str], family: str) -> tuple[Form, ...]:
    """The forms of a family (`reason`, `method`, …) of the English catalogue, the most telling first.

    One that begins with words of its own goes before one that begins with a place, which would take those words for a name.
    """
    texts = [(key, text) for key, text in table.items() if key.startswith(f"{family}.")]
    return tuple(Form(key, _pattern(text)) for key, text in sorted(texts, key=lambda item: _telling(item[1]), reverse=True))


def match(text: str, forms: tuple[Form, ...]) -> Iterator[tuple[Form, dict[str, str]]]:
    """The forms that the whole text may be written in, with what stands in their places."""
    for form in forms:
        found = form.pattern.fullmatch(text)
        if found is not None:
            yield form, found.groupdict()


def cuts(text: str) -> Iterator[tuple[str, str]]:
    """The text cut in two at each separator, the first one first, and uncut at last (a name in it may hold a separator)."""
    for found in re.finditer(SEPARATOR, text):
        yield text[: found.start()], text[found.end() :]
    yield text, ""


def _telling(text: str) -> tuple[int, int]:
    """How many signs stand before the first place of a form, and how many in all."""
    literals = [len(literal) for literal, *_ in Formatter().parse(text)]
    return literals[0], sum(literals)


def _pattern(text: str) -> re.Pattern[str]:
    """A form as a pattern; a place that nothing is known of takes any text."""
    parts = []
    for literal, place, *_ in Formatter().parse(text):
        parts.append(re.escape(literal))
        if place is not None:
            parts.append(f"(?P<{place}>{_PLACES.get(place, '.+?')})")
    return re.compile("".join(parts), re.DOTALL)
