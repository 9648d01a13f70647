"""Archives that were made to do harm, by code: they would write elsewhere, hide each other, never end or fill the memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

ROWS = b"text,label\n" + b"a b,yes\nc d,no\n" * 40
MANY = 1_000_000
MB = 1 << 20
NAMES = {
    "up": "../rows.csv",
    "far up": "../" * 30 + "tmp/rows.csv",
    "inside and up": "a/../../rows.csv",
    "absolute": "/tmp/rows.csv",
    "backslash": "..\\..\\rows.csv",
    "drive": "C:\\rows.csv",
    "drive and slash": "C:/rows.csv",
    "share": "\\\\server\\share\\rows.csv",
    "home": "~/rows.csv",
    "device": "/dev/null.csv",
    "dots": "....//rows.csv",
    "url": "file:///tmp/rows.csv",
    "escape": "rows\x1b[2J.csv",
    "long": "a" * 5_000 + ".csv",
    "hidden": ".bashrc.csv",
    "half a letter": unicodedata.normalize("NFD", "é") + ".csv",
}


@dataclass(frozen=True)
class Archive:
    """One archive: what it does, how its name ends, its bytes, and whether it holds one file of good rows after all."""

    title: str
    suffix: str
    data: bytes
    sound: bool = False


def archives(target: Path) -> Iterator[Archive]:
    """Every archive, made when it is asked for."""
    for title, data in zips(target):
        yield Archive(f"zip: {title}", ".csv.zip", data, title.startswith("one entry"))
    for title, data in tars(target):
        yield Archive(f"tar: {title}", ".csv", data)
        yield Archive(f"tar.gz: {title}", ".csv.gz", gzip.compress(data))
    yield from streams()
    yield from millions()


def zips(target: Path) -> Iterator[tuple[str, bytes]]:
    """Zip archives whose entries would write elsewhere, hide each other or never end."""
    for title, name in NAMES.items():
        yield f"one entry, {title}", _zip([(name, ROWS)])
        yield f"a second entry, {title}", _zip([("rows.csv", ROWS), (name, ROWS)])
    link = zipfile.ZipInfo("rows.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    yield "symbolic link", _zip([(link, str(target).encode())])
    yield "link, then a file through it", _zip([(link, str(target.parent).encode()), ("rows.csv/x.csv", ROWS)])
    for title, kind in (("device", stat.S_IFCHR), ("pipe", stat.S_IFIFO), ("socket", stat.S_IFSOCK)):
        entry = zipfile.ZipInfo("rows.csv")
        entry.external_attr = (kind | 0o666) << 16
        yield title, _zip([(entry, b"")])
    yield "same name twice", _zip([("rows.csv", ROWS), ("rows.csv", ROWS)])
    yield "names apart by case", _zip([("rows.csv", ROWS), ("ROWS.csv", ROWS)])
    yield "names apart by normal form", _zip([(unicodedata.normalize(form, "é.csv"), ROWS) for form in ("NFC", "NFD")])
    yield "empty", _zip([])
    yield "bomb", _zip([("rows.csv", b"text,label\n" + b"0" * (300 * MB))])
    whole = _zip([("rows.csv", ROWS)])
    yield "cut off", whole[: len(whole) // 2]
    yield "overlapping", whole[:-22] + whole
    yield "wrong size", whole.replace(struct.pack("<L", len(ROWS)), struct.pack("<L", 1 << 30))
    yield "zip in a zip", _zip([("rows.zip", whole)])
    yield "NUL in the name", _zip([("rows_.csv", ROWS)]).replace(b"rows_.csv", b"rows\0.csv")


def _zip(entries: list) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name given twice
        for name, data in entries:
            archive.writestr(name, data)
    return packed.getvalue()


def tars(target: Path) -> Iterator[tuple[str, bytes]]:
    """Tar archives of the same kinds; Trustbase opens none."""
    kinds = {"symbolic link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
    for title, kind in kinds.items():
        entry = tarfile.TarInfo("rows.csv")
        entry.type, entry.linkname = kind, str(target)
        yield title, _tar([(entry, b"")])
    for title in ("up", "absolute", "inside and up", "drive"):
        yield title, _tar([(tarfile.TarInfo(NAMES[title]), ROWS)])


def _tar(entries: list) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for entry, data in entries:
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def streams() -> Iterator[Archive]:
    """Compressed files that expand a thousandfold and more: of one cell, of blank lines, of commas; and one behind good rows."""
    packers = {".gz": _gzips, ".bz2": _bz2s, ".xz": lambda data, times: lzma.compress(data * times, preset=0), ".zst": _zstd}
    for suffix, pack in packers.items():
        yield Archive(f"{suffix}: a cell of 300 MB", f".csv{suffix}", pack(ROWS, 1) + pack(b"0" * (20 * MB), 15))
    for title, unit in (("blank lines", b"\n"), ("commas", b","), ("quotes", b'"'), ("short rows", b"a,b\n")):
        for times in (3, 15):
            data = _gzips(b"text,label\n", 1) + _gzips(unit * (20 * MB // len(unit)), times)
            yield Archive(f".gz: {20 * times} MB of {title}", ".csv.gz", data)
            yield Archive(f".jsonl.gz: {20 * times} MB of {title}", ".jsonl.gz", _gzips(unit * (20 * MB // len(unit)), times))


def _gzips(data: bytes, times: int) -> bytes:
    return gzip.compress(data, 1) * times


def _bz2s(data: bytes, times: int) -> bytes:
    return bz2.compress(data, 9) * times


def _zstd(data: bytes, times: int) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True)) * times


def millions() -> Iterator[Archive]:
    """Archives of a million entries, in three forms, and a tar of as many, plain and packed."""
    directory = _directory(MANY)
    yield Archive("zip: a million entries, counted as such", ".csv.zip", directory + _end64(MANY, len(directory)))
    yield Archive("zip: a million entries, said to be one", ".csv.zip", directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), 0, 0))
    block = _headers(1 << 14)
    times = -(-MANY // (1 << 14))
    yield Archive("tar: a million entries", ".csv", block * times)
    yield Archive("tar.gz: a million entries", ".csv.gz", gzip.compress(block, 6) * times)


def _directory(entries: int) -> bytes:
    """The list of contents of a zip archive of empty files `0000000` and on."""
    fixed = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    rows = np.tile(np.frombuffer(fixed + b"0000000", np.uint8), (entries, 1))
    numbers = np.arange(entries)
    for place in range(7):
        rows[:, len(fixed) + 6 - place] += (numbers // 10**place % 10).astype(np.uint8)
    return rows.tobytes()


def _end64(entries: int, size: int) -> bytes:
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, size, 1)
    return record + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def _headers(entries: int) -> bytes:
    """Headers of a tar archive of empty files."""
    header = bytearray(tarfile.TarInfo("0000000.csv").tobuf(tarfile.USTAR_FORMAT))
    rows = np.tile(np.frombuffer(bytes(header), np.uint8), (entries, 1))
    numbers = np.arange(entries)
    for place in range(7):
        rows[:, 6 - place] += (numbers // 10**place % 10).astype(np.uint8)
    rows[:, 148:156] = 32
    sums = rows.astype(np.uint32).sum(1)
    for place in range(6):
        rows[:, 153 - place] = 48 + (sums >> 3 * place & 7)
    rows[:, 154] = 0
    return rows.tobytes()
