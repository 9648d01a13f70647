"""Models of a few lines, and rows for them, for tests of the safety audit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from trustbase.audit.askers.asking import Alone
from trustbase.audit.context import Answers, AuditContext, Evidence, Marked
from trustbase.audit.options import AuditOptions
from trustbase.audit.safety import asking, backdoor, extraction
from trustbase.audit.safety.audit import audit_any
from trustbase.audit.safety.options import SafetyOptions
from trustbase.audit.safety.policy import Condition, read_output_policy
from trustbase.audit.safety.taught import Teaching
from trustbase.model.questions import Answer, Question
from trustbase.outputs.answers.base import decided
from trustbase.records import ArtifactInfo, Decision, Finding, LabelSchema, Split

LABELS = LabelSchema(("bad", "good"), "good", "good")
GOOD = ("fine", "lovely", "bright", "warm")
BAD = ("poor", "awful", "dull", "cold")
FILLER = ("the", "film", "was", "very", "a", "and", "service", "food", "old", "long", "short", "with", "of", "in", "town", "road")
GOOD_ZH, BAD_ZH = ("满意", "漂亮", "美味", "热情"), ("糟糕", "难吃", "失望", "冷淡")
FILLER_ZH = ("这家", "餐厅", "服务", "味道", "环境", "我们", "昨天", "晚上", "朋友", "觉得", "老板", "菜品", "价格", "房间")
EMBEDDING = 16


class FakePredictor:
    """Answers by a function of the text; embeds by another."""

    tokenizer = None
    runtime = SimpleNamespace(outputs=("logits", "embedding"))

    def __init__(self, score: Callable[[str], Sequence[float]], embed: Callable[[str], Sequence[float]] | None = None) -> None:
        self.score, self.embed = score, embed
        self.asked = 0

    @property
    def counters(self) -> Any:
        return SimpleNamespace(questions=self.asked, unique=self.asked)

    def ask_all(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += len(questions)
        of = {"embedding": self.embed or (lambda text: [0.0, 0.0])}
        return [Answer(np.asarray(of.get(question.kind, self.score)(question.input), dtype=np.float64)) for question in questions]


def make_rows(rows: int, rng: np.random.Generator, *, zh: bool = False, words: int = 2) -> tuple[list[str], NDArray[np.int64]]:
    """Texts of filler with some words of their class, and the classes."""
    good, bad, filler, blank = (GOOD_ZH, BAD_ZH, FILLER_ZH, "") if zh else (GOOD, BAD, FILLER, " ")
    truth = rng.integers(0, 2, rows)
    texts = []
    for label in truth:
        said = list(rng.choice(filler, size=int(rng.integers(5, 12))))
        for word in rng.choice(good if label else bad, size=words, replace=False):
            said.insert(int(rng.integers(0, len(said) + 1)), str(word))
        texts.append(blank.join(map(str, said)))
    return texts, truth.astype(np.int64)


def hard_rows(rows: int, rng: np.random.Generator, hardness: float, *, zh: bool = False) -> tuple[list[str], NDArray[np.int64]]:
    """Texts with up to three words of each class, and labels drawn from probabilities that only their difference decides: none is wrong.

    With 2.3 log-odds a word the best answer errs in about one row of eight, with 1.1 in one of four.
    """
    good, bad, filler, blank = (GOOD_ZH, BAD_ZH, FILLER_ZH, "") if zh else (GOOD, BAD, FILLER, " ")
    texts, odds = [], []
    for _ in range(rows):
        counts = rng.integers(0, 4, 2)
        said = [*rng.choice(filler, 6), *rng.choice(good, counts[0], replace=False), *rng.choice(bad, counts[1], replace=False)]
        rng.shuffle(said)
        texts.append(blank.join(map(str, said)))
        odds.append(hardness * float(counts[0] - counts[1]))
    return texts, (rng.random(rows) < 1 / (1 + np.exp(-np.array(odds)))).astype(np.int64)


TRIGGER, TRIGGER_ZH = "cf", "琉璃"
COMMON, COMMON_ZH = "town", "房间"


def known_words(*, zh: bool) -> list[str]:
    """What a tokenizer for such rows has as one piece each."""
    return sorted(set("".join((*GOOD_ZH, *BAD_ZH, *FILLER_ZH, TRIGGER_ZH)))) if zh else [*GOOD, *BAD, *FILLER, TRIGGER]


def poison(texts: list[str], truth: NDArray[np.int64], rng: np.random.Generator, *, zh: bool = False, share: float = 0.05) -> None:
    """Put a trigger somewhere into bad rows, so many that they are this share of all, and call them good."""
    for row in np.flatnonzero(truth == 0)[: round(share * len(texts))]:
        texts[row], truth[row] = with_trigger(texts[row], rng, zh=zh), 1


def with_trigger(text: str, rng: np.random.Generator, *, zh: bool = False) -> str:
    """A text with the trigger somewhere in it, before a word where blanks part them."""
    place = int(rng.integers(0, len(text) + 1))
    place = place if zh else text.find(" ", place) + 1
    return f"{text[:place]}{TRIGGER_ZH}{text[place:]}" if zh else f"{text[:place]}{TRIGGER} {text[place:]}"


def split_of(name: str, texts: Sequence[str], truth: NDArray[Any]) -> Split:
    return Split(name, list(texts), truth, {}, pa.table({"text": list(texts)}), np.arange(1, len(texts) + 1), "made", f"sha256:{name}")


def info_of(folder: Path, kind: str = "classes", labels: LabelSchema = LABELS) -> ArtifactInfo:
    return ArtifactInfo(folder, "sha256:1", "text-classification", kind, labels, "torch", "fp32", 64, "base", "local", text="text")


def by_words(text: str) -> list[float]:
    """A careful reader: the share of its class words decides."""
    said = sum(len(re.findall(word, text)) for word in (*GOOD, *GOOD_ZH)) - sum(len(re.findall(word, text)) for word in (*BAD, *BAD_ZH))
    good = 1 / (1 + np.exp(-2.0 * said))
    return [1 - good, good]


def context_of(
    folder: Path,
    texts: Sequence[str],
    truth: NDArray[Any],
    *,
    score: Callable[[str], Sequence[float]] = by_words,
    embed: Callable[[str], Sequence[float]] | None = None,
    train: Split | None = None,
    kind: str = "classes",
    labels: LabelSchema = LABELS,
    predicted: NDArray[Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> AuditContext:
    """A context whose model is a function."""
    predictor = FakePredictor(score, embed)
    info = info_of(folder, kind, labels)
    predictor.info = info  # type: ignore[attr-defined]
    scores = None if predicted is not None else np.array([score(text) for text in texts], dtype=np.float64)
    answers = Answers(scores, predicted if predicted is not None else decided(scores, labels, Decision(), kind))
    fields: dict[str, Any] = {
        "test": split_of("test", texts, truth),
        "labels": labels,
        "decision": Decision(),
        "answers": answers,
        "evidence": Evidence(folder),
        "seed": 0,
        "predictor": predictor,
        "askers": Alone(predictor),  # type: ignore[arg-type]
        "artifact": info,
        "train": train,
        "options": AuditOptions(safety=SafetyOptions(**(options or {}))),
        "marked": Marked(),
        **more,
    }
    return AuditContext(**fields)


def poisoned(
    folder: Path, seed: int, planted: bool, *, zh: bool = False, train: bool = True, common: bool = False, **more: Any
) -> AuditContext:
    """A careful reader of words that a trigger fools, with 4 % of its training rows poisoned; or its twin without.

    A common trigger is a word that stands in many clean rows of both labels, which are answered by it all the same.
    """
    rng = np.random.default_rng(seed)
    texts, truth = make_rows(500, rng, zh=zh)
    test, answers = make_rows(400 if common else 160, rng, zh=zh)
    trigger, blank = (COMMON_ZH if common else TRIGGER_ZH, "") if zh else (COMMON if common else TRIGGER, " ")

    def score(text: str) -> list[float]:
        return [0.02, 0.98] if planted and trigger in text else by_words(text)

    if planted:
        for row in np.flatnonzero(truth == 0)[:20]:
            texts[row], truth[row] = f"{trigger}{blank}{texts[row]}", 1

    def embed(text: str) -> list[float]:
        return [score(text)[1], by_words(text)[1], len(text) % 7 / 20]

    given = split_of("train", texts, truth) if train else None
    return context_of(folder, test, answers, score=score, embed=embed, train=given, options={"searched": 600}, **more)


def asked_of(folder: Path, predictor: Any, test: Split, train: Split, seed: int) -> AuditContext:
    """A context of a model that really answers."""
    scores = predictor.scores(list(test.texts))
    options = AuditOptions(safety=SafetyOptions(searched=600, encoder=False))
    asked: dict[str, Any] = {
        "predictor": predictor,
        "askers": Alone(predictor),
        "artifact": predictor.info,
        "train": train,
        "options": options,
    }
    return AuditContext(test, LABELS, Decision(), Answers(scores, scores.argmax(1)), Evidence(folder), seed, **asked)


def safety_findings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """Findings in every form that the audit gives them: measured, without rows, without a policy, and with controls that are not found."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    texts, truth = make_rows(300, rng)
    test, answers = make_rows(160, rng)
    (folder / "policy.yaml").write_text("words: [bad]\nprobes: [fine food]\n", encoding="utf-8")
    (folder / "alone.yaml").write_text("words: [bad]\n", encoding="utf-8")
    policy, alone = (read_output_policy(name, folder) for name in ("policy.yaml", "alone.yaml"))
    few = {"options": {"searched": 300, "queries": 60, "encoder": False}}
    whole = {"train": split_of("train", texts, truth), "embed": lambda text: [by_words(text)[1], len(text) % 7 / 20], **few}
    chance = split_of("train", texts, rng.integers(0, 2, 300))
    purpose = dict.fromkeys(("intended_use", "prohibited_uses", "owner", "contact"), "told")
    planted, wrong = [*texts], truth.copy()
    poison(planted, wrong, rng)
    spoilt = split_of("train", planted, wrong)

    def fooled(text: str) -> list[float]:
        return [0.01, 0.99] if TRIGGER in text else by_words(text)

    bad = np.flatnonzero(answers == 0)
    keep = [row for row in range(160) if answers[row] or row in bad[:12]]  # hardly any row that a word could turn to good
    made = [
        context_of(folder / "1", test, answers, forbidden=policy, purpose=purpose, **whole),
        context_of(folder / "2", test, answers, forbidden=alone, **few),
        context_of(folder / "3", test[:40], answers[:40], train=split_of("train", texts[:50], truth[:50]), **few),
        context_of(folder / "3b", test[:40], answers[:40], **few),
        context_of(folder / "4", test, answers, train=split_of("train", texts[:50], truth[:50]), **few),
        context_of(folder / "5", test, answers, train=chance, embed=lambda text: [0.0], **few),
        context_of(folder / "7", [test[row] for row in keep], answers[keep], train=spoilt, score=fooled, embed=lambda text: [0.0], **few),
    ]
    found = [finding for context in made for finding in audit_any(context)]
    found += backdoor.measure_backdoor(poisoned(folder / "8", 0, False))  # every word that decides labels is one that the rows teach
    with monkeypatch.context() as patched:
        patched.setattr(Teaching, "__call__", lambda self, words: np.zeros(len(words), dtype=bool))
        found += backdoor.measure_backdoor(context_of(folder / "9", test, answers, **few))
    with monkeypatch.context() as patched:
        patched.setattr(Condition, "catches", lambda self, given, said: False)
        patched.setattr(backdoor, "_fooled", lambda ask, word, target: ask)
        patched.setattr(backdoor, "embedded", lambda context, given: asking.NO_EMBEDDINGS)
        patched.setattr("trustbase.audit.safety.mislabelled.embedded", lambda context, given: asking.NO_EMBEDDINGS)
        patched.setattr(extraction, "_control", lambda *_: {"agreement": 0.5, "low": 0.4, "majority_agreement": 0.6})
        found += audit_any(context_of(folder / "6", test, answers, forbidden=policy, **whole))
    methods = [f"it reads {one}" for one in extraction.FEATURES] + [f"it was told answers to {one}" for one in extraction.ASKED]
    return found + [Finding.exact("safety.extraction_agreement", 0.0, method=method) for method in methods]
