"""The start-up time is a span between two processes, so it must not follow the wall clock, which can be set at any time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tiny import tiny_bert
from trustbase.audit.measure import Effort, measure_apart

SHORT = Effort(warm_up=1, calls=2, call_seconds=0.1, chunks=3, chunk_seconds=0.1, invariance=2)


def test_a_step_of_the_clock_does_not_change_the_start_up_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = tiny_bert(tmp_path / "model")
    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).save_pretrained(folder)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 7200.0)  # to this process the clock is set back once the other has started
    began = time.monotonic()
    startup = measure_apart(folder, ["a good film", "a bad film"], effort=SHORT, seed=0).startup_seconds
    assert startup is not None and 0 < startup < time.monotonic() - began
