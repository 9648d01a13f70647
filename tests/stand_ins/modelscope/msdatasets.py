"""`MsDataset.load`, on the same files as the stand-in of `datasets`."""

from __future__ import annotations

import os
from typing import Any


class MsDataset:
    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def to_hf_dataset(self) -> Any:
        return self._rows

    @staticmethod
    def load(
        dataset_name: str,
        namespace: str = "modelscope",
        version: str = "master",
        subset_name: str | None = None,
        split: str | None = None,
        trust_remote_code: bool = False,
    ) -> MsDataset:
        import datasets

        assert not trust_remote_code
        if version not in ("master", os.environ.get("MODELSCOPE_VERSION", "master")):
            raise ValueError(f"The revision {version} does not exist")
        datasets.disable_progress_bars()
        return MsDataset(datasets.load_dataset(dataset_name, subset_name, split=str(split)))
