"""The machine that measured: what a number of seconds or bytes has to be read with. Imports no torch."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = ("trustbase", "torch", "transformers", "tokenizers", "onnxruntime", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow")


def machine_facts() -> dict[str, Any]:
    """Processor, cores, memory, threads and library versions; an accelerator only where torch is already loaded."""
    import psutil

    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cores": usable_cores(),
        "memory_bytes": int(psutil.virtual_memory().total),
        "threads": _threads(),
        "accelerator": _accelerator(),
        "libraries": _versions(),
    }


def usable_cores() -> int:
    """Cores that this process may run on (its affinity, not the whole machine's count)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _threads() -> int:
    torch = sys.modules.get("torch")  # asked only where something else has loaded it: this module must stay light
    return int(torch.get_num_threads()) if torch is not None and hasattr(torch, "get_num_threads") else usable_cores()


def _accelerator() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name(0))


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an extra that is not installed: said by its absence
            continue
    return found
