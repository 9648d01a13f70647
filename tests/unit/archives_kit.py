"""Compressed files for tests."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa


def pack(path: Path, data: bytes, inside: str = "") -> Path:
    kind = path.suffix
    if kind == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("folder/", "")
            made.writestr(f"folder/{inside or path.stem}", data)
            made.writestr("__MACOSX/folder/._rows.csv", b"\0\0")
    elif kind == ".zst":
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(data)
    else:
        path.write_bytes({".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[kind](data))
    return path
