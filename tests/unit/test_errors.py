"""A signal is no error: nothing that turns errors into findings, notes or other errors may swallow it."""

from __future__ import annotations

import errno
import os

import pytest

from trustbase.errors import Interrupted, RecipeError, TrustbaseError, system_errors_told
from trustbase.model import checkpoint


def test_an_interruption_passes_every_handler_of_errors():
    assert not issubclass(Interrupted, Exception) and issubclass(TrustbaseError, Exception)
    stopped = Interrupted("stopped by SIGTERM", signal_number=15, hint="the same command goes on")
    assert stopped.exit_code == 143 and str(stopped) == "stopped by SIGTERM\nNext: the same command goes on"
    assert str(RecipeError("no", hint="yes")) == "no\nNext: yes" and RecipeError("no").exit_code == 2


def test_a_signal_while_a_checkpoint_is_reloaded_is_no_fault_of_saving(monkeypatch, tmp_path):
    def stop(*_, **__):
        raise Interrupted("stopped", signal_number=15)

    monkeypatch.setattr(checkpoint, "load_checkpoint", stop)
    monkeypatch.setattr(checkpoint, "origin_of", lambda _: None)
    with pytest.raises(Interrupted):
        checkpoint.assert_reload_equal(None, tmp_path, {})


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(errno.ENAMETOOLONG, 2), (errno.EISDIR, 2), (errno.EROFS, 2), (errno.EACCES, 2), (errno.ENOSPC, 1), (errno.EFBIG, 1), (errno.EIO, 1)],
)
def test_what_the_system_refuses_is_told_with_path_and_next_step(number, exit_code):
    with pytest.raises(TrustbaseError) as caught, system_errors_told("writing"):
        raise OSError(number, os.strerror(number), "/some/place")
    assert caught.value.exit_code == exit_code
    assert str(caught.value).startswith(f"/some/place: {os.strerror(number)}") and caught.value.hint


def test_an_error_without_the_systems_number_is_left_as_it_is():
    with pytest.raises(OSError, match=r"^a library's own$"), system_errors_told():
        raise OSError("a library's own")
