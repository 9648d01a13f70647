"""The user's own folder: signing key, trusted signers, ledger of looks; shared by all runs."""

from __future__ import annotations

import os
from pathlib import Path

from trustbase.errors import UsageError
from trustbase.files import make_folder

VARIABLE = "TRUSTBASE_HOME"
_HINT = f"set {VARIABLE} to a folder of your own that can be written to, or leave it unset"


def home() -> Path:
    """`TRUSTBASE_HOME`, else the platform's configuration folder. Only names it; creates nothing."""
    named = os.environ.get(VARIABLE)
    if named:
        try:
            return Path(named).expanduser()
        except RuntimeError as error:
            raise UsageError(f"{VARIABLE}={named[:80]}: {error}", hint=_HINT) from error
    import platformdirs

    return Path(platformdirs.user_config_dir("trustbase", appauthor=False))


def make_home() -> Path:
    """The same folder, created for this user alone where it is not there yet.

    Raises:
        UsageError: it cannot be created, or is no folder that can be written to.
    """
    folder = home()
    try:
        make_folder(folder, mode=0o700)
    except OSError as error:
        raise _unusable(folder, error.strerror or str(error)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unusable(folder, "it cannot be written to")
    return folder


def problem() -> str:
    """Why the folder cannot be used; empty where it can. Creates nothing."""
    try:
        folder = home()
        near = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    except (UsageError, OSError) as error:
        return str(error)
    if not near.is_dir():
        return f"{near} is no folder"
    return "" if os.access(near, os.W_OK | os.X_OK) else f"{near} cannot be written to"


def _unusable(folder: Path, reason: str) -> UsageError:
    named = f"{VARIABLE}={os.environ[VARIABLE]}" if os.environ.get(VARIABLE) else str(folder)
    return UsageError(f"the folder for keys and the ledger ({named}) cannot be used: {reason}", hint=_HINT)
