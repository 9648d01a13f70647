"""Asking a model many things: in this process, or by whoever does it in several (`spread.py`). Audits do not see the difference."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from trustbase.audit.askers.parts import cut
from trustbase.audit.askers.worker import Ask, Asker, answers
from trustbase.events import Emit, ignore
from trustbase.model.questions import Answer, Failure, Question, Result, values_of

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor
    from trustbase.model.runtime import Counters

Part = list[Any]


class Askers(ABC):
    """Whoever asks; `predictor` is the one of this process."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def run(
        self,
        asker: Asker,
        items: Sequence[Any],
        arguments: Mapping[str, Any] | None = None,
        *,
        what: str,
        emit: Emit = ignore,
        cost: Callable[[Any], int] = len,
    ) -> list[Any]:
        """What an asker finds for each item, in order; an item that occurs twice is asked about once.

        Args:
            asker: a function of a module: `asker(predictor, **arguments)` gives what answers a list of items with one result for each,
                or a coroutine function that answers one item. Results are JSON where several processes ask.
            items: JSON: texts, or lists and mappings of them. A result must depend on nothing but its item.
            arguments: of the asker; JSON.
            what: is done, for the progress.
            emit: is told the progress.
            cost: how long an item takes, in any unit where that of a text is its length.

        Raises:
            TrustbaseError: as the asker did.
            PredictionError: processes were lost more often than allowed, or one did not start.
        """
        keys = [item if isinstance(item, str) else (json.dumps(item, sort_keys=True),) for item in items]
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        distinct = list(dict(zip(keys, items, strict=True)).values())
        parts = cut([max(1, cost(item)) for item in distinct])
        found: list[Any] = [None] * len(distinct)
        times = np.bincount([places[key] for key in keys], minlength=len(distinct))
        done = 0
        emit("progress", what=what, done=0, total=len(items))
        with closing(self._answered(asker, arguments or {}, [[distinct[place] for place in part] for part in parts], emit)) as answered:
            for number, results in answered:
                for place, result in zip(parts[number], results, strict=True):
                    found[place] = result
                done += int(times[parts[number]].sum())
                emit("progress", what=what, done=done, total=len(items))
        return [found[places[key]] for key in keys]

    def ask(self, kind: str, texts: Sequence[str], *, what: str, emit: Emit = ignore) -> list[Any]:
        """The value of one kind of question for each text: a number, or a list of them.

        Raises:
            PredictionError: some texts could not be answered; names their rows.
        """
        return values_of([_result(said) for said in self.run(questions, texts, {"kind": kind}, what=what, emit=emit)])

    @abstractmethod
    def rest(self) -> None:
        """End the other processes, where there are any, so that nothing runs beside a timing; whoever asks next starts them anew."""

    @property
    @abstractmethod
    def counters(self) -> Counters:
        """What was asked and what it cost, in all processes."""

    @abstractmethod
    def _answered(
        self, asker: Asker, arguments: Mapping[str, Any], parts: Sequence[Part], emit: Emit
    ) -> Generator[tuple[int, list[Any]], None, None]:
        """Number and results of each part, in any order."""


class Alone(Askers):
    """The asker is this process."""

    def rest(self) -> None:
        """Nothing else runs."""

    @property
    def counters(self) -> Counters:
        return self.predictor.counters

    def _answered(
        self, asker: Asker, arguments: Mapping[str, Any], parts: Sequence[Part], emit: Emit
    ) -> Generator[tuple[int, list[Any]], None, None]:
        if parts:
            ask = asker(self.predictor, **arguments)
            yield from ((number, answers(ask, self.predictor, part)) for number, part in enumerate(parts))


def questions(predictor: Predictor, *, kind: str) -> Ask:
    """The asker of one question about each text."""

    def ask(texts: Sequence[str]) -> list[dict[str, Any]]:
        return [_plain(result) for result in predictor.ask_all([Question(kind, text) for text in texts])]

    return ask


def _plain(result: Result) -> dict[str, Any]:
    """An answer or a failure as JSON."""
    if isinstance(result, Failure):
        return {"failure": [result.code, result.reason]}
    value = result.value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif hasattr(value, "tokens"):  # a likelihood
        value = [value.total, value.tokens]
    return {"value": value}


def _result(said: Mapping[str, Any]) -> Result:
    return Failure(*said["failure"]) if "failure" in said else Answer(said["value"])
