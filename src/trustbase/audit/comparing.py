"""What `compare.json` holds: two models asked about the same rows, and everything that is measured of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trustbase import files, seeds
from trustbase.audit.artifact import score_rows
from trustbase.audit.askers.asking import Alone
from trustbase.audit.challenge import Pair, contrasting, discordant, gap_findings, group_contrasts
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.machine import machine_facts
from trustbase.audit.paired import MCNEMAR, mcnemar_exact
from trustbase.audit.turns import LEAST_TURNS, SOURCE, ask_in_turns
from trustbase.data.cells import inputs_of
from trustbase.data.tags import types_of
from trustbase.events import Emit
from trustbase.outputs.answers.base import decided
from trustbase.records import ArtifactInfo, Finding, LabelSchema, Split

if TYPE_CHECKING:
    from trustbase.model.predict import Predictor

PARTS = ("tokens", "span")  # answer kinds whose answers are parts of the row's own text
COMPARE_SCHEMA = "trustbase/compare/1"


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two: what it is, and the rows as it reads them."""

    name: str
    info: ArtifactInfo
    test: Split
    predictor: Predictor


def comparison_facts(
    sides: Sequence[Side],
    labels: LabelSchema,
    data: str | Path,
    columns: tuple[str, tuple[str, ...]],
    looks: tuple[int, int],
    seed: int,
    calls: int,
    emit: Emit,
) -> dict[str, Any]:
    """Everything that is measured, as JSON.

    Args:
        sides: the champion and the challenger.
        labels: of both, in the champion's order, with the positive one that was agreed on.
        data: the file of the rows.
        columns: label column and group columns.
        looks: how often these rows were looked at, this time included; and how many of these looks are of this time.
        seed: of everything that is drawn.
        calls: single questions to each for the latency; 0 measures none.
        emit: takes events.

    Raises:
        PredictionError: a row could not be answered.
    """
    champion, challenger = sides
    with TemporaryDirectory(prefix="trustbase-compare-") as place:
        pair = _pair(sides, labels, Path(place), seed, emit)
        kind, path = champion.info.answer_kind, Path(data)
        way, classes = contrasting(kind), kind == "classes"
        return {
            "schema": COMPARE_SCHEMA,
            "champion": _told(champion),
            "challenger": _told(challenger),
            "answers": kind,
            "main": way.main,
            "same_artefact": pair.same,
            "data": {
                "file": f"sha256:{files.sha256_file(path)}" if path.is_file() else str(data),
                "rows": len(champion.test),
                "label": columns[0],
                "groups": list(columns[1]),
                "labels": label_names(kind, labels),
                "positive": labels.positive if classes and labels.binary else None,
                "favourable": labels.favourable if classes else None,
                "looks": looks[0],
                "looks_now": looks[1],
            },
            "confidence": pair.context.confidence,
            "minimum_cell": pair.context.minimum_cell,
            "metrics": [item.to_json() for item in way.contrasts(pair)],
            "mcnemar": None if way.right is None else _mcnemar(*discordant(pair, way.right)),
            "groups": [item.to_json() for item in group_contrasts(pair, way)],
            "gaps": [{"id": ours.id, "champion": _brief(ours), "challenger": _brief(theirs)} for ours, theirs in gap_findings(pair, kind)],
            "latency": _latency(sides, seed, calls, pair.context.confidence, emit),
            "other_costs": _other_costs(champion.info, challenger.info),
            "machine": machine_facts(),
        }


def label_names(kind: str, labels: LabelSchema) -> list[str]:
    """What two models must both know: of entities their types, in whatever tags they are spelt; of answers to questions nothing."""
    if kind == "tokens":
        return list(types_of(labels.names))
    return [] if kind == "span" else list(labels.names)


def _mcnemar(champion: int, challenger: int) -> dict[str, Any]:
    """How even the rows are divided that one of the two alone answers rightly."""
    facts = {"champion_only_right": champion, "challenger_only_right": challenger}
    return {**facts, "p_value": mcnemar_exact(champion, challenger), "source": MCNEMAR}


def _pair(sides: Sequence[Side], labels: LabelSchema, place: Path, seed: int, emit: Emit) -> Pair:
    """Both models' answers, each decided under its own threshold, in the label order of the champion."""
    answers = []
    for side in sides:
        scores = score_rows(Alone(side.predictor), inputs_of(side.test, side.info.columns), emit)
        said = decided(scores, side.info.labels, side.info.decision, side.info.answer_kind)
        answers.append(_in_order(scores, said, side.info, labels))
    decision = sides[0].info.decision
    if sides[0].info.answer_kind == "classes" and labels.positive != sides[0].info.labels.positive:  # its costs speak of the other label
        decision = replace(decision, cost=_turned(decision.cost))
    context = AuditContext(sides[0].test, labels, decision, answers[0], Evidence(place), seed, emit=emit)
    return Pair(context, answers[1], sides[0].info.digest == sides[1].info.digest, sides[1].info.decision)


def _in_order(scores: NDArray[Any], said: NDArray[Any], info: ArtifactInfo, labels: LabelSchema) -> Answers:
    """A model's answers in the order of these labels.

    Of parts of a text only the answers are compared, which name their type: scores, of other tags or of none, stay out.
    """
    if info.answer_kind in PARTS:
        return Answers(None, said)
    order = [info.labels.index(name) for name in labels.names]
    if info.answer_kind == "classes":
        said = np.asarray(np.argsort(order)[said], dtype=np.int64)
    elif info.answer_kind == "labels":
        said = np.asarray(said[:, order])
    return Answers(scores[:, order], said)


def _turned(cost: Mapping[str, float]) -> dict[str, float]:
    return {"false_negative": cost["false_positive"], "false_positive": cost["false_negative"]} if cost else {}


def _latency(sides: Sequence[Side], seed: int, calls: int, confidence: float, emit: Emit) -> dict[str, Any] | None:
    """How much longer the challenger takes, asked in turns about rows in a seeded order."""
    if not calls:
        return None
    emit("progress", what="asking in turns", done=0, total=1)
    order = seeds.generator(seed, "compare", "turns").permutation(len(sides[0].test))[:calls]
    first, second = (inputs_of(side.test, side.info.columns) for side in sides)
    turns = ask_in_turns(sides[0].predictor, sides[1].predictor, [(first[row], second[row]) for row in order], calls=calls)
    emit("progress", what="asking in turns", done=1, total=1)
    n = len(turns.champion)
    medians, ratio = turns.medians(), turns.ratio(confidence)
    few = n < LEAST_TURNS or ratio[1] is None
    return {
        "champion_median_ms": medians[0],
        "challenger_median_ms": medians[1],
        "ratio": ratio[0],
        "low": None if few else ratio[1],
        "high": None if few else ratio[2],
        "n": n,
        "source": SOURCE,
        "reason": f"{n} turns, fewer than {LEAST_TURNS}" if few else "",
    }


def _told(side: Side) -> dict[str, Any]:
    info = side.info
    return {
        "name": side.name,
        "digest": info.digest,
        "base": info.base,
        "runtime": info.runtime,
        "precision": info.precision,
        "text": info.text,
        "decision": info.decision.to_json(),
    }


def _brief(finding: Finding) -> dict[str, Any]:
    return {key: getattr(finding, key) for key in ("value", "low", "high", "n", "status", "reason", "direction")}


def _other_costs(champion: ArtifactInfo, challenger: ArtifactInfo) -> bool:
    """Whether the two were made for other costs of errors; the champion's are applied to both."""
    own, other = champion.decision.cost, challenger.decision.cost
    if champion.labels.positive != challenger.labels.positive:
        other = _turned(other)
    return dict(own) != dict(other)
