"""Reads hostile files in processes of their own: answers each line (a path, or nothing for the base measure) with what came of it.

Each is a fork of one process that has imported everything, so that what it takes is what the file makes it take.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from trustbase.bundle.verify import verify
from trustbase.data.corpus.read import read_batches
from trustbase.data.corpus.sources import SourceFile
from trustbase.data.corpus.survey import fault_of, plan_shards, survey
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.reference import COMPRESSIONS
from trustbase.errors import DataError, ModelError, UsageError, VerificationError
from trustbase.model.load import resolve_base

REFUSALS = (DataError, ModelError, UsageError, VerificationError)
LONGEST = 60  # seconds of processor time after which a file has hung
MEMORY = 8 << 30


def as_rows(path: Path) -> None:
    """As a recipe's rows."""
    load(DataOptions(train=path.name, text="text", label="label"), root=path.parent, seed=0)


def as_corpus(path: Path) -> None:
    """As running text."""
    kind = "jsonl" if ".jsonl" in path.name else "text"
    compression = COMPRESSIONS.get(path.suffix, "")
    file = SourceFile(0, str(path), path.name, kind, compression, "text", ())
    found = survey(file)
    faults = [fault_of(file, found)] if found.fault else []
    for shard in plan_shards([file], [found]):
        for _ in read_batches([file], shard, longest=1_000_000, spool=path.parent, report=lambda fault: faults.append(fault)):
            pass
    if faults:
        raise DataError(str(faults[0]))


def moved(use: Callable[[Path], object], place: str) -> Callable[[Path], None]:
    """The file in another one's place, among what the root folder has."""

    def with_it(path: Path) -> None:
        target = path.parent.parent / place
        path.rename(target)
        try:
            use(target.parent)
        finally:
            target.rename(path)

    return with_it


USES: dict[str, Callable[[Path], object]] = {
    "rows": as_rows,
    "corpus": as_corpus,
    "base": lambda path: resolve_base(str(path)),
    "weights": moved(lambda folder: resolve_base(str(folder)), "base/model.safetensors"),
    "bundle": verify,
    "signature": moved(verify, "bundle/model.sig"),
}


def attempt(path: Path) -> dict[str, str]:
    """What each use of the file says; "" where it is taken."""
    told = {}
    for name, use in USES.items():
        try:
            use(path)
            told[name] = ""
        except REFUSALS as error:
            told[name] = str(error)
        except BaseException as error:  # told to the test, which fails
            told[name] = f"not told: {type(error).__name__}: {error}"
    return told


def measured(path: Path | None) -> dict[str, object]:
    """What a process of its own is told, and what it takes: seconds of processor time, and bytes of memory at its height."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST))
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
