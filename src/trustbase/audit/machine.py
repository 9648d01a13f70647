"""The machine that measured: what a number of seconds or bytes has to be read with. Imports no torch."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = ("trustbase", "torch", "transformers", "tokenizers", "onnxruntime", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow")


def machine_facts() -> dict[str, Any]:
    """Processor, cores, memory and library versions: the same in every process of this machine, so that stages can be keyed by it."""
    import psutil

    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cores": usable_cores(),
        "memory_bytes": int(psutil.virtual_memory().total),
        "threads_asked_for": os.environ.get("OMP_NUM_THREADS"),
        "accelerators": _accelerators(),
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


def _accelerators() -> list[str]:
    """Names of NVIDIA devices, read from the driver: asking torch would load it, and would answer differently before that."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                found.append(line.partition(":")[2].strip())
    return found


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an extra that is not installed: said by its absence
            continue
    return found
