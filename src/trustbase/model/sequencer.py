"""How one input of a model becomes sequences of tokens: cut, in windows, or with each of its choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.events import Emit, ignore
from trustbase.model.choices import encode_choices
from trustbase.model.contexts import encode_contexts, positions
from trustbase.model.encoded import Encoded
from trustbase.model.searching import MOST_TOKENS
from trustbase.model.token_units import encode_units
from trustbase.model.tokenizer import TokenStats, encode, token_stats
from trustbase.recipe.lookup import TASKS
from trustbase.records import ArtifactInfo

TEXT, UNITS, CHOICES, CONTEXT = "text", "units", "choices", "context"


@dataclass(frozen=True)
class Sequencer:
    """How a model reads its inputs; what trains it and what asks it must use the same.

    Attributes:
        max_length: most tokens of a sequence.
        stride: tokens by which the windows of a longer text overlap; None cuts it off.
        form: what an input is: "text" (one, or two as a pair), "units" (of one text, each answered), "choices" (a question and its
            choices), or "context" (a question and the text that is searched for its answer).
        answer_tokens: of the longest answer that is looked for.
    """

    max_length: int
    stride: int | None = None
    form: str = TEXT
    answer_tokens: int = MOST_TOKENS

    @classmethod
    def of(cls, info: ArtifactInfo) -> Sequencer:
        """What an artefact says of itself."""
        return cls.by_task(info.task, info.max_length, info.stride, info.answer_tokens or MOST_TOKENS)

    @classmethod
    def by_task(cls, task: str, max_length: int, stride: int | None = None, answer_tokens: int = MOST_TOKENS) -> Sequencer:
        """What a task asks for; one that is not registered reads texts."""
        return cls(max_length, stride, TASKS[task].reads if task in TASKS else TEXT, answer_tokens)

    @property
    def unusual(self) -> dict[str, Any]:
        """What must be said of it beside `max_length`, as arguments of a runtime."""
        return {
            name: value
            for name, value, usual in (
                ("stride", self.stride, None),
                ("form", self.form, TEXT),
                ("answer_tokens", self.answer_tokens, MOST_TOKENS),
            )
            if value != usual
        }

    def encode(
        self, tokenizer: Any, inputs: Sequence[str], *, whole: bool = False, store: Path | None = None, emit: Emit = ignore
    ) -> Encoded:
        """The sequences of all inputs.

        Args:
            tokenizer: from `load_tokenizer`.
            inputs: what the model is asked, `(rows,)`.
            whole: however long they are, in one piece (for counting).
            store: a folder that gets the tokens of plain texts and pairs, so that they do not stand in memory; None where they may.
            emit: takes `progress` events.

        Raises:
            ModelError, DataError, ValueError: as `tokenizer.encode`; a question without choices.
        """
        length = 2**40 if whole else self.max_length
        if self.form == CHOICES:
            return encode_choices(tokenizer, inputs, max_length=length, emit=emit)
        if self.form == CONTEXT:
            return encode_contexts(tokenizer, inputs, max_length=length, stride=None if whole else self.stride, emit=emit)
        if self.form == UNITS:
            return encode_units(tokenizer, inputs, max_length=length, stride=None if whole else self.stride, emit=emit)
        return encode(tokenizer, inputs, max_length=length, stride=None if whole else self.stride, store=store, emit=emit)

    def stats(self, tokenizer: Any, inputs: Sequence[str]) -> TokenStats:
        """What a tokenizer makes of inputs, and what this reading leaves away of them."""
        whole = None if self.form in (TEXT, UNITS) else self.encode(tokenizer, inputs, whole=True)
        return token_stats(tokenizer, inputs, self.max_length, whole=whole, windows=self.stride is not None)

    def answers(self, tokenizer: Any, inputs: Sequence[str], truth: NDArray[Any]) -> dict[str, int]:
        """Rows whose answers tokens tell to the character (or that have none), whose answers begin or end within a token, and whose
        answers no window holds; of inputs whose text is searched.
        """
        fates = positions(self.encode(tokenizer, inputs), truth)[1]
        return dict(zip(("found", "between_tokens", "not_read"), np.bincount(fates, minlength=3).tolist(), strict=True))
