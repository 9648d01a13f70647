"""Compressed files, and folders as Hugging Face datasets saves them, for tests."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

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


def save_table(folder: Path, table: pa.Table, *, parts: int = 1, features: dict[str, Any] | None = None) -> Path:
    """A table as `datasets.Dataset.save_to_disk` leaves it: Arrow streams, `state.json` and `dataset_info.json`."""
    folder.mkdir(parents=True)
    size = -(-len(table) // parts)
    names = [f"data-{part:05d}-of-{parts:05d}.arrow" for part in range(parts)]
    for part, name in enumerate(names):
        with pa.ipc.new_stream(str(folder / name), table.schema) as stream:
            stream.write_table(table.slice(part * size, size))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names], "_format_type": None}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features or {}}))
    return folder
