"""A signal is no error: nothing that turns errors into findings, notes or other errors may swallow it."""

from __future__ import annotations

import pytest

from trustbase.errors import Interrupted, RecipeError, TrustbaseError
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
