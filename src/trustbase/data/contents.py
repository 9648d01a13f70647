"""What is in a file: unpacked where it is compressed, without a byte order mark, and known to be UTF-8 text that can be rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from trustbase.data import archive
from trustbase.data.encodings import GB, converting, first_line, is_gb18030
from trustbase.data.hub_name import BARE, HUB
from trustbase.data.reference import suffix_of
from trustbase.errors import DataError, Problem

_T = TypeVar("_T")
BOM = b"\xef\xbb\xbf"
_MAGIC = {
    b"\x1f\x8b": "a gzip file; its name must end in .gz",
    b"PK\x03\x04": "a zip archive or spreadsheet; the name of an archive must end in .zip, and a spreadsheet be saved as csv",
    b"\x28\xb5\x2f\xfd": "a zstd file; its name must end in .zst",
    b"\xfd7zXZ\x00": "an xz file; its name must end in .xz",
    b"BZh91AY&SY": "a bzip2 file; its name must end in .bz2",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}


def existing(path: Path, source: str) -> Path:
    """The path, where it is a file.

    Raises:
        DataError: it is not.
    """
    if path.is_file():
        return path
    what = "is a folder" if path.is_dir() else "does not exist"
    hint = "name a csv, tsv, jsonl or parquet file, or a folder of them"
    if BARE.fullmatch(source) and not path.parent.exists():
        name, at, revision = source.partition("@")
        hint = f"if it is a data set of a hub, write {HUB}{name}:train{at}{revision}"
    raise DataError(f"{source} {what}", problems=[Problem(source, f"{what}; looked at {path}", hint)], hint=hint)


def content(path: Path, source: str, size: int = -1) -> bytes:
    """The first `size` bytes of a file, or all of it; of a compressed file, of what is in it.

    Raises:
        DataError: it cannot be read or unpacked.
    """
    compression = suffix_of(path)[1]
    try:
        if compression:
            return unpacking(path, source, lambda: archive.expanded(path, compression, size))
        with path.open("rb") as handle:
            return handle.read(size)
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}", problems=[Problem(source, f"{error.strerror}")]) from error


def unpacking(path: Path, source: str, work: Callable[[], _T]) -> _T:
    """What `work` gives.

    Raises:
        DataError: the archive is damaged, expands beyond proportion, or is not of one file.
    """
    try:
        return work()
    except archive.BombError as error:
        hint = "if that is right, unpack it yourself and name the file in it"
        raise DataError(f"{source} is not unpacked: {error}", problems=[Problem(source, str(error))], hint=hint) from error
    except archive.BrokenError as error:
        what, hint = f"cannot be unpacked as .{suffix_of(path)[1]}: {error}", "write it again, or unpack it and name the file"
        raise DataError(f"{source} {what}", problems=[Problem(source, what)], hint=hint) from error


def plain(data: bytes, source: str) -> bytes:
    """The text of a file without its byte order mark.

    Raises:
        DataError: it is empty, or no UTF-8 text at all.
    """
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise DataError(f"{source} is {what}", problems=[Problem(f"{source}:1", f"is {what}")])
    data = data.removeprefix(BOM)
    if not data.strip():
        raise DataError(f"{source} is empty", problems=[Problem(f"{source}:1", "the file is empty")])
    if is_gb18030(data):
        what = f"is not UTF-8; all of it reads as {GB}"
        raise DataError(
            f"{source} {what}",
            problems=[Problem(f"{source}:{first_line(data)}", what)],
            hint=f"convert it: {converting(GB, Path(source).name)}",
        )
    return data
