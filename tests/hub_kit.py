"""A hub for tests: packages that stand in for those of hubs, and tables in the folder that they read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

STAND_INS = Path(__file__).parent / "stand_ins"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-ins before whatever is installed, and let them read this folder."""
    monkeypatch.syspath_prepend(str(STAND_INS))
    there = [name for name in sys.modules if name.partition(".")[0] in ("datasets", "modelscope")]
    for name in {*there, "datasets", "modelscope", "modelscope.msdatasets"}:
        monkeypatch.setitem(sys.modules, name, sys)  # so that whatever is imported under this name meanwhile goes again
        del sys.modules[name]
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder))
    return folder


def put(folder: Path, name: str, parts: dict[str, pa.Table], features: dict[str, Any] | None = None, commit: str = COMMIT) -> None:
    """Parts of one data set, `OWNER/NAME` or `OWNER/NAME/CONFIG`."""
    place = folder / (name if name.count("/") == 2 else f"{name}/default") / commit
    place.mkdir(parents=True)
    for part, table in parts.items():
        pq.write_table(table, place / f"{part}.parquet")
    (place / "features.json").write_text(json.dumps(features or {}))
