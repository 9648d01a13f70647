"""Reads hostile files in processes of their own: answers each line (a path, or nothing for the base measure) with what came of it.

Each is a fork of one process that has imported everything, so that what it takes is what the file makes it take.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

from trustbase.bundle.verify import verify
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.errors import DataError, ModelError, UsageError, VerificationError
from trustbase.model.load import resolve_base

REFUSALS = (DataError, ModelError, UsageError, VerificationError)
LONGEST = 60  # seconds after which a file has hung
MEMORY = 8 << 30


def uses_of(path: Path) -> dict:
    yes = {
        "rows": lambda: load(DataOptions(train=path.name, text="text", label="label"), root=path.parent, seed=0),
        "base": lambda: resolve_base(str(path)),
        "weights": lambda: resolve_base(str(path.parent.parent / "base")),
        "bundle": lambda: verify(path),
        "signature": lambda: verify(path.parent.parent / "bundle"),
    }
    return yes


def attempt(path: Path) -> dict:
    told = {}
    for name, use in uses_of(path).items():
        try:
            use()
            told[name] = ""
        except REFUSALS as error:
            told[name] = str(error)[:300]
        except BaseException as error:
            told[name] = f"not told: {type(error).__name__}: {error}"
    return told


def measured(path: Path | None) -> dict:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        signal.alarm(LONGEST)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        told = attempt(path) if path else {}
        os.write(write, json.dumps(told).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        told = stream.read()
    _, status, usage = os.wait4(child, 0)
    return {
        "told": json.loads(told or b"{}"),
        "status": status,
        "seconds": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
    }


def main() -> None:
    good = Path(sys.argv[1])
    attempt(good)  # imports what is imported late
    for line in sys.stdin:
        print(json.dumps(measured(Path(line.strip()) if line.strip() else None)), flush=True)


main()
