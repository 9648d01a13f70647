"""Files as streams of bytes, compressed or not; and whole, as long as what comes out stands in some proportion to what went in."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from trustbase.data.rows import in_quotes

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
FREE = 1 << 26  # bytes that any file may expand to
MOST = 250  # times its size that a larger one may; rows of text seldom shrink to less than a fiftieth
_READ = 1 << 20


class BrokenError(Exception):
    """A compressed file that ends too early or is damaged."""


class BombError(BrokenError):
    """A compressed file that expands beyond all proportion."""


def expanded(path: Path, compression: str, size: int = -1) -> bytes:
    """The first `size` bytes of a compressed file's content, or all of it.

    Raises:
        BombError: it expands to more than 64 MiB and 250 times its size; reading stops there.
        BrokenError: it is damaged, cut off, or (a zip archive) holds anything but one file.
        OSError: the system cannot read the file.
    """
    most, parts, total = max(FREE, MOST * path.stat().st_size), [], 0
    with opened(path, compression) as stream:
        while total != size and (data := stream.read(_READ if size < 0 else min(_READ, size - total))):
            parts.append(data)
            total += len(data)
            if total > most:
                raise BombError(f"it expands to more than {most:,} bytes, {MOST} times its own size")
    return b"".join(parts)


def only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The one file of a zip archive; folders, and what macOS puts beside files, are passed over.

    Raises:
        BrokenError: there are none or several, or it is encrypted, or a link.
    """
    found = [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    if len(found) != 1:
        names = ", ".join(in_quotes(info.filename) for info in found[:5]) + (", …" if len(found) > 5 else "")
        raise BrokenError(f"it holds {len(found)} files{f' ({names})' if found else ''}, and must hold one")
    mode = found[0].external_attr >> 16
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        raise BrokenError("what it holds is a link, a device or a pipe, not a file")
    if found[0].flag_bits & 1:
        raise BrokenError("it is encrypted")
    return found[0]


def member_name(path: Path) -> str:
    """The name of the one file in a zip archive.

    Raises:
        BrokenError, OSError: as `expanded`.
    """
    with _telling(), zipfile.ZipFile(path) as archive:
        return only_member(archive).filename


@contextmanager
def opened(path: Path, compression: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed as they are read.

    Raises:
        BrokenError: while reading, the archive turns out to be damaged or cut off.
        OSError: the system cannot read the file.
    """
    if not compression:
        with path.open("rb") as stream:
            yield stream
        return
    with _telling(), _OPEN[compression](path) as stream:
        yield stream


@contextmanager
def _telling() -> Iterator[None]:
    """One error for what the libraries say of damaged archives in many."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # the system's own errors carry a number, those of damaged archives do not
            raise
        raise BrokenError(str(error)) from error
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        raise BrokenError(str(error)) from error


def _zstd(path: Path) -> Any:
    return pa.input_stream(str(path), compression="zstd")


@contextmanager
def _zip(path: Path) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(only_member(archive)) as stream:
        yield stream


_OPEN: dict[str, Callable[[Path], Any]] = {
    "gz": gzip.GzipFile,
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zst": _zstd,
    "zip": _zip,
}


def refuse(head: bytes) -> str:
    """What the first bytes of a file are, if they are no text; else ""."""
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            return what
    if b"\0" in head[:HEAD]:
        return f"binary: a NUL byte at byte {head.index(0) + 1}"
    return ""
