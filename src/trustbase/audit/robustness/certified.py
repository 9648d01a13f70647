"""Certified accuracy: rows whose smoothed answer is right and cannot be turned by changing so many words, whatever they become.

The artefact is asked with most words hidden, at random, many times; the most frequent answer is the smoothed one (`smoothing.py`). The
certificate is of that smoothed model, not of the artefact's plain answers, which it says nothing about. It holds against words (or fields)
that are replaced, as many as the radius; not against words that are added, taken away, or cut in another way.

One share of kept words is fixed beforehand, so that nothing is chosen by looking: at 0.15 three words can be certified in a text of any
length. A model that was not trained on masked texts answers them worse; that is what the numbers then say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.audit.context import AuditContext
from trustbase.audit.robustness.masking import answers_hidden, items_of, mask_sign
from trustbase.audit.robustness.smoothing import CHOOSING, SOURCE, Smoothed, smoothed, stands
from trustbase.audit.stats import Interval, proportion
from trustbase.records import Finding

RADII = (1, 2, 3)
ACCURACY, SMOOTHED = "robustness.certified_accuracy", "robustness.smoothed_accuracy"
METRICS = (*(ACCURACY if radius == 1 else f"{ACCURACY}#{radius}" for radius in RADII), SMOOTHED)
OF_SMOOTHED = "a certificate of the smoothed model, not of the artefact's plain answers"


@dataclass(frozen=True, eq=False)
class Rows:
    """What was asked about the sampled rows.

    Attributes:
        kind: what the units are: fields, words, or (of Chinese rows, where nothing segments them) characters.
        told: of each row what `masking.answers_hidden` gives.
        found: the smoothed answer of each row; None where it has no unit.
        right: whether the counted answer is the true one, `(rows,)`.
        error: chance that the certificate of one row is wrong.
    """

    kind: str
    told: Sequence[Mapping[str, Any]]
    found: Sequence[Smoothed | None]
    right: NDArray[np.bool_]
    error: float

    def standing(self, radius: int, found: Sequence[Smoothed | None] | None = None) -> NDArray[np.bool_]:
        """Which smoothed answers no change of `radius` units turns, `(rows,)`."""
        pairs = zip(self.told, self.found if found is None else found, strict=True)
        return np.array([one is not None and stands(one.low, each["units"], each["kept"], radius) for each, one in pairs])

    def instead(self, *answers: int) -> list[Smoothed | None]:
        """The smoothed answers of a model that gives these in turn to the same masks."""
        given = [np.resize(np.array(answers), len(each["answers"])) for each in self.told]
        return [smoothed(one, each["whole"], self.error) if each["units"] else None for one, each in zip(given, self.told, strict=True)]

    @property
    def constant(self) -> list[Smoothed | None]:
        """Of a model that always answers the same: it must be certified wherever anything can be."""
        return self.instead(0)

    @property
    def wavering(self) -> list[Smoothed | None]:
        """Of a model that answers every other mask otherwise: it must never be certified."""
        return self.instead(0, 1)


def measure_certified(context: AuditContext) -> list[Finding]:
    """Certified accuracy at each radius and the accuracy of the smoothed answers; writes `evidence/robustness.certified.json`."""
    options = context.options.robustness
    items = items_of(context, options.certify_texts)
    if len(items) < context.minimum_cell:
        return _none(context, f"{len(items)} distinct test texts, fewer than the minimum of {context.minimum_cell}", len(items))
    assert context.askers is not None
    arguments = {
        "seed": context.seed,
        "share": options.certify_kept,
        "samples": CHOOSING + options.certify_samples,
        "labels": context.labels.to_json(),
        "decision": context.decision.to_json(),
    }
    asked = [item for _, item in items]
    told = context.askers.run(answers_hidden, asked, arguments, what="certifying", emit=context.emit, cost=lambda item: len(item["text"]))
    error = (1 - context.confidence) / len(items)
    found = [smoothed(np.array(each["answers"]), each["whole"], error) if each["units"] else None for each in told]
    places = np.array([row for row, _ in items])
    truth = context.test.labels[places].tolist()
    right = np.array([one is not None and one.answer == label for one, label in zip(found, truth, strict=True)])
    usual = np.array([one is not None and one.usual == label for one, label in zip(found, truth, strict=True)])
    kinds = {each["kind"] for each in told}
    rows = Rows("characters" if "characters" in kinds else kinds.pop(), told, found, right, error)
    shares = {radius: _share(context, rows.right & rows.standing(radius)) for radius in RADII}
    overall = _share(context, usual)
    plain = _share(context, context.answers.predicted[places] == context.test.labels[places])
    _write(context, rows, plain, overall, shares)
    return [*(_certified(context, rows, radius, shares[radius]) for radius in RADII), _smoothed(context, rows, overall)]


def _share(context: AuditContext, hits: NDArray[np.bool_]) -> Interval:
    return proportion(int(hits.sum()), len(hits), confidence=context.confidence)


def _none(context: AuditContext, reason: str, n: int) -> list[Finding]:
    return [Finding.without_value(id, "insufficient", reason, direction="higher", confidence=context.confidence, n=n) for id in METRICS]


def _certified(context: AuditContext, rows: Rows, radius: int, share: Interval) -> Finding:
    """The finding of one radius; none where its controls fail."""
    id = METRICS[RADII.index(radius)]
    if not rows.standing(radius, rows.constant).any():
        reason = "too few words or fields, or too few inputs asked, to certify even a model that always answers the same"
        return Finding.without_value(id, "insufficient", reason, direction="higher", confidence=context.confidence, n=share.n)
    if rows.standing(radius, rows.wavering).any():
        reason = "the control fails: a certificate was given to a model that answers every other input otherwise"
        return Finding.without_value(id, "insufficient", reason, direction="higher", confidence=context.confidence, n=share.n)
    method = f"{OF_SMOOTHED}; the certificates of all {share.n} rows hold together at {100 * context.confidence:g}%; {share.method}"
    told = share.finding(id, direction="higher", confidence=context.confidence, unit="share", seed=context.seed)
    return replace(told, method=method, source=SOURCE)


def _smoothed(context: AuditContext, rows: Rows, share: Interval) -> Finding:
    kept = context.options.robustness.certify_kept
    method = f"the most frequent answer while {100 * kept:g}% of the {rows.kind} are read; {share.method}"
    told = share.finding(SMOOTHED, direction="higher", confidence=context.confidence, unit="share", seed=context.seed)
    return replace(told, method=method, source=SOURCE)


def _write(context: AuditContext, rows: Rows, plain: Interval, overall: Interval, shares: Mapping[int, Interval]) -> None:
    """The evidence: shares by radius, what the smoothed model answers at all, and the controls."""
    tokenizer = context.predictor.tokenizer if context.predictor is not None else None
    given = [one.usual for one in rows.found if one is not None]
    controls = {"always_the_same": rows.constant, "every_other_mask": rows.wavering}
    options = context.options.robustness
    context.evidence.write(
        "robustness.certified",
        {
            "texts": len(rows.told),
            "units": rows.kind,
            "hidden_as": "" if rows.kind == "fields" else mask_sign(tokenizer),
            "share_kept": options.certify_kept,
            "masks": options.certify_samples,
            "exact_rows": sum(bool(each["whole"]) for each in rows.told),
            "median_units": float(np.median([each["units"] for each in rows.told])),
            "median_kept": float(np.median([each["kept"] for each in rows.told])),
            "error_of_a_row": rows.error,
            "accuracy": _plain(plain),
            "smoothed_accuracy": _plain(overall),
            "radii": [{"radius": radius, **_plain(shares[radius])} for radius in RADII],
            "controls": {
                name: {str(radius): float(rows.standing(radius, made).mean()) for radius in RADII} for name, made in controls.items()
            },
            "answers": {name: given.count(place) / len(rows.told) for place, name in enumerate(context.labels.names)},
        },
    )


def _plain(share: Interval) -> dict[str, float]:
    return {"value": share.value, "low": share.low, "high": share.high}
