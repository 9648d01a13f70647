"""What the smallest edits of all explained rows say together: how many rows they turn, how large they are, and how they read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trustbase.audit import stats
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.findings import mean_finding, share_finding, too_few
from trustbase.audit.explain.fluent import LOSS, OPTION, PROPOSED, Trial, tried
from trustbase.audit.explain.subject import Item
from trustbase.audit.fluency import REACH, SOURCE
from trustbase.audit.guard import LEAST_ROWS
from trustbase.errors import TrustbaseError
from trustbase.records import Finding, Status

METRICS = ("explanation.counterfactual_size", "explanation.counterfactual_found", "explanation.counterfactual_fluency")
FLUENCY = METRICS[-1]
_WACHTER = "Wachter, Mittelstadt & Russell (2018), Harvard J. Law & Technology 31; Martens & Provost (2014), MIS Quarterly 38"
_FROM_ROWS = "words by near words of other rows, or left out; nobody judged how edits read"
FROM_COLUMNS = "cells by others of their column, or left out"
NO_TEXT = "inputs are made of columns, and other values come from the rows of the same column: there is no text to judge"


@dataclass(frozen=True)
class Editor:
    """Who proposes what stands in the place of words, and says how edits read.

    Attributes:
        said: of it, in methods.
        arguments: of `fluent.Reader`; None where nobody reads.
        told: for the evidence.
        refused: id of a finding → why it has no number.
    """

    said: str
    arguments: Mapping[str, Any] | None
    told: Mapping[str, Any]
    refused: Mapping[str, tuple[Status, str]]


def editor_of(context: AuditContext, items: Sequence[Item]) -> Editor:
    """Whoever the options name, tried on the items that it will read."""
    if items and items[0]["row"] is not None:
        return Editor(FROM_COLUMNS, None, {}, {FLUENCY: ("not_applicable", NO_TEXT)})
    if context.options.explanation.fluent is None:
        why = f"no masked language model is named that could say how edits read: {OPTION}"
        return Editor(_FROM_ROWS, None, {}, {FLUENCY: ("not_applicable", why)})
    try:
        trial = tried(context, items)
    except TrustbaseError as error:
        return Editor(_FROM_ROWS, None, {}, dict.fromkeys(METRICS, ("not_applicable", f"nobody can say how edits read: {error}")))
    refused: dict[str, tuple[Status, str]] = dict.fromkeys(METRICS, ("insufficient", trial.why)) if trial.why else {}
    arguments = None if trial.why else {"model": trial.model, "least": trial.least}
    return Editor(said_of(trial), arguments, {**trial.told, "judged": not trial.why}, refused)


def said_of(trial: Trial) -> str:
    """Who proposes and judges, in methods."""
    return (
        f"words by {PROPOSED} that are likely to the masked language model {trial.name} where the word is hidden, or left out; an edit "
        f"counts where the same model finds the tokens it changed and {REACH} on each side at most {-trial.least:.2f} nats per token less "
        f"likely than those of the row, which is {LOSS:.0%} of what a word drawn from any row costs there (median); of edits of one size "
        "the one that reads best is taken"
    )


def turned_findings(context: AuditContext, rows: Sequence[Mapping[str, Any]], editor: Editor) -> list[Finding]:
    """How many rows get another answer by some edit, what share of their units must change, and how that reads; writes evidence."""
    flipped = [row for row in rows if row["edit"]["changed"]]
    reads = [row["reads"] for row in flipped if row["reads"] is not None]
    context.evidence.write("explanation.counterfactual", _told(context, rows, flipped, reads, editor))
    queries = context.options.explanation.queries
    said = f"greedy search for the smallest edit that gives another answer, at most {queries} inputs a row; {editor.said}"
    how: dict[str, Any] = {"direction": "none", "said": said, "source": _WACHTER}
    sizes = [row["edit"]["changed"] / len(row["units"]) for row in flipped]
    found = [
        mean_finding(context, METRICS[0], sizes, least=0.0, bounded=True, unit="share", **how),
        share_finding(context, METRICS[1], len(flipped), len(rows), **how),
        _fluency(context, reads, editor),
    ]
    return [_without(each, *editor.refused[each.id]) if each.id in editor.refused else each for each in found]


def _fluency(context: AuditContext, reads: Sequence[float], editor: Editor) -> Finding:
    unit = "nats per token"
    if len(reads) < LEAST_ROWS:
        return too_few(context, FLUENCY, len(reads), "higher", unit)
    interval = stats.mean(reads, confidence=context.confidence)
    made = interval.finding(FLUENCY, direction="higher", confidence=context.confidence, seed=context.seed, unit=unit)
    said = "pseudo-log-likelihood per token of each edit that counts less that of its row, over the tokens it changed and those beside"
    return replace(made, method=f"{said}; {editor.said}; {made.method}", source=f"{SOURCE}; {made.source}")


def _without(finding: Finding, status: Status, reason: str) -> Finding:
    return replace(finding, value=None, low=None, high=None, n=None, status=status, reason=reason, method="", source="")


def _told(
    context: AuditContext,
    rows: Sequence[Mapping[str, Any]],
    flipped: Sequence[Mapping[str, Any]],
    reads: Sequence[float],
    editor: Editor,
) -> dict[str, Any]:
    """Counts for the evidence."""
    counted = Counter(int(row["edit"]["changed"]) for row in flipped)
    changed, left_out = (sum(row["edit"][name] for row in flipped) for name in ("changed", "left_out"))
    told = {
        "rows": len(rows),
        "found": len(flipped),
        "units_changed": {str(size): counted[size] for size in sorted(counted)},
        "left_out": left_out,
        "replaced": changed - left_out,
        "queries": context.options.explanation.queries,
    }
    if not editor.told:
        return told
    unread = sum(bool(row["edit"]["refused"]) and not row["edit"]["changed"] for row in rows)
    mean = sum(reads) / len(reads) if reads else None
    return told | {"fluency": {**editor.told, "mean_difference": mean, "rows_whose_edits_all_read_badly": unread}}
