"""Libraries that adaptations stand on, imported when first asked for: PEFT, and bitsandbytes where it is installed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any, cast

from trustbase.errors import ModelError, Problem

NEEDED = "bitsandbytes"
INSTALL = "pip install 'trustbase[qlora]'"
_FETCHES = "kernels"  # the package through which bitsandbytes fetches compiled code from the hub


@cache
def peft() -> Any:
    """PEFT. It imports bitsandbytes where that is installed, so that this is done first, and quietly."""
    if not missing():
        bitsandbytes()
    return import_module("peft")


@cache
def bitsandbytes() -> Any:
    """The library that packs weights in 4 bits.

    On some processors it fetches compiled code from the hub while it is imported, if the package `kernels` is there, and complains if it
    is not. What a model answers must not hang on that: the package is hidden for the time of the import.

    Raises:
        ModelError: it is not installed, or cannot be imported here.
    """
    if missing():
        raise ModelError(f"adapt: qlora needs {NEEDED}, which is not installed", hint=INSTALL)
    try:
        with _without(_FETCHES), _quiet(NEEDED):
            return import_module(NEEDED)
    except Exception as error:  # it loads compiled code, which fails in many ways; the cause is kept
        raise ModelError(
            f"{NEEDED} is installed, but cannot be imported here: {type(error).__name__}: {error}",
            hint=f"install it again ({INSTALL}), or remove it: adapt: qlora alone needs it",
        ) from error


def bitsandbytes_version() -> str:
    """As it is installed."""
    return metadata.version(NEEDED)


def missing() -> list[Problem]:
    """What is told where bitsandbytes is not installed; it is not imported."""
    if find_spec(NEEDED) is not None:
        return []
    return [Problem("adapt.method", f"adapt: qlora needs {NEEDED}, which is not installed", INSTALL)]


@contextmanager
def _without(name: str) -> Iterator[None]:
    """A package cannot be imported, while the context lasts."""
    before = sys.modules.get(name)
    sys.modules[name] = cast(Any, None)  # Python's own way to say that there is none
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Only errors of a library's log, while the context lasts."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
