"""What the tokens of a vocabulary are to an objective: which are special, which end a sentence, which go on with a word."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.errors import UsageError

_ENDS = frozenset("。！？；…!?.;\n")
_CLOSING = frozenset("”’」』）】》)]\"'")
_WORD_MARKS = ("Ġ", "▁")  # how byte-level BPE and Metaspace write the space before a word


@dataclass(frozen=True, eq=False)
class Symbols:
    """A vocabulary as numbers.

    Attributes:
        size: tokens, `(size,)` below.
        texts: each token as it is written, without the marks of word pieces.
        special: never masked and never drawn in another's place: `[CLS]`, padding, sentinels, the unknown token.
        goes_on: goes on with the word before it.
        ends: ends a sentence.
        han: holds a Han character.
        pad, cls, sep, mask, bos, eos, unknown: numbers of special tokens, where there are such.
        sentinels: numbers of `<extra_id_0>`, `<extra_id_1>` …
    """

    size: int
    texts: tuple[str, ...]
    special: NDArray[np.bool_]
    goes_on: NDArray[np.bool_]
    ends: NDArray[np.bool_]
    han: NDArray[np.bool_]
    pad: int
    cls: int | None
    sep: int | None
    mask: int | None
    bos: int | None
    eos: int | None
    unknown: int | None
    sentinels: tuple[int, ...]

    @property
    def words(self) -> NDArray[np.int64]:
        """Tokens that may be drawn at random."""
        return np.flatnonzero(~self.special)

    def need(self, *names: str, purpose: str) -> list[int]:
        """The numbers of special tokens that an objective cannot do without.

        Raises:
            UsageError: the vocabulary lacks one.
        """
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise UsageError(
                f"{purpose} needs a tokenizer with the tokens {', '.join(missing)}, and this one lacks them",
                hint="take the tokenizer of a model that was trained so, or train one for this family",
            )
        return [getattr(self, name) for name in names]


def symbols_of(tokenizer: Any) -> Symbols:
    """Read a vocabulary once.

    Args:
        tokenizer: a fast one of transformers.
    """
    size = len(tokenizer)
    written = tokenizer.convert_ids_to_tokens(list(range(size)))
    written = ["" if token is None else str(token) for token in written]  # a gap in the numbers is no token
    special = np.zeros(size, bool)
    special[[number for number in tokenizer.all_special_ids if number < size]] = True
    special |= np.array([token == "" for token in written])
    sentinels = _sentinels(tokenizer)
    special[list(sentinels)] = True
    texts, goes_on = _words(tokenizer, written)
    return Symbols(
        size=size,
        texts=texts,
        special=special,
        goes_on=goes_on & ~special,
        ends=np.array([_ends(text) for text in texts]) & ~special,
        han=np.array([any(is_han(letter) for letter in text) for text in texts]) & ~special,
        pad=int(tokenizer.pad_token_id),
        cls=tokenizer.cls_token_id,
        sep=tokenizer.sep_token_id,
        mask=tokenizer.mask_token_id,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
        unknown=tokenizer.unk_token_id,
        sentinels=sentinels,
    )


def is_han(letter: str) -> bool:
    """Whether a letter is a Chinese character (of any of the planes that hold them)."""
    return unicodedata.name(letter, "").startswith("CJK UNIFIED IDEOGRAPH")


def _words(tokenizer: Any, written: list[str]) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """The tokens' texts, and which of them go on with a word."""
    if any(token.startswith("##") for token in written):
        return tuple(token.removeprefix("##") for token in written), np.array([token.startswith("##") for token in written])
    if any(token.startswith("Ġ") for token in written):  # bytes: only the decoder knows what they are
        texts = [tokenizer.backend_tokenizer.decoder.decode([token]) if token else "" for token in written]
    else:
        texts = [token.replace("▁", " ") for token in written]
    letters = [text[:1].isalnum() and not is_han(text[:1]) for text in texts]
    return tuple(texts), np.array([go and not token.startswith(_WORD_MARKS) for go, token in zip(letters, written, strict=True)])


def _ends(text: str) -> bool:
    bare = text.strip(" \t").rstrip("".join(_CLOSING)) or text
    return bare[-1:] in _ENDS


def _sentinels(tokenizer: Any) -> tuple[int, ...]:
    known = tokenizer.get_vocab()
    found: list[int] = []
    while (name := f"<extra_id_{len(found)}>") in known:
        found.append(int(known[name]))
    return tuple(found)
