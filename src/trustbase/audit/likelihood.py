"""Which of two sentences that differ only in a group term a base model finds likelier, and whether it goes with a stereotype.

Measurements of association in the model's likelihood. They say nothing about what an application makes of it, and nothing about harm:
a model may carry an association and never act on it, and the sets hold some sentences of very many.

Source: Nangia et al. (2020), CrowS-Pairs, EMNLP, section 3 (sentence pairs by pseudo-likelihood); Salazar et al. (2020), Masked language
model scoring, ACL, section 2.2. What is compared is the likelihood per token, since terms differ in their number of tokens; how common a
term is by itself is a part of the gap, and cancels in the association.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trustbase.audit import stats
from trustbase.audit.catalogue import PAIR_SETS
from trustbase.audit.language_context import LanguageContext
from trustbase.audit.pair_sets import SIDES, Pair, PairSet, read_pairs
from trustbase.audit.stats import Floats, Interval, enclosing
from trustbase.records import Finding, Status

MOST_UNKNOWN = 0.20  # share of unknown tokens over which nothing is asked of a model about a language
_LEAST_SPOKEN = 0.01  # share of the corpus in a language, under which the model is not taken to have learned it
_WELCH = "Welch (1947), Biometrika 34 (difference of two means of unequal variance)"
_SOURCE = "Nangia et al. (2020), CrowS-Pairs, section 3; Salazar et al. (2020), section 2.2"
NO_WORDS = "this model has no head that predicts words, so it does not say how likely a text is"

Refusal = tuple[Status, str]


def audit_language(context: LanguageContext) -> list[Finding]:
    """Two findings for each set of pairs that the model can read; means of templates and terms go to `evidence/fairness.json`."""
    findings: list[Finding] = []
    evidence: dict[str, Any] = {}
    for number, name in enumerate(PAIR_SETS):
        context.emit("progress", what="asking pairs of sentences", done=number, total=len(PAIR_SETS))
        made, about = _of_set(context, read_pairs(name))
        findings += made
        evidence[name] = about
    context.emit("progress", what="asking pairs of sentences", done=len(PAIR_SETS), total=len(PAIR_SETS))
    note = "association in the model's likelihood, in nats per token; positive: the first group's sentence is likelier"
    context.evidence.write("fairness", {"note": note, "measure": measure_of(context), "confidence": context.confidence, "sets": evidence})
    return findings


def measure_of(context: LanguageContext) -> str:
    """What the model's likelihood is, in words."""
    causal = getattr(context.predictor.runtime, "way", None) == "causal"
    return "log-likelihood by the chain rule" if causal else "pseudo-log-likelihood, each token masked alone"


def gives_likelihood(context: LanguageContext) -> bool:
    """Whether the model says how likely a text is."""
    return "log_likelihood" in context.predictor.runtime.outputs


def _of_set(context: LanguageContext, known: PairSet) -> tuple[list[Finding], dict[str, Any]]:
    ids = [f"fairness.likelihood_{metric}[{known.name}]" for metric in ("gap", "association")]
    about: dict[str, Any] = {"language": known.language, "about": known.about, "pairs": len(known.pairs)}
    refusal = _refusal(context, known)
    pairs: list[Pair] = []
    if refusal is None:
        pairs, unknown = readable(context, known.pairs)
        about |= {"unknown_tokens": unknown, "left_out": len(known.pairs) - len(pairs)}
        refusal = _unreadable(context, known, pairs, unknown)
    if refusal is not None:
        status, reason = refusal
        made = [Finding.without_value(id, status, reason, confidence=context.confidence) for id in ids]
        return made, {**about, "status": status, "reason": reason}
    differences = _differences(context, pairs)
    owner = np.array([pair.template for pair in pairs])
    numbers = np.unique(owner)
    means = np.array([differences[owner == number].mean() for number in numbers])
    sides = np.array([known.templates[number][0] for number in numbers])
    gap = absolute(stats.mean(means, confidence=context.confidence))
    association = half_difference(means[sides == "first"], means[sides == "second"], confidence=context.confidence)
    about |= _aggregates(known, pairs, differences, means, sides)
    measure, tail = measure_of(context), "templates as drawn, terms as given; an association in the model's likelihood, nothing more"
    common = {"confidence": context.confidence, "unit": "nats per token"}
    texts = (
        f"absolute mean difference of {measure} within {len(pairs)} pairs; how common the terms are is part of it; {gap.method}; {tail}",
        f"half the difference between sentences typical of the first and of the second group, {measure}; {association.method}; {tail}",
    )
    made = [
        Finding(id, part.value, part.low, part.high, part.n, direction=direction, method=text, source=f"{_SOURCE}; {part.source}", **common)  # type: ignore[arg-type]
        for id, part, direction, text in zip(ids, (gap, association), ("lower", "none"), texts, strict=True)
    ]
    return made, about


def _refusal(context: LanguageContext, known: PairSet) -> Refusal | None:
    """Why a set is not asked at all."""
    if not gives_likelihood(context):
        return "not_applicable", NO_WORDS
    new = context.artifact.base == "random weights"  # a base that went on may speak more than this corpus
    spoken = _spoken(context.card, known.language) if new else None
    if spoken is not None and spoken < _LEAST_SPOKEN:
        return (
            "not_applicable",
            f"{spoken:.1%} of the corpus is in the language of these sentences ({known.language}), under {_LEAST_SPOKEN:.0%}",
        )
    return None


def _unreadable(context: LanguageContext, known: PairSet, pairs: Sequence[Pair], unknown: float) -> Refusal | None:
    if unknown > MOST_UNKNOWN:
        return "not_applicable", f"{unknown:.1%} of the tokens of these sentences are unknown to the model, over {MOST_UNKNOWN:.0%}"
    sides = [known.templates[number][0] for number in {pair.template for pair in pairs}]
    if len(pairs) < context.minimum_cell or min(sides.count(side) for side in SIDES) < 2:
        rest = "the others have a term that is unknown, or are longer than the model reads"
        return (
            "insufficient",
            f"{len(pairs)} pairs can be read, fewer than the minimum of {context.minimum_cell} or too few of a kind; {rest}",
        )
    return None


def _spoken(card: Mapping[str, Any], language: str) -> float | None:
    """Share of the corpus' documents in a language; None where its card does not say."""
    counts: Mapping[str, int] = (card.get("languages") or {}).get("documents") or {}
    kept = (card.get("options") or {}).get("languages")
    total = sum(count for name, count in counts.items() if not kept or name in kept)
    return (counts.get(language, 0) if not kept or language in kept else 0) / total if total else None


def readable(context: LanguageContext, pairs: Sequence[Pair]) -> tuple[list[Pair], float]:
    """Pairs that are read whole and whose terms are known, and the share of unknown tokens of all their sentences."""
    tokenizer = context.predictor.tokenizer
    inner, unknown = tokenizer.backend_tokenizer, tokenizer.unk_token_id
    texts = [text for pair in pairs for text in (pair.first, pair.second)]
    made = inner.encode_batch(texts, add_special_tokens=True)
    fits = [len(item.ids) < context.artifact.max_length for item in made]  # one token is left for a start token
    clear = []
    counted = np.zeros(2, np.int64)
    for number, (item, text, other) in enumerate(zip(made, texts, _others(texts), strict=True)):
        inside = [place for place, special in enumerate(item.special_tokens_mask) if not special or item.ids[place] == unknown]
        counted += [sum(item.ids[place] == unknown for place in inside), len(inside)]
        start = pairs[number // 2].start
        end = len(text) - _common_end(text[start:], other[start:])
        hit = [place for place in inside if item.ids[place] == unknown and item.offsets[place][0] < end and item.offsets[place][1] > start]
        clear.append(not hit)
    kept = [pair for number, pair in enumerate(pairs) if all(fits[2 * number : 2 * number + 2]) and all(clear[2 * number : 2 * number + 2])]
    return kept, float(counted[0] / max(1, counted[1]))


def _others(texts: Sequence[str]) -> list[str]:
    """For each sentence the other of its pair."""
    return [texts[number ^ 1] for number in range(len(texts))]


def _common_end(text: str, other: str) -> int:
    """How many characters two texts have in common at their ends."""
    most = min(len(text), len(other))
    return next((count for count in range(most) if text[-1 - count] != other[-1 - count]), most)


def _differences(context: LanguageContext, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """Likelihood per token of each first sentence less that of the second, in nats, `(pairs,)`."""
    texts = [text for pair in pairs for text in (pair.first, pair.second)]
    found = np.array(context.asking.ask("log_likelihood", texts, what="asking sentences"))  # the progress told is that of the sets
    each = found[:, 0] / found[:, 1]
    return np.asarray(each[0::2] - each[1::2])


def absolute(interval: Interval) -> Interval:
    """The interval of an absolute value, from that of a value of either sign: it covers at least as often."""
    low, high = interval.low, interval.high
    least = max(0.0, low, -high)
    return enclosing(least, abs(interval.value), max(abs(low), abs(high)), interval.method, interval.source, interval.n)


def half_difference(first: Floats, second: Floats, *, confidence: float = 0.95) -> Interval:
    """Half the difference of two means, with Welch's t interval.

    Args:
        first, second: two values or more, each.

    Source: Welch (1947), Biometrika 34.
    """
    parts = [float(values.var(ddof=1)) / len(values) for values in (first, second)]
    value = (float(first.mean()) - float(second.mean())) / 2
    total = sum(parts)
    freedom = total**2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)) if total else 1.0
    half = float(special.stdtrit(freedom, 0.5 + confidence / 2)) * math.sqrt(total) / 2
    return enclosing(value - half, value, value + half, "Welch's t interval", _WELCH, len(first) + len(second))


def _aggregates(
    known: PairSet, pairs: Sequence[Pair], differences: NDArray[np.float64], means: NDArray[np.float64], sides: NDArray[np.str_]
) -> dict[str, Any]:
    """Means of everything that is the set's own: no text of anybody's stands here."""
    side = np.array([known.templates[pair.template][0] for pair in pairs])
    term = np.array([pair.terms for pair in pairs])
    return {
        "templates": len(means),
        "mean_difference": float(means.mean()),
        "first_preferred": float((differences > 0).mean()),
        "equal": float((differences == 0).mean()),
        "by_side": {
            name: {
                "templates": int((sides == name).sum()),
                "mean_difference": float(means[sides == name].mean()),
                "first_preferred": float((differences[side == name] > 0).mean()),
            }
            for name in SIDES
        },
        "by_terms": [
            {"first": first, "second": second, "mean_difference": float(differences[term == number].mean())}
            for number, (first, second) in enumerate(known.terms)
            if (term == number).any()
        ],
    }
