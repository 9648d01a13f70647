"""Every method and reason that certificates and sensitivity write, from models of a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from robustness_kit import asked_context, surely

from trustbase.audit.askers.asking import Alone
from trustbase.audit.context import AuditContext
from trustbase.audit.explain import units
from trustbase.audit.measured import Part, measure_parts
from trustbase.audit.robustness import certified, sensitivity
from trustbase.audit.robustness.gradients import Moved
from trustbase.audit.robustness.taught import of_training
from trustbase.errors import UsageError
from trustbase.model import predict
from trustbase.records import Finding

PARTS = [
    Part("certified", certified.METRICS, certified.measure_certified),
    Part("sensitivity", sensitivity.METRICS, sensitivity.measure_sensitivity, sensitivity.KINDS),
]


def made(folder: Path, rows: int = 40, *, words: str = "a good film with a lot of words that say much of it", **more: Any) -> AuditContext:
    texts = [f"{words} r{number}" for number in range(rows)]
    truth = [number % 2 for number in range(rows)]
    return asked_context(folder, texts, truth, lambda text: surely(int(text.endswith(("1", "3", "5", "7", "9")))), **more)


def lent(context: AuditContext, *, checks: list[tuple[float, float]], patch: pytest.MonkeyPatch) -> list[Finding]:
    """What is found where a model is lent and its gradients are these."""

    @contextmanager
    def white_box() -> Iterator[Any]:
        yield SimpleNamespace(note="white-box: asked of the fp32 torch weights, not of the shipped runtime (torch bf16)")

    patch.setattr(context.predictor, "white_box", white_box, raising=False)
    moved = [Moved(0.1 * place, {"layer.0": 0.2, "layer.1": 0.1 * place}, 1.0, 1.0) for place in range(40)]
    patch.setattr(sensitivity, "_traced", lambda *_: (moved, checks))
    return sensitivity.measure_sensitivity(context)


def robustness_findings(folder: Path) -> list[Finding]:
    """All of them, and of other answer kinds and without a model that they do not apply."""
    with pytest.MonkeyPatch.context() as patch:
        found = _certified(folder, patch)
        for kind in ("number", "tokens"):
            context = made(folder)
            assert context.artifact is not None
            found += measure_parts(replace(context, artifact=replace(context.artifact, answer_kind=kind)), "robustness", PARTS[:1], {})
        found += measure_parts(replace(made(folder), predictor=None), "robustness", PARTS, {})
        return found + _sensitivity(folder, patch) + _taught(folder)


def _certified(folder: Path, patch: pytest.MonkeyPatch) -> list[Finding]:
    found = [*certified.measure_certified(made(folder)), *certified.measure_certified(made(folder, 12))]
    found += certified.measure_certified(made(folder, words=""))
    table = pa.table({"a": [f"x{number}" for number in range(40)], "b": ["y"] * 40, "c": ["z"] * 40})
    found += certified.measure_certified(made(folder, table=table, read="{a} {b} {c}"))
    with patch.context() as bare:
        bare.setattr(units.util, "find_spec", lambda name: None)
        found += certified.measure_certified(made(folder, words="这部电影很好看也很感人大家都说值得一看"))
    with patch.context() as wrong:
        wrong.setattr(certified, "stands", lambda *_: True)
        return found + certified.measure_certified(made(folder))


def _sensitivity(folder: Path, patch: pytest.MonkeyPatch) -> list[Finding]:
    context = made(folder)
    assert context.artifact is not None
    opened = SimpleNamespace(scores=lambda texts: np.array([[0.4, 0.6]] * len(texts)))

    @contextmanager
    def open_other(info: Any, *, precision: str) -> Iterator[Any]:
        yield opened

    patch.setattr(predict.Predictor, "open", open_other)
    found = []
    for checks in ([(1e-3, 1e-3)], [(1e-3, 9e-3), (1e-3, 1e-3)], [(1e-9, 0.0)]):
        found += lent(context, checks=checks, patch=patch)
    found += sensitivity.measure_sensitivity(replace(context, artifact=replace(context.artifact, members=3)))
    found += sensitivity.measure_sensitivity(replace(context, artifact=replace(context.artifact, runtime="plain")))

    def refused(*_: Any, **__: Any) -> Any:
        raise UsageError("no such precision here")

    patch.setattr(predict.Predictor, "open", refused)
    return found + sensitivity.measure_sensitivity(context)


def _taught(folder: Path) -> list[Finding]:
    context = made(folder, embedding=lambda text: [float(text.endswith(("1", "3", "5", "7", "9"))), float(len(text) % 5)])
    info, rows = context.artifact, np.arange(40)
    assert info is not None
    found = [of_training(replace(context, train=context.test), rows, {}), of_training(context, rows, {})]
    turned = replace(context.answers, predicted=1 - context.answers.predicted)
    found.append(of_training(replace(context, train=context.test, answers=turned), rows, {}))
    found.append(of_training(replace(context, train=made(folder, 12).test), rows, {}))
    twice = replace(context.test, texts=[*context.test.texts] * 2, labels=np.tile(context.test.labels, 2))
    twice = replace(twice, table=pa.concat_tables([context.test.table] * 2), row_numbers=np.arange(1, 1 + len(twice)))
    found.append(of_training(replace(context, train=twice), rows, {}))  # rows of which a part is drawn
    groups = {"g": np.where(context.test.labels == 1, "odd", "even").astype(object)}
    alone = replace(context, train=replace(context.test, groups=groups), minimum_cell=10)
    found.append(of_training(alone, rows, {}))
    for other in (replace(info, answer_kind="labels"), replace(info, task="multiple-choice")):
        found.append(of_training(replace(context, artifact=other), rows, {}))
    bare = made(folder)
    return [*found, of_training(replace(bare, askers=Alone(bare.predictor)), rows, {})]  # type: ignore[arg-type]
