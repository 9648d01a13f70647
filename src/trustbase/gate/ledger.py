"""The ledger of looks: each evaluation on a test set is appended by the set's digest, and none is forgotten.

`ledger.jsonl` in the user's folder holds one look a line. Each line carries the hash of the line before it, so a line
that is changed, removed from the middle or moved is noticed; lines cut off at the end are not (a file alone cannot show
that). Order is the sequence number, never the clock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.data.digest import digest_positions
from trustbase.data.samples import is_sample
from trustbase.data.source import source_digest
from trustbase.data.truth.base import written
from trustbase.errors import TrustbaseError
from trustbase.home import home, make_home
from trustbase.records import LabelSchema, Split

LEDGER_FILE = "ledger.jsonl"
LEDGER_SCHEMA = "trustbase/look/1"
_START = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Look:
    """One line of the ledger."""

    sequence: int
    data: str
    run: str
    policy: str | None
    model: str | None
    time: str
    previous: str
    hash: str
    rows: str | None = None  # which rows of which file they were, whatever text or groups were made of them

    @property
    def key(self) -> tuple[str, str, str | None, str | None]:
        """What makes two looks the same one, recorded again after a crash."""
        return self.data, self.run, self.policy, self.model


def record_look(data_digest: str, *, run: str, policy_digest: str | None, model_digest: str | None, rows: str | None = None) -> int:
    """Append a look at a test set and return how many there are now, this one included.

    A look counts when it was at the same data, or at the same rows (`rows`, from `data.digest.digest_positions`): another
    template or group column makes other data of the same rows, but does not make them unseen. The same run, policy and
    model looking at the same set again is the same look (a run that was resumed), and counts once.
    The line is on disk before this returns.

    Raises:
        TrustbaseError: the ledger was altered, or cannot be written.
    """
    path = make_home() / LEDGER_FILE
    with _locked(path) as handle:
        looks = _read(handle, path)
        wanted = (data_digest, run, policy_digest, model_digest)
        if all(look.key != wanted for look in looks):
            looks.append(_append(handle, looks, wanted, rows))
            if len(looks) == 1:  # the file may be as new as the line
                files.sync_folder(path.parent)
        return sum(look.data == data_digest or (rows is not None and look.rows == rows) for look in looks)


def record_look_at(
    test: Split,
    labels: LabelSchema,
    source: str | Path,
    *,
    run: str,
    policy_digest: str | None,
    model_digest: str | None,
    kind: str = "classes",
) -> int:
    """Count a look at the rows of one file, by what was asked and by which rows of which file they are; as `record_look`."""
    digest = str(source) if is_sample(str(source)) else source_digest(str(source), Path())
    rows = digest_positions(digest, test.row_numbers, written(test, labels, kind))
    return record_look(test.digest, rows=rows, run=run, policy_digest=policy_digest, model_digest=model_digest)


def read_looks(data_digest: str | None = None) -> list[Look]:
    """The looks at one test set, or all of them; checks the chain.

    Raises:
        TrustbaseError: the ledger was altered.
    """
    path = home() / LEDGER_FILE
    if not path.is_file():
        return []
    with _locked(path) as handle:
        looks = _read(handle, path)
    return [look for look in looks if data_digest is None or look.data == data_digest]


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The open ledger, held by this process alone."""
    try:
        import fcntl
    except ImportError as error:  # not on Windows: better no count than one that two processes spoil
        raise TrustbaseError(
            "the ledger of looks needs POSIX file locks, which this system lacks", hint="use Linux, macOS or WSL"
        ) from error
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise TrustbaseError(f"the ledger of looks cannot be opened: {path}: {error.strerror}", hint="check TRUSTBASE_HOME") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)  # gives the lock back


def _read(handle: int, path: Path) -> list[Look]:
    """Every whole line; a torn last line (the machine died while writing, so nobody was told of it) is cut off."""
    with os.fdopen(os.dup(handle), "rb") as stream:
        stream.seek(0)
        data = stream.read()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.ftruncate(handle, whole)
        os.fsync(handle)
    looks: list[Look] = []
    previous = _START
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        look = _parse(line, number, previous, path)
        previous = look.hash
        looks.append(look)
    return looks


def _parse(line: bytes, number: int, previous: str, path: Path) -> Look:
    try:
        fields = json.loads(line)
        stated = fields.pop("hash")
        schema = fields.pop("schema")
        look = Look(**fields, hash=stated)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _altered(path, number, "it is no line of a ledger") from error
    if schema != LEDGER_SCHEMA:
        raise _altered(path, number, f"its schema is {schema!r}, this version knows {LEDGER_SCHEMA}")
    if look.previous != previous or look.sequence != number or stated != files.digest_json({"schema": schema, **fields}):
        raise _altered(path, number, "it does not follow from the line before it")
    return look


def _append(handle: int, looks: list[Look], wanted: tuple[str, str, str | None, str | None], rows: str | None) -> Look:
    data, run, policy, model = wanted
    body: dict[str, Any] = {
        "schema": LEDGER_SCHEMA,
        "sequence": len(looks) + 1,
        "data": data,
        "run": run,
        "policy": policy,
        "model": model,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "previous": looks[-1].hash if looks else _START,
        **({} if rows is None else {"rows": rows}),
    }
    line = files.canonical_json({**body, "hash": files.digest_json(body)}) + b"\n"
    before = os.fstat(handle).st_size
    try:
        if os.write(handle, line) != len(line):
            raise OSError("the line was cut short")
        os.fsync(handle)
    except OSError as error:
        os.ftruncate(handle, before)
        raise TrustbaseError(
            f"the look could not be recorded: {error}", hint="free some space; nothing was measured without being counted"
        ) from error
    body.pop("schema")
    return Look(**body, hash=files.digest_json({"schema": LEDGER_SCHEMA, **body}))


def _altered(path: Path, number: int, why: str) -> TrustbaseError:
    return TrustbaseError(
        f"the ledger of looks was altered: {path}, line {number}: {why}",
        hint="put back the ledger from a backup, or move it aside and say so in your records: counts start again",
    )
