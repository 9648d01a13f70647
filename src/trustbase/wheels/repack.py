"""A wheel of what is installed: its files as they lie there, each compared with the hash that its RECORD holds."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

import trustbase
from trustbase.errors import Problem, UsageError
from trustbase.wheels.closure import OWN

_LEFT_OUT = {"INSTALLER", "REQUESTED", "RECORD", "RECORD.jws", "RECORD.p7s", "direct_url.json"}  # a signature is of the RECORD that was
_DATED = (1980, 1, 1, 0, 0, 0)  # the same files give the same wheel


def write_wheel(name: str, folder: Path) -> Path:
    """Write the wheel of an installed package into `folder`.

    Source: the binary distribution format of the Python Packaging User Guide (wheel 1.0: RECORD, `.data` folders).

    Raises:
        UsageError: a file of it is missing, was changed after it was installed, has no hash to tell that by, or lies where no wheel could
            put it.
    """
    distribution = metadata.distribution(name)
    contents = _own_files() if _editable(distribution) else {}
    for place, path, digest in _recorded(distribution):
        data = _read(name, path)
        if digest != _digest(data):
            raise UsageError(f"{name}: {path} was changed after it was installed", hint=f"install {name} again, or take it from an index")
        contents[place] = data
    info = _info_folder(distribution)
    contents[f"{info}/RECORD"] = _record(contents, info)
    tags = [line.partition(":")[2].strip() for line in contents[f"{info}/WHEEL"].decode().splitlines() if line.startswith("Tag:")]
    target = folder / f"{info.removesuffix('.dist-info')}-{_joined(tags)}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, data in contents.items():
            archive.writestr(zipfile.ZipInfo(place, _DATED), data, zipfile.ZIP_DEFLATED)
    return target


def _editable(distribution: metadata.Distribution) -> bool:
    """Whether this is Trustbase itself, run from its source."""
    package = Path(trustbase.__file__).parent.resolve()
    return canonicalize_name(distribution.name) == OWN and Path(str(distribution.locate_file("trustbase"))).resolve() != package


def _own_files() -> dict[str, bytes]:
    package = Path(trustbase.__file__).parent
    paths = sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(package.parent).as_posix(): path.read_bytes() for path in paths}


def _info_folder(distribution: metadata.Distribution) -> str:
    return next(path.parts[0] for path in distribution.files or () if path.parts[0].endswith(".dist-info"))


def _recorded(distribution: metadata.Distribution) -> list[tuple[str, Path, str]]:
    """Where each file belongs in a wheel, where it lies, and the digest that was recorded for it.

    Raises:
        UsageError: the package has no RECORD, files without a hash in it, or a file elsewhere than in the environment.
    """
    if not distribution.files:
        raise UsageError(f"{distribution.name} has no RECORD of its files", hint="install it with pip")
    stem = _info_folder(distribution).removesuffix(".dist-info")
    made = {entry.name for entry in distribution.entry_points if entry.group in ("console_scripts", "gui_scripts")}
    found, unknown = [], []
    for entry in distribution.files:
        path = Path(str(distribution.locate_file(entry)))
        if entry.name in _LEFT_OUT and entry.parts[0].endswith(".dist-info"):
            continue
        if entry.suffix == ".pyc" or entry.parts[0].startswith("__editable__"):
            continue
        if ".." not in entry.parts:
            place = entry.as_posix()
        elif path.parent.resolve() == Path(sys.executable).parent.absolute().resolve() or path.parent.name == "bin":
            if entry.name in made:  # the installer makes it anew, for the interpreter there
                continue
            place = f"{stem}.data/scripts/{entry.name}"
        elif path.resolve().is_relative_to(Path(sys.prefix).resolve()):
            place = f"{stem}.data/data/{path.resolve().relative_to(Path(sys.prefix).resolve()).as_posix()}"
        else:
            raise UsageError(f"{distribution.name} has a file outside of the environment: {entry}", hint="take this package from an index")
        if entry.hash is None:
            unknown.append(Problem(entry.as_posix(), "has no hash in RECORD, so nothing says whether it is what was installed"))
            continue
        found.append((place, path, f"{entry.hash.mode}={entry.hash.value}"))
    if unknown:
        hint = f"install {distribution.name} again with pip, or take it from an index"
        raise UsageError(f"{distribution.name} cannot be packed as it is installed", hint=hint, problems=unknown)
    return found


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"{name}: {path} is missing", hint=f"install {name} again") from error


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _record(contents: dict[str, bytes], info: str) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([place, _digest(data), len(data)] for place, data in contents.items())
    writer.writerow([f"{info}/RECORD", "", ""])
    return stream.getvalue().encode()


def _joined(tags: list[str]) -> str:
    """The tags of a wheel as its name has them: each of the three parts once, with dots between."""
    parts = [list(dict.fromkeys(tag.split("-")[place] for tag in tags)) for place in range(3)]
    return "-".join(".".join(part) for part in parts)
