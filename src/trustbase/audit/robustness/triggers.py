"""Universal triggers: one to three words that, put before a text, turn the answers to as many rows of a label as can be found.

They are sought on one half of the rows, label by label, and counted on the other. What the model's own weights tell (the mean gradient at
the place of the trigger) proposes words where there are weights; else words that many rows share are tried. Every count is of the
artefact's own answers. A trigger that was made for the search to find, on a model that goes by it, is the control.

Source: Wallace et al. (2019), "Universal Adversarial Triggers for Attacking and Analyzing NLP", section 2 (search by first-order estimate).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit import stats
from trustbase.audit.context import AuditContext
from trustbase.audit.robustness.attack import Broken, Margins, margins
from trustbase.audit.robustness.candidates import Space
from trustbase.audit.robustness.controls import TURNED, turned
from trustbase.audit.robustness.gradient_swap import Lexicon, gradients, why_not
from trustbase.audit.robustness.targets import Rows, word_spans
from trustbase.data.units import alone
from trustbase.errors import ModelError
from trustbase.outputs.answers.base import decided
from trustbase.records import Finding

ID = "robustness.universal_trigger_flips"
SOURCE = "Wallace et al. (2019), EMNLP, section 2"
LONGEST = 3  # words
LEAST = 10  # rows of a label on either side
SHARED = 5  # rows that a word stands in at least, so that it is nobody's own
MOST_LABELS = 4  # the most frequent ones
_SEARCHED = 32  # rows of a label that every trigger is tried on
_WIDTH = 16  # words that are tried at each place

#: triggers → how firmly the truth is answered to the rows behind each, and whether it is not, `(triggers, rows)`
Try = Callable[[Sequence[tuple[str, ...]]], tuple[Margins, Broken]]
Propose = Callable[[tuple[str, ...]], Sequence[str]]  # a trigger whose last word is open → words for it, the likeliest first


@dataclass(frozen=True)
class Found:
    """The best trigger of a label.

    Attributes:
        words: of it.
        flips: share of the rows of the search whose answer it turned.
        tried: triggers in all.
    """

    words: tuple[str, ...]
    flips: float
    tried: int


def find_trigger(attempt: Try, propose: Propose, budget: int, longest: int = LONGEST) -> Found:
    """Add words one by one, each the best of those proposed at its place, while the trigger gets better.

    Args:
        attempt: tries triggers.
        propose: names words for the next place.
        budget: most triggers that are tried.
        longest: words of a trigger.
    """
    best: tuple[float, float, tuple[str, ...]] = (-1.0, -np.inf, ())
    tried = 0
    for place in range(longest):
        left = (budget - tried) // (longest - place)
        words = list(dict.fromkeys(propose(best[2])))[: max(1, left)]
        if not words or tried >= budget:
            break
        triggers = [(word, *best[2]) for word in words]
        values, broken = attempt(triggers)
        tried += len(triggers)
        told = [(float(b.mean()), -float(m.mean()), t) for t, m, b in zip(triggers, values, broken, strict=True)]
        better = max(told, key=lambda item: item[:2])
        if better[:2] <= best[:2]:
            break
        best = better
        if best[0] == 1:
            break
    return Found(best[2], max(best[0], 0.0), tried)


def measure_triggers(context: AuditContext) -> list[Finding]:
    """The share of other rows of its label that the best trigger turns."""
    rows = Rows.drawn(context)
    halves = _halves(context, rows)
    if not halves:
        return [
            _none(context, f"no label has {2 * LEAST} rows that are answered rightly, so that triggers cannot be sought and counted apart")
        ]
    counted = turned(context, rows)
    if counted is None or counted[0] < TURNED * counted[1]:
        return [_none(context, "control not found: texts of another label beside a row turn no answers, so a trigger could not either")]
    budget, words = context.options.robustness.queries, _common_words(context, rows)
    if not words:
        return [_none(context, f"no word stands in {SHARED} rows, and there would be nothing to try")]
    if not _control(words, budget, context.seed):
        return [_none(context, f"control not found: the search missed a trigger that was made for it, with {budget} tries")]
    propose, note = _proposals(context, rows, words)
    found = [_of_label(context, rows, label, half, propose(half[0]), budget) for label, half in halves.items()]
    context.evidence.write(
        "robustness.universal_trigger", {"labels": [row for _, row in found], "proposals": note, "tries_of_a_label": budget}
    )
    flips, row = max(found, key=lambda item: item[1]["flips_in_search"])
    method = (
        f"sought on {row['searched']} rows of label '{row['label']}', counted on {row['counted']} others; of {len(found)} labels "
        f"the one whose rows turned most often in the search; words proposed by {note}; at most {budget} triggers a label"
    )
    finding = stats.proportion(int(flips.sum()), len(flips), confidence=context.confidence).finding(
        ID, direction="lower", confidence=context.confidence, unit="share", seed=context.seed
    )
    return [replace(finding, method=f"{finding.method}; {method}", source=f"{finding.source}; {SOURCE}")]


def _none(context: AuditContext, reason: str) -> Finding:
    return Finding.without_value(ID, "insufficient", reason, direction="lower", confidence=context.confidence)


def _halves(context: AuditContext, rows: Rows) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to search on and rows to count on, of each of the most frequent labels; rows were drawn by content, so any half is a sample."""
    found: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    counts = Counter(rows.truth[rows.right].tolist())
    for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_LABELS]:
        if count >= 2 * LEAST:
            own = np.flatnonzero(rows.right & (rows.truth == label))
            found[label] = own[: count // 2][:_SEARCHED], own[count // 2 :]
    return found


def _of_label(
    context: AuditContext, rows: Rows, label: int, half: tuple[NDArray[np.int64], NDArray[np.int64]], propose: Propose, budget: int
) -> tuple[Broken, dict[str, Any]]:
    """Which of the other rows the best trigger of a label turns, and what the evidence says of it."""

    def attempt(triggers: Sequence[tuple[str, ...]]) -> tuple[Margins, Broken]:
        return _asked(context, rows, half[0], triggers)

    found = find_trigger(attempt, propose, budget)
    flips = _asked(context, rows, half[1], [found.words])[1][0]
    told = {
        "label": context.labels.names[label],
        "trigger": list(found.words),
        "flips_in_search": found.flips,
        "searched": len(half[0]),
        "flips": float(flips.mean()),
        "counted": len(flips),
        "tried": found.tried,
    }
    return flips, told


def _asked(context: AuditContext, rows: Rows, own: NDArray[np.int64], triggers: Sequence[tuple[str, ...]]) -> tuple[Margins, Broken]:
    """How firmly the truth is answered to rows behind each trigger, and whether it is not, `(triggers, rows)`."""
    assert context.askers is not None
    texts = [_behind(trigger, rows.texts[row]) for trigger in triggers for row in own.tolist()]
    scores = np.stack(context.askers.ask("class_scores", texts, what="trying triggers", emit=context.emit))
    truth = int(rows.truth[own[0]])
    shape = (len(triggers), len(own))
    broken = decided(scores, context.labels, context.decision, "classes") != truth
    return margins(scores, truth).reshape(shape), np.asarray(broken, dtype=bool).reshape(shape)


def _behind(trigger: Sequence[str], text: str) -> str:
    """A text behind a trigger; between words of scripts without blanks there are none."""
    pieces = [*trigger, text]
    return "".join(a if alone(a[-1:]) and alone(b[:1]) else f"{a} " for a, b in pairwise(pieces)) + text


def _common_words(context: AuditContext, rows: Rows) -> list[str]:
    """Words that stand in several rows, in an order that their content draws, the most frequent first."""
    columns = context.artifact.columns if context.artifact is not None else ()
    each = (dict.fromkeys(text[slice(*span)] for span in word_spans(text, columns)) for text in rows.texts)
    counts = Counter(word for word in chain.from_iterable(each) if word.isalpha())
    known = [word for word, count in counts.items() if count >= SHARED]
    return sorted(known, key=lambda word: (-counts[word], word))


def _control(words: Sequence[str], budget: int, seed: int) -> bool:
    """Whether the search finds the one word that turns a model which is made for it."""
    rng = seeds.generator(seed, "trigger control")
    tries = list(words[: max(1, budget // LONGEST)])
    secret = tries[int(rng.integers(len(tries)))]

    def attempt(triggers: Sequence[tuple[str, ...]]) -> tuple[Margins, Broken]:
        broken = np.array([[secret in trigger] * 4 for trigger in triggers])
        return np.where(broken, -0.5, 0.5), broken

    return find_trigger(attempt, lambda so_far: tries, budget).flips == 1.0


def _proposals(context: AuditContext, rows: Rows, words: Sequence[str]) -> tuple[Callable[[NDArray[np.int64]], Propose], str]:
    """What proposes words for the triggers of some rows, and how it does, in words."""
    assert context.predictor is not None

    def frequent(own: NDArray[np.int64]) -> Propose:
        return lambda so_far: words

    if why_not(context):
        return frequent, "how many rows they stand in"
    try:
        with context.predictor.white_box() as box:
            note = box.note
            lexicon = Lexicon(
                Space(box.tokenizer, box.model.get_input_embeddings().weight.detach().float().cpu().numpy(), "the model itself")
            )
    except ModelError:
        return frequent, "how many rows they stand in"

    def by_gradient(own: NDArray[np.int64]) -> Propose:
        def propose(so_far: tuple[str, ...]) -> Sequence[str]:
            steep = _steepest(context, rows, own, (words[0], *so_far), lexicon)
            return [word for pair in zip(steep, words, strict=False) for word in pair] + list(steep[len(words) :])

        return propose

    return by_gradient, f"the mean gradient at their place and how many rows they stand in, in turn ({note})"


def _steepest(context: AuditContext, rows: Rows, own: NDArray[np.int64], trigger: Sequence[str], lexicon: Lexicon) -> list[str]:
    """Words of which one in place of a trigger's first adds most to the mean loss of some rows."""
    assert context.predictor is not None
    encoded = context.predictor.runtime.prepare([_behind(trigger, rows.texts[row]) for row in own.tolist()])
    with context.predictor.white_box() as box:
        prefix = 1 if encoded.ids[0] in box.tokenizer.all_special_ids else 0
        slopes = [slope[prefix] for _, slope in gradients(encoded, rows.truth[own], box)]
    added = lexicon.table @ np.mean(slopes, axis=0)
    chinese = alone(trigger[0][:1])
    order = np.argsort(-added, kind="stable").tolist()
    return [lexicon.words[place] for place in order if alone(lexicon.words[place][:1]) == chinese][: _WIDTH * LONGEST]
