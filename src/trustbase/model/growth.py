"""New tokens for a vocabulary that exists: learned from texts by merging on, and put into `tokenizer.json`.

Tokens go into the vocabulary itself and not among the "added tokens", which are cut out of a text before it is split into
words and would tear longer words apart.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from trustbase.errors import ModelError, Problem, UsageError
from trustbase.model.trainers import RARE, merges_of

Pair = tuple[str, str]


@dataclass
class Growth:
    """What is added: tokens in order, the merges that make them (BPE), and how often each was seen."""

    tokens: list[str] = field(default_factory=list)
    merges: list[Pair] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    total: int = 1  # tokens of the texts, before

    def add(self, token: str, count: int, known: set[str], merge: Pair | None = None) -> None:
        """Note a token and its merge; one that exists already is not counted again."""
        if merge is not None:
            self.merges.append(merge)
        if token not in known:
            known.add(token)
            self.tokens.append(token)
            self.counts[token] = count


def kind_of(tokenizer: Any) -> str:
    """`WordPiece`, `BPE` or `Unigram`.

    Raises:
        ModelError: a model that cannot grow.
    """
    kind = type(tokenizer.model).__name__
    if kind not in ("WordPiece", "BPE", "Unigram"):
        raise ModelError(f"A vocabulary of kind {kind} cannot be extended", hint="extend a WordPiece, BPE or Unigram tokenizer")
    return kind


def learn_growth(tokenizer: Any, documents: Iterable[str], wanted: int) -> Growth:
    """Tokens that the texts need most: first characters that the vocabulary lacks, then merges of what it has.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
        documents: the texts, read once; their distinct words are kept in memory.
        wanted: how many tokens.

    Raises:
        UsageError: the texts support fewer.
    """
    words = _words(tokenizer, documents)
    known, kind = set(tokenizer.get_vocab(with_added_tokens=True)), kind_of(tokenizer)
    growth = Growth()
    lacking = _lacking(words, known, kind)
    for piece, count in sorted(lacking.items(), key=lambda item: (-item[1], item[0])):
        if count >= RARE and len(growth.tokens) < wanted:
            growth.add(piece, count, known)
    new = set(growth.tokens)
    split = [(_split(tokenizer, word, kind, known, new), count) for word, count in sorted(words.items())]
    growth.total = max(1, sum(len(pieces) * count for pieces, count in split))
    _merge_on([(pieces, count) for pieces, count in split if len(pieces) > 1], kind, known, growth, wanted)
    if len(growth.tokens) < wanted:
        raise UsageError(
            f"{wanted:,} new tokens are more than the texts support: they give {len(growth.tokens):,} that occur at least {RARE} times",
            hint=f"set add: {len(growth.tokens)} or less, or add text",
        )
    return growth


def name_growth(tokenizer: Any, names: Sequence[str]) -> Growth:
    """Tokens that somebody names: each must be one word to the tokenizer. BPE also gets the steps that lead to it.

    Raises:
        UsageError: some can never be met in a text; all of them are named.
    """
    known, kind = set(tokenizer.get_vocab(with_added_tokens=True)), kind_of(tokenizer)
    growth, problems = Growth(), []
    for name in names:
        words = _pre_tokenized(tokenizer, name)
        pieces = _split(tokenizer, words[0], kind, known, set()) if len(words) == 1 else []
        if len(words) != 1:
            problems.append(Problem(name, f"the tokenizer reads it as {len(words)} words ({' | '.join(words)}), so no token can hold it"))
        elif kind == "BPE" and len(pieces) > 1:
            for place in range(1, len(pieces)):
                merge = ("".join(pieces[:place]), pieces[place])
                growth.add("".join(merge), 1, known, merge)
        elif words[0] in known:
            problems.append(Problem(name, "the vocabulary has it already"))
        else:
            growth.add(words[0], 1, known)
    if problems:
        raise UsageError("Some tokens cannot be added", problems=problems, hint="remove them from add")
    return growth


def grown(tokenizer: Any, growth: Growth) -> Any:
    """A new `tokenizers.Tokenizer` that has the tokens too; ids of the old ones stay.

    Raises:
        ModelError: the ids of a Unigram vocabulary cannot go on.
    """
    from tokenizers import Tokenizer

    whole = json.loads(tokenizer.to_str())
    state = whole["model"]
    start = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
    if kind_of(tokenizer) == "Unigram":
        if start != len(state["vocab"]):
            hint = "extend another model"
            raise ModelError("The vocabulary cannot be extended: added tokens lie behind its Unigram pieces", hint=hint)
        # Unigram takes the likeliest split: a new piece is as likely as it is frequent in the new texts
        state["vocab"] += [[token, math.log(growth.counts[token] / growth.total)] for token in growth.tokens]
    else:
        state["vocab"].update({token: start + number for number, token in enumerate(growth.tokens)})
    if kind_of(tokenizer) == "BPE":
        state["merges"] = [list(pair) for pair in [*merges_of(state), *growth.merges]]
    return Tokenizer.from_str(json.dumps(whole, ensure_ascii=False))


def _words(tokenizer: Any, documents: Iterable[str]) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in documents:
        words.update(_pre_tokenized(tokenizer, text))
    return words


def _pre_tokenized(tokenizer: Any, text: str) -> list[str]:
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return [text]
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def letters(word: str, kind: str) -> list[str]:
    """A word as the smallest pieces of its kind: letters, under WordPiece with `##` before all but the first."""
    return [letter if kind != "WordPiece" or place == 0 else f"##{letter}" for place, letter in enumerate(word)]


def _lacking(words: Counter[str], known: set[str], kind: str) -> Counter[str]:
    lacking: Counter[str] = Counter()
    for word, count in words.items():
        for piece in letters(word, kind):
            if piece not in known:
                lacking[piece] += count
    return lacking


def _split(tokenizer: Any, word: str, kind: str, known: set[str], new: set[str]) -> list[str]:
    """A word as the old vocabulary splits it; where it cannot, or a new character is in it, by letters."""
    single = letters(word, kind)
    if any(letter not in known for letter in single):
        return []  # it stays unknown, and no merge can start from it
    if new.isdisjoint(single):
        pieces = [token.value for token in tokenizer.model.tokenize(word)]
        if all(piece in known for piece in pieces) and sum(len(piece.removeprefix("##")) for piece in pieces) == len(word):
            return pieces
    return single


def _join(pair: Pair, kind: str) -> str:
    return pair[0] + (pair[1].removeprefix("##") if kind == "WordPiece" else pair[1])


def _merge_on(split: list[tuple[list[str], int]], kind: str, known: set[str], growth: Growth, wanted: int) -> None:
    """Merge the most frequent neighbours again and again, as BPE training does, ties by spelling.

    Source: Sennrich, Haddow, Birch (2016), Neural machine translation of rare words with subword units, algorithm 1.
    """
    counts: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = defaultdict(set)
    for number, (pieces, count) in enumerate(split):
        for pair in pairwise(pieces):
            counts[pair] += count
            where[pair].add(number)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    while queue and len(growth.tokens) < wanted:
        negative, pair = heapq.heappop(queue)
        if counts[pair] != -negative:
            continue  # an older count of this pair
        if counts[pair] < RARE:
            break
        token = _join(pair, kind)
        growth.add(token, counts[pair], known, pair if kind == "BPE" else None)
        changed: set[Pair] = set()
        for number in where.pop(pair):
            pieces, count = split[number]
            after = _merged(pieces, pair, token)
            for old in pairwise(pieces):
                counts[old] -= count
                changed.add(old)
            for fresh in pairwise(after):
                counts[fresh] += count
                where[fresh].add(number)
                changed.add(fresh)
            split[number] = (after, count)
        for touched in sorted(changed - {pair}):
            if counts[touched] >= RARE:
                heapq.heappush(queue, (-counts[touched], touched))


def _merged(pieces: list[str], pair: Pair, token: str) -> list[str]:
    result: list[str] = []
    place = 0
    while place < len(pieces):
        if place + 1 < len(pieces) and (pieces[place], pieces[place + 1]) == pair:
            result.append(token)
            place += 2
        else:
            result.append(pieces[place])
            place += 1
    return result
