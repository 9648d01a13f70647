"""Pieces of a card in Markdown: words of the data never have a meaning to Markdown or HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def several(source: Mapping[str, Any]) -> str:
    """How many files a source is, where it is more than a file itself; and of which commit, where it is of a hub."""
    files = f"{source['files']:,} file{'s' if source['files'] != 1 else ''}, " if source.get("files") else ""
    return files + (f"commit {in_code(source['revision'])}, " if source.get("revision") else "")


def section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A heading and a table; empty where there are no rows."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [header, ["---"] * len(header), *rows]]
    return f"## {title}\n\n" + "\n".join(lines)


def share(count: int, rows: int) -> str:
    """A count, and what share of the rows it is."""
    return f"{count:,} ({count / rows:.1%})"


def plain(text: str) -> str:
    """Words of the data on one line, without meaning to Markdown or HTML."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, "\\" + sign) if sign != "<" else text.replace("<", "&lt;")
    return " ".join(text.split())


def in_code(text: str) -> str:
    """A name of the data as code, safe inside a table."""
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`" if text.strip() else "(empty)"
