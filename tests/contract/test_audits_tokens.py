"""The audits of entities keep the contract of findings, and broken ones are noticed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from test_audits import MUTANTS, Audit, Make, check_audit, meddling

from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.data.tags import tag_names
from trustbase.model.ragged import ragged
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import AUDITS
from trustbase.records import Decision, Finding, LabelSchema, Split

TAGS = tag_names(["PER", "LOC"])
REGISTERED = [(dimension, load(AUDITS[dimension, "tokens"])) for dimension in ("quality", "fairness")]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    counter = itertools.count()

    def context(*, rows: int = 300, wrong: float = 0.15, **more: Any) -> AuditContext:
        rng = np.random.default_rng(0)
        sex = rng.choice(["f", "m"], rows).astype(object)
        truth, told = [], []
        for row in range(rows):
            found = tuple((4 * place, 4 * place + 3, str(rng.choice(["PER", "LOC"]))) for place in range(int(rng.integers(0, 4))))
            truth.append(found)
            rate = wrong + 0.1 * (sex[row] == "f")
            told.append(tuple((s, e, n) if rng.random() > rate else (s, e - 1, n) for s, e, n in found))
        texts = ["aaa bbb ccc"] * rows
        test = Split("test", texts, ragged(truth), {"sex": sex}, pa.table({"text": texts}), np.arange(1, rows + 1), "made", "sha256:0")
        folder = tmp_path / f"evidence{next(counter)}"
        return AuditContext(
            test, LabelSchema(TAGS, TAGS[-1], TAGS[-1]), Decision(), Answers(None, ragged(told)), Evidence(folder), 0, **more
        )

    return context


def test_how_many_audits_of_entities_are_covered() -> None:
    assert [dimension for dimension, _ in REGISTERED] == ["quality", "fairness"]


def wide_enough(audit: Audit, dimension: str) -> Audit:
    """The contract asks for eight numbers; the audit of differences has six over one column, so it is asked with two more of the same."""
    if dimension == "quality":
        return audit
    return lambda context: [*audit(context), *_again(audit, context)]


def _again(audit: Audit, context: AuditContext) -> list[Finding]:
    from dataclasses import replace

    groups = {"race": np.roll(context.test.groups["sex"], 1)}
    return audit(replace(context, test=replace(context.test, groups=groups)))


@pytest.mark.parametrize(("dimension", "audit"), REGISTERED, ids=[dimension for dimension, _ in REGISTERED])
def test_every_audit_of_entities_keeps_the_contract(dimension: str, audit: Audit, make: Make) -> None:
    check_audit(wide_enough(audit, dimension), make)
    assert {finding.parts.dimension for finding in audit(make())} == {dimension}


def changing(audit: Audit, make: Make) -> Audit:
    def broken(context: AuditContext) -> list[Finding]:
        context.test.labels[0] = ((0, 1, "PER"),)
        return audit(context)

    return broken


BROKEN = [changing, *(mutant for mutant in MUTANTS if mutant is not meddling)]


@pytest.mark.parametrize("mutant", BROKEN, ids=lambda mutant: mutant.__name__)
@pytest.mark.parametrize(("dimension", "audit"), REGISTERED, ids=[dimension for dimension, _ in REGISTERED])
def test_a_broken_audit_of_entities_is_noticed(dimension: str, audit: Audit, mutant: Callable[..., Audit], make: Make) -> None:
    with pytest.raises(AssertionError):
        check_audit(mutant(wide_enough(audit, dimension), make), make)
