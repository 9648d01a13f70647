"""A data set on disk, as the run folder keeps it: one Parquet file a split, and what is known about all of them in `dataset.json`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trustbase import files
from trustbase.data.cells import with_cells
from trustbase.data.dataset import Dataset, dataset_digest
from trustbase.data.digest import digest_rows
from trustbase.data.stored import COLUMN, ENTITY, GROUP, LABEL, ROW, TEXT, StoredTexts, open_split
from trustbase.data.template import TextTemplate
from trustbase.data.truth.base import Truth, truth_of
from trustbase.errors import DataError
from trustbase.records import LabelSchema, Split

SCHEMA = "trustbase/dataset/1"


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the data set into `folder`, whole or not at all; splits that are stored already are moved there, and must be loaded again."""

    def fill(staging: Path) -> None:
        for name, part in dataset.splits.items():
            if isinstance(part.texts, StoredTexts):
                shutil.move(part.texts.path, staging / f"{name}.parquet")
            else:
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
            name: {
                "source": part.source,
                "digest": part.digest,
                "groups": list(part.groups),
                "features": list(part.features),
                **({"stored": True} if isinstance(part.texts, StoredTexts) else {}),
            }
            for name, part in dataset.splits.items()
        },
        "facts": dataset.facts,
        "digest": dataset.digest,
    }


def _to_table(part: Split, schema: LabelSchema, truth: Truth) -> pa.Table:
    columns: dict[str, Any] = {
        ROW: pa.array(part.row_numbers, pa.int64()),
        TEXT: pa.array(part.texts, pa.large_string()),
        LABEL: truth.to_arrow(part.labels, schema),
    }
    if part.entities is not None:
        columns[ENTITY] = pa.array(part.entities, pa.int64())
    columns |= {GROUP + name: pa.array(values.tolist(), pa.string()) for name, values in part.groups.items()}
    columns |= {COLUMN + name: part.table[name] for name in part.table.column_names}
    return pa.table(columns)


def _from_table(path: Path, name: str, saved: dict[str, Any], schema: LabelSchema, truth: Truth) -> Split:
    if saved.get("stored"):
        found = open_split(path, name, saved["groups"], schema, saved["source"])
        _refuse_altered(path, found.digest, saved["digest"])
        return found
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}", hint="run again with --force") from error
    groups = {group: np.array(table[GROUP + group].to_pylist(), dtype=object) for group in saved["groups"]}
    inputs = [column for column in table.column_names if column.startswith(COLUMN)]
    texts, values = table[TEXT].to_pylist(), truth.from_arrow(table[LABEL], schema)
    features = tuple(saved.get("features", ()))
    raw = table.select(inputs).rename_columns([column.removeprefix(COLUMN) for column in inputs])
    named = {column: members.tolist() for column, members in groups.items()}
    digest = digest_rows(with_cells(texts, raw, features), truth.write(values, schema), named)
    _refuse_altered(path, digest, saved["digest"])
    owners = table[ENTITY].to_numpy().astype(np.int64) if ENTITY in table.column_names else None
    return Split(name, texts, values, groups, raw, table[ROW].to_numpy().astype(np.int64), saved["source"], digest, features, owners)


def _refuse_altered(path: Path, digest: str, saved: str) -> None:
    if digest != saved:
        raise DataError(f"{path} was altered: its rows have digest {digest}, saved was {saved}", hint="run again with --force")
