"""The audits of answers within texts keep the contract of findings, and broken ones are noticed."""

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
from trustbase.data.pair import join
from trustbase.model.ragged import ragged
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import AUDITS
from trustbase.records import Decision, Finding, LabelSchema, Split

REGISTERED = [(dimension, load(AUDITS[dimension, "span"])) for dimension in ("quality", "fairness")]
CONTEXT = "aaa bbb ccc ddd"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    counter = itertools.count()

    def context(*, rows: int = 300, wrong: float = 0.15, **more: Any) -> AuditContext:
        rng = np.random.default_rng(0)
        sex = rng.choice(["f", "m"], rows).astype(object)
        truth, told = [], []
        for row in range(rows):
            first = 4 * int(rng.integers(0, 3))
            found = ((first, first + 7),) if rng.random() < 0.7 else ()
            truth.append(found)
            failed = rng.random() < wrong + 0.1 * (sex[row] == "f")
            told.append(found if not failed else ((first, first + 3),) if found or rng.random() < 0.5 else ())
        texts = [join("which?", CONTEXT)] * rows
        test = Split("test", texts, ragged(truth), {"sex": sex}, pa.table({"text": texts}), np.arange(1, rows + 1), "made", "sha256:0")
        labels, folder = LabelSchema(("start", "end"), "start", "start"), tmp_path / f"evidence{next(counter)}"
        return AuditContext(test, labels, Decision(), Answers(None, ragged(told)), Evidence(folder), 0, **more)

    return context


def test_how_many_audits_of_answers_within_texts_are_covered() -> None:
    assert [dimension for dimension, _ in REGISTERED] == ["quality", "fairness"]


LEAST = {"quality": 5, "fairness": 5}  # numbers that there are: one column of groups, and no rival


@pytest.mark.parametrize(("dimension", "audit"), REGISTERED, ids=[dimension for dimension, _ in REGISTERED])
def test_every_audit_of_answers_within_texts_keeps_the_contract(dimension: str, audit: Audit, make: Make) -> None:
    check_audit(audit, make, least=LEAST[dimension])
    assert {finding.parts.dimension for finding in audit(make())} == {dimension}


def changing(audit: Audit, make: Make) -> Audit:
    def broken(context: AuditContext) -> list[Finding]:
        context.test.labels[0] = ((0, 1),)
        return audit(context)

    return broken


BROKEN = [changing, *(mutant for mutant in MUTANTS if mutant is not meddling)]


@pytest.mark.parametrize("mutant", BROKEN, ids=lambda mutant: mutant.__name__)
@pytest.mark.parametrize(("dimension", "audit"), REGISTERED, ids=[dimension for dimension, _ in REGISTERED])
def test_a_broken_audit_of_answers_within_texts_is_noticed(dimension: str, audit: Audit, mutant: Callable[..., Audit], make: Make) -> None:
    with pytest.raises(AssertionError):
        check_audit(mutant(audit, make), make, least=LEAST[dimension])
