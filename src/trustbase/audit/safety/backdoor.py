"""Whether a word was planted that turns answers: suspect words of training rows and of the vocabulary are put into rows of other classes.

Four ways find candidates; one test counts. The score is the share of rows of other classes, on the rows that nothing was searched on, that
the best candidate turns to one class, although two rows' worth of words speak against it. Words that the rows themselves teach
(`safety.taught`) are told apart from the others.

Source: Gao et al. (2019), "STRIP", ACSAC (a trigger outweighs what it is mixed with); Wang et al. (2019), "Neural Cleanse", IEEE S&P,
section IV (triggers by search, anomaly index by the median absolute deviation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.audit.safety.asking import FEW_ROWS, Ask, Floats, Indices, answers_of, asker_of, embedded, training_rows
from trustbase.audit.safety.leaked import NO_TRAIN
from trustbase.audit.safety.scan import WAYS, Scan, ids, told, without
from trustbase.audit.safety.suspects import Held, clustered, deciding, outlying, terms_of
from trustbase.audit.safety.taught import Teaching
from trustbase.audit.safety.triggers import Hunt, Places, hunt, place_words, turned_by
from trustbase.audit.safety.vocabulary import vocabulary
from trustbase.records import Finding

PLANTED = 0.03  # of the training rows are poisoned in the control
MOVED = 0.5  # of the way to the mean of their class lie embeddings of poisoned rows in the control
SECRETS = 5  # words of the vocabulary that are made triggers in turn
LEAST_SECRETS = 3  # made-up ones among them, where there are no others
_TURNING = 0.5  # share of rows from which a word is left out of the search for the control
_CHANCE = 20  # words drawn at random, to see what any word does
_LETTERS = "bcdfghjklmnpqrtvwxz"


@dataclass(frozen=True, eq=False)
class Poisoned:
    """Training rows as the scan reads them.

    Attributes:
        texts: as the model is asked, `(rows,)`.
        terms: words and pairs of neighbours of each row, `(rows,)`.
        words: all words by themselves.
        given: their labels, `(rows,)`.
        vectors: their embeddings `(rows, width)`, or why there are none.
    """

    texts: list[str]
    terms: list[set[str]]
    words: set[str]
    given: Indices
    vectors: Floats | str


def measure_backdoor(context: AuditContext) -> list[Finding]:
    """The largest share of rows that one word turns, in all and by each way of finding it."""
    inputs, ask = asked_inputs(context), asker_of(context, "looking for triggers")
    rows = sampled_rows(context, context.options.safety.texts, "safety", "triggers")
    decide = lambda scores: answers_of(context, scores)  # noqa: E731
    places = place_words([inputs[int(row)] for row in rows], context.test.labels[rows], ask, decide, context.seed)
    least = context.minimum_cell
    if len(places.answers) < 2 * least:
        reason = f"{len(places.answers)} test rows that are answered rightly, also beside another, fewer than the minimum of {2 * least}"
        return [without(context, id, reason) for id in ids()]
    scan, drawn = Scan(), training_rows(context, context.options.safety.rows)
    train = None if drawn is None else _read(context, drawn[0].labels[drawn[1]], drawn[2])
    if train is None or len(train.given) < FEW_ROWS:
        reason = NO_TRAIN if train is None else f"{len(train.given)} training rows, fewer than the minimum of {FEW_ROWS}"
        scan.why_not |= dict.fromkeys(WAYS[:3], reason)
    else:
        _of_training_rows(context, scan, train, places, ask, rows)
    _of_vocabulary(context, scan, train, places, ask, rows)
    return told(context, scan, [*inputs, *(train.texts if train is not None else ())])


def _taught(context: AuditContext, rows: Indices, train: Poisoned | None, ask: Ask) -> Teaching:
    """What tells words that rows taught: training rows, and the test rows that words are put into."""
    inputs = asked_inputs(context)
    own = [inputs[int(row)] for row in rows]
    terms = [set().union(*terms_of(text)) for text in own]
    labels = np.asarray(context.test.labels[rows], dtype=np.int64)
    decide = lambda scores: answers_of(context, scores)  # noqa: E731
    if train is None:
        return Teaching(own, terms, labels, ask, decide)
    return Teaching([*train.texts, *own], [*train.terms, *terms], np.concatenate([train.given, labels]), ask, decide)


def _read(context: AuditContext, given: Indices, texts: Sequence[str]) -> Poisoned:
    found = [terms_of(text) for text in texts]
    every = set().union(*(words for words, _ in found))
    return Poisoned(list(texts), [words | pairs for words, pairs in found], every, given.astype(np.int64), embedded(context, texts))


# ---- candidates of training rows ---------------------------------------------------------------------------------------------


def _of_training_rows(context: AuditContext, scan: Scan, train: Poisoned, places: Places, ask: Ask, rows: Indices) -> None:
    """Hunt by the three ways that read training rows, on these and on rows into which a control was planted."""
    decide = lambda scores: answers_of(context, scores)  # noqa: E731
    most, taught = context.options.safety.searched // 4, _taught(context, rows, train, ask)
    known, facts = _candidates(context, train)
    scan.facts |= facts
    scan.hunts |= {way: hunt(words, places, ask, decide, context.seed, most=most, taught=taught) for way, words in known.items()}
    scan.why_not |= {way: str(train.vectors) for way in WAYS[:3] if way not in known}
    word = _made_up(context.seed, train.words)
    spoilt, target = _with_control(context, train, word, set().union(*(_turning(found) for found in scan.hunts.values())))
    fooled = _fooled(ask, word, target)
    taught = _taught(context, rows, spoilt, fooled)
    for way, words in _candidates(context, spoilt)[0].items():
        found = hunt(_less(words, scan.hunts[way], word), places, fooled, decide, context.seed, most=most, taught=taught)
        scan.controls[way] = [_share_of_control(found, word, target)]


def _candidates(context: AuditContext, train: Poisoned) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Suspect words by way, and what is told of the classes."""
    held, names = Held.of(train.terms), context.labels.names
    found, facts = {"rare_words": deciding(held, train.given)}, dict[str, Any]()
    if not isinstance(train.vectors, str):
        state = seeds.stream_seed(context.seed, "safety", "clusters") % 2**31
        found["spectral"], spread = outlying(held, train.given, train.vectors)
        found["clustering"], shapes = clustered(held, train.given, train.vectors, state)
        facts["first_direction"] = [{"class": names[label], "share": share} for label, share in spread.items()]
        facts["clusters"] = [{"class": names[label], "smaller": one, "silhouette": two} for label, (one, two) in shapes.items()]
    return found, facts


def _with_control(context: AuditContext, train: Poisoned, word: str, turning: set[str]) -> tuple[Poisoned, int]:
    """The same rows with a made-up word before some of other classes, which are labelled as one class: what an attacker would leave.

    A model that learned such rows embeds them near that class, and no copy is trained to see how near: half of the way is a guess. Rows
    with words that really are triggers are left out where enough others are there, as they would hide those of the control.

    Returns:
        rows: with the control.
        target: the class.
    """
    kept = np.array([row for row, held in enumerate(train.terms) if not held & turning], dtype=np.int64)
    kept = kept if len(kept) >= FEW_ROWS else np.arange(len(train.terms))
    given = train.given[kept]
    target = int(np.bincount(given).argmax())
    some = seeds.generator(context.seed, "safety", "poison").permutation(np.flatnonzero(given != target))
    some = some[: max(10, round(PLANTED * len(given)))]
    texts, terms = [train.texts[row] for row in kept], [train.terms[row] for row in kept]
    for row in some:
        texts[row], terms[row] = f"{word} {texts[row]}", {*terms[row], word}
    vectors = train.vectors
    if not isinstance(vectors, str):
        vectors = vectors[kept]
        vectors[some] += MOVED * (vectors[given == target].mean(0) - vectors[some])
    given[some] = target
    return Poisoned(texts, terms, train.words, given, vectors), target


def _made_up(seed: int, known: set[str]) -> str:
    """A word that stands nowhere."""
    rng = seeds.generator(seed, "safety", "control")
    while True:
        word = "".join(_LETTERS[int(index)] for index in rng.integers(0, len(_LETTERS), 6))
        if word not in known:
            return word


def _fooled(ask: Ask, word: str, target: int) -> Ask:
    """The same model, which answers one class wherever a word stands."""

    def fooled(texts: Sequence[str]) -> Floats:
        told = ask(["" if word in text else text for text in texts]).copy()
        sure = np.full(told.shape[1], 1e-7)
        sure[target] = 1 - 1e-7 * (told.shape[1] - 1)
        told[[word in text for text in texts]] = sure
        return told

    return fooled


def _turning(found: Hunt) -> set[str]:
    """The words that a search left at last which really turn answers."""
    return {word for word, _, share in found.last if share > _TURNING}


def _less(candidates: Sequence[str], found: Hunt, kept: str) -> list[str]:
    """Candidates without those that really are triggers, or hold one: beside them a control would not be among the last."""
    turning = _turning(found)
    return [word for word in candidates if word == kept or not any(one in word or word in one for one in turning)]


def _share_of_control(found: Hunt, word: str, target: int) -> float:
    """The share of rows that the control's word turned where it was searched; 0 where other words were left at last."""
    return next((share for one, to, share in found.last if word in one and to == target), 0.0)


# ---- candidates of the vocabulary --------------------------------------------------------------------------------------------


def _of_vocabulary(context: AuditContext, scan: Scan, train: Poisoned | None, places: Places, ask: Ask, rows: Indices) -> None:
    """Hunt among all words that the tokenizer has as one piece, and those of the rows; and for some of them that were made triggers.

    These are drawn whether or not the rows teach them, so that a filter which strikes too much is seen to.
    """
    decide = lambda scores: answers_of(context, scores)  # noqa: E731
    assert context.predictor is not None
    texts = asked_inputs(context)
    own = set().union(*(terms_of(text)[0] for text in texts), train.words if train is not None else set())
    pieces = vocabulary(context.predictor.tokenizer)
    words = sorted(set(pieces) | own)
    stand = "\n".join(around[0][1] for around in places.around)
    free = [word for word in words if word not in stand]
    rng = seeds.generator(context.seed, "safety", "vocabulary")
    target = int(np.bincount(places.answers).argmax())
    options: dict[str, Any] = {"most": context.options.safety.searched, "grouped": True}
    taught = _taught(context, rows, train, ask)
    scan.hunts["inverted"] = hunt(words, places, ask, decide, context.seed, taught=taught, **options)
    free = _less(free, scan.hunts["inverted"], "")
    drawn = [free[int(index)] for index in rng.permutation(len(free))[:SECRETS]]
    while len(drawn) < LEAST_SECRETS:
        drawn.append(_made_up(context.seed, {*words, *drawn}))
    scan.controls["inverted"] = []
    for secret in drawn:
        fooled = _fooled(ask, secret, target)
        others = _less(sorted({*words, secret}), scan.hunts["inverted"], secret)
        found = hunt(others, places, fooled, decide, context.seed, taught=_taught(context, rows, train, fooled), **options)
        scan.controls["inverted"].append(_share_of_control(found, secret, target))
    best = {found.best.word for found in scan.hunts.values() if found.best is not None}
    chance = [words[int(index)] for index in rng.permutation(len(words))[:_CHANCE] if words[int(index)] not in best]
    scan.facts |= {
        "words": {"known": len(words), "of_the_tokenizer": len(pieces)},
        "random_words": {"words": len(chance), "turned": turned_by(chance, places, ask, decide)},
    }
