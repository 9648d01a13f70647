"""Names and cells of a data file in a recipe that is written for it: read back by YAML as they stand, and never the end of a comment."""

from __future__ import annotations

import json

from trustbase.data.marked import HEAD, TAIL
from trustbase.data.pair import SEPARATOR
from trustbase.escapes import escaped

_LONGEST = 60  # characters of a name or cell in a comment
_WORDS = {"y", "n", "yes", "no", "true", "false", "on", "off", "null"}  # what YAML, of one version or another, takes for no text


def yaml_text(value: str) -> str:
    """A string as YAML reads it back, plain where that is certain."""
    plain = value.isidentifier() and value.lower() not in _WORDS
    return value if plain else escaped(json.dumps(value, ensure_ascii=False))


def in_comment(value: str) -> str:
    """A name or cell in a comment: one line, cut where it is long, in quotes where nothing would be seen of it."""
    line = " ".join(value.split()) or f"'{value}'"
    return escaped(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")


def can_be_named(column: str) -> bool:
    """Whether `data.text` can name a column: not with braces, or with signs that stand between or around texts."""
    return not any(sign in column for sign in (HEAD, TAIL, SEPARATOR, "{", "}"))
