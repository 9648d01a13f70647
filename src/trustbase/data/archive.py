"""Files as streams of bytes, compressed or not, as long as what comes out stands in some proportion to what went in."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

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
FREE = 1 << 21  # bytes that any file may expand to
MOST = 100  # times its size that a larger one may; rows of text seldom shrink to less than a fiftieth
AHEAD = 1 << 18  # bytes of a file that need not have been read yet: it may begin with what packs better than the rest
LISTED = 1 << 20  # bytes of a zip archive's list of contents: of one file and what may stand beside it, it has some hundred
_READ = 1 << 20
_STEP = 1 << 16  # a zip archive is read in steps as long as what is asked of it


class BrokenError(Exception):
    """A compressed file that ends too early or is damaged."""


class BombError(BrokenError):
    """A compressed file that expands beyond all proportion."""


def expanded(path: Path, compression: str, size: int = -1) -> bytes:
    """The first `size` bytes of a compressed file's content, or all of it.

    Raises:
        BombError: it expands to more than 2 MiB and 100 times what was read of it; reading stops there.
        BrokenError: it is damaged, cut off, or (a zip archive) holds anything but one file.
        OSError: the system cannot read the file.
    """
    parts, total = [], 0
    with opened(path, compression) as stream:
        while total != size and (data := stream.read(_READ if size < 0 else min(_READ, size - total))):
            parts.append(data)
            total += len(data)
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
    with _telling(), path.open("rb") as file, _zip_archive(file) as archive:
        return only_member(archive).filename


def _zip_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """A zip archive whose list of contents is short: `zipfile` makes an object of each entry, a million of which take half a GB.

    Raises:
        BrokenError: it is long, or a name in it is no text.
    """
    listing = _ShortReads(file)
    with _names_told():
        archive = zipfile.ZipFile(cast(IO[bytes], listing))
    listing.most = sys.maxsize
    return archive


class _ShortReads(io.RawIOBase):
    """A file that is read in short pieces, until it is told otherwise; `zipfile` reads the list of contents as one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.most = file, LISTED

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise BrokenError(f"its list of contents has {size:,} bytes, and it must hold one file")
        return self._file.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


class _Measured:
    """What a compressed file expands to, while it stands in proportion to what was read of the file."""

    def __init__(self, stream: Any, file: IO[bytes], size: int) -> None:
        self._stream, self._file, self._size, self._total = stream, file, size, 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or those that are left.

        Raises:
            BombError: there were too many.
        """
        parts, left = [], size
        while left > 0 and (data := self._stream.read(min(left, _STEP))):
            parts.append(data)
            left -= len(data)
            self._total += len(data)
            most = max(FREE, MOST * min(self._size, self._file.tell() + AHEAD))
            if self._total > most:
                raise BombError(f"it expands to more than {most:,} bytes, {MOST} times what was read of it")
        return b"".join(parts)


@contextmanager
def opened(path: Path, compression: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed as they are read; of a compressed one there is `read` alone, of a given size.

    Raises:
        BrokenError: while reading, the archive turns out to be damaged, cut off, or to expand beyond proportion.
        OSError: the system cannot read the file.
    """
    with path.open("rb") as file:
        if not compression:
            yield file
            return
        with _telling(), _OPEN[compression](file) as stream:
            yield cast(IO[bytes], _Measured(stream, file, path.stat().st_size))


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


@contextmanager
def _names_told() -> Iterator[None]:
    """What `zipfile` makes of a name that is said to be UTF-8 and is not is no error of its own."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise BrokenError("a name in it is said to be UTF-8, and is not") from error


def _gzip(file: IO[bytes]) -> Any:
    return gzip.GzipFile(fileobj=file, mode="rb")


def _zstd(file: IO[bytes]) -> Any:
    return pa.input_stream(file, compression="zstd")


@contextmanager
def _zip(file: IO[bytes]) -> Iterator[IO[bytes]]:
    with _zip_archive(file) as archive:
        with _names_told():  # each is written twice: in the list of contents and before the file itself
            member = archive.open(only_member(archive))
        with member as stream:
            yield stream


_OPEN: dict[str, Callable[[IO[bytes]], Any]] = {
    "gz": _gzip,
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
