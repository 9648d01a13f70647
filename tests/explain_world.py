"""A model that adds up a weight for each word, behind a real Predictor: what it hangs on is known, and thousands are asked in a second."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trustbase.audit.askers.asking import Alone
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.options import AuditOptions
from trustbase.data.template import TextTemplate
from trustbase.model.predict import Predictor
from trustbase.outputs.answers.base import decided
from trustbase.records import ArtifactInfo, Decision, LabelSchema, Split

WORDS = ("good", "great", "fine", "bad", "poor", "awful", "the", "film", "service", "food", "room", "staff", "very", "quite", "was", "and")
WEIGHTS: Mapping[str, float] = {"good": 1.5, "great": 2.0, "fine": 0.7, "bad": -1.5, "poor": -0.8, "awful": -2.2, "very": 0.2}
CHINESE = {"good": "喜欢", "bad": "难吃", "food": "饭菜", "room": "房间", "staff": "老板", "the": "今天", "film": "电影", "service": "酒店"}
TEMPLATE = "{age} years, {job} in {town}, {mood}"
BUDGET = {"texts": 40, "samples": 60, "evaluations": 60, "queries": 40, "stability": 12}


@dataclass
class Encodings:
    texts: Sequence[str]

    @property
    def lengths(self) -> Any:
        return np.array([len(text) + 1 for text in self.texts])


@dataclass
class Adding:
    """Logits of the sum of the weights of all words; `mixed` adds a term of the text itself, which no word explains."""

    weights: Mapping[str, float]
    kind: str = "classes"
    mixed: float = 0.0
    name: str = "fake"
    precision: str = "fp32"
    outputs: tuple[str, ...] = ("logits", "embedding")
    asked: list[str] = field(default_factory=list)

    def prepare(self, inputs: Sequence[str]) -> Encodings:
        return Encodings(list(inputs))

    def computed_tokens(self, lengths: Any) -> int:
        return int(lengths.max()) * len(lengths)

    def forward(self, output: str, encodings: Encodings, rows: Any) -> Any:
        texts = [encodings.texts[row] for row in rows]
        self.asked += texts
        if output == "embedding":
            return np.array([np.random.default_rng(list(text.encode())).normal(size=8) for text in texts], dtype=np.float32)
        sums = np.array([self.sum(text) for text in texts], dtype=np.float32)
        if self.kind == "number":
            return sums[:, None]
        return np.stack([np.zeros_like(sums) if self.kind == "classes" else -sums, sums], axis=1)

    def sum(self, text: str) -> float:
        lowered = text.lower()
        found = sum(weight * len(re.findall(re.escape(word), lowered)) for word, weight in self.weights.items())
        return found + self.mixed * (sum(text.encode()) % 101 - 50) / 50


def review_rows(count: int, seed: int = 0, *, chinese: bool = False) -> pa.Table:
    """Texts of a column of their own."""
    rng = np.random.default_rng(seed)
    known = list(CHINESE) if chinese else list(WORDS)
    drawn = [rng.choice(known, int(rng.integers(5, 10))) for _ in range(count)]
    if chinese:
        return pa.table(
            {"text": ["，".join("".join(CHINESE[word] for word in row[i : i + 2]) for i in range(0, len(row), 2)) for row in drawn]}
        )
    return pa.table({"text": [" ".join(row) + "." for row in drawn]})


def cell_rows(count: int, seed: int = 0) -> pa.Table:
    """Columns of a template."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "age": [str(age) for age in rng.integers(18, 80, count)],
            "job": rng.choice(["cook", "clerk", "nurse"], count).tolist(),
            "town": rng.choice(["Bath", "Bonn", "Bergen"], count).tolist(),
            "mood": rng.choice(["good", "bad", "fine", "poor"], count).tolist(),
        }
    )


SCHEMAS = {
    "classes": LabelSchema(("no", "yes"), "yes", "yes"),
    "labels": LabelSchema(("late", "cold"), "cold", "cold"),
    "number": LabelSchema(("price",), "price", "price", center=100.0, scale=4.0),
}


@contextmanager
def audited(
    folder: Path,
    table: pa.Table,
    *,
    kind: str = "classes",
    weights: Mapping[str, float] = WEIGHTS,
    mixed: float = 0.0,
    budget: Mapping[str, int] = BUDGET,
    seed: int = 0,
    **more: Any,
) -> Iterator[AuditContext]:
    """What an audit of this model on these rows is given."""
    fields = table.num_columns > 1
    template = TextTemplate.parse(TEMPLATE if fields else "text", list(table.column_names))
    texts, labels = list(template.render_table(table)), SCHEMAS[kind]
    text = TEMPLATE if fields else "text"
    info = ArtifactInfo(folder, "sha256:1", "text-classification", kind, labels, "plain", "fp32", 64, "b", "r", text=text)
    with Predictor(info, Adding(weights, kind, mixed)) as predictor:  # type: ignore[arg-type]
        scores = predictor.scores(texts)
        answers = Answers(scores, decided(scores, labels, Decision(), kind))
        test = Split("test", texts, np.array(answers.predicted), {}, table, np.arange(1, len(texts) + 1), "made", "sha256:0")
        options = AuditOptions.model_validate({"explanation": dict(budget)})
        known = {"predictor": predictor, "askers": Alone(predictor), "artifact": info, "options": options, **more}
        yield AuditContext(test, labels, Decision(), answers, Evidence(folder), seed, **known)
