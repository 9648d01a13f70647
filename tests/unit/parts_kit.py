"""Made-up answers of two models that find parts of texts: entities, and answers to questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trustbase.audit.challenge import Pair
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.data.pair import join
from trustbase.data.tags import tag_names
from trustbase.data.truth.span import SCORES
from trustbase.model.ragged import ragged
from trustbase.records import Decision, LabelSchema, Split

TYPES = ("LOC", "PER")
WORDS = "aa bb cc dd ee ff gg hh"  # eight units of two characters
_WIDTH, _PLACES = 3, 8


def parts_context(folder: Path, truth: Any, told: Any, *, kind: str, seed: int = 0) -> AuditContext:
    """Rows with a column `g` of two large groups and one of four rows."""
    rows = len(truth)
    g = np.random.default_rng([seed, 7]).choice(["N", "S"], rows).astype(object)
    g[:4] = "T"
    names = tag_names(TYPES) if kind == "tokens" else SCORES
    texts = [WORDS if kind == "tokens" else join("which", WORDS)] * rows
    test = Split("test", texts, ragged(truth), {"g": g}, pa.table({"text": texts}), np.arange(1, rows + 1), "made", "sha256:0")
    labels = LabelSchema(tuple(names), names[-1], names[-1])
    return AuditContext(test, labels, Decision(), Answers(None, ragged(told)), Evidence(folder), seed)


def _units(first: int, last: int) -> tuple[int, int]:
    return _WIDTH * first, _WIDTH * last - 1


def entities(rng: np.random.Generator) -> tuple[Any, ...]:
    """None to three entities of one or two units."""
    found = []
    for place in np.flatnonzero(rng.random(_PLACES // 2) < 0.35):
        first = 2 * int(place)
        found.append((*_units(first, first + 1 + int(rng.integers(2))), str(rng.choice(TYPES))))
    return tuple(found)


def misread(rng: np.random.Generator, true: tuple[Any, ...], wrong: float) -> tuple[Any, ...]:
    """The entities as a tagger finds them that is wrong about each with probability `wrong`, in one of three ways."""
    told = []
    for start, end, name in true:
        way = int(rng.integers(3)) if rng.random() < wrong else 3
        if way:
            told.append((start, start + 2 if way == 1 and end > start + 2 else end, TYPES[1 - TYPES.index(name)] if way == 2 else name))
    if rng.random() < wrong / 4 and (not told or told[-1][1] <= _units(6, 7)[0]):
        told.append((*_units(7, 8), "LOC"))
    return tuple(told)


def token_pair(folder: Path, rows: int = 400, *, champion: float = 0.1, challenger: float = 0.4, same: bool = False, seed: int = 0) -> Pair:
    """Two taggers; half of what the champion misreads the challenger does not read otherwise."""
    rng = np.random.default_rng(seed)
    truth = [entities(rng) for _ in range(rows)]
    told = [misread(rng, true, champion) for true in truth]
    other = told if same else [misread(rng, true, challenger) for true in truth]
    return Pair(parts_context(folder, truth, told, kind="tokens", seed=seed), Answers(None, ragged(other)), same)


def answer(rng: np.random.Generator, none: float) -> tuple[Any, ...]:
    first = int(rng.integers(_PLACES - 2))
    return () if rng.random() < none else (_units(first, first + 1 + int(rng.integers(2))),)


def span_pair(
    folder: Path, rows: int = 400, *, champion: float = 0.1, challenger: float = 0.4, none: float = 0.3, same: bool = False, seed: int = 0
) -> Pair:
    """Two that answer questions, wrong with these probabilities: another part of the text, or one word too many, or none."""
    rng = np.random.default_rng(seed)
    truth = [answer(rng, none) for _ in range(rows)]

    def wrongly(wrong: float) -> list[tuple[Any, ...]]:
        told = []
        for true in truth:
            if rng.random() < wrong:
                told.append(((true[0][0], true[0][1] + _WIDTH),) if true and rng.random() < 0.5 else answer(rng, 0.2))
            else:
                told.append(true)
        return told

    told = wrongly(champion)
    other = told if same else wrongly(challenger)
    return Pair(parts_context(folder, truth, told, kind="span", seed=seed), Answers(None, ragged(other)), same)
