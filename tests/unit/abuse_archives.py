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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

ROWS = b"text,label\n" + b"".join(b"row %d,%s\n" % (number, (b"no", b"yes")[number % 2]) for number in range(100))
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


SOUND = ("overlapping", "wrong size", "said to need 4 GB to be unpacked")  # one file after all, whose name and sizes nobody trusts


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
        yield Archive(f"zip: {title}", ".csv.zip", data, title in SOUND or title.startswith("one entry"))
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
    yield "bomb", _zip([("rows.csv", b"text,label\n" + b"0" * (100 * MB))])
    yield "bomb of a thousand to one", _zip([("rows.csv", b"text,label\n" + b"0" * (100 * MB))], level=9)
    whole = _zip([("rows.csv", ROWS)])
    yield "cut off", whole[: len(whole) // 2]
    yield "overlapping", whole[:-22] + whole
    yield "wrong size", whole.replace(struct.pack("<L", len(ROWS)), struct.pack("<L", 1 << 30))
    yield "zip in a zip", _zip([("rows.zip", whole)])
    packed = _zip([("rows.csv", ROWS)], kind=zipfile.ZIP_LZMA)
    place = packed.index(b"\x5d", 30)  # lc, lp and pb of LZMA; four bytes behind it are the dictionary's size
    yield "said to need 4 GB to be unpacked", packed[: place + 1] + b"\xff" * 4 + packed[place + 5 :]
    yield "NUL in the name", _zip([("rows_.csv", ROWS)]).replace(b"rows_.csv", b"rows\0.csv")


def _zip(entries: list, *, level: int = 1, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", kind, compresslevel=level) as archive, warnings.catch_warnings():
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
    """Compressed files that expand some two hundred to a hundred thousand times: of one cell, of rows that are none, behind good rows."""
    cell = b"0" * (20 * MB)
    for suffix, pack in PACKERS.items():
        yield Archive(f"{suffix}: a cell of 300 MB", f".csv{suffix}", pack(ROWS) + pack(cell) * 15)
    heads = {".csv": b"text,label\n", ".jsonl": b'{"text": "a b", "label": "yes"}\n', ".tsv": b"text\tlabel\n"}
    units = {
        "blank lines": (b"\n", (".csv", ".jsonl", ".tsv")),
        "commas": (b",", (".csv", ".jsonl")),
        "quotes": (b'"', (".csv", ".tsv")),
        "short rows": (b"a,b\n", (".csv",)),
        "short objects": (b'{"text":"a","label":"b"}\n', (".jsonl",)),
        "NUL bytes": (b"\0", (".csv", ".jsonl")),
    }
    for title, (unit, suffixes) in units.items():
        for suffix in suffixes:
            for level, times in ((1, 3), (9, 15)):
                many = gzip.compress(unit * (20 * MB // len(unit)), level)
                yield Archive(f"{suffix}.gz: {20 * times} MB of {title}", f"{suffix}.gz", gzip.compress(heads[suffix]) + many * times)
    yield Archive(".xz: said to need 4 GB to be unpacked", ".csv.xz", _large_dictionary(lzma.compress(ROWS)), sound=True)
    yield Archive(".zst: blocks of one byte and one length", ".csv.zst", PACKERS[".zst"](ROWS) + _runs(2000))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 1),
    ".bz2": bz2.compress,
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": lambda data: bytes(pa.Codec("zstd").compress(data, asbytes=True)),
}


def _large_dictionary(packed: bytes) -> bytes:
    """An xz file whose one block says that it needs the largest dictionary there is (the .xz format, 3.1 and 5.3.1)."""
    size = (packed[12] + 1) * 4
    header = packed[12 : 12 + size - 4]
    assert header[2:4] == b"\x21\x01"  # LZMA2, with one byte that is the dictionary's size
    header = header[:4] + bytes([40]) + header[5:]
    return packed[:12] + header + struct.pack("<L", zlib.crc32(header)) + packed[12 + size :]


def _runs(blocks: int) -> bytes:
    """A zstd frame of runs of one byte, 128 KB in four bytes each, in a window of 128 MB (RFC 8878, 3.1.1)."""
    run = struct.pack("<L", 1 << 1 | (128 << 10) << 3)[:3] + b"0"
    last = struct.pack("<L", 1 | 1 << 1 | 1 << 3)[:3] + b"0"
    return b"\x28\xb5\x2f\xfd\0" + bytes([17 << 3]) + run * blocks + last


def millions() -> Iterator[Archive]:
    """Archives of a million entries, in three forms, and a tar of as many, plain and packed."""
    directory = _directory(MANY)
    yield Archive("zip: a million entries, counted as such", ".csv.zip", directory + _end64(MANY, len(directory)))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), 0, 0)
    yield Archive("zip: a million entries, said to be one", ".csv.zip", directory + end)
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
