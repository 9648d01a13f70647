"""Nested facts as they are recorded, written out flat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain_facts(facts: Mapping[str, Any], prefix: str = "", *, plain: bool = True) -> list[tuple[str, str]]:
    """Nested facts as flat pairs of name and text, as they are recorded; `plain` takes the underscores out of names."""
    rows: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}".replace("_", " ") if plain else f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(plain_facts(value, f"{name} · "))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(_plain(item) for item in value[:40]) + (" …" if len(value) > 40 else "")))
        else:
            rows.append((name, _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else "–" if value is None else str(value)
