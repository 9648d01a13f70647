"""What this machine is, for everybody who must say it: stage keys, the audit's facts, `trustbase doctor`. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any


def processor() -> str:
    """Name of the processor, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def usable_cores() -> int:
    """Cores that this process may run on (its affinity, not the whole machine's count)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of the machine."""
    import psutil

    return int(psutil.virtual_memory().total)


def accelerators() -> list[str]:
    """Names of NVIDIA devices, read from the driver: asking torch would load it, and would answer differently before that."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                found.append(line.partition(":")[2].strip())
    return found


def machine_key() -> dict[str, Any]:
    """What of the machine results depend on: bit-equality holds for equal threads and arithmetic, timings for equal hardware.

    Memory is told in whole GiB, since what a system reports of it moves a little from one start to the next.
    """
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": usable_cores(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "memory_gib": round(memory_bytes() / 2**30),
        "accelerators": accelerators(),
        "visible_accelerators": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def give_back_memory() -> None:
    """Hand free memory of the C library's heap back to the system, where that library can (glibc); some tens of milliseconds.

    Batches of many shapes leave holes in the heap: a process that asks a model for minutes holds gigabytes of them otherwise.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
