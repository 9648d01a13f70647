"""Files that are written whole or not at all, synced, and known by their digest."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trustbase.errors import TrainingError, UsageError
from trustbase.leftovers import held_folder, hold


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in chunks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8, NaN refused.

    Raises:
        ValueError: the value holds NaN or an infinity, which JSON cannot carry.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def digest_json(value: Any) -> str:
    """`sha256:…` of the canonical form of a JSON value."""
    return "sha256:" + sha256_bytes(canonical_json(value))


def digest_folder(folder: Path, *, only: Callable[[str], bool] | None = None) -> str:
    """`sha256:…` over the relative paths and contents of a folder's files."""
    entries = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if only is None or only(name):
            entries.append([name, sha256_file(path)])
    return digest_json(entries)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make a folder and those above it where they are not there; that they are there survives a power loss."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    for place in made[::-1]:
        sync_folder(place.parent)


def read_at_most(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file (-1: all). Nothing but a regular file is opened: a pipe may never answer, a device never end.

    Raises:
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, not a file", str(path))
    with path.open("rb") as stream:
        return stream.read(most)


def check_output(path: str | Path, what: str = "the output") -> Path:
    """Where a file that the user named can be written: links followed, nothing made yet.

    Raises:
        UsageError: it is a folder or a device, or its folder cannot be written to.
    """
    try:
        if not Path(path).name:
            raise UsageError(f"{what} '{path}' is no file name", hint="name a file")
        target = Path(path).resolve()
        if target.is_dir() or (target.exists() and not target.is_file()):
            kind = "a folder" if target.is_dir() else "a device or a pipe, not a file"
            raise UsageError(f"{what} {path} is {kind}", hint="name a file; nothing was done")
        parent = next(folder for folder in target.parents if folder.exists())
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, names that no file can have
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{what} {str(path)[:200]} cannot be written: {reason}", hint="name another file") from error
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        why = "is no folder" if not parent.is_dir() else "is a folder that cannot be written to"
        raise UsageError(f"{what} {path} cannot be written: {parent} {why}", hint="name a file in a folder of your own")
    return target


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file atomically: temporary neighbour, fsync, rename, fsync of the folder.

    Raises:
        OSError: the disk refused; the old file, if any, is intact and no partial file remains.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a regular file, and is never replaced by one", str(path))
    make_folder(path.parent)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            hold(stream.fileno())
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:  # the system names neither the file that was meant nor its size
            raise OSError(error.errno, f"{error.strerror} (it takes {len(data):,} bytes)", str(path)) from error
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Atomic `write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Atomic, human-readable JSON (sorted keys, two spaces, final newline)."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Parse a UTF-8 JSON file; anything else than a regular file is refused, not waited for."""
    return json.loads(read_at_most(path, -1).decode("utf-8"))


@contextmanager
def saving(target: Path, size: int) -> Iterator[None]:
    """Turn what a full or broken disk makes the writers of weights and tokenizers raise into one error that says what to do.

    Args:
        target: what is being written.
        size: bytes that it takes, about.

    Raises:
        TrainingError: the disk refused.
    """
    try:
        yield
    except Exception as error:
        # Writers in Rust have error types of their own, down to a bare Exception; all name the system's error.
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError" and "os error" not in str(error):
            raise
        raise TrainingError(
            f"{target} could not be written (it takes about {size:,} bytes): {error}",
            hint="free or allow more disk space, and run the same command again: it goes on from the last state that is whole",
        ) from error


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`."""
    for root, _, names in os.walk(folder):
        for name in names:
            handle = os.open(os.path.join(root, name), os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_folder(Path(root))


def replace_folder(target: Path, fill: Callable[[Path], None], *, sync: bool = True) -> None:
    """Build a folder beside `target`, sync it, and put it in place of `target` in one rename.

    A crash leaves the old folder, the new folder, or neither with a `.old` beside it; never a half-written `target`.

    Args:
        target: the folder.
        fill: writes its files.
        sync: whether it must survive a power loss; False for what is compared with digests before it is used again.
    """
    make_folder(target.parent)
    retired = target.parent / f".{target.name}.old"
    with held_folder(target.name, target.parent) as staging:
        try:
            staging.chmod(0o755)
            fill(staging)
            if sync:
                sync_tree(staging)
            if retired.exists():
                shutil.rmtree(retired)
            if target.exists():
                target.rename(retired)
            try:
                staging.rename(target)
            except OSError:
                if retired.exists():
                    retired.rename(target)
                raise
            if sync:
                sync_folder(target.parent)
        finally:
            shutil.rmtree(retired, ignore_errors=True)


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy the named files (relative, POSIX) from one folder into another."""
    for name in names:
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, destination)


def sweep(folder: Path) -> None:
    """Clear what a killed process left below `folder`: unfinished `.part` files and folders; a retired folder goes back if it is the last.

    Only for a folder that no other process writes to.
    """
    for path in sorted(folder.rglob(".*.old")):
        target = path.parent / path.name.removeprefix(".").removesuffix(".old")
        if path.is_dir() and not target.exists():
            path.rename(target)
        else:
            _discard(path)
    for path in sorted(folder.rglob(".*.part")):
        _discard(path)


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
