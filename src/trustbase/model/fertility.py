"""What a tokenizer makes of a language: tokens per word and character, unknowns, coverage; beside those of a base model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import util
from itertools import islice
from typing import Any

from trustbase.errors import DataError, UsageError

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_CHUNK = 1000


@dataclass(frozen=True)
class Fertility:
    """What a tokenizer makes of texts in one language; special tokens are not counted.

    Attributes:
        texts: texts read.
        words: words in them: by jieba where Han characters stand, else runs of letters and digits.
        characters: characters, without spaces.
        tokens: tokens.
        tokens_per_word: fertility; 1 is a token for each word (signs are tokens too, but no words).
        tokens_per_character: the shorter a text gets, the lower.
        unknown_tokens: share of tokens that are unknown, in [0, 1].
        covered_characters: share of the characters that are not inside an unknown token, in [0, 1].
        whole_words: share of the words that are one known token, in [0, 1].
        used_vocabulary: share of the vocabulary that occurs, in [0, 1].
    """

    texts: int
    words: int
    characters: int
    tokens: int
    tokens_per_word: float
    tokens_per_character: float
    unknown_tokens: float
    covered_characters: float
    whole_words: float
    used_vocabulary: float


def tokenizer_report(
    tokenizer: Any, documents: Mapping[str, Iterable[str]], *, base: Any | None = None, most_texts: int = 2000
) -> dict[str, Any]:
    """Fertility, unknowns and coverage for each language, beside those of a base model's tokenizer.

    Args:
        tokenizer: from `load_tokenizer`.
        documents: texts by language, such as `{"zh": …, "en": …}`; the first `most_texts` of each are read.
        base: another tokenizer, asked about the same texts.
        most_texts: enough for three digits, few enough for a second or two.

    Returns:
        `{"vocab_size", "languages": {language: {…}}, "base": the same of the other or None, "how"}`.

    Raises:
        DataError: a language without words.
        UsageError: Chinese texts, and no segmenter is installed.
    """
    texts = {language: list(islice(iter(some), most_texts)) for language, some in documents.items()}
    how = "words by jieba where Han characters stand, else runs of letters and digits; special tokens are not counted"
    return {**_side(tokenizer, texts), "base": None if base is None else _side(base, texts), "how": how}


def fertility(tokenizer: Any, texts: list[str], *, language: str = "these texts") -> Fertility:
    """What a tokenizer makes of texts.

    Raises:
        DataError: there is no word in them.
        UsageError: Chinese texts, and no segmenter is installed.
    """
    backend, unknown = tokenizer.backend_tokenizer, tokenizer.unk_token_id
    tokens = unknown_tokens = lost = 0
    used: set[int] = set()
    for start in range(0, len(texts), _CHUNK):
        part = texts[start : start + _CHUNK]
        for text, encoding in zip(part, backend.encode_batch(part, add_special_tokens=False), strict=True):
            tokens += len(encoding.ids)
            used.update(encoding.ids)
            if unknown is not None and unknown in encoding.ids:
                spans = [span for number, span in zip(encoding.ids, encoding.offsets, strict=True) if number == unknown]
                unknown_tokens += len(spans)
                lost += sum(_visible(text[begin:end]) for begin, end in spans)
    words = [word for text in texts for word in _words(text)]
    characters = sum(_visible(text) for text in texts)
    if not words or not tokens:
        raise DataError(f"{language}: {len(texts)} texts hold no word", hint="give texts of this language")
    return Fertility(
        texts=len(texts),
        words=len(words),
        characters=characters,
        tokens=tokens,
        tokens_per_word=tokens / len(words),
        tokens_per_character=tokens / characters,
        unknown_tokens=unknown_tokens / tokens,
        covered_characters=1 - lost / characters,
        whole_words=_whole(backend, words, unknown) / len(words),
        used_vocabulary=len(used) / backend.get_vocab_size(),
    )


def _side(tokenizer: Any, texts: Mapping[str, list[str]]) -> dict[str, Any]:
    rows = {language: asdict(fertility(tokenizer, some, language=language)) for language, some in texts.items()}
    return {"vocab_size": len(tokenizer), "languages": rows}


def _whole(backend: Any, words: list[str], unknown: int | None) -> int:
    """How many of the words are one known token."""
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    distinct = list(counts)
    found = 0
    for word, encoding in zip(distinct, backend.encode_batch(distinct, add_special_tokens=False), strict=True):
        found += counts[word] if len(encoding.ids) == 1 and encoding.ids[0] != unknown else 0
    return found


def _visible(text: str) -> int:
    return sum(not letter.isspace() for letter in text)


def _words(text: str) -> list[str]:
    if not _HAN.search(text):
        return _WORD.findall(text)
    if util.find_spec("jieba") is None:
        raise UsageError("Chinese words cannot be counted: jieba is not installed", hint='pip install "trustbase[zh]"')
    import jieba

    jieba.setLogLevel(60)  # it reports its dictionary on standard error otherwise
    return [word for word in jieba.cut(text) if _WORD.fullmatch(word)]
