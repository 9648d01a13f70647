"""Whether inputs of another kind can be told from those that the model was made for, and the threshold from which a server may say so.

The rows that known ones are held against are training rows where there are some (else one half of the calibration rows), the threshold is
fitted on calibration rows, and what is told apart are test rows and inputs of another kind: from a file that is named, or made from test
rows (`foreign.py`). Which score counts is said beforehand, among those that a server can compute from what ships: the Mahalanobis distance
of the embedding, of a model without one the energy of its logits. Neighbours are rows, which do not ship: they are told beside these. Each
score must notice random signs in the same run, else it says nothing of other kinds, and no threshold of it ships.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit import ranks
from trustbase.audit.calibrated import Calibrated, calibrated
from trustbase.audit.catalogue import OOD_SCORES, SHIFTS
from trustbase.audit.context import AuditContext
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.audit.rival_inputs import have_choices
from trustbase.audit.robustness.distance import Floats, Shape, energy, nearest_of, neighbours, shape_of
from trustbase.audit.robustness.foreign import CONTROL, FAR, foreign
from trustbase.audit.robustness.guardrails import write_guardrail
from trustbase.audit.stats import Interval
from trustbase.data.cells import inputs_of
from trustbase.data.stored import in_memory
from trustbase.records import Finding

METRICS = ("robustness.ood_auroc", *(f"robustness.ood_auroc#{name}" for name in (*OOD_SCORES, *SHIFTS)))
MOST_KNOWN = 1_000  # rows that others are held against, and as many that a threshold is fitted on
SHIPPED = ("mahalanobis", "energy")  # scores that a server can compute; the first that a model has is the headline
LEAST_CONTROL = 0.8  # AUROC of random signs under which a score is blind
_METHODS = {
    "knn": "distance to the nearest known rows, by embeddings of length 1",
    "mahalanobis": "Mahalanobis distance to the nearest class mean of known rows, by embeddings",
    "energy": "energy of the logits",
}
_SOURCES = {
    "knn": "Sun et al. (2022), ICML, section 3",
    "mahalanobis": "Lee et al. (2018), NeurIPS, section 2.1; Ledoit & Wolf (2004), JMVA 88; Tipping & Bishop (1999), JRSS B 61",
    "energy": "Liu et al. (2020), NeurIPS, section 3",
}
_MADE = {
    "other-subject": "test rows in words of another subject",
    "other-language": "test rows in words of another language",
    "random": "test rows in random signs",
    "shuffled": "test rows with their words in another order",
}
_FLAT = 1e-6  # spread of energies under which logits are normalised, and have none


@dataclass(frozen=True, eq=False)
class _Sides:
    """Inputs that are told apart, each list of rows of its own.

    Attributes:
        known: rows that others are held against; `codes` are their classes, or None where they have none.
        fitting: calibration rows that the threshold is fitted on.
        own: test rows.
        shifted: kind → inputs of another kind.
        kinds: those that the headline is about.
        made: where these come from, for the method.
    """

    known: list[str]
    codes: NDArray[np.int64] | None
    fitting: list[str]
    own: list[str]
    shifted: Mapping[str, list[str]]
    kinds: tuple[str, ...]
    made: str


def measure_shift(context: AuditContext) -> list[Finding]:
    """AUROC of every score and kind; writes `evidence/robustness.shift.json`, and thresholds into the guardrails."""
    rows = calibrated(context)
    sides = rows if isinstance(rows, str) else _sides(context, rows)
    if isinstance(sides, str):
        return [_without(context, id, sides) for id in METRICS]
    assert not isinstance(rows, str)
    scored, why = _scored(context, sides)
    head = next((name for name in SHIPPED if name in scored), None)
    if not scored:
        return [_without(context, id, "; ".join(why.values()), "not_applicable") for id in METRICS]
    controls = {name: _interval(made, (CONTROL,), context.confidence).value for name, made in scored.items()}
    seeing = {name: made for name, made in scored.items() if controls[name] >= LEAST_CONTROL}
    why |= {name: _blind(controls[name]) for name in scored if name not in seeing}
    findings = _findings(context, sides, seeing, why, head, f"{sides.made}; {rows.note}", set(scored))
    accepted = context.options.robustness.accepted
    kept = {"head": head, "made": sides.made, "controls": controls, "needed": LEAST_CONTROL, "accepted": accepted}
    thresholds = {name: _thresholds(made, sides, accepted) for name, made in seeing.items()}
    context.evidence.write("robustness.shift", {**kept, "kinds": _table(context, sides, seeing), "scores": thresholds})
    _guard(context, seeing, accepted, sides)
    return findings


def _blind(control: float) -> str:
    return f"random signs are told from test rows with an AUROC of {control:.2f} only, so a score is blind"


def _sides(context: AuditContext, rows: Calibrated) -> _Sides | str:
    """The inputs, or why there are too few."""
    options, least = context.options.robustness, context.minimum_cell
    inputs, allowed = asked_inputs(context), set(rows.measured.tolist())
    drawn = [row for row in sampled_rows(context, len(inputs), "shift") if int(row) in allowed][: 2 * options.shift_texts]
    own, sources = [inputs[row] for row in drawn[::2]], [inputs[row] for row in drawn[1::2]]
    known, codes, fitting = _known(context, rows)
    few = min(len(own), len(sources), len(known), len(fitting))
    if few < least:
        return f"{few} rows on one of the sides that are told apart, fewer than the minimum of {least}"
    made = {kind: [foreign(text, kind, context.seed) for text in sources] for kind in SHIFTS}
    if context.shift is None:
        told = "held against texts made from test rows, in equal parts with words of another subject, of another language, and random signs"
        return _Sides(known, codes, fitting, own, made, FAR, told)
    given = _drawn(list(dict.fromkeys(context.shift)), options.shift_texts, context.seed, "given")
    if len(given) < least:
        return f"{len(given)} different texts of another kind are given, fewer than the minimum of {least}"
    return _Sides(known, codes, fitting, own, {**made, "given": given}, ("given",), f"held against {len(given):,} texts that are given")


def _known(context: AuditContext, rows: Calibrated) -> tuple[list[str], NDArray[np.int64] | None, list[str]]:
    """Rows that others are held against, their classes, and rows that the threshold is fitted on: disjoint."""
    assert context.artifact is not None
    of_classes = context.artifact.answer_kind == "classes" and not have_choices(context.test)
    order = seeds.generator(context.seed, "shift", "known").permutation(len(rows.inputs))
    if context.train is not None:
        count = min(len(context.train), MOST_KNOWN)
        picked = np.sort(seeds.generator(context.seed, "shift", "train").choice(len(context.train), count, replace=False))
        part = in_memory(context.train, picked)
        known, labels, fitting = [str(text) for text in inputs_of(part, context.artifact.columns)], part.labels, order[:MOST_KNOWN]
    else:
        half = order[: len(order) // 2]
        known, labels, fitting = (
            [rows.inputs[i] for i in half[:MOST_KNOWN]],
            rows.labels[half[:MOST_KNOWN]],
            order[len(half) :][:MOST_KNOWN],
        )
    codes = np.asarray(labels, dtype=np.int64) if of_classes else None
    return known, codes, [rows.inputs[i] for i in fitting]


def _drawn(texts: Sequence[str], count: int, seed: int, name: str) -> list[str]:
    if len(texts) <= count:
        return list(texts)
    return [texts[i] for i in np.sort(seeds.generator(seed, "shift", name).choice(len(texts), count, replace=False))]


@dataclass(frozen=True, eq=False)
class _Scored:
    """What one score says of each side; higher is further away. `shape` is what the Mahalanobis distance is made of."""

    fitting: Floats
    own: Floats
    shifted: Mapping[str, Floats]
    shape: Shape | None = None


def _scored(context: AuditContext, sides: _Sides) -> tuple[dict[str, _Scored], dict[str, str]]:
    """Every score that this model has, and why it has not the others."""
    assert context.predictor is not None and context.artifact is not None
    scored: dict[str, _Scored] = {}
    why: dict[str, str] = {}
    if "embedding" in context.predictor.runtime.outputs:
        embedded = _asked(context, sides, "embedding")
        k = nearest_of(len(sides.known))
        scored["knn"] = _by(sides, embedded, lambda rows: neighbours(embedded["known"], rows, k))
        shape = shape_of(embedded["known"], sides.codes, context.labels.names)
        if isinstance(shape, Shape):
            scored["mahalanobis"] = replace(_by(sides, embedded, shape.distances), shape=shape)
        else:
            why["mahalanobis"] = f"no covariance of known rows: {shape}"
    else:
        why |= dict.fromkeys(("knn", "mahalanobis"), "this model gives no embeddings")
    if context.artifact.answer_kind == "classes":
        energies = _by(sides, _asked(context, sides, "class_logits"), energy)
        if float(np.ptp(energies.own)) > _FLAT:
            scored["energy"] = energies
        else:
            why["energy"] = "the logits of this model are logarithms of probabilities, whose energy is the same for all inputs"
    else:
        why["energy"] = "only logits of classes have an energy here"
    return scored, why


def _asked(context: AuditContext, sides: _Sides, kind: str) -> dict[str, Floats]:
    """One answer about every input of every side; equal ones are asked once."""
    assert context.askers is not None
    parts = {"known": sides.known, "fitting": sides.fitting, "own": sides.own, **sides.shifted}
    if kind != "embedding":
        del parts["known"]
    values = context.askers.ask(kind, [text for part in parts.values() for text in part], what="telling other texts", emit=context.emit)
    found, start = {}, 0
    for name, part in parts.items():
        found[name] = np.stack([np.asarray(value, dtype=np.float64) for value in values[start : start + len(part)]])
        start += len(part)
    return found


def _by(sides: _Sides, answers: Mapping[str, Floats], score: Callable[[Floats], Floats]) -> _Scored:
    return _Scored(score(answers["fitting"]), score(answers["own"]), {kind: score(answers[kind]) for kind in sides.shifted})


def _of_kinds(made: _Scored, kinds: Sequence[str]) -> Floats:
    """Scores of inputs of some kinds, of which each source gives one, so that all are independent."""
    return np.concatenate([made.shifted[kind][place :: len(kinds)] for place, kind in enumerate(kinds)])


def _interval(made: _Scored, kinds: Sequence[str], confidence: float) -> Interval:
    other = _of_kinds(made, kinds)
    truth = np.append(np.ones(len(other), bool), np.zeros(len(made.own), bool))
    return ranks.auroc(truth, np.append(other, made.own), confidence=confidence)


def _findings(
    context: AuditContext,
    sides: _Sides,
    seeing: Mapping[str, _Scored],
    why: Mapping[str, str],
    head: str | None,
    note: str,
    had: Collection[str],
) -> list[Finding]:
    """A finding of each score, and of each kind by the headline.

    Args:
        seeing: the scores whose control was found.
        why: what speaks against the others.
        head: the headline's score; None where the model has none that ships.
        note: what is told apart, and where thresholds come from.
        had: the scores that the model has.
    """
    findings = []
    for id in METRICS:
        _, _, variant = id.partition("#")
        name, kinds = (variant or head, sides.kinds) if variant in ("", *OOD_SCORES) else (head, (variant,))
        if name is None or name not in seeing:
            reason = why[name] if name is not None else "; ".join(why[name] for name in SHIPPED)
            findings.append(_without(context, id, reason, "insufficient" if name in had else "not_applicable"))
            continue
        found = _interval(seeing[name], kinds, context.confidence).finding(id, direction="higher", confidence=context.confidence)
        told = note if kinds == sides.kinds else f"held against {_MADE[variant]}; {note.split('; ', 1)[1]}"
        method, source = f"{_METHODS[name]}; {told}; {found.method}", f"{_SOURCES[name]}; {found.source}"
        findings.append(replace(found, method=method, source=source, seed=context.seed))
    return findings


def _table(context: AuditContext, sides: _Sides, seeing: Mapping[str, _Scored]) -> list[dict[str, Any]]:
    """What each score says of each kind."""
    table = []
    for kind in sides.shifted:
        for name, made in seeing.items():
            area = _interval(made, (kind,), context.confidence)
            told = {"n": len(made.shifted[kind]), "auroc": area.value, "low": area.low, "high": area.high}
            table.append({"kind": kind, "score": name, **told})
    return table


def _threshold(made: _Scored, accepted: float) -> float:
    """The score that so large a share of further rows of the model's own kind will not exceed."""
    place = min(math.ceil((len(made.fitting) + 1) * accepted), len(made.fitting))
    return float(np.sort(made.fitting)[place - 1])


def _thresholds(made: _Scored, sides: _Sides, accepted: float) -> dict[str, Any]:
    """The threshold of one score, and what it refuses."""
    threshold = _threshold(made, accepted)
    refused = {kind: float((values > threshold).mean()) for kind, values in made.shifted.items()}
    return {
        "threshold": threshold,
        "fitted_on": len(sides.fitting),
        "own_refused": float((made.own > threshold).mean()),
        "refused": refused,
    }


def _guard(context: AuditContext, seeing: Mapping[str, _Scored], accepted: float, sides: _Sides) -> None:
    """Thresholds of the scores that a server can compute and whose control was found; nothing where there is none."""
    parts: dict[str, Any] = {}
    if "energy" in seeing:
        parts["energy"] = {"threshold": _threshold(seeing["energy"], accepted)}
    made = seeing.get("mahalanobis")
    if made is not None and made.shape is not None:
        parts["mahalanobis"] = {"threshold": _threshold(made, accepted), **made.shape.to_json()}
    if parts:
        write_guardrail(context, "out_of_distribution", {"accepted": accepted, "rows": len(sides.fitting), **parts})


def _without(context: AuditContext, id: str, reason: str, status: Any = "insufficient") -> Finding:
    return Finding.without_value(id, status, reason, direction="higher", confidence=context.confidence)
