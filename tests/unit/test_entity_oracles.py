"""Numbers of entities against other libraries: seqeval counts what is right, scikit-learn the log loss; and rules by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss

from optional import unless_installed
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.entities import STATISTICS, sums_of
from trustbase.audit.quality_tokens import audit_tokens
from trustbase.audit.rivals_tokens import dictionary
from trustbase.data.tags import entities_of, tag_names
from trustbase.data.units import units
from trustbase.model.ragged import ragged
from trustbase.records import Decision, Finding, LabelSchema, Split

TAGS = tag_names(["LOC", "PER"])
LABELS = LabelSchema(TAGS, TAGS[-1], TAGS[-1])
Entities = tuple[tuple[int, int, str], ...]


def split(rows: list[tuple[str, Entities]], name: str = "test") -> Split:
    texts = [text for text, _ in rows]
    truth = ragged([entities for _, entities in rows])
    return Split(name, texts, truth, {}, pa.table({"text": texts}), np.arange(1, len(rows) + 1), "made up", f"sha256:{name}")


def findings(test: Split, told: Any, folder: Path, *, scores: Any = None) -> dict[str, Finding]:
    asked = AuditContext(test, LABELS, Decision(), Answers(scores, told), Evidence(folder), 0)
    return {finding.id: finding for finding in audit_tokens(asked)}


def test_log_loss_of_texts_without_blanks_is_scikit_learns(tmp_path: Path) -> None:
    """Units that touch each other: the tags of each are written here by hand, and none may move to its neighbour."""
    kinds: list[tuple[str, Entities, list[str]]] = [
        ("王明在北京", ((0, 2, "PER"), (3, 5, "LOC")), ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]),
        ("李四王五来", ((0, 2, "PER"), (2, 4, "PER")), ["B-PER", "I-PER", "B-PER", "I-PER", "O"]),
        ("去上海，Rome", ((1, 3, "LOC"), (4, 8, "LOC")), ["O", "B-LOC", "I-LOC", "O", "B-LOC"]),
        ("a b, Ann", ((5, 8, "PER"),), ["O", "O", "O", "B-PER"]),
    ]
    rng, rows, scores, tags = np.random.default_rng(0), [], [], []
    for text, entities, wanted in kinds * 10:
        bounds = units(text)
        assert len(bounds) == len(wanted)
        rows.append((text, entities))
        scores.append(np.concatenate([bounds, rng.dirichlet(np.ones(len(TAGS)), len(bounds))], axis=1))
        tags += [TAGS.index(tag) for tag in wanted]
    test = split(rows)
    found = findings(test, test.labels, tmp_path, scores=ragged(scores))["quality.log_loss"]
    assert found.value == pytest.approx(log_loss(tags, np.concatenate(scores)[:, 2:], labels=range(len(TAGS))), rel=1e-12)
    assert found.low is not None and found.high is not None and found.low < found.value < found.high


@pytest.mark.parametrize(("told", "reason"), [(3, "3 answered entities, fewer than 30"), (60, "")])
def test_f1_of_a_type_needs_enough_of_what_is_answered_and_of_what_is_true(told: int, reason: str, tmp_path: Path) -> None:
    rows: list[tuple[str, Entities]] = [("Rome is far", ((0, 4, "LOC"),))] * 60
    answers = ragged([((0, 4, "LOC"),) if place < told else () for place in range(60)])
    found = findings(split(rows), answers, tmp_path)["quality.f1[label=LOC]"]
    assert (found.status, found.reason, found.n) == (("insufficient", reason, 3) if reason else ("ok", "", 60))
    turned = findings(split([("Rome is far", told) for told in answers]), ragged([row[1] for row in rows]), tmp_path)
    assert turned["quality.f1[label=LOC]"].reason == reason.replace("answered", "true")


def test_the_dictionary_holds_only_what_most_often_was_an_entity() -> None:
    """May is a name in 3 rows of 5 and Rose in 2 of 5; Paris is a place twice and a name once; the longest is looked up first."""
    rows: list[tuple[str, Entities]] = [("May came", ((0, 3, "PER"),))] * 3 + [("May came", ())] * 2
    rows += [("Rose came", ((0, 4, "PER"),))] * 2 + [("Rose came", ())] * 3
    rows += [("Paris", ((0, 5, "LOC"),))] * 2 + [("Paris", ((0, 5, "PER"),)), ("Paris May", ((0, 9, "PER"),))]
    asked = split([("Rose saw May in Paris", ()), ("Paris May came", ()), ("Nobody", ())])
    found = dictionary(split(rows, "train"), LABELS, 0)(asked).predicted.tolist()
    assert found == [((9, 12, "PER"), (16, 21, "LOC")), ((0, 9, "PER"),), ()]


def tagged(rng: np.random.Generator, scheme: str, length: int, before: list[str] | None = None) -> list[str]:
    """Tags of one text that fit together; beside others, some entities are the same."""
    found: list[str] = []
    same = [] if before is None else entities_of(before, scheme).entities
    while len(found) < length:
        own = next((each for each in same if each[0] == len(found)), None)
        if own is not None and rng.random() < 0.6:
            size, name = own[1] - own[0], own[2] if rng.random() < 0.8 else "MISC"
        elif rng.random() < 0.5:
            found.append("O")
            continue
        else:
            size, name = int(rng.integers(1, 4)), str(rng.choice(["PER", "LOC", "MISC"]))
        size = min(size, length - len(found))
        if scheme == "BIO2":
            found += [f"B-{name}", *[f"I-{name}"] * (size - 1)]
        else:
            found += [f"S-{name}"] if size == 1 else [f"B-{name}", *[f"I-{name}"] * (size - 2), f"E-{name}"]
    return found


@unless_installed("seqeval")
@pytest.mark.parametrize("scheme", ["BIO2", "BIOES"])
@pytest.mark.parametrize("seed", range(5))
def test_precision_recall_and_f1_are_seqevals(scheme: str, seed: int) -> None:
    """Over all entities, and of each type."""
    from seqeval import metrics
    from seqeval import scheme as known

    rng = np.random.default_rng(seed)
    truth = [tagged(rng, scheme, int(rng.integers(1, 15))) for _ in range(80)]
    told = [tagged(rng, scheme, len(tags), tags) for tags in truth]
    ours = [ragged([entities_of(tags, scheme).entities for tags in rows]) for rows in (told, truth)]
    asked: dict[str, Any] = {"mode": "strict", "scheme": {"BIO2": known.IOB2, "BIOES": known.IOBES}[scheme]}
    sums = sums_of(*ours).sum(axis=0)
    assert 0 < sums[0] < min(sums[1:])
    for name, statistic in STATISTICS.items():
        of_seqeval = getattr(metrics, f"{name}_score")
        assert float(statistic(sums)) == pytest.approx(of_seqeval(truth, told, **asked), rel=1e-12), name
        each = of_seqeval(truth, told, average=None, **asked)  # by type, sorted
        of_types = [float(statistic(sums_of(*ours, label).sum(axis=0))) for label in ("LOC", "MISC", "PER")]
        np.testing.assert_allclose(of_types, each, rtol=1e-12, err_msg=name)
