"""Which languages texts seem to be in: a guess for each text of a sample, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

_SAMPLED = 2_000  # texts of a split, evenly spaced: more would change a share by about one point
_READ = 1_000  # characters of a text
_LETTERS = 20  # fewer are not judged: short texts were taken for any language ("good" for Somali)
_DENSE_LETTERS = 4  # of scripts that write a syllable or a word with one sign (Han, Kana, Hangul)
_DENSE_FROM = "\u2e80"
_NAMED_FROM = 0.01  # rarer languages are mostly wrong guesses, and are counted together
OTHER = "other"
NOT_GUESSED = "not guessed"  # how `how` begins where no guess could be made


def guess_languages(texts: Sequence[str]) -> dict[str, Any]:
    """Share of each language among the texts that are long enough to be judged.

    Returns:
        `{"texts": {ISO 639-1 code: share}, "judged": texts, "sampled": texts, "how": …}`, languages by falling share; those under
        1 % together as "other". The same texts give the same shares. Where no guess could be made, none is judged and `how` says why.
    """
    step = max(len(texts) / _SAMPLED, 1.0)
    sample = [texts[int(i * step)][:_READ] for i in range(min(len(texts), _SAMPLED))]
    judged = [text for text in sample if _long_enough(text)]
    try:
        counts = Counter(map(_language, judged))
    except OSError as error:  # py3langid unpacks its model into a temporary file
        how = f"{NOT_GUESSED}: py3langid could not unpack its model into the folder for temporary files ({error.strerror or error})"
        return {"texts": {}, "judged": 0, "sampled": len(sample), "how": how}
    shares = {name: count / len(judged) for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))}
    named = {name: share for name, share in shares.items() if share >= _NAMED_FROM}
    rest = 1 - sum(named.values()) if len(named) < len(shares) else 0.0
    how = f"guessed by py3langid {version('py3langid')} for each of up to {_SAMPLED:,} texts; those of fewer than {_LETTERS} letters "
    how += f"({_DENSE_LETTERS} of Han, Kana or Hangul) are not judged; mixed, very formal or telegraphic texts are often misjudged"
    return {"texts": {**named, **({OTHER: rest} if rest else {})}, "judged": len(judged), "sampled": len(sample), "how": how}


def _long_enough(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return len(letters) >= _LETTERS or sum(character >= _DENSE_FROM for character in letters) >= _DENSE_LETTERS


def _language(text: str) -> str:
    import py3langid

    return str(py3langid.classify(text)[0])
