"""A run's memory: which stage was computed from which inputs, and whether its outputs still stand.

A stage's record lies in `stages/NAME.json`: the digest of its inputs (which include the code and library versions),
the digests of its outputs, and a small JSON result. The same inputs are never computed twice; other inputs are
refused unless forced; another run's outputs are taken when their inputs agree.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import trustbase
from trustbase import files
from trustbase.errors import StaleRunError, UsageError
from trustbase.events import RunLog

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "numpy", "scikit-learn", "onnxruntime", "onnx")


def code_digest(packages: Sequence[str]) -> str:
    """Digest of the source of the named subpackages and of the modules at the top of Trustbase."""
    root = Path(trustbase.__file__).parent
    sources = [*root.glob("*.py"), *(path for package in packages for path in (root / package).rglob("*.py"))]
    return files.digest_json([[path.relative_to(root).as_posix(), files.sha256_file(path)] for path in sorted(sources)])


def library_versions() -> dict[str, str]:
    """Versions of the libraries that results depend on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def machine_key() -> dict[str, Any]:
    """What of the machine results depend on: bit-equality holds for equal threads, timings for an equal processor."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"processor": model, "architecture": platform.machine(), "cores": cores, "threads": os.environ.get("OMP_NUM_THREADS")}


def load_target(target: str) -> Any:
    """The object that an import string `module:attribute` of the registry names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


@dataclass
class Stages:
    """The stages of one run folder.

    Args:
        folder: the run folder.
        log: where events go.
        reuse: another run folder whose stages may be taken.
        force: recompute a stage whose inputs changed, and record that this was done.
    """

    folder: Path
    log: RunLog
    reuse: Path | None = None
    force: bool = False
    computed: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)

    def run(
        self, name: str, *, inputs: Mapping[str, Any], code: Sequence[str], outputs: Sequence[str], compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The result of a stage: remembered, taken from the reused run, or computed now.

        Args:
            name: of the stage.
            inputs: everything that the outputs depend on, as JSON.
            code: subpackages whose source the outputs depend on.
            outputs: files and folders that the stage leaves, relative to the run folder.
            compute: does the work and returns the small JSON result.

        Raises:
            StaleRunError: the folder holds this stage for other inputs.
        """
        self.log.enter(name)
        full = {**inputs, "code": code_digest(code), "libraries": library_versions()}
        key = files.digest_json(full)
        known = self._read(self.folder, name)
        if known is not None and known["key"] == key and known["finished"] and self._stands(self.folder, known):
            self.log("stage_reused", key=key)
            return dict(known["result"])
        if known is not None and known["key"] != key:
            self._refuse_or_record(name, known["inputs"], full)
        taken = self._take(name, key, outputs)
        if taken is not None:
            return taken
        return self._compute(name, key, full, outputs, compute)

    def _compute(
        self, name: str, key: str, full: Mapping[str, Any], outputs: Sequence[str], compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        self.log("stage_started", key=key)
        started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
        record: dict[str, Any] = {"stage": name, "key": key, "inputs": full, "started": started, "forced": name in self.forced}
        # Written before the work, so that a resumption with other inputs is noticed although nothing was finished.
        files.write_json(self._record_path(self.folder, name), {**record, "finished": False})
        result = dict(compute())
        self.log.enter(name)
        seconds = round(time.perf_counter() - clock, 3)
        record |= {"finished": True, "seconds": seconds, "result": result, "outputs": self._digests(self.folder, outputs)}
        files.write_json(self._record_path(self.folder, name), record)
        self.computed.append(name)
        self.log("stage_done", seconds=seconds)
        return result

    def _take(self, name: str, key: str, outputs: Sequence[str]) -> dict[str, Any] | None:
        if self.reuse is None:
            return None
        theirs = self._read(self.reuse, name)
        if theirs is None or theirs["key"] != key or not theirs["finished"] or not self._stands(self.reuse, theirs):
            return None
        for output in outputs:
            source, target = self.reuse / output, self.folder / output
            if source.is_dir():
                files.replace_folder(target, lambda staging, origin=source: shutil.copytree(origin, staging, dirs_exist_ok=True))  # type: ignore[misc]
            elif source.exists():
                files.write_bytes(target, source.read_bytes())
        files.write_json(self._record_path(self.folder, name), {**theirs, "reused_from": self.reuse.name})
        self.taken.append(name)
        self.log("stage_reused", key=key, run=self.reuse.name)
        return dict(theirs["result"])

    def _refuse_or_record(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        changed = sorted(part for part in {*old, *new} if old.get(part) != new.get(part))
        if not self.force:
            raise StaleRunError(
                f"{self.folder} holds stage '{name}' of other inputs: {', '.join(changed)} changed since it was computed",
                hint="give another --out, or --force to compute it anew (which is recorded in the run)",
            )
        self.forced.append(name)
        self.log("warning", text=f"stage '{name}' is computed anew by --force: {', '.join(changed)} changed", changed=changed)

    def record(self, name: str) -> dict[str, Any] | None:
        """The record of a stage of this run, if there is one."""
        return self._read(self.folder, name)

    @staticmethod
    def _record_path(folder: Path, name: str) -> Path:
        return folder / "stages" / f"{name}.json"

    def _read(self, folder: Path, name: str) -> dict[str, Any] | None:
        path = self._record_path(folder, name)
        return dict(files.read_json(path)) if path.is_file() else None

    def _stands(self, folder: Path, record: Mapping[str, Any]) -> bool:
        return bool(self._digests(folder, list(record["outputs"])) == record["outputs"])

    @staticmethod
    def _digests(folder: Path, outputs: Sequence[str]) -> dict[str, str | None]:
        digests: dict[str, str | None] = {}
        for output in outputs:
            path = folder / output
            if path.is_dir():
                digests[output] = files.digest_folder(path)
            else:
                digests[output] = f"sha256:{files.sha256_file(path)}" if path.is_file() else None
        return digests


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process alone.

    Raises:
        UsageError: another process is running in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is running in {folder}", hint="wait for it, or give another --out") from None
        yield
    finally:
        os.close(handle)
