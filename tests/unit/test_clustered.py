"""Intervals over entities: they cover what they claim where rows of one entity resemble each other, and those over rows do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from trustbase.audit import fairness, quality
from trustbase.audit.clustered import GROUPS, Entities, _of_rows, clustered, widening
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.run import find_audit, run_audit
from trustbase.audit.slices import findable
from trustbase.audit.stats import proportion
from trustbase.data.load import load
from trustbase.data.options import DataOptions
from trustbase.data.save import load_dataset, save_dataset
from trustbase.records import Decision, LabelSchema, Split


def outcomes(rng, entities: int, each: int, rate: float, within: float) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong, row by row: with chance `within` a row does what its entity does, so that two rows correlate by its square."""
    own = rng.random(entities) < rate
    codes = np.repeat(np.arange(entities), each)
    alike = rng.random(len(codes)) < within
    return np.where(alike, own[codes], rng.random(len(codes)) < rate), codes


def jackknife(right: np.ndarray, codes: np.ndarray, rng) -> np.ndarray:
    part = (rng.permutation(codes.max() + 1) % GROUPS)[codes]
    wins, rows = np.bincount(part, right, GROUPS), np.bincount(part, minlength=GROUPS)
    return (right.sum() - wins) / (len(right) - rows)


@pytest.mark.parametrize(("entities", "each", "rate", "within"), [(60, 10, 0.8, 0.7), (200, 5, 0.6, 0.6), (40, 8, 0.7, 0.9)])
def test_coverage_under_correlation_within_entities(entities, each, rate, within):
    rng = np.random.default_rng(5)
    covered = {"rows": 0, "entities": 0}
    repeats = 600
    for _ in range(repeats):
        right, codes = outcomes(rng, entities, each, rate, within)
        made = proportion(int(right.sum()), len(right))
        factor = widening(jackknife(right, codes, rng), made.value, made.low, made.high, confidence=0.95, weighted=each)
        low, high = made.value - factor * (made.value - made.low), made.value + factor * (made.high - made.value)
        covered["rows"] += made.low <= rate <= made.high
        covered["entities"] += low <= rate <= high
    assert covered["entities"] / repeats >= 0.93, covered
    assert covered["rows"] / repeats < 0.85, covered


def test_independent_rows_are_hardly_widened():
    rng = np.random.default_rng(2)
    factors = []
    for _ in range(300):
        right, codes = outcomes(rng, 200, 5, 0.7, 0.0)
        made = proportion(int(right.sum()), len(right))
        factors.append(widening(jackknife(right, codes, rng), made.value, made.low, made.high, confidence=0.95, weighted=5))
    assert 1.0 <= np.mean(factors) < 1.12


def test_where_every_answer_is_right_rows_count_no_more_than_entities():
    made = proportion(500, 500)
    assert widening([1.0] * GROUPS, 1.0, made.low, made.high, confidence=0.95, weighted=10.0) == 10.0


def world(folder, *, entities: int = 120, each: int = 6, owned: bool = True, seed: int = 0) -> AuditContext:
    rng = np.random.default_rng(seed)
    right, codes = outcomes(rng, entities, each, 0.8, 0.8)
    truth = rng.integers(0, 2, len(codes))
    predicted = np.where(right, truth, 1 - truth)
    sure = 0.5 + rng.random(len(codes)) / 2
    scores = np.where(predicted[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])
    sex = np.where(rng.random(entities)[codes] < 0.5, "f", "m").astype(object)
    texts = [f"text {i}" for i in range(len(codes))]
    numbers = np.arange(1, len(codes) + 1)
    test = Split(
        "test", texts, truth, {"sex": sex}, pa.table({"text": texts}), numbers, "rows.csv", "sha256:x", entities=codes if owned else None
    )
    labels = LabelSchema(("no", "yes"), "yes", "yes")
    return AuditContext(test, labels, Decision(), Answers(scores, predicted), Evidence(folder), 0)


def test_every_finding_over_rows_is_widened_and_says_so(tmp_path):
    alone = run_audit(world(tmp_path, owned=False), ["quality", "fairness"], policy_digest=None)
    owned = run_audit(world(tmp_path), ["quality", "fairness"], policy_digest=None)
    assert "entities" not in alone.data and owned.data["entities"] == 120
    widened = 0
    for one, other in zip(alone.findings, owned.findings, strict=True):
        assert (one.id, one.status, one.value) == (other.id, other.status, other.value)
        if one.id == "quality.weak_slices":  # a count, made of one row of each entity
            assert "of one row of each entity" in other.method
        elif one.status == "ok":
            assert other.low <= one.low and one.high <= other.high, one.id
            assert "delete-a-group" in other.method and "Kott (2001)" in other.source, one.id
            widened += other.high - other.low > 1.2 * (one.high - one.low)
    accuracy = [report.find("quality.accuracy") for report in (alone, owned)]
    width = [found.high - found.low for found in accuracy]
    expected = np.sqrt(1 + 5 * 0.8**2)  # the design effect of six rows whose outcomes correlate by 0.64
    assert 0.7 * expected < width[1] / width[0] < 1.4 * expected and widened >= 8
    assert all(found.low >= 0 and found.high <= 1 for found in accuracy)


def test_few_entities_are_insufficient(tmp_path):
    report = run_audit(world(tmp_path, entities=12, each=60), ["quality", "fairness"], policy_digest=None)
    found = report.find("quality.accuracy")
    assert found.status == "insufficient" and "12 entities" in found.reason


def test_a_number_that_some_parts_do_not_have_is_insufficient(tmp_path):
    context = world(tmp_path)
    findings = quality.audit_classes(context)

    def without_accuracy(part):
        return [finding for finding in quality.audit_classes(part) if finding.id != "quality.accuracy"]

    found = {item.id: item for item in clustered(context, without_accuracy, findings)}
    assert found["quality.accuracy"].status == "insufficient" and found["quality.macro_f1"].status == "ok"
    assert find_audit("fairness", "classes") is fairness.audit_classes


def test_rows_of_their_own_entity_are_independent(tmp_path):
    context = world(tmp_path, each=1, entities=400)
    assert Entities.of(context.test) is None
    findings = quality.audit_classes(context)
    assert clustered(context, quality.audit_classes, findings) == findings


def test_entities_reach_the_audit_by_way_of_the_disk(tmp_path):
    lines = [f"text {i},{'yes' if i % 3 else 'no'},c{i // 4}" for i in range(400)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label,customer", *lines]) + "\n", encoding="utf-8")
    options = {"train": "rows.csv", "text": "text", "label": "label"}
    dataset = load(DataOptions(**options, split={"by": {"entity": "customer"}}), root=tmp_path, seed=0)
    save_dataset(dataset, tmp_path / "data")
    again = load_dataset(tmp_path / "data")
    for name, part in dataset.splits.items():
        assert (again.splits[name].entities == part.entities).all()
        own = (part.row_numbers - 1) // 4
        assert len(np.unique(own)) == len(np.unique(part.entities)) == len(np.unique(np.stack([own, part.entities]), axis=1).T)
    plain = load(DataOptions(**options), root=tmp_path, seed=0)
    assert plain.splits["test"].entities is None and Entities.of(plain.splits["test"]) is None


def parts_of(context: AuditContext, *, seed: int = 3) -> AuditContext:
    """The same rows with texts of many lengths and a group column of five, some of them hardly above the least rows of a slice."""
    rng = np.random.default_rng(seed)
    test = context.test
    texts = ["x" * int(length) for length in rng.integers(40, 120, len(test))]
    product = rng.choice(list("abcde"), len(test), p=[0.35, 0.3, 0.2, 0.1, 0.05]).astype(object)
    return replace(context, test=replace(test, texts=texts, table=pa.table({"text": texts}), groups=test.groups | {"product": product}))


def test_slices_that_are_named_by_rank_are_widened_as_others_are(tmp_path):
    report = run_audit(parts_of(world(tmp_path, entities=100, each=7)), ["quality"], policy_digest=None)
    found = [item for item in report.findings if item.parts.metric in ("slice_accuracy", "worst_slice_accuracy")]
    assert len(found) == 6
    for item in found:
        assert item.status == "ok" and "delete-a-group" in item.method, (item.id, item.reason)


def test_parts_of_the_rows_are_the_same_ones_without_some_of_them(tmp_path):
    context = parts_of(world(tmp_path))
    rows = np.flatnonzero(context.test.entities >= 20)
    part = _of_rows(replace(context, parts=findable(context)), rows, context.evidence)
    lengths = {name for kind, _, _, names in findable(context) if kind == "text_length" for (name,) in names}
    measured = {dict(item.parts.slice)["text length"] for item in quality.audit_classes(part) if "text length" in dict(item.parts.slice)}
    assert measured == lengths and len(lengths) == 4
    assert all(len(names) == len(np.unique(codes[codes < len(names)])) for _, _, codes, names in findable(context))
