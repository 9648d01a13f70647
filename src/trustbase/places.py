"""Where commands may write: never into a signed bundle, and never over what somebody else keeps under the names that they use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from trustbase.errors import UsageError
from trustbase.files import make_folder
from trustbase.leftovers import clear_abandoned, taken

MANIFEST, SIGNATURE = "manifest.json", "model.sig"  # what makes a folder a signed bundle
LOCK = ".lock"  # in every folder that a run, a sweep or the like began
#: What a run, a sweep or a scaling leaves in its folder, whatever the recipe.
RUN_PARTS = frozenset(
    {
        *("recipe.resolved.yaml", "policy.json", "log.jsonl", "run.json", "stages", "data_card.json", "data_card.md"),
        *("data", "out-of-time", "base", "corpus", "planted", "tokenizer", "tokens", "probes", "estimate.json", "checkpoints"),
        *("artifact", "evidence", "findings.json", "scores.parquet", "audit.json", "verdict.json", "report.html", "bundle", "rejected"),
        *("trials", "division", "words", "sweep.json", "scaling.json", "marked_rows.json", "explained_rows.json"),
    }
)


def refuse_inside_bundle(path: str | Path, what: str) -> None:
    """A file more, or another one, would break what was signed.

    Raises:
        UsageError: the path is a bundle, or lies in one.
    """
    place = Path(os.path.realpath(path))
    for folder in (place, *place.parents):
        if all((folder / name).exists() for name in (MANIFEST, SIGNATURE)):
            inside = "is" if folder == place else "lies inside"
            raise UsageError(f"{what} {path} {inside} the signed bundle {folder}, which it would break", hint="name another place")


def require_folder(folder: str | Path, hint: str) -> None:
    """What a command reads must be there before anything is said about it.

    Raises:
        UsageError: there is no such folder, or it is no folder.
    """
    try:
        there = Path(folder).is_dir()
    except OSError:  # a name that no folder can have
        there = False
    if not there:
        why = "is no folder" if os.path.lexists(folder) else "there is no such folder"
        raise UsageError(f"{str(folder)[:200]}: {why}", hint=hint)


def refuse_foreign(folder: Path, parts: Collection[str], marks: Collection[str], what: str) -> None:
    """What stands under a name that is about to be used must be of an earlier call.

    Args:
        folder: where a command will write.
        parts: names that it replaces.
        marks: names of which one says that an earlier call left the folder.
        what: the folder's role, in words.

    Raises:
        UsageError: the folder holds such names, and no mark.
    """
    if not folder.is_dir() or any((folder / mark).exists() for mark in marks):
        return
    taken = sorted(name for name in parts if os.path.lexists(folder / name))
    if taken:
        named = ", ".join(taken[:5]) + (f" and {len(taken) - 5} more" if len(taken) > 5 else "")
        raise UsageError(
            f"{what} {folder} holds {named}, which would be replaced, and nothing says that an earlier call left it",
            hint="name a new folder, or move these away; nothing was done",
        )


def refuse_unwritable(folder: Path, what: str = "--out") -> None:
    """Find out before anything is computed whether a folder can be made and written: by a file without a name, which leaves nothing.

    Raises:
        UsageError: it cannot; says where and why.
    """
    try:
        nearest = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        if not nearest.is_dir():
            raise UsageError(
                f"{what} {str(folder)[:200]} cannot be made: {nearest} is no folder",
                hint="name another folder, or remove what stands there",
            )
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except (OSError, ValueError) as error:  # ValueError: names that no folder can have
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{what} {str(folder)[:200]} cannot be made or written: {why}", hint="name another folder, of your own and with free space"
        ) from error


@contextmanager
def alone_in(folder: Path, what: str = "--out") -> Iterator[None]:
    """Make a folder and hold it while results are written: those of two calls at once would be mixed, each file of either.

    Nothing is left in it for that, and a process that is killed holds nothing. Where the system or the disk has no such locks, nobody is
    kept out.

    Raises:
        UsageError: a living process holds it.
    """
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        if taken(handle):
            raise UsageError(f"another process is writing to {what} {folder}", hint="wait for it, or name another folder")
        yield
    finally:
        os.close(handle)


def output_folder(out: str | Path, parts: Collection[str], mark: str) -> Path:
    """Where results go: a folder that can be made, and that is neither a run nor a bundle, whose evidence it would replace.

    What a killed call left unfinished in it is cleared.

    Args:
        out: as the user named it.
        parts: names that will be replaced in it.
        mark: the one of them that says that an earlier call left the folder.

    Raises:
        UsageError: it is one of them, holds things of somebody else, or cannot be made.
    """
    folder = Path(out)
    holds = [name for name in (MANIFEST, "stages", "recipe.resolved.yaml", "artifact.json") if (folder / name).exists()]
    if holds:
        hint = "give a new folder, or one that an earlier call left"
        raise UsageError(f"--out {folder} is a run or a bundle (it holds {holds[0]}), whose evidence would be replaced", hint=hint)
    refuse_inside_bundle(folder, "--out")
    refuse_unwritable(folder)
    refuse_foreign(folder, parts, (mark,), "--out")
    clear_abandoned(folder, parts)
    return folder
