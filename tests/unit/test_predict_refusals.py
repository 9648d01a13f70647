"""What a Predictor refuses: forked children, options that cannot work, labels that are none, a closed model. Never a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from test_predict_engine import FakeRuntime, info

from trustbase.errors import PredictionError, UsageError
from trustbase.model.predict import Predictor
from trustbase.model.runtime_torch import TorchRuntime

CHILD_SECONDS = 10.0


def exit_of_child(act: Callable[[], object]) -> int:
    """Exit code of a forked child that acts: 7 where it is refused, 1 where it goes through, -9 where it hangs."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except PredictionError:
            os._exit(7)
        os._exit(1)
    end = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_forked_while_the_engine_works_is_refused_and_never_hangs():
    runtime = FakeRuntime(gate=threading.Event())
    with Predictor(info(), runtime) as predictor:
        asker = threading.Thread(target=lambda: predictor.class_scores(["a"]))
        asker.start()
        while not predictor.counters.questions:
            time.sleep(0.001)
        time.sleep(0.02)  # the engine now waits in the forward pass, its lock held: the child inherits a lock that nobody opens
        refused = [exit_of_child(act) for act in (predictor.clear_cache, lambda: predictor.counters, predictor.close)]
        runtime.gate.set()
        asker.join(10)
        assert refused == [7, 7, 7]
        assert predictor.counters.questions == 1


@pytest.mark.parametrize("at_once", [0, -1])
def test_room_for_no_asker_is_refused(at_once):
    with Predictor(info(), FakeRuntime()) as predictor, pytest.raises(UsageError, match=f"at_once must be at least 1, got {at_once}"):
        predictor.gather([], at_once=at_once)


def test_numbers_that_cannot_work_are_all_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UsageError) as caught:
        Predictor(info(), FakeRuntime(), batch_tokens=0, threads=0, cache_size=-1, deadline=float("nan"))
    assert [problem.where for problem in caught.value.problems] == ["batch_tokens", "threads", "cache_size", "deadline"]
    with pytest.raises(UsageError, match="batch_tokens"):
        Predictor.open(info(), batch_tokens=0)  # its folder is nowhere: reading it would be another error


@pytest.mark.parametrize("device", ["nosuch", "meta", "cuda:99"])
def test_a_device_that_is_not_here_is_refused_in_words(tmp_path, device):
    with pytest.raises(UsageError, match=f"device '{device}' cannot be used here"):
        TorchRuntime.open(tmp_path, tokenizer=None, max_length=8, device=device)


def test_a_label_that_is_none_fails_alone_and_is_named():
    with Predictor(info(), FakeRuntime()) as predictor:
        for wrong in (None, float("nan"), 0.7, np.float64(1.0), "maybe", 10**30):
            with pytest.raises(PredictionError, match="1 of 2 questions") as caught:
                predictor.losses(["a", "b"], [0, wrong])
            assert "row 1: bad_question" in str(caught.value)
        assert predictor.losses(["a", "b"], np.array([0, 1])).shape == (2,)


def test_a_closed_predictor_lends_no_model():
    predictor = Predictor(info(), FakeRuntime())
    predictor.close()
    with pytest.raises(PredictionError, match="closed"), predictor.white_box():
        pass


@pytest.mark.parametrize("end", ["KeyboardInterrupt()", "SystemExit(3)"])
def test_an_asker_that_ends_the_program_does_so_without_a_complaint(end):
    code = f"""
        import gc, sys
        sys.path[:0] = {sys.path!r}
        from test_predict_engine import FakeRuntime, info
        from trustbase.model.predict import Predictor, Question

        async def stops():
            raise {end}

        with Predictor(info(), FakeRuntime()) as predictor:
            try:
                predictor.gather([predictor.ask(Question("class_scores", "a")), stops()])
            except BaseException as error:
                assert type(error) is {end.split("(")[0]} and error.args == {end}.args, repr(error)
                print("raised")
            gc.collect()
            assert predictor.class_scores(["b"]).shape == (1, 2)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "raised\n", "")
