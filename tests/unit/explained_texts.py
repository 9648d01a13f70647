"""Every method and reason that the explanation audit writes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from explain_world import BUDGET, WEIGHTS, audited, cell_rows, review_rows
from tiny import tiny_bert
from trustbase.audit.askers.asking import Alone
from trustbase.audit.context import AuditContext
from trustbase.audit.explain import near_words, sanity, surrogate
from trustbase.audit.explain.rows import row_findings
from trustbase.audit.explain.stability import stability_findings
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.records import ArtifactInfo, Finding, LabelSchema

LABELS = LabelSchema(("no", "yes"), "yes", "yes")


def tiny_classifier(folder: Path, *, seed: int = 0, labels: LabelSchema = LABELS) -> ArtifactInfo:
    """A small random BERT that tells classes apart."""
    base = resolve_base(str(tiny_bert(folder / "base", seed=seed)))
    TEXT_CLASSIFICATION.build(base, labels, seed=seed).save_pretrained(folder / "model")  # type: ignore[operator]
    load_tokenizer(base.folder).save_pretrained(folder / "model")
    return ArtifactInfo(folder / "model", "sha256:2", "text-classification", "classes", labels, "torch", "fp32", 64, "b", "r", text="text")


def checked(context: AuditContext, info: ArtifactInfo) -> list[Finding]:
    """The sanity check of another model on the same rows."""
    with Predictor.open(info, threads=1, device="cpu") as predictor:
        return sanity.sanity_findings(replace(context, predictor=predictor, askers=Alone(predictor), artifact=info))


def explained_findings(folder: Path) -> list[Finding]:
    """Of many rows and few, of every kind of answer, of one answer for all, and of copies that do not answer as the model does."""
    found: list[Finding] = []
    info = tiny_classifier(folder / "tiny")
    for name, kind, rows in (("many", "classes", 100), ("few", "classes", 8), ("number", "number", 40), ("tags", "labels", 40)):
        (folder / name).mkdir(parents=True)
        with audited(folder / name, review_rows(rows), kind=kind) as context:
            found += [*row_findings(context), *stability_findings(context), *sanity.sanity_findings(context)]
            found += surrogate.surrogate_findings(context) if kind == "classes" else []
            if name == "many":
                found += checked(context, info)
                found += sanity.sanity_findings(_with(context, members=2))
                with pytest.MonkeyPatch.context() as patched:
                    patched.setattr(sanity, "LEAST_ALIKE", 1.5)
                    found += checked(context, info)
    (folder / "cells").mkdir()
    with audited(folder / "cells", cell_rows(60)) as context:  # of columns no edit is one that the model sees
        found += stability_findings(context)
    with pytest.MonkeyPatch.context() as patched, audited(folder / "many", review_rows(60)) as context:
        patched.setattr(near_words, "open_judge", lambda reference: nullcontext("there is no judge"))
        found += stability_findings(context)
    for name, weights in (("same", {}), ("trained", WEIGHTS)):
        (folder / name).mkdir()
        with audited(folder / name, cell_rows(80), weights=weights, budget=BUDGET) as context:
            found += surrogate.surrogate_findings(replace(context, train=replace(context.test, name="train")) if weights else context)
    for first in (("tree", "rules"), ("rules", "tree")):  # of equals the first is chosen
        (folder / first[0]).mkdir()
        with (
            pytest.MonkeyPatch.context() as patched,
            audited(folder / first[0], review_rows(100), weights={"staff": 4.0, "": -0.01}) as context,
        ):
            patched.setattr(surrogate, "FORMS", first)
            found += surrogate.surrogate_findings(context)
    return found


def _with(context: AuditContext, *, members: int) -> AuditContext:
    """The same of a model of several members."""
    assert context.artifact is not None
    return replace(context, predictor=SimpleNamespace(info=replace(context.artifact, members=members, runtime="torch")))  # type: ignore[arg-type]
