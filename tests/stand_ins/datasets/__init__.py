"""Stands in for Hugging Face `datasets` where that is not installed: the few names that Trustbase uses, on Parquet files in a folder.

`HF_DATASETS_CACHE/OWNER/NAME/CONFIG/COMMIT/SPLIT.parquet`, with `features.json` beside it; CONFIG is `default` where there is none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__version__ = "4.0.0"
config = SimpleNamespace(HF_HUB_OFFLINE=True)
logging = SimpleNamespace(get_verbosity=lambda: 30, set_verbosity=lambda level: None, set_verbosity_error=lambda: None)
_bars = {"off": False}


def are_progress_bars_disabled() -> bool:
    return _bars["off"]


def disable_progress_bars() -> None:
    _bars["off"] = True


def enable_progress_bars() -> None:
    _bars["off"] = False


class ClassLabel(dict):
    """What is said of a column of numbers that stand for names."""

    @property
    def names(self) -> list[str]:
        return list(self["names"])


class Features(dict):
    def to_dict(self) -> dict[str, Any]:
        return dict(self)


class Dataset:
    def __init__(self, path: Path) -> None:
        self._table = pq.read_table(path)
        told = json.loads((path.parent / "features.json").read_text(encoding="utf-8"))
        self.features = Features({name: ClassLabel(kind) if kind["_type"] == "ClassLabel" else kind for name, kind in told.items()})
        self.cache_files = [{"filename": str(path)}]

    def __iter__(self) -> Any:
        return iter(self._table.to_pylist())

    def with_format(self, kind: str) -> Dataset:
        assert kind == "arrow"
        return self

    def __getitem__(self, key: slice) -> pa.Table:
        assert key == slice(None)
        return self._table


def load_dataset(
    path: str, name: str | None = None, *, split: str | None = None, revision: str | None = None
) -> Dataset | dict[str, Dataset]:
    """A part of a data set; all of them where none is named."""
    folder = Path(os.environ["HF_DATASETS_CACHE"]) / path / (name or "default")
    commits = sorted(folder.glob("*")) if folder.is_dir() else []
    if not commits:
        raise ConnectionError(f"Couldn't reach '{path}' on the Hub (OfflineModeIsEnabled)")
    if split is None:
        return {found.stem: Dataset(found) for found in sorted(commits[-1].glob("*.parquet"))}
    found = commits[-1] / f"{split}.parquet"
    if not found.is_file():
        raise ValueError(f'Unknown split "{split}". Should be one of {sorted(item.stem for item in commits[-1].glob("*.parquet"))}.')
    return Dataset(found)
