"""Folders and modules that share their name with a public function: `trustbase.audit(...)` works whether or not it was imported.

The import system binds a submodule as an attribute of its parent, over whatever stood there; so the submodule itself can be called.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def make_callable(folder: str, target: str) -> None:
    """Let the imported package `folder` be called as the function `target` (`module:attribute`), which is imported then."""

    class CallableFolder(ModuleType):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            module, _, name = target.partition(":")
            return getattr(import_module(module), name)(*arguments, **options)

    sys.modules[folder].__class__ = CallableFolder
