"""Rows that are for a part made into a split: equal texts left out, sampled, labelled and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.data import clean, groups, labels
from trustbase.data.cells import inputs_of, with_cells
from trustbase.data.digest import digest_rows
from trustbase.data.facts import split_facts
from trustbase.data.gather import Source
from trustbase.data.options import DataOptions
from trustbase.data.template import TextTemplate
from trustbase.data.truth.base import Truth
from trustbase.errors import DataError
from trustbase.records import LabelSchema, Split


def make_split(
    name: str, options: DataOptions, schema: LabelSchema, template: TextTemplate, source: Source, seed: int, truth: Truth
) -> tuple[Split, dict[str, Any]]:
    """One split and its facts.

    Raises:
        DataError: no row is for it.
    """
    assert source.truth is not None
    values = source.truth.values

    def one_of_each(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        own = source.raw.table.take(pa.array(rows))
        texts = pa.array(with_cells([source.texts[row] for row in rows], own, options.features.columns), pa.large_string())
        return clean.one_of_each(texts, truth.codes(values[rows], schema))

    chosen = choose(name, options, source, seed, one_of_each)
    rows = chosen.rows
    table = source.raw.table.take(pa.array(rows))
    texts_, grouped = [source.texts[row] for row in rows.tolist()], groups.read_groups(table, options.groups)
    features = options.features.columns
    named = {column: groups_.tolist() for column, groups_ in grouped.items()}
    digest = digest_rows(with_cells(texts_, table, features), truth.write(values[rows], schema), named)
    made = Split(
        name=name,
        texts=texts_,
        labels=values[rows],
        groups=grouped,
        table=table.select(list(dict.fromkeys([*template.columns, *features]))),
        row_numbers=source.raw.row_numbers[rows],
        source=source.reference,
        digest=digest,
        features=features,
        entities=None if source.entities is None else source.entities[rows].view(np.int64),
    )
    used = dict.fromkeys([*template.columns, *features, *options.groups])
    missing = {column: table[column].null_count for column in used}
    trimmed = labels.label_texts(table[options.label])[1]
    repeats = clean.count_repeats(pa.array(inputs_of(made, features), pa.large_string()), truth.codes(made.labels, schema))
    counted: dict[str, Any] = {"repeats": repeats, "grouped": groups.count_groups(grouped), "missing": missing, "labels_trimmed": trimmed}
    return made, split_facts(made, schema, source, truth, **counted, **chosen.counts)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Rows of a split, and of how many they were chosen.

    Attributes:
        rows: indices into their source, `(rows,)`.
        found: rows for the split before any was left out.
        distinct: … after equal texts were.
    """

    rows: NDArray[np.int64]
    found: int
    distinct: int

    @property
    def counts(self) -> dict[str, Any]:
        """The same as the data card tells it."""
        return {
            "rows_found": self.found,
            "duplicates_removed": self.found - self.distinct,
            "sampled_from": self.distinct if len(self.rows) < self.distinct else None,
        }


def choose(
    name: str,
    options: DataOptions,
    source: Source,
    seed: int,
    one_of_each: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> Chosen:
    """The rows of a split: those that are for it, without equal texts and sampled where the recipe says so.

    Args:
        name: of the split.
        options: the recipe's `data` section.
        source: where its rows are.
        seed: of the sample.
        one_of_each: which of some rows are kept, one of each text.

    Raises:
        DataError: no row is for it.
    """
    rows = source.parts.get(name, np.zeros(0, np.int64))
    if not len(rows):
        hint = f"give more rows, a larger data.split.{name}, or a file of its own"
        raise DataError(f"the {name} split has no rows ({source.reference} holds {len(source.raw):,} usable rows)", hint=hint)
    found = len(rows)
    if options.deduplicate:
        rows = rows[one_of_each(rows)]
    return Chosen(_sample(rows, getattr(options.sample, name, None), seed, name), found, len(rows))


def _sample(rows: NDArray[np.int64], size: int | None, seed: int, name: str) -> NDArray[np.int64]:
    """A seeded part of the rows, in their order; all of them where there are not more."""
    if size is None or size >= len(rows):
        return rows
    return np.sort(seeds.generator(seed, "data", "sample", name).choice(rows, size, replace=False))
