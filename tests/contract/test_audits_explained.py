"""The explanation audit keeps the contract of findings, and broken ones are noticed; the catalogue says what it emits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from test_audits import MUTANTS, Audit, Make, check_audit

from explain_world import WEIGHTS, audited, review_rows
from trustbase.audit.catalogue import CATALOGUE, metric_names, why_never
from trustbase.audit.context import AuditContext
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import ANSWER_KINDS, AUDITS

REGISTERED = [(kind, load(entry)) for (dimension, kind), entry in AUDITS.items() if dimension == "explanation"]
INSIDE = ("integrated_gradients", "attention_relevance")
EXPLAINED = ("classes", "labels", "number")
SMALL = {"texts": 16, "samples": 40, "evaluations": 24, "queries": 12, "stability": 10}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Make]]:
    counter = itertools.count()
    with ExitStack() as opened:

        def of_kind(kind: str) -> Make:
            def context(*, rows: int = 90, wrong: float = 0.15, **more: Any) -> AuditContext:
                weights = {word: weight * (1.3 - wrong) for word, weight in WEIGHTS.items()}
                folder = tmp_path / f"evidence{next(counter)}"
                table = review_rows(rows if rows > 24 else 8)
                return opened.enter_context(audited(folder, table, kind=kind, weights=weights, mixed=wrong, budget=SMALL, **more))

            return context

        yield of_kind


def test_every_answer_kind_is_registered() -> None:
    assert [kind for kind, _ in REGISTERED] == list(ANSWER_KINDS)


@pytest.mark.parametrize("kind", EXPLAINED)
def test_the_audit_keeps_the_contract(kind: str, make: Callable[[str], Make]) -> None:
    audit: Audit = dict(REGISTERED)[kind]
    check_audit(audit, make(kind), least=18)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_audit_is_noticed(mutant: Callable[..., Audit], make: Callable[[str], Make]) -> None:
    own = make("classes")
    with pytest.raises(AssertionError):
        check_audit(mutant(dict(REGISTERED)["classes"], own), own, least=18)


@pytest.mark.parametrize("kind", EXPLAINED)
def test_the_catalogue_says_what_the_audit_emits(kind: str, make: Callable[[str], Make]) -> None:
    found = dict(REGISTERED)[kind](make(kind)())
    own = [finding for finding in found if finding.status != "not_applicable"]
    assert all(why_never(finding.parts, [], kind) is None for finding in own)
    absent = {"explanation.sanity_check", "explanation.influence_check"}  # a model without torch weights: test_audits_asking.py has one
    absent |= {"explanation.counterfactual_fluency"}  # no masked language model is named: test_fluent_edits.py has one
    wanted = {name for name in metric_names(kind) if name.startswith("explanation.")} - absent
    assert {f"explanation.{finding.parts.metric}" for finding in own} == wanted
    promised = {
        (name, variant)
        for name, measure in CATALOGUE["explanation"].items()
        for variant in measure.further
        if kind in measure.kinds and variant not in INSIDE
    }
    assert {(finding.parts.metric, finding.parts.variant) for finding in own if finding.parts.variant} == promised
