"""`trustbase wheelhouse`: a folder from which a machine without a network installs Trustbase and base models, and its check."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files
from trustbase.errors import Problem, TrustbaseError, UsageError, VerificationError, system_errors_told
from trustbase.events import Emit, ignore
from trustbase.leftovers import clear_abandoned
from trustbase.places import refuse_unwritable

if TYPE_CHECKING:
    from trustbase.records import BaseModel
    from trustbase.wheels.closure import Package

SCHEMA = "trustbase/wheelhouse/1"


@dataclass(frozen=True)
class Wheelhouse:
    """What an offline folder holds.

    Attributes:
        folder: where it lies.
        packages: their number.
        bases: names of the base models in it.
        bytes: of all its files.
        digest: hex SHA-256 of its `manifest.json`, which names the hash of every other file.
    """

    folder: Path
    packages: int
    bases: tuple[str, ...]
    bytes: int
    digest: str


def wheelhouse(
    folder: str | Path,
    *,
    base: Sequence[str] = (),
    extra: Sequence[str] = (),
    only: Sequence[str] = (),
    installed: bool = False,
    check: bool = False,
    emit: Emit = ignore,
) -> Wheelhouse:
    """Gather the wheels of what is installed here, in exactly these versions, and base models; or check such a folder.

    Args:
        folder: the folder; made afresh, never over another one.
        base: base models, as recipes name them.
        extra: extras of Trustbase whose packages come too, such as zh.
        only: these packages with their requirements in place of all of Trustbase's: a part, for tests and repairs.
        installed: make the wheels from the installed files (compared with the hashes recorded for them), and ask no index.
        check: make nothing, and compare every file of the folder with its hash.
        emit: takes events.

    Raises:
        UsageError: what is named is not there, or the folder is.
        TrustbaseError: pip could not get a wheel.
        VerificationError: with `check`, a file differs, is missing, or is not on the list.
    """
    target = Path(folder)
    with system_errors_told():
        if check:
            return check_wheelhouse(target)
        if target.exists():
            raise UsageError(f"{target} is there already", hint="name a new folder, or remove it; --check checks it")
        refuse_unwritable(target, "the folder")
        clear_abandoned(target.parent, (target.name,))
        files.replace_folder(target, lambda staging: _fill(staging, base, extra, only, installed, emit))
        return check_wheelhouse(target)


def _fill(staging: Path, base: Sequence[str], extra: Sequence[str], only: Sequence[str], installed: bool, emit: Emit) -> None:
    from trustbase.wheels import describe
    from trustbase.wheels.closure import closure

    packages = closure(extra, only)
    bases = _bases(base, staging / "bases")
    wheels = _gather(packages, staging / "wheels", installed, emit)
    hashes = {name: files.sha256_file(path) for name, path in wheels.items()}
    (staging / "requirements.txt").write_text(describe.requirements(packages, hashes), encoding="utf-8")
    (staging / "LICENCES.md").write_text(describe.licences(packages, bases), encoding="utf-8")
    (staging / "README.md").write_text(describe.readme(packages, bases, only, extra), encoding="utf-8")
    files.write_json(staging / "sbom.json", describe.bill_of_materials(packages, hashes, bases))
    content = {
        "schema": SCHEMA,
        "machine": describe.this_machine(),
        "packages": [{"name": package.name, "version": package.version, "licence": package.licence} for package in packages],
        "bases": [{"name": name, "reference": item.reference, "digest": item.digest} for name, item in bases.items()],
        "only": list(only),
        "files": _listed(staging),
    }
    files.write_json(staging / "manifest.json", content)


def _bases(references: Sequence[str], folder: Path) -> dict[str, BaseModel]:
    """Copy base models that were found and checked, each under a name that a path can have."""
    from trustbase.model.load import resolve_base

    found: dict[str, BaseModel] = {}
    for reference in references:
        base = resolve_base(reference)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", reference.removeprefix("package:")).strip("-.") or "base"
        if name in found:
            raise UsageError(f"two base models would be called '{name}'", hint="name each once")
        shutil.copytree(base.folder, folder / name, symlinks=False, ignore=shutil.ignore_patterns("__pycache__", "*.py", "*.pyc"))
        copied = resolve_base(str((folder / name).resolve()))
        if copied.digest != base.digest:
            told = f"base '{reference}' changed while it was copied: {base.digest}, then {copied.digest}"
            raise TrustbaseError(told, hint="run it again")
        found[name] = base
    return found


def _gather(packages: Sequence[Package], folder: Path, installed: bool, emit: Emit) -> dict[str, Path]:
    """The wheel of each package, by its name."""
    from trustbase.wheels.closure import OWN
    from trustbase.wheels.repack import write_wheel

    folder.mkdir(parents=True)
    repacked = packages if installed else [package for package in packages if package.name == OWN]
    for done, package in enumerate(repacked):
        emit("progress", what="wheels", done=done, total=len(packages))
        write_wheel(package.name, folder)
    if not installed:
        _ask_pip([package for package in packages if package.name != OWN], folder)
    emit("progress", what="wheels", done=len(packages), total=len(packages))
    return _by_name(packages, folder)


def _ask_pip(packages: Sequence[Package], folder: Path) -> None:
    """Let pip get (or build) the wheel of each package in its installed version, from wherever it is told to look.

    Raises:
        TrustbaseError: it could not.
    """
    pins = [f"{package.name}=={package.version}" for package in packages]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir", str(folder)]
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", *options, *pins], capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        hint = "check pip's index (pip config list), or make the wheels from the installed files: --installed"
        raise TrustbaseError(f"pip could not get the wheels:\n{said}", hint=hint)


def _by_name(packages: Sequence[Package], folder: Path) -> dict[str, Path]:
    """Which wheel is of which package.

    Raises:
        TrustbaseError: one is missing, is of another version, or is not of any of them.
    """
    from packaging.utils import canonicalize_name, parse_wheel_filename
    from packaging.version import Version

    found: dict[str, tuple[Path, Version]] = {}
    for path in sorted(folder.iterdir()):
        name, version, _, _ = parse_wheel_filename(path.name)
        found[canonicalize_name(name)] = (path, version)
    problems = []
    for package in packages:
        taken = found[package.name][1] if package.name in found else None
        if taken != Version(package.version):
            problems.append(Problem(package.name, f"installed is {package.version}, the wheel is {taken or 'missing'}"))
    if problems or len(found) != len(packages):
        raise TrustbaseError(f"{len(found)} wheels for {len(packages)} packages", problems=problems)
    return {name: path for name, (path, _) in found.items()}


def _listed(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [{"path": p.relative_to(folder).as_posix(), "sha256": files.sha256_file(p), "bytes": p.stat().st_size} for p in paths]


def check_wheelhouse(folder: Path) -> Wheelhouse:
    """Compare every file of an offline folder with its hash.

    Raises:
        VerificationError: a file differs, is missing, is a link, or is not on the list; every one is named.
    """
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        what = "it holds no manifest.json" if folder.is_dir() else "there is no such folder" if not folder.exists() else "it is no folder"
        raise VerificationError(f"{folder} is no wheelhouse: {what}", hint="make one: trustbase wheelhouse DIR")
    try:
        content = files.read_json(manifest)
        listed = {item["path"]: item for item in content["files"]}
        if content["schema"] != SCHEMA:
            raise ValueError(f"it is of the form '{content['schema']}', not '{SCHEMA}'")
        known = len(content["packages"]), tuple(item["name"] for item in content["bases"])
        problems = _differences(folder, listed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"manifest.json: {type(error).__name__}: {error}"
        raise VerificationError(f"{folder} is no wheelhouse of Trustbase: {why}", hint="make one: trustbase wheelhouse DIR") from error
    if problems:
        raise VerificationError(f"{folder} is not as it was made", problems=problems, hint="copy it again, or make it again")
    size = sum(item["bytes"] for item in listed.values()) + manifest.stat().st_size
    return Wheelhouse(folder, *known, size, files.sha256_file(manifest))


def _differences(folder: Path, listed: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    problems = [Problem(name, "is missing") for name in sorted(set(listed) - set(there))]
    for name, path in sorted(there.items()):
        if name == "manifest.json" and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file():
            problems.append(Problem(name, "is a link, a pipe or a device"))
        elif name not in listed:
            problems.append(Problem(name, "is not on the list"))
        elif path.stat().st_size != listed[name]["bytes"] or files.sha256_file(path) != listed[name]["sha256"]:
            problems.append(Problem(name, "differs from its hash"))
    return problems
