"""What a killed process leaves beside its results: unfinished parts under names of their own, cleared by the next call to the same place.

A part is `.NAME.XXXXXXXX.part`, made by `tempfile`, and locked for as long as its process lives: so a call that works beside this one
loses nothing. Where the system has no such locks, parts of killed processes stay.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".part"
_MADE = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.part", re.DOTALL)  # as tempfile names them


def hold(handle: int) -> bool:
    """Lock an open part for its process; whether nobody else held it. It is free again when the file is closed or the process ends."""
    return _lock(handle) is True


def taken(handle: int) -> bool:
    """Lock an open file or folder, as `hold` does; whether a living process has it already."""
    return _lock(handle) is False


def _lock(handle: int) -> bool | None:
    """Whether it is ours now; None on a system or disk without locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


@contextmanager
def held_folder(name: str, parent: Path) -> Iterator[Path]:
    """A new folder `.NAME.XXXXXXXX.part` in `parent`, held; gone at the end, unless it was moved away."""
    place, handle = _held(name, parent)
    try:
        yield place
    finally:
        os.close(handle)
        shutil.rmtree(place, ignore_errors=True)


def _held(name: str, parent: Path) -> tuple[Path, int]:
    """A new folder and its lock; another one where a call that clears took it for abandoned before it was locked."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=SUFFIX, dir=parent))
        try:
            handle = os.open(place, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if not taken(handle) and place.exists():
            return place, handle
        os.close(handle)


def clear_abandoned(parent: Path, names: Collection[str]) -> None:
    """Remove the parts of these names that no living process holds; nothing else, and nothing that is a link."""
    if not parent.is_dir():
        return
    for path in sorted(parent.glob(f".*{SUFFIX}")):
        made = _MADE.fullmatch(path.name)
        if made is not None and made["name"] in names and not path.is_symlink() and (path.is_dir() or path.is_file()):
            _remove_free(path)


def _remove_free(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # another call removed it meanwhile, or it is another user's
        return
    try:
        if os.fstat(handle).st_uid == os.getuid() and hold(handle):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    finally:
        os.close(handle)
