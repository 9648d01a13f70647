"""`environment.json`: what the bundle was made with, so that a difference elsewhere can be explained."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

from trustbase import files

ENVIRONMENT_SCHEMA = "trustbase/environment/1"
_SHOWN = (
    *("trustbase", "torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "onnxruntime", "onnx", "numpy", "scipy"),
    *("scikit-learn", "pandas", "pyarrow", "cryptography", "pydantic"),
)


def environment_facts() -> dict[str, Any]:
    """Python, platform, library versions, threads, and one digest over everything that is installed."""
    installed = sorted({f"{item.metadata['Name']}=={item.version}".lower() for item in metadata.distributions() if item.metadata["Name"]})
    versions = {}
    for name in _SHOWN:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an optional library: its absence says so
            continue
    return {
        "schema": ENVIRONMENT_SCHEMA,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "libraries": versions,
        "installed": {"count": len(installed), "digest": files.digest_json(installed)},
        "threads": {"torch": _torch_threads(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"), "cores": os.cpu_count()},
    }


def _torch_threads() -> int | None:
    """Threads that torch uses, where it was loaded at all."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None and hasattr(torch, "get_num_threads") else None
