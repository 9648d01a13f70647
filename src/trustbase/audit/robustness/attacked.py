"""What attacks of one sort come to: rows drawn, controls, the search, the filter, and findings of all of it.

Every sort (words, characters, gradient) brings targets, and a filter of its successes; the rest is the same for all. Two controls run
beside each: a success that is planted among the candidates of every row must be found by the same search with the same budget, and texts
of another label, put beside a row, must turn answers. Where either is not found, no number is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit import stats
from trustbase.audit.context import AuditContext
from trustbase.audit.robustness.attack import Changes, Outcome, Target, attack, margins
from trustbase.audit.robustness.controls import controls
from trustbase.audit.robustness.targets import Rows
from trustbase.records import Direction, Finding

METRICS = ("after_attack_accuracy", "after_attack_accuracy_filtered", "attack_queries", "attack_words_changed")
SUCCESS = "robustness.attack_queries#success"
SOURCE = (
    "Jin et al. (2020), AAAI, algorithm 1 (greedy search, importance by deletion); Morris et al. (2020), EMNLP Findings (filter of meaning)"
)
LEAST_SUCCESSES = 10  # under which the mean share of changed words is not told

#: Which of these (target, changes) keep the meaning, and why others do not; a text in place of them where that cannot be told.
Keeps = Callable[[Sequence[tuple[Target, Changes]]], Sequence[bool] | str]


@dataclass(frozen=True, eq=False)
class Attack:
    """One sort of attack.

    Attributes:
        variant: of its findings; "" of the main one.
        targets: of each row; None where it holds nothing that could be changed.
        keeps: the filter.
        counts: in words, which successes that leaves, for the method.
        method: what is changed into what, in words.
        facts: more for the evidence.
    """

    variant: str
    targets: Sequence[Target | None]
    keeps: Keeps
    counts: str
    method: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def id(self, metric: str) -> str:
        return f"robustness.{metric}" + (f"#{self.variant}" if self.variant else "")


def ids(variant: str = "") -> tuple[str, ...]:
    """What a sort of attack owes."""
    return tuple(f"robustness.{metric}" + (f"#{variant}" if variant else "") for metric in METRICS) + (() if variant else (SUCCESS,))


def without_value(context: AuditContext, variant: str, status: Any, reason: str) -> list[Finding]:
    """All findings of a sort of attack, with the reason why they have no value."""
    return [Finding.without_value(id, status, reason, direction=_direction(id), confidence=context.confidence) for id in ids(variant)]


def _direction(id: str) -> Direction:
    return "none" if "words_changed" in id else "higher"


def refusal(context: AuditContext, rows: Rows) -> str:
    """Why too little is there to attack; "" where it is enough."""
    if len(rows) < context.minimum_cell:
        return f"{len(rows)} different rows are too few; at least {context.minimum_cell} are needed"
    if not rows.right.any():
        return "no row is answered rightly, so there is nothing to attack"
    return ""


def measure(context: AuditContext, rows: Rows, made: Attack) -> list[Finding]:
    """Attack the rows that are answered rightly, and say what is left."""
    budget = context.options.robustness.queries
    places = [place for place in np.flatnonzero(rows.right).tolist() if made.targets[place] is not None]
    if not places:
        return without_value(context, made.variant, "insufficient", "no row holds anything that this attack could change")
    targets = [target for place in places if (target := made.targets[place]) is not None]
    told, missed = controls(context, rows, targets, budget)
    name = "robustness.attack" + (f"_{made.variant}" if made.variant else "")
    if missed:
        context.evidence.write(name, {"controls": told, "not_found": missed, **made.facts})
        return without_value(context, made.variant, "insufficient", missed)
    outcomes = _attacked(context, rows, places, targets, budget)
    passed = _passing(made.keeps, targets, outcomes)
    context.evidence.write(name, _evidence(rows, made, targets, outcomes, passed, told))
    return _findings(context, rows, made, targets, outcomes, passed, _controlled(told))


def _attacked(context: AuditContext, rows: Rows, places: Sequence[int], targets: Sequence[Target], budget: int) -> list[Outcome]:
    assert context.askers is not None and context.answers.scores is not None
    first = [margins(context.answers.scores[rows.numbers[[place]]], int(rows.truth[place]))[0] for place in places]
    items = [
        {"target": target.to_json(), "truth": int(rows.truth[place]), "margin": float(margin)}
        for place, target, margin in zip(places, targets, first, strict=True)
    ]
    arguments = {"budget": budget, "labels": context.labels.to_json(), "decision": context.decision.to_json()}
    found = context.askers.run(attack, items, arguments, what="attacking", emit=context.emit, cost=lambda item: len(item["target"]["text"]))
    return [Outcome.of(each) for each in found]


def _passing(keeps: Keeps, targets: Sequence[Target], outcomes: Sequence[Outcome]) -> list[bool] | str:
    """Which searches have a success that the filter passes; why that cannot be told."""
    tried = [(place, changes) for place, outcome in enumerate(outcomes) for changes in outcome.within]
    kept = keeps([(targets[place], changes) for place, changes in tried])
    if isinstance(kept, str):
        return kept
    passing = {place for (place, _), keep in zip(tried, kept, strict=True) if keep}
    return [place in passing for place in range(len(outcomes))]


def _controlled(told: Mapping[str, Any]) -> str:
    """What the controls showed, for the method."""
    planted, other = told["planted"], told["beside"]
    return (
        f"controls: of successes planted for a made model the search found {planted['found']:.0%}, which shows what its budget reaches and "
        f"nothing of this model, and a text of another label beside a row turned {other['turned']:.0%} of this model's answers"
    )


def _findings(
    context: AuditContext,
    rows: Rows,
    made: Attack,
    targets: Sequence[Target],
    outcomes: Sequence[Outcome],
    passed: Sequence[bool] | str,
    controlled: str,
) -> list[Finding]:
    total, right, budget = len(rows), int(rows.right.sum()), context.options.robustness.queries
    broken = [outcome for outcome in outcomes if outcome.changes is not None]
    held = f"{right} of {total} rows are answered rightly, {len(targets)} of these hold something to change"
    asked = f"at most {budget} different inputs are asked about each up to its first success"
    method = f"{made.method}; {held}; {asked}; {controlled}"
    share: dict[str, Any] = {"unit": "share", "confidence": context.confidence}
    raw = stats.proportion(right - len(broken), total, confidence=context.confidence)
    findings = [_told(raw, made.id("after_attack_accuracy"), method, "higher", **share)]
    id = made.id("after_attack_accuracy_filtered")
    if isinstance(passed, str):
        findings.append(Finding.without_value(id, "insufficient", passed, direction="higher", **share))
    else:
        kept = stats.proportion(right - sum(passed), total, confidence=context.confidence)
        again = f"{asked}, and as many again after it, for successes that the filter passes"
        findings.append(_told(kept, id, f"{made.method}; {held}; {again}; {made.counts}; {controlled}", "higher", **share))
    queries = np.array([outcome.queries for outcome in outcomes], dtype=np.float64)
    findings.append(_mean(context, made.id("attack_queries"), queries, budget, "queries", "higher", f"of each attacked row; {method}"))
    if not made.variant:
        spent = np.array([outcome.queries for outcome in broken], dtype=np.float64)
        findings.append(_mean(context, SUCCESS, spent, budget, "queries", "higher", f"of each row whose answer turned; {method}"))
    shares = np.array([len(o.changes) / len(t.words) for t, o in zip(targets, outcomes, strict=True) if o.changes is not None])
    findings.append(_mean(context, made.id("attack_words_changed"), shares, 1.0, "share", "none", f"of the first success; {method}"))
    return findings


def _told(interval: stats.Interval, id: str, method: str, direction: Direction, **fields: Any) -> Finding:
    finding = interval.finding(id, direction=direction, **fields)
    return replace(finding, method=f"{interval.method} over rows; {method}", source=f"{interval.source}; {SOURCE}")


def _mean(
    context: AuditContext, id: str, values: NDArray[np.float64], most: float, unit: str, direction: Direction, method: str
) -> Finding:
    if len(values) < LEAST_SUCCESSES:
        reason = f"{len(values)} rows are too few for a mean; at least {LEAST_SUCCESSES} are needed"
        fields: dict[str, Any] = {"unit": unit, "direction": direction, "confidence": context.confidence}
        return Finding.without_value(id, "insufficient", reason, n=len(values), **fields)
    interval = stats.bounded_mean(values, 0.0, most, confidence=context.confidence)
    return _told(interval, id, method, direction, unit=unit, confidence=context.confidence)


# ---- evidence ---------------------------------------------------------------------------------------------------------


def _evidence(
    rows: Rows,
    made: Attack,
    targets: Sequence[Target],
    outcomes: Sequence[Outcome],
    passed: Sequence[bool] | str,
    told: Mapping[str, Any],
) -> dict[str, Any]:
    """Counts, and no words of anybody's text."""
    broken = [outcome for outcome in outcomes if outcome.changes is not None]
    asked = sum(outcome.asked for outcome in outcomes)
    changed = Counter(min(len(outcome.changes or {}), 10) for outcome in broken)
    return {
        "rows": len(rows),
        "right": int(rows.right.sum()),
        "attacked": len(outcomes),
        "broken": len(broken),
        "broken_within_rules": sum(bool(outcome.within) for outcome in outcomes),
        "broken_filtered": passed if isinstance(passed, str) else sum(passed),
        "queries": {
            "to_the_first_success": sum(outcome.queries for outcome in outcomes),
            "within_the_rules": asked - sum(outcome.queries for outcome in outcomes),
            "in_all": asked,
            "per_success": sum(outcome.queries for outcome in outcomes) / len(broken) if broken else None,
            "of_a_success": float(np.mean([outcome.queries for outcome in broken])) if broken else None,
        },
        "words_changed": [{"words": count, "n": changed[count]} for count in sorted(changed)],
        "candidates_of_a_word": float(np.mean([len(found) for target in targets for found in target.options.values()])),
        "controls": dict(told),
        **made.facts,
    }
