"""The machine that measured: what a number of seconds or bytes has to be read with. Imports no torch."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

from trustbase.machine import accelerators, memory_bytes, processor, usable_cores

_LIBRARIES = ("trustbase", "torch", "transformers", "tokenizers", "onnxruntime", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow")


def machine_facts() -> dict[str, Any]:
    """Processor, cores, memory and library versions: the same in every process of this machine."""
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cores": usable_cores(),
        "memory_bytes": memory_bytes(),
        "threads_asked_for": os.environ.get("OMP_NUM_THREADS"),
        "accelerators": accelerators(),
        "libraries": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an extra that is not installed: said by its absence
            continue
    return found
