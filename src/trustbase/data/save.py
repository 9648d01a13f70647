"""A data set on disk, as the run folder keeps it: one Parquet file a split, and what is known about all of them in `dataset.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trustbase import files
from trustbase.data.cells import with_cells
from trustbase.data.digest import digest_rows
from trustbase.data.load import Dataset, dataset_digest
from trustbase.data.template import TextTemplate
from trustbase.data.truth.base import Truth, truth_of
from trustbase.errors import DataError
from trustbase.records import LabelSchema, Split

SCHEMA = "trustbase/dataset/1"
_TEXT, _LABEL, _ROW = "text", "label", "row"
_GROUP, _COLUMN = "group:", "column:"


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the data set into `folder`, whole or not at all."""

    def fill(staging: Path) -> None:
        for name, part in dataset.splits.items():
            pq.write_table(_to_table(part, dataset.labels, truth_of(dataset.answers)), staging / f"{name}.parquet", compression="zstd")
        files.write_json(staging / "dataset.json", _to_json(dataset))

    files.replace_folder(folder, fill)


def load_dataset(folder: Path) -> Dataset:
    """Read what `save_dataset` wrote, and check that it still is what was written.

    Raises:
        DataError: the folder is not a saved data set, or was altered.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no saved data set", hint="run the recipe again; its data stage writes it")
    saved = files.read_json(path)
    if saved.get("schema") != SCHEMA:
        raise DataError(f"{path} is of the form '{saved.get('schema')}', not '{SCHEMA}'", hint="run the recipe again with --force")
    schema, answers = LabelSchema.from_json(saved["labels"]), saved.get("answers", "classes")
    template = TextTemplate.parse(saved["text"]["source"], saved["text"]["columns"])
    splits = {
        name: _from_table(folder / f"{name}.parquet", name, facts, schema, truth_of(answers)) for name, facts in saved["splits"].items()
    }
    digest = dataset_digest(splits, schema, template)
    if digest != saved["digest"]:
        raise DataError(f"{folder} was altered: its digest is {digest}, it was saved as {saved['digest']}", hint="run again with --force")
    return Dataset(splits, schema, template, saved["facts"], digest, answers)


def _to_json(dataset: Dataset) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "answers": dataset.answers,
        "labels": dataset.labels.to_json(),
        "text": {"source": dataset.template.source, "columns": list(dataset.template.columns)},
        "splits": {
            name: {"source": part.source, "digest": part.digest, "groups": list(part.groups), "features": list(part.features)}
            for name, part in dataset.splits.items()
        },
        "facts": dataset.facts,
        "digest": dataset.digest,
    }


def _to_table(part: Split, schema: LabelSchema, truth: Truth) -> pa.Table:
    columns: dict[str, Any] = {
        _ROW: pa.array(part.row_numbers, pa.int64()),
        _TEXT: pa.array(part.texts, pa.large_string()),
        _LABEL: truth.to_arrow(part.labels, schema),
    }
    columns |= {_GROUP + name: pa.array(values.tolist(), pa.string()) for name, values in part.groups.items()}
    columns |= {_COLUMN + name: part.table[name] for name in part.table.column_names}
    return pa.table(columns)


def _from_table(path: Path, name: str, saved: dict[str, Any], schema: LabelSchema, truth: Truth) -> Split:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="run again with --force") from error
    groups = {group: np.array(table[_GROUP + group].to_pylist(), dtype=object) for group in saved["groups"]}
    inputs = [column for column in table.column_names if column.startswith(_COLUMN)]
    texts, values = table[_TEXT].to_pylist(), truth.from_arrow(table[_LABEL], schema)
    features = tuple(saved.get("features", ()))
    raw = table.select(inputs).rename_columns([column.removeprefix(_COLUMN) for column in inputs])
    named = {column: members.tolist() for column, members in groups.items()}
    digest = digest_rows(with_cells(texts, raw, features), truth.write(values, schema), named)
    if digest != saved["digest"]:
        raise DataError(f"{path} was altered: its rows have digest {digest}, saved was {saved['digest']}", hint="run again with --force")
    return Split(name, texts, values, groups, raw, table[_ROW].to_numpy().astype(np.int64), saved["source"], digest, features)
