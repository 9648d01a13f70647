"""Askers for the tests of several processes, in a module of their own, which those processes import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from trustbase.errors import DataError, Problem
from trustbase.model.questions import Question


def processes(predictor, *, pause: float = 0.0):
    """Which process was asked about each text."""

    def ask(texts):
        time.sleep(pause)
        return [os.getpid() for _ in texts]

    return ask


def lengths(predictor):
    return lambda texts: [len(text) for text in texts]


def one_by_one(predictor):
    """A coroutine for each text, which asks twice."""

    async def ask(text):
        first = await predictor.ask(Question("class_scores", text))
        other = "good" if first.value[0] > 0.5 else "bad"
        return [text, (await predictor.ask(Question("class_scores", f"{text} {other}"))).value.tolist()]

    return ask


def killed(predictor, *, folder: str, always: bool):
    """The first process that is asked is killed; with `always`, each."""

    def ask(texts):
        try:
            (Path(folder) / "died").touch(exist_ok=always)
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
        return [len(text) for text in texts]

    return ask


def failing(predictor, *, known: bool):
    def ask(texts):
        if known:
            raise DataError("these texts are too long", hint="cut them", problems=[Problem("row 1", "long")])
        return [1 / 0 for _ in texts]

    return ask


def forgetful(predictor):
    return lambda texts: [len(text) for text in texts[1:]]


def slow(predictor, *, folder: str):
    """Leaves a file for each text, named by the process, one in a tenth of a second."""

    def ask(texts):
        for number, _ in enumerate(texts):
            time.sleep(0.1)
            (Path(folder) / f"asked-{os.getpid()}-{number}").touch()
        return [0 for _ in texts]

    return ask
