"""How answers and errors differ between groups: rates of each group, and the largest gaps between them.

Measurements, not judgements: nothing here says that a model is fair. Definitions are Fairlearn's (between groups): demographic
parity is about the share of favourable answers, equalized odds is the larger of the gaps in true and false positive rate,
average odds their mean (for two groups AIF360's average absolute odds difference), equal opportunity the gap in true positive
rate.

Source: Hardt, Price & Srebro (2016), NeurIPS, section 2 (equalized odds, equal opportunity); Feldman et al. (2015), KDD,
definition 1.1 (disparate impact); Bellamy et al. (2019), IBM J. Res. Dev. 63, section 5 (average odds).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from trustbase import finding_id, seeds
from trustbase.audit import contrasts, ranks, stats
from trustbase.audit.context import AuditContext
from trustbase.audit.contrasts import Rates
from trustbase.audit.gaps import GAPS, Gap
from trustbase.audit.groups import RATES, Codes, GroupCounts, encode, group_counts, named_groups, rows_by_group, same_groups
from trustbase.audit.guard import LEAST_ROWS, NAMED_ROWS, attempt, guarded
from trustbase.audit.reliability import expected_calibration_error
from trustbase.audit.rival_inputs import have_choices
from trustbase.data.groups import MOST_NAMED
from trustbase.records import Direction, Finding

_CONDITION = {
    "true_positive_rate": "rows that truly have the label",
    "false_positive_rate": "rows that truly do not have the label",
    "positive_predictive_value": "rows answered with the label",
}
_GROUP_DIRECTION: dict[str, Direction] = {
    "selection_rate": "none",
    "accuracy": "higher",
    "true_positive_rate": "higher",
    "false_positive_rate": "lower",
    "positive_predictive_value": "higher",
}
_LEAST_CALIBRATION = 300  # rows
_MOST_CLASS_FINDINGS = 10  # with more labels, the other labels' gaps stand in the evidence only


def audit_classes(context: AuditContext) -> list[Finding]:
    """Findings for each group column and intersection; all rates of all groups go to `evidence/fairness.json`."""
    if not context.test.groups:
        reason = "the data name no group columns (data.groups), so differences between groups cannot be measured"
        metric = "accuracy_difference" if have_choices(context.test) else "demographic_parity_difference"
        return [Finding.without_value(f"fairness.{metric}", "not_applicable", reason, direction="lower")]
    groups = {column: encode(values) for column, values in context.test.groups.items()}
    counts = counted(context, groups)
    whole = counts if context.whole is None else counted(context.whole)
    findings: list[Finding] = []
    evidence: dict[str, Any] = {}
    for columns in slices(tuple(groups)):
        audit = SliceAudit(context, columns, counts.marginal(columns), groups, whole.marginal(columns))
        findings += audit.findings()
        evidence[finding_id.format_slice(tuple((column, None) for column in columns))] = audit.evidence()
        if str(audit.rest):
            context.emit("note", text=f"groups of {' x '.join(columns)} that are not named: {audit.rest}")
    if context.answers.scores is None:
        findings += [] if have_choices(context.test) else [_without_scores(metric) for metric in ("auroc", "calibration_gap")]
    labels, choices = context.labels, have_choices(context.test)
    context.evidence.write(
        "fairness",
        {
            "favourable": None if choices else labels.favourable,
            "assumed": labels.favourable_assumed and not choices,
            "confidence": context.confidence,
            "minimum_cell": context.minimum_cell,
            "note": "" if choices else _favourable(context),
            "columns": evidence,
        },
    )
    return findings


def counted(context: AuditContext, groups: Mapping[str, Codes] | None = None) -> GroupCounts:
    """Rows of each group by true and answered label."""
    return group_counts(context.test.labels, context.answers.predicted, groups or context.test.groups, classes=len(context.labels.names))


def slices(columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Each column, each pair, and all columns together, in recipe order."""
    yield from ((column,) for column in columns)
    yield from combinations(columns, 2)
    if len(columns) > 2:
        yield columns


class SliceAudit:
    """The audit of one group column or intersection; `whole` counts all rows, of which `counts` may be of a part only."""

    def __init__(
        self, context: AuditContext, columns: tuple[str, ...], counts: GroupCounts, groups: Mapping[str, Codes], whole: GroupCounts
    ) -> None:
        self.context = context
        self.columns = columns
        least = (context.whole or context).minimum_cell
        self.whole, self.rest = named_groups(whole, least=max(NAMED_ROWS, least), most=MOST_NAMED)
        self.least = least  # of all rows: a part of them compares the same groups
        self.counts = same_groups(counts, self.whole)
        self.gaps: dict[str, Finding] = {}
        self.choices = have_choices(context.test)
        self.rates = ("accuracy",) if self.choices else RATES  # the one that speaks of no label: labels of choices are places
        self.main = tuple(gap for gap in GAPS if set(gap.rates) <= set(self.rates))
        self.favourable = context.labels.index(context.labels.favourable)
        self.cells = self.counts.one_vs_rest(self.favourable)
        self.scored, self.errors = self._scored(groups)

    def findings(self) -> list[Finding]:
        found = [self.gap(gap, self.favourable) for gap in self.main]
        for i in range(len(self.counts.members)):
            found += [
                guarded(self.context, self._group_id(metric, i), direction, partial(self._group_rate, metric, i))
                for metric, direction in _GROUP_DIRECTION.items()
                if metric in self.rates
            ]
            found += [self.scored[i][metric] for metric in self.scored[i]]
        if len(self.context.labels.names) <= _MOST_CLASS_FINDINGS:
            found += [finding for _, finding in self._other_labels()]
        return found

    def evidence(self) -> dict[str, Any]:
        gaps = [self._brief(self.gap(gap, self.favourable)) for gap in self.main]
        result = {"columns": list(self.columns), "groups": [self._row(i) for i in range(len(self.counts.members))], "gaps": gaps}
        result |= {"unnamed": self.rest.to_json(), "note": str(self.rest)}
        others: dict[str, list[dict[str, Any]]] = {}
        for label, finding in self._other_labels():
            others.setdefault(label, []).append(self._brief(finding))
        return {**result, "other_labels": others} if others else result

    def gap(self, gap: Gap, label: int, variant: str | None = None) -> Finding:
        """The finding of a gap of one label against the rest, measured once."""
        id_ = finding_id.make("fairness", gap.metric, tuple((column, None) for column in self.columns), variant=variant)
        if id_ not in self.gaps:
            self.gaps[id_] = guarded(self.context, id_, gap.direction, lambda: self._measured_gap(id_, gap, label, variant))
        return self.gaps[id_]

    def _measured_gap(self, id_: str, gap: Gap, label: int, variant: str | None) -> Finding:
        of, whole = self.counts.one_vs_rest(label), self.whole.one_vs_rest(label)
        rates, left_out, n = [], dict[str, None](), 0
        for metric in gap.rates:
            k, trials = of.counts(metric)
            kept = whole.counts(metric)[1] >= self.least
            n += int(trials[kept].sum())
            for i in np.flatnonzero(~kept).tolist():
                rows, what = self._too_few(metric, i, int(trials[i]))
                left_out[f"{self._name(i)} ({rows} {what})"] = None
            rates.append((k[kept], trials[kept]))
        reason = self._left_out(left_out)
        fields: dict[str, Any] = {"direction": gap.direction, "confidence": self.context.confidence, "n": n, "source": contrasts.SOURCE}
        about = _favourable(self.context) if variant is None else "one label against the rest"
        fields["method"] = gap.method if self.choices else f"{gap.method}; {about}"
        if min(k.size for k, _ in rates) < 2:
            why = f"a gap needs two groups of at least {self.least} rows"
            return Finding.without_value(id_, "insufficient", f"{why}; {reason}" if reason else why, **fields)
        if min(int(trials.min()) for _, trials in rates) < 1:
            return Finding.without_value(id_, "insufficient", "a group that is compared has none of these rows", **fields)
        bounds = gap.bounds([Rates.of(k, trials) for k, trials in rates], self.context.confidence)
        if np.isnan(bounds.value):
            why = "no group was ever given this answer, so the ratio is of nothing to nothing"
            return Finding.without_value(id_, "insufficient", f"{why}; {reason}" if reason else why, **fields)
        return Finding(id_, float(bounds.value), float(bounds.low), float(bounds.high), reason=reason, **fields)

    def _left_out(self, named: Iterable[str]) -> str:
        """Which groups a gap leaves out, each by name, or counted together where there are more than can be named; empty for none."""
        small, rest = "; ".join(named), str(self.rest)
        told = [f"left out, as fewer than {self.context.minimum_cell}: {small}"] if small else []
        told += [f"left out and not named, as there are more than {self.rest.most} groups: {rest}"] if rest else []
        return "; ".join(told)

    def _too_few(self, metric: str, i: int, trials: int) -> tuple[int, str]:
        """How many of what a group has too few of. A group that is small as a whole shows its rows alone.

        How many of a handful of people truly have the label, or were answered with it, would be the rate that is not given.
        """
        n = int(self.cells.n[i])
        return (n, "rows") if n < self.context.minimum_cell else (trials, _CONDITION.get(metric, "rows"))

    def _group_rate(self, metric: str, i: int) -> Finding:
        k, trials = (int(count[i]) for count in self.cells.counts(metric))
        id_ = self._group_id(metric, i)
        if trials < self.context.minimum_cell:
            return self._too_small(id_, *self._too_few(metric, i, trials), _GROUP_DIRECTION[metric])
        interval = stats.proportion(k, trials, confidence=self.context.confidence)
        return interval.finding(id_, direction=_GROUP_DIRECTION[metric], confidence=self.context.confidence)

    def _scored(self, groups: Mapping[str, Codes]) -> tuple[list[dict[str, Finding]], list[dict[str, Any]]]:
        """AUROC and calibration of each group, and its calibration error for the evidence; empty without scores, and of choices."""
        scores = self.context.answers.scores
        if scores is None or self.choices:
            return [{} for _ in self.counts.members], [{} for _ in self.counts.members]
        rows = rows_by_group(groups, self.columns)
        none = np.zeros(0, np.int64)
        truth, score = self.context.test.labels == self.favourable, np.asarray(scores[:, self.favourable], float)
        result, errors = [], []
        for i, member in enumerate(self.counts.members):
            own = rows.get(member, none)
            part = truth[own], score[own]
            area = guarded(self.context, self._group_id("auroc", i), "higher", partial(self._auroc, i, *part))
            gap = guarded(self.context, self._group_id("calibration_gap", i), "none", partial(self._calibration, i, *part))
            result.append({"auroc": area, "calibration_gap": gap})
            errors.append(self._calibration_error(i, *part))
        return result, errors

    def _auroc(self, i: int, truth: Any, score: Any) -> Finding:
        id_, smaller = self._group_id("auroc", i), int(min(truth.sum(), (~truth).sum()))
        if truth.size < self.context.minimum_cell:
            return self._too_small(id_, truth.size, "rows", "higher")
        if smaller < max(self.context.minimum_cell, LEAST_ROWS):
            return self._too_small(id_, smaller, "rows in the smaller of both classes", "higher")
        interval = ranks.auroc(truth, score, confidence=self.context.confidence)
        return interval.finding(id_, direction="higher", confidence=self.context.confidence)

    def _calibration(self, i: int, truth: Any, score: Any) -> Finding:
        id_ = self._group_id("calibration_gap", i)
        if truth.size < self.context.minimum_cell:
            return self._too_small(id_, truth.size, "rows", "none")
        least, most = float(score.min()) - 1, float(score.max())  # what a row of such scores can differ by
        interval = stats.bounded_mean(score - truth, least, most, confidence=self.context.confidence)
        finding = interval.finding(id_, direction="none", confidence=self.context.confidence)
        return replace(finding, method=f"mean score of the favourable label less its share (calibration in the large); {finding.method}")

    def _calibration_error(self, i: int, truth: Any, score: Any) -> dict[str, Any]:
        """Expected calibration error of the favourable label's score in this group: a number with bounds, or why there is none."""
        n, options = int(truth.size), self.context.options
        if n < _LEAST_CALIBRATION:
            reason = f"{n} rows: under {_LEAST_CALIBRATION}, an interval of the calibration error was seen to cover more than it claims"
            return {"value": None, "low": None, "high": None, "n": n, "status": "insufficient", "reason": reason}
        rng = seeds.generator(self.context.seed, "fairness", "calibration", *self.columns, *self.counts.members[i])
        made = attempt(
            self.context,
            f"calibration error of {self._name(i)}",
            lambda: expected_calibration_error(
                score, truth, bins=options.bins, rng=rng, confidence=self.context.confidence, draws=min(options.replicates, 500)
            ),
        )
        if isinstance(made, str):
            return {"value": None, "low": None, "high": None, "n": n, "status": "failed", "reason": made}
        return {"value": made.value, "low": made.low, "high": made.high, "n": n, "status": "ok", "reason": ""}

    def _other_labels(self) -> Iterator[tuple[str, Finding]]:
        """Gaps of every other label against the rest, where there are more than two."""
        names = self.context.labels.names
        if len(names) <= 2 or self.choices:
            return
        variants = class_variants(names)
        for label, name in enumerate(names):
            if label != self.favourable:
                yield from ((name, self.gap(gap, label, variants[label])) for gap in GAPS if gap.rates != ("accuracy",))

    def _row(self, i: int) -> dict[str, Any]:
        """One group in the evidence: no rate of a cell under the minimum is written."""
        intervals: dict[str, Any] = {}
        z = stats.normal_quantile(self.context.confidence)
        for metric in self.rates:
            k, trials = (int(count[i]) for count in self.cells.counts(metric))
            if trials >= self.context.minimum_cell:
                low, high = stats.proportion_bounds(k, trials, z)
                intervals[metric] = {"value": k / trials, "low": float(low), "high": float(high), "n": trials}
        for metric, finding in self.scored[i].items():
            if finding.status == "ok":
                intervals[metric] = {"value": finding.value, "low": finding.low, "high": finding.high, "n": finding.n}
        error = self.errors[i]
        if error.get("status") == "ok":
            intervals["expected_calibration_error"] = {key: error[key] for key in ("value", "low", "high", "n")}
        selection = intervals.get("selection_rate", {})
        values = {metric: intervals.get(metric, {}).get("value") for metric in (*self.rates, *self.scored[i])}
        row = {"group": self._name(i), "members": dict(zip(self.columns, self.counts.members[i], strict=True)), "n": int(self.cells.n[i])}
        if error:
            row["expected_calibration_error"] = error
        return {**row, **values, "low": selection.get("low"), "high": selection.get("high"), "intervals": intervals}

    def _brief(self, finding: Finding) -> dict[str, Any]:
        keys = ("id", "value", "low", "high", "n", "status", "reason")
        return {key: getattr(finding, key) for key in keys} | {"metric": finding.parts.metric}

    def _group_id(self, metric: str, i: int) -> str:
        return finding_id.make("fairness", metric, tuple(zip(self.columns, self.counts.members[i], strict=True)))

    def _name(self, i: int) -> str:
        return ", ".join(self.counts.members[i])

    def _too_small(self, id_: str, n: int, what: str, direction: Direction) -> Finding:
        reason = f"{n} {what}, fewer than the minimum of {self.context.minimum_cell}"
        return Finding.without_value(id_, "insufficient", reason, n=n, direction=direction, confidence=self.context.confidence)


def class_variants(names: Sequence[str]) -> list[str]:
    """A `#variant` for each label: its name where the grammar allows it, made unique otherwise."""
    variants: list[str] = []
    for index, name in enumerate(names):
        plain = re.sub(r"[^\w.+-]+", "-", name).strip("-") or f"label-{index}"
        variants.append(plain if plain not in variants else f"{plain}-{index}")
    return variants


def _favourable(context: AuditContext) -> str:
    labels = context.labels
    if labels.favourable_assumed:
        return f"favourable label '{labels.favourable}' is assumed: the recipe does not name one (data.favourable)"
    return f"favourable label '{labels.favourable}' as the recipe says"


def _without_scores(metric: str) -> Finding:
    reason = "the answers came without scores, so how groups are ranked and how sure the answers are cannot be measured"
    return Finding.without_value(f"fairness.{metric}", "not_applicable", reason)
