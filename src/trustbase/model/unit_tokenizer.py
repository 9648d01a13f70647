"""A tokenizer that makes no token of two units, as near as possible to what the model was pretrained with.

BERT's splits at blanks, marks and Han characters by itself, and is taken as it is. One that makes a token of several Han characters, or of
a word with the mark after it, gets a further split where units end: behind its own first step or before it, whichever takes fewer tokens.
Where neither helps it is shown blanks between units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from trustbase.data.units import ALONE, apart, units

# words with marks, numbers, scripts with and without blanks: where tokenizers differ in what they hold together
_PROBES = ("Obama's U.S.-deal (3M), co-op a_b...", "中国人民银行在北京、江泽民主席。", "カタカナ iPhone12发布")
_SPLIT = f"[{ALONE}]|[^\\s\\w\u2581]|_"  # U+2581 is how some write a blank


@dataclass(frozen=True)
class UnitTokenizer:
    """What reads texts whose units are to be told apart.

    Attributes:
        inner: of the package `tokenizers`.
        blanks: whether it is shown one blank between units.
    """

    inner: Any
    blanks: bool = False

    def encoded(self, texts: Sequence[str]) -> tuple[list[Any], list[Any]]:
        """Encodings of texts, special tokens added, and where the units stand in what was read, `(units, 2)` of each."""
        bounds = [units(text) for text in texts]
        shown = list(texts)
        if self.blanks:
            pairs = [apart(text, each) for text, each in zip(texts, bounds, strict=True)]
            shown, bounds = [text for text, _ in pairs], [each for _, each in pairs]
        return self.inner.encode_batch(shown, add_special_tokens=True), bounds


@lru_cache(maxsize=8)
def unit_tokenizer(inner: Any) -> UnitTokenizer:
    """The best of several ways to read units: none of its tokens belongs to two of them, and the fewest are taken.

    Args:
        inner: of the package `tokenizers`; it stays as it is.
    """
    plain = UnitTokenizer(inner)
    if _keeps_apart(plain):
        return plain
    own = inner.pre_tokenizer
    ways = [*(UnitTokenizer(_with(inner, steps)) for steps in _steps(own)), UnitTokenizer(inner, blanks=True)]
    fitting = [way for way in ways if _keeps_apart(way)] or ways[-1:]
    return min(fitting, key=lambda way: sum(len(each.ids) for each in way.encoded(_PROBES)[0]))


def _steps(own: Any) -> list[list[Any]]:
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    return [[split]] if own is None else [[own, split], [split, own]]


def _with(inner: Any, steps: list[Any]) -> Any:
    """A copy with other first steps."""
    from tokenizers import Tokenizer, pre_tokenizers

    copy = Tokenizer.from_str(inner.to_str())
    copy.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return copy


def _keeps_apart(way: UnitTokenizer) -> bool:
    """Whether no token of the probes holds characters of two units."""
    for encoding, bounds in zip(*way.encoded(_PROBES), strict=True):
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        first = np.searchsorted(bounds[:, 1], spans[:, 0], side="right")
        last = np.searchsorted(bounds[:, 0], spans[:, 1], side="left")
        if ((spans[:, 1] > spans[:, 0]) & (last - first > 1)).any():
            return False
    return True
