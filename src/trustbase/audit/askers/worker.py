"""What one of several processes does: opens a Predictor, and answers the parts that it is given, in JSON.

An asker travels as the name of a function of a module, with arguments that are JSON; nothing that can run code is read from a pipe.
"""

from __future__ import annotations

import inspect
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase.errors import ModelError, PredictionError, TrustbaseError, told, told_again

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

Ask = Callable[..., Any]  # items → one result for each; or a coroutine function: item → its result
Asker = Callable[..., Ask]  # (Predictor, **arguments) → Ask


class LostError(Exception):
    """A worker ended while it was at work; says how."""


class LateError(Exception):
    """A worker did not answer in time."""


class Worker:
    """Answers one line of JSON with another; an asker is made once and kept while the same one is asked."""

    def __init__(self) -> None:
        self._predictor: Predictor | None = None
        self._made: tuple[str, Mapping[str, Any], Ask] | None = None

    def answer(self, line: str) -> str:
        """`{"value": …, "counters": …}`, or `{"error": …}` in the words of what was raised."""
        try:
            request = json.loads(line)
            if "open" in request:
                return json.dumps({"value": self._open(**request["open"])})
            value, counters = self._answered(**request["ask"])
            return json.dumps({"value": value, "counters": counters})
        except TrustbaseError as error:
            return json.dumps({"error": told(error)})
        except Exception as error:  # a fault of an asker; the caller is told where
            where = "".join(traceback.format_tb(error.__traceback__)[-2:]).strip()
            return json.dumps({"error": told(PredictionError(f"an asker failed: {type(error).__name__}: {error}", hint=where))})

    def _open(self, folder: str, digest: str, threads: int | None, device: str | None, paths: Sequence[str]) -> bool:
        sys.path += [path for path in paths if path not in sys.path]  # an asker may stand in a file beside the caller's
        from trustbase.model.artifact import read_artifact
        from trustbase.model.opening import limit_threads
        from trustbase.model.predict import Predictor

        info = read_artifact(Path(folder))
        if info.digest != digest:
            raise ModelError(
                f"{folder} holds another model where a worker looked than for its caller ({info.digest}, not {digest})",
                hint="all workers must see the same folder; leave it alone while it is audited",
            )
        if threads is not None:
            limit_threads(threads)  # of what a borrowed model computes; the Predictor has a thread of its own
        self._predictor = Predictor.open(info, threads=threads, device=device)
        return True

    def _answered(self, asker: str, arguments: Mapping[str, Any], items: Sequence[Any]) -> tuple[list[Any], dict[str, float]]:
        assert self._predictor is not None
        if self._made is None or self._made[:2] != (asker, arguments):
            self._made = (asker, arguments, named(asker)(self._predictor, **arguments))
        before = self._predictor.counters
        found = answers(self._made[2], self._predictor, items)
        return found, vars(self._predictor.counters.minus(before))


def answers(ask: Ask, predictor: Predictor, items: Sequence[Any]) -> list[Any]:
    """One result for each item.

    Raises:
        PredictionError: the asker gave another number of results.
    """
    found = predictor.gather(ask(item) for item in items) if inspect.iscoroutinefunction(ask) else list(ask(items))
    if len(found) != len(items):
        raise PredictionError(f"an asker gave {len(found)} results for {len(items)} items", hint="return one for each item, in order")
    return found


def named(name: str) -> Asker:
    """The function that bears a name such as `package.module:function`."""
    module, _, function = name.partition(":")
    asker: Asker = getattr(import_module(module), function)
    return asker


def name_of(asker: Asker) -> str:
    """The name by which another process finds a function.

    Raises:
        TypeError: it has none, as a lambda, a method or a function within another.
    """
    if "." in asker.__qualname__ or "<" in asker.__qualname__ or asker.__module__ == "__main__":
        raise TypeError(f"{asker.__module__}.{asker.__qualname__} cannot be found by another process: an asker is a function of a module")
    return f"{asker.__module__}:{asker.__qualname__}"


def value_of(reply: str) -> dict[str, Any]:
    """A worker's reply.

    Raises:
        TrustbaseError: what the worker raised, in its own words.
    """
    said: dict[str, Any] = json.loads(reply)
    if "error" in said:
        raise told_again(said["error"], PredictionError)
    return said
