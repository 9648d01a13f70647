"""Rows that are larger than memory, streamed into files of the run; the splits are those that reading them whole gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trustbase.data import clean, labels, split
from trustbase.data.assemble import Made, parts_of, source_of
from trustbase.data.coded import Coded
from trustbase.data.facts import pairs_of, split_facts
from trustbase.data.gather import each_source
from trustbase.data.making import Chosen, choose
from trustbase.data.options import DataOptions
from trustbase.data.stored import COLUMN, ENTITY, GROUP, LABEL, ROW, TEXT, RowWriter, count_stored, open_split
from trustbase.data.stream import StreamedSource, is_large, survey
from trustbase.data.template import TextTemplate
from trustbase.data.truth.base import truth_of
from trustbase.errors import DataError
from trustbase.records import UNKNOWN_GROUP, LabelSchema


def is_streamed(options: DataOptions, template: TextTemplate, root: Path, *, answers: str, apart: bool) -> bool:
    """Whether the rows of a recipe are streamed: large ones are, of a text that a model of classes reads as one.

    Raises:
        DataError: the recipe asks for it where rows can only be read whole.
    """
    if answers == "classes" and not options.features.columns and not (apart and template.apart):
        return is_large(options, root)
    if options.memory == "stream":
        columns = "data.features" if options.features.columns else "columns that a model reads one by one"
        what = columns if answers == "classes" else f"answers of kind '{answers}'"
        raise DataError(f"data.memory: stream does not go with {what} yet", hint="leave data.memory out: rows are then read whole")
    return False


def survey_all(options: DataOptions, template: TextTemplate, root: Path) -> dict[str, StreamedSource]:
    """Go through every file of the recipe once; problems of all are raised together."""
    return each_source(options, lambda name, reference: survey(options, template, reference, root, first=name == "train"))


@dataclass
class _Part:
    """What becomes of one split while its rows go by."""

    source: StreamedSource
    chosen: Chosen  # of the good rows of its source
    writer: RowWriter
    path: Path
    missing: dict[str, int] = field(default_factory=dict)
    trimmed: int = 0


def make_streamed(
    options: DataOptions,
    template: TextTemplate,
    sources: Mapping[str, StreamedSource],
    seed: int,
    store: Path,
    schema: LabelSchema,
) -> Made:
    """Every split in a file of its own, and what is known of it."""
    parts = {name: _part(name, options, schema, source_of(name, sources), seed, store) for name in parts_of(sources)}
    for source in sources.values():
        _write({name: part for name, part in parts.items() if part.source is source}, source, options, schema, template)
    repeats = {name: _repeats(part, options, schema) for name, part in parts.items()}
    shared = _shared(parts)
    for source in sources.values():
        source.text_keys = source.text_keys[:0].copy()  # all that they are for is done, and labels are yet to be read
    made, facts = {}, {}
    for name, part in parts.items():
        made[name] = open_split(part.path, name, options.groups, schema, part.source.reference)
        facts[name] = split_facts(
            made[name],
            schema,
            part.source,
            truth_of("classes"),
            repeats=repeats[name],
            grouped={column: count_stored(part.path, column) for column in options.groups},
            missing=part.missing,
            labels_trimmed=part.trimmed,
            **part.chosen.counts,
        )
    return made, facts, lambda: shared


def _repeats(part: _Part, options: DataOptions, schema: LabelSchema) -> clean.Repeats:
    """Equal texts of a split, by their keys."""
    found = part.source.coded(options.label)
    codes = labels.codes_of(Coded(found.words, np.arange(len(found.words), dtype=np.int32)), schema).astype(np.int32)
    return clean.repeats_of_keys(part.source.keys(part.chosen.rows), codes[found.codes[part.chosen.rows]])


def _part(name: str, options: DataOptions, schema: LabelSchema, source: StreamedSource, seed: int, store: Path) -> _Part:
    """What becomes of a split: its rows, chosen by the keys of their texts, and a file for them."""

    def one_of_each(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        own = labels.codes_of(source.coded(options.label), schema)[rows]
        return clean.one_of_keys(source.keys(rows), own)

    path = store / f"{name}.parquet"
    return _Part(source, choose(name, options, source, seed, one_of_each), RowWriter(path), path)


def _write(parts: Mapping[str, _Part], source: StreamedSource, options: DataOptions, schema: LabelSchema, template: TextTemplate) -> None:
    """Go through a source again, and write every row to its split."""
    place = np.full(len(source.raw), -1, np.int8)
    for number, part in enumerate(parts.values()):
        place[part.chosen.rows] = number
    names = source.coded(options.label)
    used = list(dict.fromkeys([*template.columns, *options.groups]))
    done = 0
    assert source.pieces is not None
    for piece in source.pieces:
        source.pieces.refuse_other_rows(piece, source.raw.row_numbers[done : done + len(piece)])
        own = place[done : done + len(piece)]
        codes = labels.codes_of(Coded(names.words, names.codes[done : done + len(piece)]), schema)
        for number, part in enumerate(parts.values()):
            rows = np.flatnonzero(own == number)
            if len(rows):
                table = piece.table.take(pa.array(rows))
                owners = None if source.entities is None else source.entities[done + rows]
                part.writer.add(_stored(table, piece.row_numbers[rows], codes[rows], owners, options, template))
                part.trimmed += labels.count_trimmed(table[options.label])
                part.missing = {name: part.missing.get(name, 0) + table[name].null_count for name in used}
        done += len(piece)
    source.pieces.refuse_changed()  # labels are of the first pass, texts of this one
    for part in parts.values():
        part.writer.close()


def _stored(
    table: pa.Table,
    numbers: NDArray[np.int64],
    codes: NDArray[np.int64],
    owners: NDArray[np.uint64] | None,
    options: DataOptions,
    template: TextTemplate,
) -> pa.Table:
    """Rows in the form that a run keeps (`save.py`)."""
    columns: dict[str, Any] = {ROW: pa.array(numbers), TEXT: template.column_of(table), LABEL: pa.array(codes)}
    if owners is not None:
        columns[ENTITY] = pa.array(owners.view(np.int64))
    columns |= {GROUP + name: pc.fill_null(pc.utf8_trim_whitespace(table[name]), UNKNOWN_GROUP) for name in options.groups}
    columns |= {COLUMN + name: table[name] for name in template.columns}
    return pa.table(columns)


def _shared(parts: Mapping[str, _Part]) -> dict[str, int]:
    """Rows of the second of each pair of splits whose text also stands in the first."""
    found = {}
    for one, other in pairs_of(parts):
        first, second = (parts[name].source.keys(parts[name].chosen.rows) for name in (one, other))
        found[f"{one}/{other}"] = split.overlap_of_keys(first, second)
    return found
