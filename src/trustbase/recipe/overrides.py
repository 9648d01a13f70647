"""`key=value` texts that change a recipe, short forms written out where they reach into one."""

from __future__ import annotations

from typing import Any

from trustbase import marked_yaml
from trustbase.audit.options import from_list
from trustbase.data.reference import without_secrets
from trustbase.data.shares import share_of, written_out
from trustbase.errors import Problem
from trustbase.gate.options import FROM
from trustbase.recipe import marks
from trustbase.recipe.lookup import PLAIN_MODELS


def override(value: dict[str, Any], text: str, locate: marks.Locator) -> list[Problem]:
    """Change a recipe in place, and return what is wrong with the text.

    Args:
        value: the recipe as plain values.
        text: `key=value` with a dotted key; the value is YAML.
        locate: is told what was overridden.
    """
    key, separator, raw = text.partition("=")
    where = without_secrets(f"override {text}")
    if why := marked_yaml.unwritable(text):
        return [Problem(where, f"holds {why}", "write it as UTF-8 text")]
    parts = tuple(_split_key(key.strip()))
    if "" in parts and parts != ("",):
        return [Problem(where, "has a dot with no key beside it", "write dotted keys such as train.epochs=2")]
    if not separator or not any(parts):
        return [Problem(where, "is not of the form key=value, such as train.epochs=2")]
    limit = raw.lstrip()[:1] in {"<", ">"}  # a gate's limit, which YAML would take for the start of a block of text
    parsed = marked_yaml.Marked(raw.strip()) if limit else marked_yaml.read_yaml(raw or "null", where)
    if parsed.problems:
        return parsed.problems
    target = value
    for depth, part in enumerate(parts[:-1], start=1):
        current = _written_out(parts[:depth], target.get(part), locate)
        if not isinstance(current, dict):
            return [Problem(where, f"'{'.'.join(parts[:depth])}' is {current!r}, not a section that has keys")]
        target[part] = current
        target = current
    target[parts[-1]] = parsed.value
    locate.overridden[parts] = without_secrets(text)
    return []


def _split_key(key: str) -> list[str]:
    """Dotted key in parts; a finding id after `gates.` stays whole."""
    head, _, tail = key.partition(".")
    if head == "gates" and tail:
        return [head, tail]
    return key.split(".")


def _written_out(path: tuple[str, ...], value: Any, locate: marks.Locator) -> Any:
    """A section's short form as the mapping that it is short for; anything else as it is."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return value
    if path == ("adapt",) and isinstance(value, str):
        return {"method": value}
    if path == ("base",) and isinstance(value, str) and value in PLAIN_MODELS:
        return {"kind": value}
    if path == ("gates",) and isinstance(value, str):
        return {FROM: value}
    if path == ("audit",) and isinstance(value, list):
        locate.move(path, ("audit", "dimensions"))
        return from_list(value)
    if path == ("data", "tolerance") and isinstance(share_of(value), int | float):
        return written_out(value, "rows", "rows")
    return value
