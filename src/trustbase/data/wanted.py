"""What is asked of a source of rows, whatever its format."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """What is asked of a source; a format that has no such question (quotes in parquet, numbers in csv) passes over it.

    Attributes:
        source: the name of the file in messages, as the recipe says it.
        columns, optional, whole, quoted, query, nested: as in `source.read_table`.
    """

    source: str
    columns: Sequence[str] | None = None
    optional: Collection[str] = ()
    whole: Collection[str] = ()
    quoted: bool = True
    query: str | None = None
    nested: Collection[str] = ()
