"""A champion and a challenger on the same rows: what each reaches, how far apart they are, and in which groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit import paired, quality_scores
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.counts import confusion_counts
from trustbase.audit.groups import encode, group_counts, named_groups, rows_by_group
from trustbase.audit.guard import NAMED_ROWS
from trustbase.audit.stats import Interval, paired_difference
from trustbase.data.groups import MOST_NAMED
from trustbase.recipe.entries import load, load_named
from trustbase.recipe.lookup import ANSWER_KINDS, AUDITS
from trustbase.records import Decision, Direction, Finding

Outcome = Literal["challenger ahead", "champion ahead", "no difference shown", "not enough evidence"]
SAME_MODEL = "one artefact twice: there is nothing to differ"


@dataclass(frozen=True)
class Contrast:
    """One number of both models, and the difference `challenger - champion`.

    Attributes:
        low, high: of the difference; None where these rows do not bound it, and `reason` says why.
        direction: which way is better.
    """

    metric: str
    champion: float | None
    challenger: float | None
    difference: float | None
    low: float | None
    high: float | None
    n: int
    direction: Direction
    unit: str = ""
    method: str = ""
    source: str = ""
    seed: int | None = None
    reason: str = ""

    @property
    def outcome(self) -> Outcome:
        """Who is ahead: said only where the whole interval lies on one side of zero."""
        if self.low is None or self.high is None:
            return "not enough evidence"
        if self.low <= 0 <= self.high:
            return "no difference shown"
        return "challenger ahead" if (self.low > 0) == (self.direction == "higher") else "champion ahead"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "outcome": self.outcome}


@dataclass(frozen=True)
class GroupContrast:
    """One number of both models in one group; none of a group under the minimum is told."""

    column: str
    group: str
    contrast: Contrast

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"column": self.column, "group": self.group, **self.contrast.to_json()}


@dataclass(frozen=True, eq=False)
class Pair:
    """Both models' answers to the same rows, label codes as in `context`.

    Attributes:
        context: rows, labels and options, with the champion's answers and decision, whose costs of errors hold for both.
        challenger: the other's answers.
        same: whether both are one artefact.
        decision: the challenger's.
    """

    context: AuditContext
    challenger: Answers
    same: bool = False
    decision: Decision | None = None

    @property
    def champion(self) -> Answers:
        return self.context.answers


Right = Callable[[Answers, Pair], NDArray[np.bool_]]


@dataclass(frozen=True)
class Contrasting:
    """How two models of one answer kind are compared.

    Attributes:
        main: the metric that is told first, and in each group.
        contrasts: every metric.
        inside: the main metric in the rows of a mask `(rows,)`.
        right: which rows a model answers rightly, where that can be said, bool `(rows,)`.
    """

    main: str
    contrasts: Callable[[Pair], list[Contrast]]
    inside: Callable[[Pair, NDArray[np.bool_]], Contrast]
    right: Right | None = None


def contrasting(kind: str) -> Contrasting:
    """How models of an answer kind are compared.

    Raises:
        KeyError: this version cannot compare them.
    """
    if kind not in ANSWER_KINDS or not ANSWER_KINDS[kind].contrasts:
        raise KeyError(kind)
    return cast(Contrasting, load_named(ANSWER_KINDS[kind].contrasts))


def contrasts(pair: Pair) -> list[Contrast]:
    """Accuracy, macro F1, AUROC (two labels), log loss, Brier score and expected cost.

    Raises:
        ValueError: scores that are no probabilities.
    """
    context, truth = pair.context, pair.context.test.labels
    few, few_ranked = quality_scores.few_rows(context), quality_scores.few_rows(context, quality_scores.LEAST_RANKED)
    made = [_accuracy(pair, np.ones(len(truth), bool)), _macro_f1(pair, few)]
    if context.labels.binary:
        made.append(_auroc(pair, few_ranked))
    made += [_loss(pair, few, "log_loss", quality_scores.log_losses, "nats"), _loss(pair, few, "brier", quality_scores.brier_scores, "")]
    return [*made, _cost(pair)]


def group_contrasts(pair: Pair, way: Contrasting) -> list[GroupContrast]:
    """The main metric in each group of each column, named by the rule of every report."""
    context = pair.context
    codes = {column: encode(values) for column, values in context.test.groups.items()}
    nothing = np.zeros(len(context.test), np.int64)
    found = []
    for column in codes:
        counts = group_counts(nothing, nothing, {column: codes[column]}, classes=1)
        named, _ = named_groups(counts, least=max(NAMED_ROWS, context.minimum_cell), most=MOST_NAMED)
        rows = rows_by_group(codes, (column,))
        for member in named.members:
            inside = np.zeros(len(context.test), bool)
            inside[rows[member]] = True
            found.append(GroupContrast(column, member[0], way.inside(pair, inside)))
    return found


def gap_findings(pair: Pair, kind: str) -> Iterator[tuple[Finding, Finding]]:
    """Each gap between groups of the champion, and the same of the challenger."""
    if not pair.context.test.groups:
        return
    audit = load(AUDITS["fairness", kind])
    other = replace(pair.context, answers=pair.challenger, decision=pair.decision or pair.context.decision)
    theirs = {f.id: f for f in audit(other)}
    for finding in audit(pair.context):
        gap = finding.parts.variant is None and all(group is None for _, group in finding.parts.slice)
        if gap and finding.id in theirs:  # of two that give numbers, one alone may tell intervals
            yield finding, theirs[finding.id]


def discordant(pair: Pair, right_of: Right) -> tuple[int, int]:
    """Rows that the champion alone answers rightly, and rows that the challenger alone does."""
    right, other = right_of(pair.champion, pair), right_of(pair.challenger, pair)
    return int((right & ~other).sum()), int((other & ~right).sum())


def _right(answers: Answers, pair: Pair) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray(answers.predicted == pair.context.test.labels)


def _accuracy(pair: Pair, inside: np.ndarray[Any, np.dtype[np.bool_]]) -> Contrast:
    champion, challenger, n = _right(pair.champion, pair)[inside], _right(pair.challenger, pair)[inside], int(inside.sum())
    least = pair.context.minimum_cell
    if n < least:
        return Contrast("accuracy", None, None, None, None, None, n, "higher", "share", reason=f"{n} rows, fewer than {least}")
    made = paired_difference(challenger, champion, confidence=pair.context.confidence)
    return contrast(pair, "accuracy", (float(champion.mean()), float(challenger.mean())), made, "higher", "share")


def _macro_f1(pair: Pair, few: str) -> Contrast:
    context, classes = pair.context, len(pair.context.labels.names)
    values = [
        quality_scores.macro_f1(confusion_counts(context.test.labels, a.predicted, classes)) for a in (pair.champion, pair.challenger)
    ]
    turned = int((pair.champion.predicted != pair.challenger.predicted).sum())
    if not few and turned < paired.LEAST_TURNED:
        few = f"only {turned} rows are answered differently, fewer than {paired.LEAST_TURNED}"

    def measure() -> Interval:
        rng = seeds.generator(context.seed, "compare", "macro_f1")
        return paired.macro_f1_gap(
            context.test.labels,
            pair.challenger.predicted,
            pair.champion.predicted,
            classes,
            rng=rng,
            replicates=context.options.replicates,
            confidence=context.confidence,
        )

    return _measured(pair, "macro_f1", (values[0], values[1]), measure, few, "higher", "share", seed=context.seed)


def _auroc(pair: Pair, few: str) -> Contrast:
    context = pair.context
    positive = context.labels.index(context.labels.positive)
    truth = context.test.labels == positive
    champion, challenger = (_scores(answers)[:, positive] for answers in (pair.champion, pair.challenger))
    if truth.all() or not truth.any():
        return Contrast("auroc", None, None, None, None, None, len(truth), "higher", reason="one of the two labels has no rows")
    areas = [quality_scores.area_under_roc(context, answers) for answers in (pair.champion, pair.challenger)]
    values = tuple(area.value for area in areas if area is not None)

    def measure() -> Interval | None:
        return paired.auroc_gap(truth, challenger, champion, confidence=context.confidence)

    return _measured(pair, "auroc", (values[0], values[1]), measure, few, "higher", "")


def _loss(pair: Pair, few: str, name: str, of: Callable[..., Any], unit: str) -> Contrast:
    context, truth = pair.context, pair.context.test.labels
    classes = len(context.labels.names)

    def every(answers: Answers) -> np.ndarray[Any, np.dtype[np.float64]]:
        scores = _scores(answers)
        return np.stack([of(scores, np.full(len(truth), label)) for label in range(classes)], axis=1)

    champion, challenger = every(pair.champion), every(pair.challenger)
    rows = np.arange(len(truth))
    values = float(champion[rows, truth].mean()), float(challenger[rows, truth].mean())

    def measure() -> Interval:
        return paired.loss_gap(challenger, champion, truth, confidence=context.confidence)

    return _measured(pair, name, values, measure, few, "lower", unit)


def _cost(pair: Pair) -> Contrast:
    """Each under its own decision threshold; the champion's costs of errors hold for both, else 1 for any error."""
    context, truth = pair.context, pair.context.test.labels
    cost = context.decision.cost if context.labels.binary else {}
    costs = float(cost.get("false_negative", 1.0)), float(cost.get("false_positive", 1.0))
    positive = context.labels.index(context.labels.positive) if context.labels.binary else -1
    each = np.where(truth == positive, costs[0], costs[1])
    champion, challenger = (float((each * (answers.predicted != truth)).mean()) for answers in (pair.champion, pair.challenger))

    def measure() -> Interval:
        predicted = pair.challenger.predicted, pair.champion.predicted
        return paired.cost_gap(truth, *predicted, positive, costs, confidence=context.confidence)

    unit = f"cost (false negative {costs[0]:g}, false positive {costs[1]:g})" if cost else "cost of one error"
    few = f"{len(truth)} rows, fewer than {context.minimum_cell}" if len(truth) < context.minimum_cell else ""
    return _measured(pair, "expected_cost", (champion, challenger), measure, few, "lower", unit)


def _measured(
    pair: Pair,
    metric: str,
    values: tuple[float, float],
    measure: Callable[[], Interval | None],
    few: str,
    direction: Direction,
    unit: str,
    *,
    seed: int | None = None,
) -> Contrast:
    """A contrast with its interval; without one, and with the reason, where rows are too few or show no spread."""
    made = None if few and not pair.same else Interval(0, 0, "", "", 0, len(pair.context.test)) if pair.same else measure()
    if made is None:
        reason = few or "both rank these rows alike, or without a fault, so they do not show how far apart the two may be"
        n = len(pair.context.test)
        return Contrast(metric, *values, values[1] - values[0], None, None, n, direction, unit, seed=seed, reason=reason)
    return contrast(pair, metric, values, made, direction, unit, seed=seed)


def contrast(
    pair: Pair, metric: str, values: tuple[float, float], made: Interval, direction: Direction, unit: str, *, seed: int | None = None
) -> Contrast:
    """A contrast with its interval; of one artefact twice, exactly nothing."""
    if pair.same:
        return Contrast(metric, *values, 0.0, 0.0, 0.0, made.n, direction, unit, SAME_MODEL)
    return Contrast(metric, *values, made.value, made.low, made.high, made.n, direction, unit, made.method, made.source, seed)


def _scores(answers: Answers) -> np.ndarray[Any, np.dtype[np.float64]]:
    assert answers.scores is not None  # both were asked, not given
    return quality_scores.checked(answers.scores)


CLASSES = Contrasting("accuracy", contrasts, _accuracy, _right)
