"""Two models that give numbers, or sets of labels: differences are those of scikit-learn's numbers, and few rows claim nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from answers_kit import INTERVAL, labels, numbers
from scipy import stats as scipy_stats
from sklearn import metrics

from tiny import tiny_bert
from trustbase.audit.challenge import Contrast, Pair, contrasting, discordant, gap_findings, group_contrasts
from trustbase.audit.context import Answers
from trustbase.model.artifact import read_artifact
from trustbase.model.checkpoint import save_checkpoint
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.task import MULTI_LABEL_CLASSIFICATION, REGRESSION
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import Decision, LabelSchema


def number_pair(folder: Path, rows: int = 600, *, noise: float = 9.0, decision: Decision | None = None, same: bool = False) -> Pair:
    """A champion that is off by 5, and a challenger that is off by `noise`."""
    context = numbers(folder, rows)
    told = context.test.labels + np.random.default_rng(5).normal(0, noise, rows)
    return Pair(context, context.answers if same else Answers(told[:, None], told), same, decision)


def label_pair(folder: Path, rows: int = 600, *, wrong: float = 0.2) -> Pair:
    context = labels(folder, rows)
    told = context.test.labels ^ (np.random.default_rng(5).random((rows, 3)) < wrong)
    return Pair(context, Answers(told * 1.0, told))


def of(found: list[Contrast]) -> dict[str, Contrast]:
    return {item.metric: item for item in found}


def test_every_kind_can_be_compared() -> None:
    ways = {kind: contrasting(kind) for kind in ANSWER_KINDS}
    mains = {"classes": "accuracy", "labels": "exact_match", "number": "mae", "tokens": "entity_f1", "span": "token_f1"}
    assert {kind: way.main for kind, way in ways.items()} == mains
    assert [kind for kind, way in ways.items() if way.right is None] == ["number"]
    with pytest.raises(KeyError):
        contrasting("language")


def test_numbers_of_both_and_how_far_apart_they_are(tmp_path: Path) -> None:
    pair = number_pair(tmp_path, decision=INTERVAL)
    found, truth = of(contrasting("number").contrasts(pair)), pair.context.test.labels
    both = (pair.champion.predicted, pair.challenger.predicted)
    for name, score in (("mae", metrics.mean_absolute_error), ("rmse", metrics.root_mean_squared_error), ("r2", metrics.r2_score)):
        values = [score(truth, told) for told in both]
        item = found[name]
        assert (item.champion, item.challenger) == pytest.approx(values) and item.difference == pytest.approx(values[1] - values[0])
        assert item.low < item.difference < item.high and item.outcome == "champion ahead", name  # type: ignore[operator]
    errors = [np.abs(told - truth) for told in both]
    low, high = scipy_stats.t.interval(0.95, 599, (errors[1] - errors[0]).mean(), scipy_stats.sem(errors[1] - errors[0]))
    np.testing.assert_allclose([found["mae"].low, found["mae"].high], [low, high], atol=0.05 * (high - low))
    held = [(error <= 8).mean() for error in errors]
    assert (found["interval_coverage"].champion, found["interval_coverage"].challenger) == pytest.approx(held)
    covered = found["interval_coverage"]
    assert covered.difference == pytest.approx(held[1] - held[0]) and held[1] < held[0] and covered.outcome == "champion ahead"
    assert covered.low < covered.difference < covered.high < 0  # type: ignore[operator]
    swapped = of(contrasting("number").contrasts(Pair(pair.context, pair.champion, decision=Decision())))
    assert "interval_coverage" not in swapped, "one of the two tells no intervals"
    assert swapped["mae"].outcome == "no difference shown"


def test_intervals_of_drawn_rows_are_as_wide_as_they_say(tmp_path: Path) -> None:
    """Of many rows a resampled interval is nearly the normal one: its half-width is 1.96 standard errors of what each row moves."""
    pair = number_pair(tmp_path, 2000)
    truth = pair.context.test.labels
    roots = [np.sqrt(metrics.mean_squared_error(truth, answers.predicted)) for answers in (pair.champion, pair.challenger)]
    moves = [(answers.predicted - truth) ** 2 / (2 * root) for answers, root in zip((pair.champion, pair.challenger), roots, strict=True)]
    found = of(contrasting("number").contrasts(pair))["rmse"]
    half = 1.96 * scipy_stats.sem(moves[1] - moves[0])
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)  # type: ignore[operator]
    sets = label_pair(tmp_path, 2000)
    truth = sets.context.test.labels
    moves = []
    for answers in (sets.champion, sets.challenger):
        hits, all_of = (answers.predicted & truth).sum(1), answers.predicted.sum(1) + truth.sum(1)
        moves.append((2 * hits - 2 * hits.sum() / all_of.sum() * all_of) / all_of.mean())
    found = of(contrasting("labels").contrasts(sets))["micro_f1"]
    assert found.high - found.low == pytest.approx(2 * 1.96 * scipy_stats.sem(moves[1] - moves[0]), rel=0.1)  # type: ignore[operator]


def test_sets_of_labels_of_both_and_how_far_apart_they_are(tmp_path: Path) -> None:
    pair = label_pair(tmp_path)
    way = contrasting("labels")
    found, truth = of(way.contrasts(pair)), pair.context.test.labels
    both = (pair.champion.predicted, pair.challenger.predicted)
    scores = {
        "exact_match": metrics.accuracy_score,
        "micro_f1": lambda y, told: metrics.f1_score(y, told, average="micro"),
        "macro_f1": lambda y, told: metrics.f1_score(y, told, average="macro"),
        "hamming_loss": metrics.hamming_loss,
    }
    assert list(found) == list(scores)
    for name, score in scores.items():
        values = [score(truth, told) for told in both]
        assert (found[name].champion, found[name].challenger) == pytest.approx(values)
        assert found[name].outcome == "champion ahead", name
    right = [(told == truth).all(axis=1) for told in both]
    assert way.right is not None
    assert discordant(pair, way.right) == ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())


@pytest.mark.parametrize(("kind", "make"), [("number", number_pair), ("labels", label_pair)])
def test_groups_and_gaps_are_told_and_few_rows_claim_nothing(kind: str, make, tmp_path: Path) -> None:
    pair, way = make(tmp_path), contrasting(kind)
    groups = {item.group: item.contrast for item in group_contrasts(pair, way)}
    assert set(groups) == {"N", "S", "T"} and groups["T"].outcome == "not enough evidence" and groups["T"].champion is None
    assert groups["N"].metric == way.main and groups["N"].outcome == "champion ahead"
    gaps = [ours.id for ours, theirs in gap_findings(pair, kind) if ours.id == theirs.id]
    assert f"fairness.{way.main}_difference[g]" in gaps
    few = way.contrasts(make(tmp_path, 20))
    least = {"rmse": 100, "r2": 100}
    assert {item.outcome for item in few} == {"not enough evidence"}
    assert all(item.reason == f"20 rows, fewer than {least.get(item.metric, 30)}" for item in few)
    json.dumps([item.to_json() for item in few])


def test_one_artefact_twice_differs_by_exactly_nothing(tmp_path: Path) -> None:
    found = contrasting("number").contrasts(number_pair(tmp_path, same=True, decision=INTERVAL))
    assert len(found) == 4 and {(item.difference, item.low, item.high) for item in found} == {(0.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    ("task", "labels_of", "kind"),
    [
        (REGRESSION, LabelSchema(("price",), "price", "price"), "number"),
        (MULTI_LABEL_CLASSIFICATION, LabelSchema(("a", "b"), "b", "b"), "labels"),
    ],
)
def test_a_plain_checkpoint_says_what_it_answers(task, labels_of: LabelSchema, kind: str, tmp_path: Path) -> None:
    """By `problem_type` of transformers; scores are what transformers gives, in the unit that training left beside them, if any."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    base = resolve_base(str(tiny_bert(tmp_path / "base")))
    folder, texts = tmp_path / "model", ["the film was good", "a poor service"]
    model, tokenizer = task.build(base, labels_of, seed=0).eval(), AutoTokenizer.from_pretrained(base.folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    info = read_artifact(folder)
    assert (info.answer_kind, info.task, info.labels.names) == (kind, task.name, labels_of.names)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = theirs(**tokenizer(texts, return_tensors="pt", padding=True)).logits
    wanted = logits if kind == "number" else logits.sigmoid()
    with Predictor.open(info, threads=1, device="cpu") as predictor:
        np.testing.assert_allclose(predictor.scores(texts), wanted, atol=1e-5)
    if kind == "number":
        save_checkpoint(model, tokenizer, tmp_path / "ours", meta={"unit": {"center": 100.0, "scale": 20.0}})
        with Predictor.open(read_artifact(tmp_path / "ours"), threads=1, device="cpu") as predictor:
            np.testing.assert_allclose(predictor.scores(texts), 100 + 20 * wanted, rtol=1e-5)
