"""What the engine is handed and what it keeps of it: requests, waiters, plans; and what makes two questions the same one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.files import canonical_json
from trustbase.model.cache import answer_key
from trustbase.model.questions import Failure, Kind, Question, Result
from trustbase.model.runtime import Runtime
from trustbase.records import LabelSchema

Deliver = Callable[[list[tuple[int, Result]]], None]


@dataclass(eq=False)
class Request:
    """Questions of one asker; `deliver` is called from the engine's thread with (position, result) pairs."""

    questions: Sequence[Question]
    deliver: Deliver
    cancelled: bool = False
    open: set[int] = field(init=False)  # positions without a result yet

    def __post_init__(self) -> None:
        self.open = set(range(len(self.questions)))


@dataclass(eq=False)
class Waiter:
    request: Request
    position: int
    question: Question
    kind: Kind
    joined: bool  # waits for a question that another asker put first


@dataclass(eq=False)
class Plan:
    """Unique rows of one output, encoded together, and the batches that are still to run."""

    output: str
    keys: list[bytes]
    encodings: Any
    lengths: NDArray[np.integer]
    batches: deque[NDArray[np.int64]] = field(default_factory=deque)


@dataclass
class Desk:
    """Where questions come in: refuses what cannot be asked of this model, and names what must be computed."""

    runtime: Runtime
    labels: LabelSchema
    answer_kind: str
    kinds: Mapping[str, Kind]
    scope: bytes
    sampled: int = 0  # sampled questions so far: none is the same as another

    def identify(self, question: object) -> tuple[Kind, bytes] | Failure:
        """The kind of a question and the key of the row that it needs."""
        if not isinstance(question, Question) or not isinstance(name := question.kind, str):
            return Failure("bad_question", f"expected a Question with the name of its kind, got {question!r}")
        kind = self.kinds.get(name)
        if kind is None:
            return Failure("bad_question", f"unknown kind '{question.kind}'; known: {', '.join(sorted(self.kinds))}")
        if "*" not in kind.answers and self.answer_kind not in kind.answers:
            return Failure("bad_question", f"a model whose answers are '{self.answer_kind}' cannot be asked '{kind.name}'")
        if kind.output not in self.runtime.outputs:
            return Failure(
                "bad_question", f"runtime {self.runtime.name} of this artefact cannot compute '{kind.output}', which '{kind.name}' needs"
            )
        try:
            kind.check(question, self.labels)
            parameters = (
                canonical_json({name: question.parameters[name] for name in kind.forward_parameters}) if kind.forward_parameters else b""
            )
        except (KeyError, TypeError, ValueError) as error:
            return Failure("bad_question", str(error))
        try:
            canonical = kind.modality.canonical(question.input)
        except (TypeError, ValueError) as error:
            return Failure("bad_input", str(error))
        if kind.sampled:
            self.sampled += 1
            parameters += b"#%d" % self.sampled
        return kind, answer_key(self.scope, kind.output, parameters, canonical)
