"""Words of a text, as everything that counts words finds them: in English by letters and digits, in Chinese by segmentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib import util
from typing import Literal, get_args

from trustbase.data import marked
from trustbase.data.pair import SEPARATOR, halves

Manner = Literal["words", "segmented", "characters"]
MANNERS: tuple[Manner, ...] = get_args(Manner)
Finder = Callable[[str], list[str]]

_CHINESE_SHARE = 0.3  # of the letters, from which words have to be found by segmentation
_WORD = re.compile(r"\b\w+\b")  # one-character words too: "7 hours"
_SPACES = re.compile(r"\s\s+")


def manner_of(texts: Sequence[str]) -> Manner:
    """How words are found in these texts: Chinese by segmented words, or by characters where no segmenter is installed."""
    if chinese_share(texts) < _CHINESE_SHARE:
        return "words"
    return "segmented" if util.find_spec("jieba") is not None else "characters"


def finder(manner: Manner, *, longest: int = 2, pairs: bool = False) -> Finder:
    """What finds the terms of a text, capitals read as small letters.

    In a text with marked entities (`data.marked`), those of each entity, of what stands between, and which comes first are terms too.

    Args:
        manner: how words are found.
        longest: most words (or characters) of a term; 2 gives single ones and neighbours.
        pairs: whether a text is two (`data.pair`): then each term says on which side it stands, and those in both are told too.
    """
    single = partial(_terms, manner=manner, longest=longest)
    return partial(_terms_of_pair, find=single) if pairs else partial(_terms_of_marked, find=single)


def are_pairs(texts: Sequence[str]) -> bool:
    """Whether any of these texts is a pair."""
    return any(SEPARATOR in text for text in texts)


def are_marked(texts: Sequence[str]) -> bool:
    """Whether any of these is a text with marked entities."""
    return any(marked.HEAD in text for text in texts)


def _terms(text: str, manner: Manner, longest: int) -> list[str]:
    lowered = text.lower()
    if manner == "characters":
        signs = _SPACES.sub(" ", lowered)
        return [signs[start : start + size] for size in range(1, longest + 1) for start in range(len(signs) - size + 1)]
    words = _segment(lowered) if manner == "segmented" else _WORD.findall(lowered)
    runs = (zip(*(words[start:] for start in range(size)), strict=False) for size in range(2, longest + 1))
    return [*words, *(" ".join(run) for sizes in runs for run in sizes)]


def _terms_of_marked(text: str, find: Finder) -> list[str]:
    """Terms of the text; where entities are marked also their words and types, the words between them, and which of both comes first."""
    found = marked.parts(text)
    if found is None:
        return find(text)
    order = ("head first",) if found.head_first else ("tail first",)
    words = (found.head, found.tail) if found.head_first else (found.tail, found.head)
    whole = f"{found.before}{words[0]}{found.between}{words[1]}{found.after}"
    named = (("head", found.head), ("tail", found.tail), ("between", found.between), *zip(("type", "of"), found.types, strict=True))
    return [*find(whole), *order, *(f"{where} {term}" for where, part in named for term in find(part))]


def _terms_of_pair(text: str, find: Finder) -> list[str]:
    """Terms of both texts: each word with the side it stands on, words of both, and the tenth of all words that are in both."""
    sides = [find(side) for side in halves(text)]
    both, either = set.intersection(*map(set, sides)), set().union(*sides)
    shared = f"shared {10 * len(both) // max(len(either), 1)}"
    return (
        [f"{number} {word}" for number, words in enumerate(sides) for word in words]
        + [f"both {word}" for word in sorted(both)]
        + [shared] * 3
    )


def _segment(text: str) -> list[str]:
    import jieba

    jieba.setLogLevel(60)  # it reports its dictionary on standard error otherwise
    return [word for word in jieba.cut(text) if not word.isspace()]


def chinese_share(texts: Sequence[str], *, sample: int = 1000) -> float:
    """Share of Han characters among the letters of evenly spaced texts."""
    step = max(1, len(texts) // sample)
    letters = [char for text in texts[::step] for char in text[:2000] if char.isalpha()]
    return sum("\u3400" <= char <= "\u9fff" for char in letters) / len(letters) if letters else 0.0
