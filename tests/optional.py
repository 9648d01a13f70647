"""Tests of what stands on a library that is not installed everywhere: they are skipped, and say why."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import pytest

from trustbase.recipe.lookup import ADAPTATIONS


def unless_installed(library: str) -> Any:
    """Marks of a test that needs this library; none where it needs none."""
    if not library:
        return ()
    return pytest.mark.skipif(find_spec(library) is None, reason=f"{library} is not installed (an extra of this package installs it)")


def adaptations_here(names: Iterable[str]) -> list[Any]:
    """Adaptations as parameters of a test, each skipped where the library that it stands on is not installed."""
    return [pytest.param(name, marks=unless_installed(ADAPTATIONS[name].needs)) for name in names]
