"""A run's memory: which stage was computed from which inputs, and whether its outputs still stand.

A stage's record lies in `stages/NAME.json`: the digest of its inputs (which include the code and library versions),
the digests of its outputs, and a small JSON result. The same inputs are never computed twice; other inputs are
refused unless forced; another run's outputs are taken when their inputs agree.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import trustbase
from trustbase import files
from trustbase.errors import StaleRunError, TrustbaseError, UsageError, system_errors_told
from trustbase.events import RunLog
from trustbase.places import LOCK, RUN_PARTS, refuse_foreign, refuse_inside_bundle

LIBRARIES = (
    *("torch", "transformers", "peft", "tokenizers", "safetensors", "onnxruntime", "onnx"),
    *("numpy", "scipy", "scikit-learn", "pandas", "pyarrow"),
)
#: inputs that a stage may be resumed over: what they change is said in its record, and makes nothing wrong
RESUMABLE = ("machine",)
#: inputs that come from outside the run; all others change only when an earlier stage of the same call was computed anew
OUTSIDE = {"code", "libraries", "machine"}
_RECORD_KEYS = {"stage", "key", "inputs", "started", "finished"}


def code_digest(packages: Sequence[str]) -> str:
    """Digest of the source of the named subpackages (or single modules, `folder/name.py`) and of the modules at the top of Trustbase."""
    root = Path(trustbase.__file__).parent
    sources = {*root.glob("*.py")}
    for package in packages:
        sources |= {root / package} if package.endswith(".py") else set((root / package).rglob("*.py"))
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
        self,
        name: str,
        *,
        inputs: Mapping[str, Any],
        code: Sequence[str],
        outputs: Sequence[str],
        compute: Callable[[], Mapping[str, Any]],
        clear: Sequence[str] = (),
        any_machine: bool = False,
        firm_after: str | None = None,
    ) -> dict[str, Any]:
        """The result of a stage: remembered, taken from the reused run, or computed now.

        An unfinished stage goes on although the machine changed (a preempted one comes back as another); its record then
        says so, since what it leaves is not bit-identical with what one machine would have left.

        Args:
            name: of the stage.
            inputs: everything that the outputs depend on, as JSON.
            code: subpackages, or single modules, whose source the outputs depend on.
            outputs: files and folders that the stage leaves, relative to the run folder.
            compute: does the work and returns the small JSON result.
            clear: what is removed when the stage is forced, before anything else: nothing of other inputs may be gone on from.
            any_machine: a finished stage stands on other machines too (its results are no measurements of the machine).
            firm_after: the stage from whose beginning on changed inputs are refused; before it they are simply taken, so that a
                recipe mended after its own first failure runs.

        Raises:
            StaleRunError: the folder holds this stage for other inputs.
        """
        self.log.enter(name)
        full = {**inputs, "code": code_digest(code), "libraries": library_versions()}
        key = files.digest_json(full)
        known = read_record(self.folder, name)
        moved = known is not None and known["key"] != key and _only_moved(known["inputs"], full)
        if (
            known is not None
            and known["finished"]
            and (known["key"] == key or (moved and any_machine))
            and self._stands(self.folder, known)
        ):
            self.log("stage_reused", key=known["key"], **({"other_machine": known["inputs"]["machine"]} if moved else {}))
            return dict(known["result"])
        if known is not None and known["key"] != key and not (moved and (any_machine or not known["finished"])):
            self._refuse_or_record(name, known["inputs"], full, firm_after=firm_after)
            for place in clear:  # before the new record: after a crash in between, the old record still refuses
                _remove(self.folder / place)
        taken = self._take(name, key, outputs)
        if taken is not None:
            return taken
        return self._compute(name, key, full, outputs, compute, before=known if known is not None and name not in self.forced else None)

    def _compute(
        self,
        name: str,
        key: str,
        full: Mapping[str, Any],
        outputs: Sequence[str],
        compute: Callable[[], Mapping[str, Any]],
        *,
        before: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        self.log("stage_started", key=key)
        started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
        record: dict[str, Any] = {"stage": name, "key": key, "inputs": full, "started": started}
        record |= self._history(name, full, before)
        # Written before the work, so that a resumption with other inputs is noticed although nothing was finished.
        files.write_json(_record_path(self.folder, name), {**record, "finished": False})
        with system_errors_told(f"stage '{name}' in {self.folder} could not be done"):
            result = dict(compute())
        self.log.enter(name)
        seconds = round(time.perf_counter() - clock, 3)
        record |= {"finished": True, "seconds": seconds, "result": result, "outputs": self._digests(self.folder, outputs)}
        files.write_json(_record_path(self.folder, name), record)
        self.computed.append(name)
        self.log("stage_done", seconds=seconds)
        return result

    def _history(self, name: str, full: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
        """What a record keeps of the ones before it: that it was forced, and on which other machines it was begun."""
        machines = list(before.get("other_machines", [])) if before else []
        if before and before["inputs"].get("machine") != full.get("machine"):
            machines.append(before["inputs"].get("machine"))
            self.log(
                "warning", text=f"stage '{name}' was begun on another machine: its result is not bit-identical with that of one machine"
            )
        forced = name in self.forced or bool(before and before.get("forced"))
        return {"forced": forced, **({"other_machines": machines} if machines else {})}

    def _take(self, name: str, key: str, outputs: Sequence[str]) -> dict[str, Any] | None:
        if self.reuse is None:
            return None
        theirs = read_record(self.reuse, name)
        if theirs is None or theirs["key"] != key or not theirs["finished"] or not self._stands(self.reuse, theirs):
            return None
        for output in outputs:
            source, target = self.reuse / output, self.folder / output
            if source.is_dir():
                files.replace_folder(target, lambda staging, origin=source: shutil.copytree(origin, staging, dirs_exist_ok=True))  # type: ignore[misc]
            elif source.exists():
                files.write_bytes(target, source.read_bytes())
        forced = name in self.forced or bool(theirs.get("forced"))
        files.write_json(_record_path(self.folder, name), {**theirs, "forced": forced, "reused_from": self.reuse.name})
        self.taken.append(name)
        self.log("stage_reused", key=key, run=self.reuse.name)
        return dict(theirs["result"])

    def _refuse_or_record(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any], *, firm_after: str | None) -> None:
        """Changed inputs: taken before anything firm stands on them, or as the consequence of a repair; else refused unless forced."""
        changed = sorted(part for part in {*old, *new} if old.get(part) != new.get(part))
        loose = firm_after is not None and not _record_path(self.folder, firm_after).is_file()
        repaired = bool(self.computed) and not set(changed) & OUTSIDE
        if loose or (repaired and not self.force):
            return
        if not self.force:
            raise StaleRunError(
                f"{self.folder} holds stage '{name}' of other inputs: {', '.join(changed)} changed since it was computed",
                hint="give another --out, or --force to compute it anew (which is recorded in the run)",
            )
        self.forced.append(name)
        self.log("warning", text=f"stage '{name}' is computed anew by --force: {', '.join(changed)} changed", changed=changed)

    def record(self, name: str) -> dict[str, Any] | None:
        """The record of a stage of this run, if there is one."""
        return read_record(self.folder, name)

    def damaged(self, name: str, error: Exception) -> TrustbaseError:
        """The error of a result that its stage cannot have given."""
        return broken(_record_path(self.folder, name), f"its result is not that of this stage ({type(error).__name__}: {error})")

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


def _record_path(folder: Path, name: str) -> Path:
    return folder / "stages" / f"{name}.json"


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """The record of a stage in a run folder, if there is one.

    Raises:
        TrustbaseError: what lies there is none.
    """
    path = _record_path(folder, name)
    if not path.exists():
        return None
    try:
        record = files.read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise broken(path, str(error)) from error
    if not _is_record(record):
        raise broken(path, "it is not a stage record")
    return dict(record)


def _is_record(record: Any) -> bool:
    """Whether a stage can have written this; what `result` holds is the stage's own affair."""
    if not isinstance(record, dict) or not set(record) >= _RECORD_KEYS or not isinstance(record["inputs"], dict):
        return False
    machines = record.get("other_machines", [])
    if not isinstance(record["finished"], bool) or not isinstance(machines, list):
        return False
    return not record["finished"] or (isinstance(record.get("result"), dict) and isinstance(record.get("outputs"), dict))


def broken(path: Path, why: str) -> TrustbaseError:
    """The error of a record that no stage of this version can have left."""
    return TrustbaseError(f"{path} cannot be read: {why}", hint="remove that file: its stage is then computed anew by the same command")


def _only_moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether nothing but the machine differs."""
    return {part for part in {*old, *new} if old.get(part) != new.get(part)} <= set(RESUMABLE)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process alone.

    Raises:
        UsageError: another process is running in it, it is a bundle or holds what somebody else keeps, or this system has no POSIX
            file locks.
    """
    try:
        import fcntl
    except ImportError as error:  # not on Windows: better no run than two that spoil each other
        raise UsageError("a run folder needs POSIX file locks, which this system lacks", hint="use Linux, macOS or WSL") from error
    try:
        refuse_inside_bundle(folder, "the run folder")
        refuse_foreign(folder, RUN_PARTS, (LOCK, "recipe.resolved.yaml"), "the run folder")
        files.make_folder(folder)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        about = str(getattr(error, "filename", None) or folder)[:200]
        raise UsageError(
            f"the run folder {str(folder)[:200]} cannot be used: {about}: {why}", hint="give another --out, or remove what stands there"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another process is running in {folder}", hint="wait for it, or give another --out") from None
        files.sweep(folder)
        yield
    finally:
        os.close(handle)
