"""Whole runs in tests: everything is really done, but the artefact is timed over fewer calls than a release deserves."""

from __future__ import annotations

from typing import Any

import pytest

FEW = {"warm_up": 2, "calls": 100, "call_seconds": 3, "chunks": 5, "chunk_seconds": 0.5, "invariance": 16}


def time_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time an artefact for a second or two instead of twenty, still in a process of its own."""
    from trustbase.audit import efficiency
    from trustbase.audit.measure import Effort, measure_apart

    def quick(*arguments: Any, effort: Effort, **named: Any) -> Any:
        return measure_apart(*arguments, effort=Effort(**FEW), **named)

    monkeypatch.setattr(efficiency, "measure_apart", quick)
