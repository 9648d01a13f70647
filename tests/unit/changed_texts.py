"""Every method and reason that changed texts, expectations and weak slices write, from models of a few lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from robust_kit import robust_context

from trustbase.audit import weak_slices
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.measured import Part, measure_parts
from trustbase.audit.robustness import directional, invariance
from trustbase.audit.robustness.expectations import read_expectations
from trustbase.data.pair import join
from trustbase.data.perturb import packaged
from trustbase.records import Finding, LabelSchema

PARTS = [
    Part("typos", invariance.TYPO_METRICS, invariance.typo_findings, ("classes", "labels")),
    Part("flips", invariance.FLIP_METRICS, invariance.flip_findings, ("classes", "labels", "number")),
    Part("expectations", directional.METRICS, directional.measure_expectations, ("classes", "labels", "number")),
]
ENGLISH = "I don't know if Emily of room 25 says the food is good, or not"
CHINESE = "房间没有wifi，服务员王秀英说 已经修好了 23 次"
WISHES = """
- {name: one, expect: same, pairs: [[a b, c d]]}
- {name: two, expect: higher, label: "yes", pairs: [[a b, c d]]}
- {name: three, expect: lower, label: "yes", margin: 0.2, pairs: [[a b, c d]]}
- {name: four, expect: "no", texts: [a b]}
- {name: five, expect: same, margin: 0.2, pairs: [[a b, c d]]}
"""


def changed_findings(folder: Path, patch: pytest.MonkeyPatch) -> list[Finding]:
    """All of them."""
    folder.mkdir(parents=True, exist_ok=True)
    both = [f"{ENGLISH} {CHINESE} {row}" for row in range(60)]
    found = _measured(robust_context(folder, both, lambda text: 0.9 if text.strip().endswith(("1", "3", "5")) else 0.1))
    found += _measured(robust_context(folder, [*both[:40], *(str(row) for row in range(20))], lambda text: 0.9 if "1" in text else 0.1))
    found += _measured(robust_context(folder, both, lambda text: 0.9))
    found += [finding for rows in (40, 5) for word in _kinds() for finding in _few(folder, word, rows)]
    stale = robust_context(folder, both, lambda text: 0.9 if text.endswith("1") else 0.1)
    asked: Any = stale.predictor
    asked.score = lambda text: 0.9
    found += _measured(stale)
    table = pa.table({"job": [f"cook {row}" for row in range(40)]})
    jobs = [f"works as {job}" for job in table["job"].to_pylist()]
    found += _measured(robust_context(folder, jobs, lambda text: 0.9 if "1" in text else 0.1, text="works as {job}", table=table))
    patch.setattr(packaged, "_folder", lambda: None)
    found += _measured(robust_context(folder, both, lambda text: 0.9 if "1" in text else 0.1))
    return [*found, *_expectations(folder), *_weak(folder, patch)]


def _measured(context: AuditContext) -> list[Finding]:
    return measure_parts(context, "robustness", PARTS, {})


def _kinds() -> list[str]:
    return ["don't", "Emily", "25", "a b", "good", "房间没有", "你好wifi", "a, b", "one two three", "问", "龙", "b"]


def _few(folder: Path, word: str, rows: int) -> list[Finding]:
    """Of rows that hold something, and others that hold nothing."""
    texts = [*(f"{word}\u200b{chr(0x2500 + row)}" for row in range(rows)), *(chr(0x2500 + 50 + row) for row in range(40))]
    return _measured(robust_context(folder, texts, lambda text: 0.9 if ord(text.strip()[-1]) % 2 else 0.1))


def _expectations(folder: Path) -> list[Finding]:
    (folder / "wishes.yaml").write_text(WISHES, encoding="utf-8")
    wishes = read_expectations("wishes.yaml", folder)
    rows = [f"the {('food', 'room')[row % 2]} was {('good', 'awful')[row // 2 % 2]} at {row}" for row in range(80)]
    truth = [row // 2 % 2 for row in range(80)]
    read: Any = lambda text: 0.2 if "good" in text else 0.8  # noqa: E731
    context = robust_context(folder, rows, read, truth)
    found = _measured(replace(context, expectations=wishes))
    found += _measured(robust_context(folder, rows, lambda text: 0.2 if "food" in text else 0.8, [row % 2 for row in range(80)]))
    found += _measured(robust_context(folder, rows, lambda text: 0.5, truth))
    found += _measured(robust_context(folder, rows[:20], read, truth[:20]))
    assert context.artifact is not None
    pair = replace(context, artifact=replace(context.artifact, text=join("a", "b")), expectations=wishes)
    found += directional.measure_expectations(pair)
    asked: Any = context.predictor
    asked.score = lambda text: 0.5
    found += directional.measure_expectations(context)
    one = LabelSchema(("x",), "x", "x")
    return found + _measured(robust_context(folder, rows, lambda text: float(len(text)), kind="number", labels=one))


def _weak(folder: Path, patch: pytest.MonkeyPatch) -> list[Finding]:
    rng = np.random.default_rng(0)
    texts = [f"{'a b c'[: 1 + 2 * int(rng.integers(3))]} n{row}" for row in range(200)]
    context = robust_context(folder, texts, lambda text: 0.9 if "a" in text else 0.1, rng.integers(0, 2, 200))
    found = weak_slices.weak_slice_findings(context)
    owned = replace(context, test=replace(context.test, entities=np.arange(200) // 2))
    found += weak_slices.weak_slice_findings(owned)
    alike = replace(context.test, texts=["a"] * 200)
    found += weak_slices.weak_slice_findings(replace(context, test=alike))
    few = robust_context(folder, texts[:20], lambda text: 0.9)
    found += weak_slices.weak_slice_findings(replace(few, answers=Answers(None, few.answers.predicted)))
    patch.setattr(weak_slices, "_MOST_ROWS", 100)
    return found + weak_slices.weak_slice_findings(context)
