"""The files that a path, a folder or a glob means, in sorted order, and how messages call them."""

from __future__ import annotations

import glob
from pathlib import Path

from trustbase.errors import DataError


def is_many(base: Path, root: Path) -> bool:
    """Whether a path is a folder, or a glob that is no file's name itself."""
    return base.is_dir() or (not base.exists() and glob.has_magic(_pattern(base, root)[0]))


def list_files(base: Path, reference: str, root: Path) -> list[Path]:
    """The files of a path, a folder (all below it but for hidden ones, perhaps none) or a glob, sorted.

    Args:
        base: the path.
        reference: how messages call it.
        root: where the reference starts from; signs of a glob in it have no meaning.

    Raises:
        DataError: there is no such path, or a glob matches no file.
    """
    if base.is_file():
        return [base]
    if base.is_dir():
        return sorted(path for path in base.rglob("*") if path.is_file() and not _hidden(path.relative_to(base)))
    if base.exists():
        raise _error(reference, "is neither a file nor a folder", base)
    pattern, start = _pattern(base, root)
    if not glob.has_magic(pattern):
        raise _error(reference, "does not exist", base)
    matched = [(start or Path()) / path for path in glob.glob(pattern, root_dir=start, recursive=True)]
    if not (found := [path for path in matched if path.is_file()]):
        raise _error(reference, "matches no file", base)
    return sorted(found)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _pattern(base: Path, root: Path) -> tuple[str, Path | None]:
    """What glob is to match, and from which folder on."""
    return (str(base.relative_to(root)), root) if base.is_relative_to(root) else (str(base), None)


def _error(reference: str, what: str, base: Path) -> DataError:
    return DataError(f"{reference} {what}", hint=f"looked at {base}")


def name_of(path: Path, base: Path, named: str) -> str:
    """How a file is called: as the recipe calls it, or what is below the folder that it calls so."""
    if path == base:
        return named
    if base.is_dir():
        return f"{named.rstrip('/')}/{path.relative_to(base).as_posix()}"
    fixed = len(Path(named).parts) - next(place for place, part in enumerate(Path(named).parts) if glob.has_magic(part))
    tail = path.parts[len(base.parts) - fixed :]
    return Path(*Path(named).parts[: len(Path(named).parts) - fixed], *tail).as_posix()
