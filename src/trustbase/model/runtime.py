"""What the engine needs of a runtime, and what it counts. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: What `forward` gives: one array `(rows, width)`, or of outputs for each unit a list of one table `(units, width)` for each row.
Output: TypeAlias = NDArray[np.float32] | list[NDArray[np.float32]]
MEMBER_OUTPUT = "member_logits"  # of an ensemble (`model.ensemble`): what each member says, one after another


class Encodings(Protocol):
    """Inputs made ready for the model, ragged (`model.tokenizer.Encoded`)."""

    @property
    def lengths(self) -> NDArray[np.integer]: ...


class Runtime(Protocol):
    """What runs the model; `recipe.lookup.RUNTIMES` names those of this version."""

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """What `forward` can compute: "logits", "unit_logits", "span", "embedding"; of an ensemble, `MEMBER_OUTPUT`."""

    def prepare(self, inputs: Sequence[Any]) -> Any:
        """Inputs → `Encodings` (tokenised in one call)."""

    def forward(self, output: str, encodings: Any, rows: NDArray[np.int64]) -> Output:
        """Of each row of `rows`, in their order."""

    def computed_tokens(self, lengths: NDArray[np.integer]) -> int:
        """Tokens that one batch of these lengths really costs, padding included."""


@dataclass
class Counters:
    """What was asked and what it cost, since the Predictor was opened."""

    questions: int = 0
    unique: int = 0  # went to the model
    cache_hits: int = 0
    duplicates: int = 0  # joined an equal question that was still open
    failures: int = 0
    batches: int = 0
    tokens: int = 0  # real ones
    padded_tokens: int = 0  # computed, padding included
    tokenize_seconds: float = 0.0
    forward_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Time the engine worked."""
        return self.tokenize_seconds + self.forward_seconds

    @property
    def padding_share(self) -> float:
        """Share of the computed tokens that was padding."""
        return 1.0 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0

    def plus(self, other: Counters) -> Counters:
        """Both together."""
        return Counters(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def minus(self, before: Counters) -> Counters:
        """What came since an earlier copy."""
        return Counters(**{name: value - getattr(before, name) for name, value in vars(self).items()})

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "seconds": self.seconds, "padding_share": self.padding_share}
