"""Made-up answers of models that give numbers or sets of labels, as an audit is given them, and the folder that it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from trustbase import files
from trustbase.audit.context import Answers, AuditContext, Evidence, fresh_evidence
from trustbase.audit.run import run_audit
from trustbase.outputs.answers.base import answering
from trustbase.records import ArtifactInfo, AuditReport, Decision, LabelSchema, Split

NUMBER = LabelSchema(("price",), "price", "price", center=100.0, scale=20.0)
LABELS = LabelSchema(("L1", "L2", "L3"), "L3", "L3")
INTERVAL = Decision(None, "conformal", interval={"coverage": 0.9, "half_width": 8.0, "rows": 160.0})
DIMENSIONS = ("quality", "fairness")


def split(truth: Any, *, seed: int = 0, groups: bool = True, small: int = 4) -> Split:
    """Rows with this truth; column `g` has two large groups and one of `small` rows, and the text is made of columns."""
    rng = np.random.default_rng(seed)
    rows = len(truth)
    g = rng.choice(["N", "S"], rows).astype(object)
    g[:small] = "T"
    table = pa.table({"a": [str(age) for age in rng.integers(18, 90, rows)], "j": rng.choice(["A", "B"], rows).tolist()})
    texts = [f"text {'x' * (i % 60)} {i}" for i in range(rows)]
    return Split("test", texts, truth, {"g": g} if groups else {}, table, np.arange(1, rows + 1), "made", "sha256:0")


def numbers(folder: Path, rows: int = 600, *, noise: float = 5.0, seed: int = 0, **more: Any) -> AuditContext:
    """A model whose numbers are off by `noise`, and by 2 more in group S."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(100, 20, rows)
    test = split(truth, seed=seed, **more.pop("rows_like", {}))
    told = truth + rng.normal(0, noise, rows)
    if test.groups:
        told = told + 2 * (test.groups["g"] == "S")
    fields = {"decision": INTERVAL, "answers": Answers(told[:, None], told), **more}
    return AuditContext(test, NUMBER, evidence=Evidence(folder), seed=seed, **fields)


def labels(folder: Path, rows: int = 600, *, wrong: float = 0.1, seed: int = 0, **more: Any) -> AuditContext:
    """A model that is wrong about each label with probability `wrong`; the last label is had by one row in fifty."""
    rng = np.random.default_rng(seed)
    truth = rng.random((rows, 3)) < [0.5, 0.3, 0.02]
    told = truth ^ (rng.random((rows, 3)) < wrong)
    scores = np.where(told, 0.8, 0.2) + rng.uniform(-0.1, 0.1, (rows, 3))
    fields = {"decision": Decision(0.5, "one half"), "answers": Answers(scores, scores >= 0.5), **more}
    return AuditContext(split(truth, seed=seed, **fields.pop("rows_like", {})), LABELS, evidence=Evidence(folder), seed=seed, **fields)


class Members:
    """Stands in for `Askers`: each row's answer by every member of an ensemble, `(rows, members, …)`."""

    def __init__(self, scores: Sequence[Any]) -> None:
        self.scores = scores
        self.asked = 0

    def ask(self, kind: str, inputs: Sequence[Any], **_: Any) -> list[Any]:
        assert kind.endswith("_of_members") and len(inputs) == len(self.scores)
        self.asked += 1
        return list(self.scores)


def ensemble(context: AuditContext, scores: Sequence[Any], *, folder: Path = Path("nowhere")) -> AuditContext:
    """The same context of an ensemble whose members answer so, `(members, …)` of each row; all together answer with the mean."""
    kind = {"price": "number", "L1": "labels", "start": "span", "O": "tokens"}.get(context.labels.names[0], "classes")
    count = len(scores[0])
    mean = answering(kind).together([row.mean(axis=0) for row in scores], context.labels)
    seeds = {"member_seeds": list(range(count))}
    info = ArtifactInfo(folder, "d", "t", kind, context.labels, "torch", "fp32", 8, "b", "r", None, context.decision, seeds, members=count)
    told = Answers(mean, answering(kind).decide(mean, context.labels, context.decision))
    return replace(context, artifact=info, answers=told, askers=cast(Any, Members(scores)))


def rivals_of_numbers(context: AuditContext) -> dict[str, Answers]:
    """One that always gives the mean, and one that does as well as the model."""
    mean = np.full(len(context.test), 100.0)
    close = np.asarray(context.answers.predicted) * 0.99 + 1
    return {"mean": Answers(mean[:, None], mean), "bag_of_words": Answers(close[:, None], close)}


def rivals_of_labels(context: AuditContext) -> dict[str, Answers]:
    """One that gives no label at all."""
    none = np.zeros_like(context.test.labels)
    return {"majority": Answers(none * 1.0, none)}


def audited(context: AuditContext, kind: str, folder: Path) -> AuditReport:
    """What `trustbase audit` leaves of these answers: audit.json and evidence/."""
    with fresh_evidence(folder) as evidence:
        report = run_audit(replace(context, evidence=evidence), DIMENSIONS, policy_digest=None, answer_kind=kind)
    files.write_json(folder / "audit.json", report.to_json())
    return report
