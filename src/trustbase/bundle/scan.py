"""Looking at a folder that nobody vouches for yet: names, kinds and hashes; no content is interpreted."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trustbase.bundle.layout import ATTESTATIONS, MODEL, FileEntry, collisions, name_problem
from trustbase.errors import Problem, VerificationError

MOST_FILES = 10_000
DEEPEST = 8
KEPT_BYTES = 16_000_000  # files up to this size, outside model/, are kept as the bytes that were hashed
_CHUNK = 1 << 20


@dataclass
class Scan:
    """What was hashed: entries by path, the bytes of small files, and everything that is no plain file."""

    entries: dict[str, FileEntry] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def list_files(folder: Path) -> tuple[list[str], list[Problem]]:
    """Relative paths of all files below `folder`, in order, and everything that is not a plain file in a plain place."""
    paths: list[str] = []
    problems: list[Problem] = []
    pending: list[tuple[Path, str]] = [(folder, "")]
    while pending:
        place, prefix = pending.pop()
        try:
            with os.scandir(place) as listing:
                items = sorted(listing, key=lambda item: item.name)
        except OSError as error:
            raise VerificationError(f"the folder {shown(prefix) or place} cannot be listed: {error.strerror}") from error
        if prefix and not items:
            problems.append(Problem(shown(prefix.rstrip("/")), "is an empty folder, which no bundle holds"))
        for item in items:
            path = prefix + item.name
            why = name_problem(path) or _kind_problem(item, path)
            if why:
                problems.append(Problem(shown(path), why))
            elif item.is_dir(follow_symlinks=False):
                pending.append((place / item.name, f"{path}/"))
            else:
                paths.append(path)
        if len(paths) + len(problems) + len(pending) > MOST_FILES:
            raise VerificationError(f"the folder holds more than {MOST_FILES} files, which no bundle does", hint="is this the bundle?")
    problems += [Problem(shown(second), f"has a name that some systems take for '{first}'") for first, second in collisions(paths)]
    return sorted(paths), problems


def hash_files(folder: Path, paths: list[str]) -> Scan:
    """Hash the named files; each is opened once, never through a link, and not interpreted."""
    found = Scan()
    for path in paths:
        try:
            entry, content = read_plain(folder, path, keep=not path.startswith(f"{MODEL}/"))
        except VerificationError as error:
            found.problems.append(Problem(shown(path), error.message))
            continue
        found.entries[path] = entry
        if content is not None:
            found.contents[path] = content
    return found


def read_plain(
    folder: Path, path: str, *, keep: bool = False, sink: Callable[[bytes], object] | None = None
) -> tuple[FileEntry, bytes | None]:
    """Hash one file; with `keep` also return its bytes (where it is small), with `sink` also hand on every chunk.

    Raises:
        VerificationError: it is not a plain file of its own, or cannot be read. What `sink` raises is passed on.
    """
    digest, size, kept = hashlib.sha256(), 0, bytearray()
    handle, facts = _open_plain(folder / path)
    try:
        keep = keep and facts.st_size <= KEPT_BYTES
        while chunk := _read_chunk(handle):
            digest.update(chunk)
            size += len(chunk)
            if size > facts.st_size:
                raise VerificationError("grew while it was being read")
            if keep:
                kept += chunk
            if sink is not None:
                sink(chunk)  # what fails here is not the bundle's fault
    finally:
        os.close(handle)
    return FileEntry(path, digest.hexdigest(), size), bytes(kept) if keep else None


def _open_plain(path: Path) -> tuple[int, os.stat_result]:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise VerificationError(f"cannot be read as a plain file: {error.strerror}") from error
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
        os.close(handle)
        raise VerificationError("is a link, a folder or a special file where a file must be")
    return handle, facts


def _read_chunk(handle: int) -> bytes:
    try:
        return os.read(handle, _CHUNK)
    except OSError as error:
        raise VerificationError(f"cannot be read as a plain file: {error.strerror}") from error


def _kind_problem(item: os.DirEntry[str], path: str) -> str:
    if item.is_symlink():
        return "is a symbolic link; a bundle holds files only"
    facts = item.stat(follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode):
        return f"is nested deeper than {DEEPEST} folders" if path.count("/") >= DEEPEST else ""
    if not stat.S_ISREG(facts.st_mode):
        return "is a device, pipe or socket; a bundle holds files only"
    if facts.st_nlink != 1:
        return f"is a hard link (the file has {facts.st_nlink} names); a bundle shares no file with anything"
    return ""


def is_attestation(path: str) -> bool:
    """Whether a path lies in `attestations/`, the one place where files may be added to a bundle."""
    return path.startswith(f"{ATTESTATIONS}/")


def shown(path: str) -> str:
    """A name that can be printed whatever its bytes are."""
    return ascii(path)[1:-1] if not path.isprintable() or name_problem(path) else path
