"""The user's own folder: signing key, trusted signers, ledger of looks; shared by all runs."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`TRUSTBASE_HOME`, else the platform's configuration folder. Only names it; creates nothing."""
    named = os.environ.get("TRUSTBASE_HOME")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("trustbase", appauthor=False))


def make_home() -> Path:
    """The same folder, created for this user alone where it is not there yet.

    Raises:
        OSError: it cannot be created.
    """
    folder = home()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
