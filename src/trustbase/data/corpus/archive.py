"""Files as streams of bytes, compressed or not."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

MAGIC = {
    b"\x1f\x8b": "a gzip file that is not called .gz",
    b"BZh": "a bzip2 file that is not called .bz2",
    b"\xfd7zXZ": "an xz file that is not called .xz",
    b"\x28\xb5\x2f\xfd": "a zstd file that is not called .zst",
    b"PK\x03\x04": "a zip archive or office document",
    b"%PDF": "a PDF file",
    b"PAR1": "a Parquet file that is not called .parquet",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}
HEAD = 8192


class BrokenError(Exception):
    """A compressed file that ends too early or is damaged."""


@contextmanager
def opened(path: Path, compression: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed as they are read.

    Raises:
        BrokenError: while reading, the archive turns out to be damaged or cut off.
        OSError: the system cannot read the file.
    """
    try:
        with _OPEN[compression](path) as stream:
            yield stream
    except OSError as error:
        if error.errno is not None or not compression:  # the system's own errors carry a number, those of damaged archives do not
            raise
        raise BrokenError(str(error)) from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise BrokenError(str(error)) from error


def _zstd(path: Path) -> Any:
    return pa.input_stream(str(path), compression="zstd")


_OPEN: dict[str, Callable[[Path], Any]] = {
    "": lambda path: path.open("rb"),
    "gz": gzip.GzipFile,
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zst": _zstd,
}


def refuse(head: bytes) -> str:
    """What the first bytes of a file are, if they are no text; else ""."""
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            return what
    if b"\0" in head[:HEAD]:
        return f"binary: a NUL byte at byte {head.index(0) + 1}"
    return ""
