"""Edits that read well: a masked language model proposes words, says how each edit reads, and is itself tried first.

It is tried on the audited rows: of most of them it must find the text likelier than the same text with its words shuffled. Then words of
any row are put in the place of others: an edit that loses more than half of what such a word costs reads badly, and does not count. The
scale is thus the model's own, on these texts: what a token costs hangs on its vocabulary, on what it was trained on, and on the language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.audit import fluency
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.others import Others
from trustbase.audit.explain.subject import Item, units_of
from trustbase.audit.explain.units import Edits, Units
from trustbase.audit.guard import LEAST_ROWS
from trustbase.audit.masked_words import Masked, open_masked
from trustbase.data.cells import Reading

OPTION = "explanation.fluent"
PROPOSED = 8  # words for each, and leaving it out
LOSS = 0.5  # share of what a drawn word costs (median), beyond which an edit does not count; `benchmarks/fluent_edits.py` has others
NEEDED = 0.8  # share of the texts that must read better than shuffled
_ROWS = 50  # that the model is tried on
_TOKENS = 16  # of each, and of it shuffled
_LEAST_WORDS = 4  # of a text that is shuffled
_DRAWS = 2  # words of each text that words of others are put for


@dataclass(frozen=True, eq=False)
class Reader:
    """A masked language model as the search for the smallest edit asks it.

    Attributes:
        masked: the model.
        least: an edit that loses more, in nats per token, does not count; not above 0.
    """

    masked: Masked
    least: float

    @classmethod
    def open(cls, model: str, least: float) -> Reader:
        """By the model's folder.

        Raises:
            ModelError: it cannot be read.
        """
        return cls(open_masked(model, option=OPTION), least)

    def others(self, units: Units, item: Item, order: Sequence[int], others: Others) -> list[list[str]]:
        """For each unit what may stand in its place, `(units,)`: words by the model, for the first in order; cells by their column."""
        found = others.of(units, item)
        words = [unit for unit in order if units.spans[unit] is not None]
        spans = [span or (0, 0) for span in units.spans]
        proposed = self.masked.proposals(item["text"], spans, words, PROPOSED)
        return [proposed.get(unit, []) if span is not None else found[unit] for unit, span in enumerate(units.spans)]

    def differences(self, units: Units, item: Item, edits: Sequence[Edits]) -> list[float]:
        """How each edit reads beside the text, in nats per token; 0 where only cells beside it change."""
        return fluency.differences(self.masked, item["text"], units.edited(edits))


@dataclass(frozen=True)
class Trial:
    """What a masked language model is worth on some texts.

    Attributes:
        model: its folder.
        name: its reference, for people.
        least: see `Reader`.
        told: for the evidence.
        why: it cannot be believed; "" where it can.
    """

    model: str
    name: str
    least: float
    told: Mapping[str, Any]
    why: str


def tried(context: AuditContext, items: Sequence[Item]) -> Trial:
    """Try the model that the options name on items whose units are words.

    Raises:
        UsageError: it predicts no hidden words.
        ModelError: it cannot be read.
    """
    assert context.options.explanation.fluent is not None and context.artifact is not None
    masked, reading = open_masked(context.options.explanation.fluent, option=OPTION), Reading.of(context.artifact)
    texts = [(item, units_of(reading, item["text"], None)) for item in items[:_ROWS]]
    long = [(item, units) for item, units in texts if len(set(_words(units))) >= _LEAST_WORDS]
    known = sorted({word for _, units in texts for word in _words(units)})
    lost: list[float] = []
    drawn: list[float] = []
    for done, (item, units) in enumerate(long):
        context.emit("progress", what="trying the masked language model", done=done, total=len(long))
        rng = seeds.generator(context.seed, "explanation", "fluency", files.digest_json(item))
        own, shuffled = fluency.per_token(masked, [item["text"], _shuffled(units, rng)], most=_TOKENS)
        lost += [shuffled - own] if own is not None and shuffled is not None else []
        put = fluency.differences(masked, item["text"], units.edited(_random(units, known, rng)))
        drawn += [value for value in put if value != fluency.UNREADABLE]
    return _weighed(str(masked.folder), masked.name, np.array(lost), np.array(drawn))


def _weighed(model: str, name: str, lost: NDArray[np.float64], drawn: NDArray[np.float64]) -> Trial:
    """Whether it can be believed, and from where on an edit reads badly."""
    told: dict[str, Any] = {"model": name, "control": {"n": len(lost), "needed": NEEDED}}
    if len(lost) < LEAST_ROWS or not len(drawn):
        few = f"{len(lost)} texts of {_LEAST_WORDS} words or more can be shuffled to try the model that judges; {LEAST_ROWS} are the least"
        return Trial(model, name, 0.0, told, few)
    worse, cost = float((lost < 0).mean()), float(np.median(drawn))
    least = min(0.0, round(LOSS * cost, 4))
    told["control"] |= {"shuffled_reads_worse": worse, "mean_difference": float(lost.mean())}
    refused = float((drawn < least).mean())
    told |= {"drawn_words": {"n": len(drawn), "median_difference": cost, "refused": refused}, "least_difference": least}
    why = ""
    if worse < NEEDED:
        why = f"control not found: of {len(lost)} texts {worse:.0%} read better than with their words shuffled"
    elif cost >= 0:
        why = f"control not found: words of any text read as well as a text's own, by {cost:.2f} nats per token"
    return Trial(model, name, least, told, why)


def _words(units: Units) -> list[str]:
    return [name for name, span in zip(units.names, units.spans, strict=True) if span is not None]


def _places(units: Units) -> list[int]:
    return [unit for unit, span in enumerate(units.spans) if span is not None]


def _shuffled(units: Units, rng: np.random.Generator) -> str:
    """The text with its words in another order."""
    places = _places(units)
    words = [units.names[place] for place in places]
    while True:
        mixed = [words[place] for place in rng.permutation(len(words)).tolist()]
        if mixed != words:
            return units.edited([dict(zip(places, mixed, strict=True))])[0]


def _random(units: Units, known: Sequence[str], rng: np.random.Generator) -> list[Edits]:
    """Words of any text in the place of some."""
    places = rng.permutation(_places(units))[:_DRAWS].tolist()
    drawn = [known[place] for place in rng.integers(len(known), size=len(places)).tolist()]
    return [{place: word} for place, word in zip(places, drawn, strict=True) if word.casefold() != units.names[place].casefold()]
