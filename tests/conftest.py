"""Settings of every test. This folder is on the import path, so that tests may write `from tiny import tiny_bert`."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
