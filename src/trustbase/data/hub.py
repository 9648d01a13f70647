"""A part of a data set of a hub, read through the hub's own package: `datasets` of Hugging Face, or `modelscope`.

Both are asked for rows alone. Code that lies beside the rows is never run: `datasets` has no way to since version 4, and an older one
is refused; `modelscope` is told not to, and one that cannot be told is refused.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from trustbase.data.hub_name import HUB, HubName, hub_name
from trustbase.data.named import label_names, named_rows, usable_columns
from trustbase.data.rows import RawTable
from trustbase.data.wanted import Wanted
from trustbase.errors import DataError, Problem

_ROWS = 10_000  # written out at once
_LEAST_DATASETS = 4  # the first version that runs no code of a data set
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_INSTALL = {"datasets": "pip install 'trustbase[hub]'", "modelscope": "pip install 'modelscope[datasets]'"}


def hub_columns(reference: str) -> list[str]:
    """The column names.

    Raises:
        DataError: the data set cannot be had, or the package that reads it is not there.
    """
    return list(_Stored(reference).table.schema.names)


def hub_digest(reference: str) -> str:
    """`sha256:…` over columns, names of labels and rows, in their order; it does not depend on how the package stores them.

    Raises:
        DataError: as `hub_columns`.
    """
    return _written(_Stored(reference))[0]


def read_hub(path: Path, wanted: Wanted) -> RawTable:
    """A part of a data set of a hub; labels stored as numbers become their names.

    Args:
        path: not used, as the reference says it all.
        wanted: what is asked; its source is the reference.

    Raises:
        DataError: as `hub_columns`; or a column is not there, or is of a kind that is no text.
    """
    stored = _Stored(wanted.source)
    columns = usable_columns(stored.table.schema, stored.features, wanted)
    digest, size = _written(stored)
    return named_rows(stored.table.select(columns), stored.features, wanted.source, digest, size, stored.revision)


class _Stored:
    """What a package gives for a reference.

    Attributes:
        table: the rows as stored.
        features: what `datasets` says of the columns, as plain JSON.
        revision: the commit that the rows are of; "" where the package does not tell.
    """

    def __init__(self, reference: str) -> None:
        try:
            named = hub_name(reference)
        except ValueError as error:
            raise DataError(str(error), problems=[Problem(reference, "names no part of a data set")]) from error
        rows = _of_hugging_face(named, reference) if named.hub == HUB else _of_modelscope(named, reference)
        table: pa.Table = rows.with_format("arrow")[:]
        self.table = table.replace_schema_metadata(None)
        self.features: dict[str, Any] = rows.features.to_dict()
        self.revision = _commit(rows)
        if named.hub == HUB:
            _refuse_other_revision(named, self.revision, reference)


def _of_hugging_face(named: HubName, reference: str) -> Any:
    """A `datasets.Dataset`.

    Raises:
        DataError: the package is not there or too old, or it cannot give the rows.
    """
    _need("datasets", reference)
    import datasets

    version = str(datasets.__version__)
    if int(version.partition(".")[0]) < _LEAST_DATASETS:
        what = f"is not read by datasets {version}, which can run code of a data set"
        raise DataError(f"{reference} {what}", problems=[Problem(reference, what)], hint=f"pip install 'datasets>={_LEAST_DATASETS}'")
    _refuse_folder(named.name, reference)
    with _told(named, reference, offline=bool(datasets.config.HF_HUB_OFFLINE)), _quietly(datasets):
        return datasets.load_dataset(named.name, named.config, split=named.split, revision=named.revision)


def _of_modelscope(named: HubName, reference: str) -> Any:
    """The `datasets.Dataset` that ModelScope's package makes.

    Raises:
        DataError: the package is not there or too old, or it cannot give the rows.
    """
    _need("modelscope", reference)
    with _told(named, reference, offline=False):
        load = import_module("modelscope.msdatasets").MsDataset.load
    if "trust_remote_code" not in inspect.signature(load).parameters:
        what = "is not read by this version of modelscope, which cannot be told to run no code of a data set"
        raise DataError(f"{reference} {what}", problems=[Problem(reference, what)], hint="pip install --upgrade modelscope")
    for folder in (named.name, PurePath(named.name).name):
        _refuse_folder(folder, reference)
    asked = {"subset_name": named.config, "split": named.split, "trust_remote_code": False}
    with _told(named, reference, offline=False):
        rows = load(named.name, **asked, **({"version": named.revision} if named.revision else {}))
    return rows.to_hf_dataset() if hasattr(rows, "to_hf_dataset") else rows


def _need(package: str, reference: str) -> None:
    spec = find_spec(package)
    if spec is None or spec.origin is None:  # a folder that happens to be called so is no package
        what = f"is read by the package '{package}', which is not installed"
        raise DataError(f"{reference} {what}", problems=[Problem(reference, what, _INSTALL[package])], hint=_INSTALL[package])


def _refuse_folder(name: str, reference: str) -> None:
    """A folder of the same name in the working folder would be read in place of the hub, by both packages."""
    if Path(name).exists():
        what = f"is of a hub, and '{name}' stands in the working folder, which would be read in its place"
        hint = f"write train: {name}/ if you mean that folder; else work in another folder"
        raise DataError(f"{reference} {what}", problems=[Problem(reference, what, hint)], hint=hint)


@contextmanager
def _quietly(datasets: Any) -> Iterator[None]:
    """The library draws progress and says what it took from its cache; only the command line prints here, and the card names the commit."""
    shown, told = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(told)
        if shown:
            datasets.enable_progress_bars()


@contextmanager
def _told(named: HubName, reference: str, *, offline: bool) -> Iterator[None]:
    """Whatever a package raises, as one error with the next step; it may be of any kind, from a wrong name to a broken connection."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        what, hint = _why(named, said, error, offline)
        raise DataError(f"{reference} {what}", problems=[Problem(reference, what, hint)], hint=hint) from error


def _why(named: HubName, said: str, error: Exception, offline: bool) -> tuple[str, str]:
    """What happened, and what to do."""
    config = f", '{named.config}'" if named.config else ""
    revision = f", revision='{named.revision}'" if named.revision else ""
    call = f"datasets.load_dataset('{named.name}'{config}{revision}).save_to_disk('rows')"
    elsewhere = f"where there is a network run {call}, bring that folder here, and name it: rows/{named.split}"
    if named.hub != HUB:
        return f"cannot be had from ModelScope: {said}", "check name, configuration, part and network; or name files that you fetched"
    if "scripts are no longer supported" in said:
        what = "is made by a script of its own, and code of a data set is never run"
        return what, "name a revision that holds files of rows, often @refs/convert/parquet, or files that you made with it elsewhere"
    if "Unknown split" in said:
        return f"cannot be had: {said}", f"name one of its parts: {named.hub}{named.name}{f'/{named.config}' if named.config else ''}:PART"
    if offline:
        what = f"is not in the cache of this machine, and HF_HUB_OFFLINE keeps it from the hub: {said}"
        return what, f"fetch it once without HF_HUB_OFFLINE; or {elsewhere}"
    if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.startswith(("httpx", "httpcore", "requests")):
        return f"cannot be fetched, as the hub cannot be reached: {said}", f"HF_ENDPOINT names a mirror of the hub; or {elsewhere}"
    return f"cannot be had: {said}", "check name, configuration, part and revision; HF_TOKEN is the key to private data sets"


def _commit(rows: Any) -> str:
    """The commit that rows are of: the folder of the package's cache that holds them is called by it."""
    found = {PurePath(item["filename"]).parent.name for item in rows.cache_files}
    (commit,) = found if len(found) == 1 else ("",)
    return commit if _COMMIT.fullmatch(commit) else ""


def _refuse_other_revision(named: HubName, commit: str, reference: str) -> None:
    """The package takes whatever its cache holds where the hub cannot be asked, of whichever commit that is.

    Raises:
        DataError: the recipe names a commit, and the rows are of another, or it is not known of which.
    """
    if named.revision is None or not _SHORT_COMMIT.fullmatch(named.revision) or commit.startswith(named.revision):
        return
    what = f"was to be of commit {named.revision}, and what the cache holds is of {commit or 'an unknown one'}"
    hint = "fetch that commit where the hub can be reached, or name the one that is there"
    raise DataError(f"{reference} {what}", problems=[Problem(reference, what, hint)], hint=hint)


def _written(stored: _Stored) -> tuple[str, int]:
    """Digest of all rows, whichever columns are asked for; and the bytes that they take as JSON."""
    table, names = stored.table, label_names(stored.features)
    head = [[column, names.get(column)] for column in table.column_names]
    digest, size = hashlib.sha256(b"trustbase/hub/1\0" + json.dumps(head).encode()), 0
    for batch in table.to_batches(max_chunksize=_ROWS):
        columns = [_cells(column) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            line = json.dumps(cells, default=_plain).encode()  # quoted and escaped, so no two rows are written alike
            digest.update(line + b"\n")
            size += len(line)
    return "sha256:" + digest.hexdigest(), size


def _cells(column: pa.Array) -> list[Any]:
    """The cells of a column as they are stored; a text column with bytes that are no text gives bytes."""
    try:
        cells: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        if pa.types.is_nested(column.type):
            raise DataError("a list of the data set holds a text that is not UTF-8", hint="read the data set without that column") from None
        cells = column.cast(pa.large_binary()).to_pylist()
    return cells


def _plain(value: Any) -> Any:
    """A cell of a kind that JSON lacks, for the digest."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"bytes": value.hex()}
    return value.isoformat() if isinstance(value, date | time) else str(value)
