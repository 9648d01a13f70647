"""A disk that refuses to sync once, and a clock that runs backwards: nothing is told to be safe that is not, nothing is reordered."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from trustbase import files
from trustbase.errors import TrainingError, TrustbaseError
from trustbase.gate import ledger
from trustbase.train import state
from trustbase.train.state import Progress


@contextmanager
def failing_sync(at: int) -> Iterator[list[int]]:
    """The `at`-th sync fails with EIO, once; counts all of them."""
    real, calls = os.fsync, [0]

    def fsync(handle: int) -> None:
        calls[0] += 1
        if calls[0] == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield calls


def test_a_file_whose_sync_failed_is_not_told_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    files.write_json(path, {"released": False})
    with failing_sync(0) as calls:
        files.write_json(tmp_path / "other.json", {"released": False})
    assert calls[0] == 2, "the file, and its folder"
    for at in (1, 2):
        with failing_sync(at), pytest.raises(OSError, match="Input/output error"):
            files.write_json(path, {"released": True})
        if at == 1:
            assert files.read_json(path) == {"released": False}
        assert sorted(each.name for each in tmp_path.iterdir()) == ["other.json", "verdict.json"]


def test_a_checkpoint_whose_sync_failed_is_an_error_at_every_sync_and_the_one_before_stays(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.AdamW([parameter])

    def save(step: int) -> None:
        state.save(tmp_path, [("w", parameter)], optimizer, Progress(step=step), {})

    save(1)
    with failing_sync(0) as calls:
        save(2)
    assert calls[0] >= 5
    for at in range(1, calls[0] + 1):
        with failing_sync(at), pytest.raises(TrainingError, match="Input/output error") as error:
            save(2 + at)
        assert "the same command again" in error.value.hint
        path, problems = state.latest(tmp_path)
        assert int(path.name.removeprefix("step-")) >= 2 and not problems


def test_a_look_whose_sync_failed_is_an_error_and_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path))
    ledger.record_look("sha256:data", run="first", policy_digest=None, model_digest=None)
    with failing_sync(1), pytest.raises(TrustbaseError, match="could not be recorded") as error:
        ledger.record_look("sha256:data", run="second", policy_digest=None, model_digest=None)
    assert "nothing was measured" in error.value.hint
    assert [look.run for look in ledger.read_looks()] == ["first"]
    assert ledger.record_look("sha256:data", run="second", policy_digest=None, model_digest=None) == 2


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(days=1), datetime(2038, 1, 20, tzinfo=UTC) - datetime.now(UTC)])
def test_looks_stand_in_their_order_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: timedelta) -> None:
    monkeypatch.setenv("TRUSTBASE_HOME", str(tmp_path))
    real = datetime

    class Jumped(datetime):
        """A clock that another process has set."""

        turn = 0

        @classmethod
        def now(cls, tz=None):
            cls.turn += 1
            return real.now(tz) + (jump if cls.turn % 2 else timedelta())

    monkeypatch.setattr(ledger, "datetime", Jumped)
    for number in range(6):
        assert ledger.record_look("sha256:data", run=f"run-{number}", policy_digest=None, model_digest=None) == number + 1
    looks = ledger.read_looks()
    assert [look.sequence for look in looks] == list(range(1, 7)) and [look.run for look in looks] == [f"run-{n}" for n in range(6)]
    assert len({look.time for look in looks}) > 1 and sorted(look.time for look in looks) != [look.time for look in looks]
