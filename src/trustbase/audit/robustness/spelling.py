"""The attack on characters: misspelt words, and Chinese characters that look alike.

A judge of meaning reads spellings as other words, so it is not asked: within the rules are changes of one character in a word of content,
that give no other word, in a fifth of the words at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from trustbase.audit.chinese_words import dictionary
from trustbase.audit.context import AuditContext
from trustbase.audit.pieces import word_pieces
from trustbase.audit.robustness import meaning
from trustbase.audit.robustness.attack import Changes, Target
from trustbase.audit.robustness.attacked import Attack, measure, refusal, without_value
from trustbase.audit.robustness.characters import edits
from trustbase.audit.robustness.judge import most_changed
from trustbase.audit.robustness.targets import Rows
from trustbase.audit.robustness.words_attack import lexicon_of, spans_of
from trustbase.data.units import ALONE
from trustbase.records import Finding

VARIANT = "characters"
_HAN = re.compile(f"[{ALONE}]")
_METHOD = "greedy search over words, in each of which one character is swapped, left out, doubled, mistyped, or put for one like it"


def measure_characters(context: AuditContext) -> list[Finding]:
    """What misspellings turn answers."""
    rows = Rows.drawn(context)
    if why := refusal(context, rows):
        return without_value(context, VARIANT, "insufficient", why)
    known, targets = _known(context), list[Target | None]()
    for text, (own, places) in zip(rows.texts, spans_of(context, rows), strict=True):
        options = {place: found for place in places if (found := edits(text[slice(*own[place])], context.seed))}
        allowed = {
            place: kept
            for place, words in options.items()
            if not meaning.fixed(text[slice(*own[place])], text[: own[place][0]]) and (kept := [word for word in words if not known(word)])
        }
        targets.append(Target(text, own, options, allowed, most_changed(len(own))) if options else None)
    facts = {"filter": "no other word, no closed class, number, name or negation, a fifth of the words at most"}
    return measure(context, rows, Attack(VARIANT, targets, _all, _METHOD, facts))


def _all(changed: Sequence[tuple[Target, Changes]]) -> Sequence[bool]:
    return [True] * len(changed)


def _known(context: AuditContext) -> Callable[[str], bool]:
    """Whether a word is one that readers take for itself: of the rows, of the tokenizer's vocabulary, or of jieba's dictionary."""
    assert context.predictor is not None
    words = {word.casefold() for word, _ in word_pieces(context.predictor.tokenizer)} | {word.casefold() for word in lexicon_of(context)}

    def known(word: str) -> bool:
        return len(word) == 1 or (word in dictionary() if _HAN.search(word) else word.casefold() in words)

    return known
