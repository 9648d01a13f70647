"""Vocabularies trained on a corpus: a complete fast tokenizer folder, the same bytes for the same texts in every process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.errors import DataError, UsageError
from trustbase.model.options import Family, TokenizerKind, TokenizerOptions
from trustbase.model.quiet import quiet
from trustbase.model.shape import least_vocabulary
from trustbase.model.trainers import PIECES, RARE, SpecialTokens, Wanted, inner_letters, learn, normalizer


@dataclass(frozen=True)
class Vocabulary:
    """What a trained tokenizer is and what it was trained on.

    Attributes:
        folder: the tokenizer folder.
        digest: `sha256:…` over its files.
        kind: the kind asked for.
        size: tokens in all.
        documents: texts read.
        characters: characters read, after normalisation, without spaces.
        distinct_characters: how many different ones.
        covered_characters: share of the characters read that the tokenizer can write, in [0, 1].
    """

    folder: Path
    digest: str
    kind: str
    size: int
    documents: int
    characters: int
    distinct_characters: int
    covered_characters: float

    def to_json(self) -> dict[str, Any]:
        """As JSON, without the folder's place on this machine."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}


def train_tokenizer(
    kind: TokenizerKind,
    documents: Iterable[str],
    *,
    vocab_size: int,
    lower_case: bool,
    folder: Path,
    family: Family = "encoder",
    max_length: int = 512,
) -> Vocabulary:
    """Train a tokenizer on texts and write its folder, whole or not at all.

    Args:
        kind: `wordpiece` as BERT's (Han characters stand alone), `bpe`, `byte_bpe` as GPT-2's, `unigram` as T5's,
            `characters`: every Han character and digit alone with the first claim on the vocabulary, the rest word-pieces.
        documents: the texts; read two to four times, so a list or any object that starts anew at each `iter`.
        vocab_size: tokens in all, special ones included; reached exactly.
        lower_case: read capitals as small letters (WordPiece kinds then also drop accents, as BERT does).
        folder: replaced if it exists.
        family: decides the special tokens: BERT's, GPT's `<|endoftext|>`, or T5's with 100 sentinels and a mask.
        max_length: most tokens that the model will read.

    Raises:
        UsageError: the vocabulary is too small for its kind, or larger than the texts support.
        DataError: there is no text.
        TypeError: `documents` can be read only once.
    """
    if isinstance(documents, Iterator):
        raise TypeError("documents must start anew at each iter(): pass a list, or an object with __iter__")
    least = least_vocabulary(kind, family)
    if vocab_size < least:
        raise UsageError(f"a {kind} vocabulary takes at least {least} tokens, got {vocab_size}", hint=f"set vocab_size: {least} or more")
    wanted = Wanted(kind, lower_case, SpecialTokens.of(family, byte_level=kind == "byte_bpe"), vocab_size)
    seen, read = _count(documents, wanted)
    if not seen:
        raise DataError("the corpus holds no text to train a tokenizer on", hint="check the corpus files and filters")
    tokenizer, kept = _train(documents, seen, wanted)
    _add_ends(tokenizer, wanted.special)
    files.replace_folder(folder, lambda staging: _write(tokenizer, wanted.special, family, max_length, staging))
    total = seen.total()
    covered = 1.0 if kind == "byte_bpe" else sum(seen[letter] for letter in kept) / total
    return Vocabulary(folder, files.digest_folder(folder), kind, vocab_size, read, total, len(seen), covered)


def train_as_asked(options: TokenizerOptions, documents: Iterable[str], family: Family, context: int, folder: Path) -> Vocabulary:
    """The tokenizer that a recipe's `tokenizer: {train: …}` asks for; raises as `train_tokenizer` does."""
    assert options.train is not None
    return train_tokenizer(
        options.train,
        documents,
        vocab_size=options.vocab_size,
        lower_case=options.lowers(family),
        folder=folder,
        family=family,
        max_length=context,
    )


def _train(documents: Iterable[str], seen: Counter[str], wanted: Wanted) -> tuple[Any, set[str]]:
    """The tokenizer, and the characters it can write.

    Raises:
        UsageError: the texts support another size only.
    """
    room = wanted.size - len(wanted.special.first) - len(wanted.special.last)
    rare = {letter for letter, count in seen.items() if count < RARE}
    inner = inner_letters(_Cleaned(documents, wanted, rare), wanted) if wanted.kind in PIECES else frozenset[str]()
    size = 0
    for limit in (room if wanted.kind == "characters" else room // 2, room):  # rarer characters may have what no merge takes
        spaces = wanted.kind in ("bpe", "unigram")  # which write a space as one more character, ▁
        kept = _alphabet(seen, inner, limit - spaces) if wanted.kind != "byte_bpe" else set(seen)
        tokenizer = learn(_Cleaned(documents, wanted, set(seen) - kept), replace(wanted, inner=inner & kept))
        size = tokenizer.get_vocab_size()
        if size == wanted.size:
            return tokenizer, kept
        if limit == room:
            break
    raise UsageError(
        f"a {wanted.kind} vocabulary of {wanted.size:,} tokens is larger than the corpus supports: its {seen.total():,} characters give "
        f"{size:,} tokens that occur at least {RARE} times",
        hint=f"set vocab_size: {size} or less, or add text",
    )


class _Cleaned:
    """Texts as the tokenizer will read them, with spaces for characters that get no token; starts anew at each `iter`."""

    def __init__(self, documents: Iterable[str], wanted: Wanted, dropped: set[str]) -> None:
        self._documents, self._normalizer = documents, normalizer(wanted.kind, wanted.lower_case)
        self._table = {} if wanted.kind == "byte_bpe" else {ord(letter): " " for letter in dropped}

    def __iter__(self) -> Iterator[str]:
        for text in self._documents:
            yield self._normalizer.normalize_str(text).translate(self._table)


def _count(documents: Iterable[str], wanted: Wanted) -> tuple[Counter[str], int]:
    """How often each character occurs that a vocabulary of this kind can hold, and how many texts there are."""
    seen: Counter[str] = Counter()
    clean, read = normalizer(wanted.kind, wanted.lower_case), 0
    for text in documents:
        seen.update(clean.normalize_str(text))
        read += 1
    for letter in [letter for letter in seen if letter.isspace() and (letter != "\n" or wanted.kind in PIECES)]:
        del seen[letter]
    return seen, read


def _alphabet(seen: Counter[str], inner: frozenset[str], limit: int) -> set[str]:
    """Characters that get a token: the most frequent, none that occur once, with their inner forms in at most `limit` tokens."""
    kept: set[str] = set()
    for letter, count in sorted(seen.items(), key=lambda item: (-item[1], item[0])):
        limit -= 2 if letter in inner else 1
        if limit < 0 or count < RARE:
            break
        kept.add(letter)
    return kept or {min(seen, key=lambda letter: (-seen[letter], letter))}


def _add_ends(tokenizer: Any, special: SpecialTokens) -> None:
    """Special tokens are never split, and stand around a text as the family has them."""
    from tokenizers import AddedToken, processors

    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (*special.first, *special.last)])
    if special.after is None:
        return
    one = " ".join(part for part in (special.before, "$A", special.after) if part)
    numbered = [(name, tokenizer.token_to_id(name)) for name in (special.before, special.after) if name]
    two = f"{one} $B:1 {special.after}:1"
    tokenizer.post_processor = processors.TemplateProcessing(single=one, pair=two, special_tokens=numbered)


def _write(tokenizer: Any, special: SpecialTokens, family: Family, max_length: int, staging: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    names = ["input_ids", "token_type_ids", "attention_mask"] if family == "encoder" else ["input_ids", "attention_mask"]
    settings: dict[str, Any] = {"model_max_length": max_length, "model_input_names": names, "padding_side": "right", **special.roles}
    if special.last:
        settings["extra_special_tokens"] = list(reversed(special.last))
    with quiet():
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(staging)
