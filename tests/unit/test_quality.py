"""Quality findings equal scikit-learn on generated data, hold their own value, and say why a number is missing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from trustbase import files
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.options import AuditOptions
from trustbase.audit.quality import audit_classes, slice_id
from trustbase.audit.quality_scores import macro_auroc
from trustbase.audit.ranks import auroc
from trustbase.audit.ratios import share_of
from trustbase.audit.slices import slice_accuracies
from trustbase.audit.stats import proportion
from trustbase.audit.unknown_tokens import unknown_tokens
from trustbase.errors import Interrupted
from trustbase.records import Decision, Finding, LabelSchema, Split

OPTIONS = AuditOptions(replicates=200)


def context(folder: Path, *, n: int = 1500, classes: int = 2, seed: int = 0, given: bool = True, **more: Any) -> AuditContext:
    """Rows whose scores are calibrated probabilities of the truth, with rounded (tied) scores."""
    rng = np.random.default_rng(seed)
    scores = rng.multinomial(100, rng.dirichlet(np.full(classes, 0.6), n)) / 100
    truth = np.array([rng.choice(classes, p=row / row.sum()) for row in scores], np.int64)
    names = ("<=50K", ">50K") if classes == 2 else tuple(f"label {i}" for i in range(classes))
    groups = {
        "sex": rng.choice(["f", "m"], n).astype(object),
        "race": rng.choice(["a", "b", "rare"], n, p=[0.6, 0.395, 0.005]).astype(object),
    }
    table = pa.table({"age": [str(x) for x in rng.integers(18, 90, n)], "job": [str(x) for x in rng.choice(["clerk", "cook"], n)]})
    texts = [f"{'very ' * int(k)}old" for k in rng.integers(0, 20, n)]
    test = Split("test", texts, truth, groups, table, np.arange(1, n + 1), "here", "sha256:0")
    labels = LabelSchema(names, names[-1], names[-1])
    answers = Answers(scores if given else None, scores.argmax(1).astype(np.int64))
    fields: dict[str, Any] = {"decision": Decision(), "options": OPTIONS, **more}
    return AuditContext(test, labels, fields.pop("decision"), answers, Evidence(folder), 0, **fields)


def measured(ctx: AuditContext) -> dict[str, Finding]:
    return {finding.id: finding for finding in audit_classes(ctx)}


def test_binary_findings_equal_scikit_learn(tmp_path: Path) -> None:
    ctx = context(tmp_path, n=3000)
    found = measured(ctx)
    truth, said, scores = ctx.test.labels, ctx.answers.predicted, ctx.answers.scores
    assert scores is not None
    positive = scores[:, 1]
    fpr, tpr, _ = metrics.roc_curve(truth, positive, drop_intermediate=False)
    expected = {
        "accuracy": metrics.accuracy_score(truth, said),
        "macro_f1": metrics.f1_score(truth, said, average="macro"),
        "micro_f1": metrics.f1_score(truth, said, average="micro"),
        "weighted_f1": metrics.f1_score(truth, said, average="weighted"),
        "auroc": metrics.roc_auc_score(truth, positive),
        "auprc": metrics.average_precision_score(truth, positive),
        "ks": (tpr - fpr).max(),
        "recall_at_fpr#0.01": tpr[fpr <= 0.01].max(),
        "recall_at_fpr#0.05": tpr[fpr <= 0.05].max(),
        "log_loss": metrics.log_loss(truth, scores),
        "brier": metrics.brier_score_loss(truth, positive),
        "expected_cost": 1 - metrics.accuracy_score(truth, said),
    }
    for name, value in expected.items():
        assert found[f"quality.{name}"].value == pytest.approx(value, abs=1e-9), name
    report = metrics.classification_report(truth, said, target_names=ctx.labels.names, output_dict=True)
    for label in ctx.labels.names:
        for metric, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            id = slice_id("quality", metric, (("label", label),))
            assert id is not None and found[id].value == pytest.approx(report[label][key], abs=1e-12), id
    sampled = [f for id, f in found.items() if f.status == "ok" and id != "quality.weak_slices"]  # which is a count
    assert all(f.low is not None and f.low < f.high for f in sampled)  # type: ignore[operator]
    assert {f.direction for f in found.values() if f.parts.metric in ("log_loss", "brier", "expected_cost")} == {"lower"}


def test_calibration_error_is_the_usual_one(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    scores = ctx.answers.scores
    assert scores is not None
    sure, right = scores.max(1), scores.argmax(1) == ctx.test.labels
    bins = np.minimum((sure * OPTIONS.bins).astype(int), OPTIONS.bins - 1)
    expected = sum(abs(right[bins == b].mean() - sure[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
    assert measured(ctx)["quality.expected_calibration_error"].value == pytest.approx(expected, abs=1e-12)
    curve = files.read_json(tmp_path / "quality.json")["reliability"]
    assert sum(row["n"] for row in curve) == len(ctx.test)


def test_more_labels_than_two(tmp_path: Path) -> None:
    ctx = context(tmp_path, classes=4)
    found = measured(ctx)
    truth, scores = ctx.test.labels, ctx.answers.scores
    assert scores is not None
    area = found["quality.auroc"]
    each = [
        metrics.roc_auc_score(truth == label, scores[:, label]) for label in range(4)
    ]  # its own "ovr" wants rows that sum to 1 to the bit
    assert area.value == pytest.approx(np.mean(each), abs=1e-12)
    assert found["quality.log_loss"].value == pytest.approx(metrics.log_loss(truth, scores), abs=1e-9)
    assert found["quality.brier"].value == pytest.approx(((scores - np.eye(4)[truth]) ** 2).sum(1).mean(), abs=1e-12)
    for name in ("auprc", "ks", "recall_at_fpr#0.01"):
        assert found[f"quality.{name}"].status == "not_applicable" and "4" in found[f"quality.{name}"].reason
    assert len([id for id in found if id.startswith("quality.recall[")]) == 4


def test_macro_auroc_interval_covers_the_truth() -> None:
    """Scores are drawn from known normals, so each one-against-rest area is known by a large sample."""
    rng = np.random.default_rng(5)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.choice(3, n, p=[0.5, 0.3, 0.2])
        return truth, rng.normal(size=(n, 3)) + np.eye(3)[truth]

    true = macro_auroc(*draw(400_000)).value
    inside = 0
    for _ in range(300):
        interval = macro_auroc(*draw(200))
        inside += interval.low <= true <= interval.high
    assert 0.92 <= inside / 300 <= 0.98


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_macro_auroc_uses_the_confidence_and_is_not_certain_at_the_edges(confidence: float) -> None:
    truth = np.repeat([0, 1, 2], 30)
    none = macro_auroc(truth, np.full((90, 3), 1 / 3), confidence=confidence)  # constant scores rank nothing
    assert none.value == 0.5 and none.low < 0.5 < none.high
    perfect = macro_auroc(truth, np.eye(3)[truth], confidence=confidence)
    assert perfect.value == perfect.high == 1 and 0.8 < perfect.low < 1
    assert macro_auroc(truth, np.eye(3)[truth], confidence=0.995).low < perfect.low


def test_a_binary_macro_auroc_is_the_binary_one() -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random(600) < 0.3).astype(int)
    score = 1 / (1 + np.exp(-rng.normal(size=600) - truth))
    one, both = auroc(truth, score), macro_auroc(truth, np.stack([1 - score, score], 1))
    assert both.value == pytest.approx(one.value, abs=1e-12)
    assert (both.low, both.high) == pytest.approx((one.low, one.high), abs=0.003)


@pytest.mark.parametrize(
    ("broken", "id"),
    [
        ("ranks.auprc", "quality.auprc"),
        ("ranks.ks", "quality.ks"),
        ("log_losses", "quality.log_loss"),
        ("expected_calibration_error", "quality.expected_calibration_error"),
    ],
)
def test_a_number_that_breaks_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, id: str) -> None:
    def bad(*args: Any, **kwargs: Any) -> Any:
        raise OverflowError("math range error")

    events: list[tuple[str, Any]] = []
    whole = measured(context(tmp_path))
    monkeypatch.setattr(f"trustbase.audit.quality_scores.{broken}", bad)
    found = measured(context(tmp_path, emit=lambda event, /, **fields: events.append((event, fields.get("finding")))))
    assert (found[id].status, found[id].value) == ("failed", None) and "OverflowError" in found[id].reason
    assert {k: f for k, f in found.items() if k != id} == {k: f for k, f in whole.items() if k != id}
    assert ("warning", id) in events


def test_an_interruption_ends_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: Any, **kwargs: Any) -> Any:
        raise Interrupted("stopped", signal_number=15)

    monkeypatch.setattr("trustbase.audit.quality_scores.ranks.ks", stopped)
    with pytest.raises(Interrupted):
        measured(context(tmp_path))


def test_slices_or_costs_that_break_fail_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("trustbase.audit.quality.slice_accuracies", bad)
    monkeypatch.setattr("trustbase.audit.quality._expected_cost", bad)
    found = measured(context(tmp_path))
    assert {id for id, f in found.items() if f.status == "failed"} == {"quality.worst_slice_accuracy", "quality.expected_cost"}
    assert found["quality.accuracy"].status == found["quality.auroc"].status == "ok"


def test_few_rows_of_a_label_give_no_interval_that_would_not_hold(tmp_path: Path) -> None:
    least = (
        {"ks": 50}
        | dict.fromkeys(("auroc", "auprc", "recall_at_fpr#0.01"), 30)
        | dict.fromkeys(("log_loss", "brier", "macro_f1", "weighted_f1"), 10)
    )
    for few in (9, 10, 29, 30, 49, 50):
        ctx = context(tmp_path)
        ctx.test.labels[:] = 0
        ctx.test.labels[:few] = 1
        found = measured(ctx)
        for name, rows in least.items():
            finding = found[f"quality.{name}"]
            assert finding.status == ("ok" if few >= rows else "insufficient"), name
            assert finding.value is None if few < rows else f"{rows} rows of each label" in finding.method
        assert found["quality.accuracy"].status == "ok"  # a proportion of all rows holds anyway


def test_the_calibration_error_of_few_rows_is_not_given(tmp_path: Path) -> None:
    for rows, status in ((299, "insufficient"), (300, "ok")):
        assert measured(context(tmp_path, n=rows))["quality.expected_calibration_error"].status == status


def test_the_worst_slice_is_bounded_below_for_itself_and_above_for_all(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    found = measured(ctx)
    worst, slices = found["quality.worst_slice_accuracy"], slice_accuracies(ctx).known_beforehand()
    assert worst.value == min(item.accuracy for item in slices) and worst.high == min(item.high for item in slices)
    each = [proportion(round(item.accuracy * item.n), item.n).low for item in slices]
    assert worst.low == pytest.approx(min(each)) and min(item.low for item in slices) < min(each)


def test_a_seed_stands_only_where_something_was_drawn(tmp_path: Path) -> None:
    seeded = {id for id, finding in measured(context(tmp_path)).items() if finding.seed is not None}
    drawn = {"ks", "recall_at_fpr#0.01", "recall_at_fpr#0.05", "expected_calibration_error"}
    assert seeded <= {f"quality.{name}" for name in drawn} and "quality.ks" in seeded


def test_a_gate_on_costs_does_not_pass_on_few_rows_without_an_error(tmp_path: Path) -> None:
    ctx = context(tmp_path, n=40, decision=Decision(0.5, "", {"false_negative": 5.0, "false_positive": 1.0}))
    ctx.answers.predicted[:] = ctx.test.labels
    finding = measured(ctx)["quality.expected_cost"]
    assert finding.value == finding.low == 0 and finding.high is not None and finding.high > 0.3


def test_without_scores_only_counts_are_measured(tmp_path: Path) -> None:
    found = measured(context(tmp_path, given=False))
    for name in ("auroc", "auprc", "ks", "recall_at_fpr#0.01", "log_loss", "brier", "expected_calibration_error"):
        finding = found[f"quality.{name}"]
        assert (finding.status, finding.value) == ("not_applicable", None) and "no scores" in finding.reason
    assert found["quality.accuracy"].status == "ok" and found["quality.macro_f1"].status == "ok"
    assert files.read_json(tmp_path / "quality.json")["reliability"] == []


def test_costs_of_the_recipe_are_used(tmp_path: Path) -> None:
    ctx = context(tmp_path, decision=Decision(0.3, "", {"false_negative": 5.0, "false_positive": 1.0}))
    matrix = metrics.confusion_matrix(ctx.test.labels, ctx.answers.predicted)
    expected = (5 * matrix[1, 0] + matrix[0, 1]) / len(ctx.test)
    finding = measured(ctx)["quality.expected_cost"]
    assert finding.value == pytest.approx(expected) and "false negative 5" in finding.unit


def test_scores_that_are_no_probabilities_never_become_numbers(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    assert ctx.answers.scores is not None
    for bad in (np.nan, 1.5, -0.1):
        scores = ctx.answers.scores.copy()
        scores[3, 0] = bad
        with pytest.raises(ValueError, match="1 of 1500 rows"):
            audit_classes(_with(ctx, scores))


def _with(ctx: AuditContext, scores: np.ndarray) -> AuditContext:
    fields = {name: getattr(ctx, name) for name in ctx.__dataclass_fields__}
    return AuditContext(**{**fields, "answers": Answers(scores, ctx.answers.predicted)})


def test_a_label_without_rows_is_insufficient(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    ctx.test.labels[:] = 0
    found = measured(ctx)
    assert found["quality.auroc"].status == "insufficient" and "'>50K'" in found["quality.auroc"].reason
    id = slice_id("quality", "recall", (("label", ">50K"),))
    assert id is not None and found[id].status == "insufficient" and "0 rows" in found[id].reason


def test_few_negatives_cannot_speak_of_one_percent(tmp_path: Path) -> None:
    found = measured(context(tmp_path, n=600))
    assert found["quality.recall_at_fpr#0.01"].status == "insufficient"
    assert found["quality.recall_at_fpr#0.05"].status == "ok"


def test_gains_are_paired_and_say_why_they_are_missing(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    wrong = Answers(None, 1 - ctx.test.labels)
    found = measured(context(tmp_path, rivals={"majority": wrong}, train=ctx.test))
    gain = found["quality.gain_over_majority"]
    assert gain.value == pytest.approx(found["quality.accuracy"].value) and gain.low is not None and gain.low > 0.5  # type: ignore[arg-type]
    assert found["quality.gain_over_bag_of_words"].status == "failed"  # it should have been there
    assert measured(ctx)["quality.gain_over_boosting"].status == "not_applicable"
    rows = {row["name"]: row for row in files.read_json(tmp_path / "quality.json")["rivals"]}
    assert set(rows) == {"model"}  # of the last call
    same = measured(context(tmp_path, rivals={"boosting": ctx.answers}))["quality.gain_over_boosting"]
    assert same.value == 0 and same.low is not None and same.high is not None and same.low < 0 < same.high


def test_slices_are_found_and_small_ones_left_out(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    bad = np.asarray(ctx.test.table["job"]) == "cook"
    ctx.answers.predicted[bad] = 1 - ctx.test.labels[bad]  # wrong for every cook
    table = slice_accuracies(ctx)
    assert table.slices[0].name == (("job", "cook"),) and table.slices[0].accuracy == 0 and table.slices[0].high > 0
    assert table.too_small >= 1 and not any("rare" in dict(item.name).values() for item in table.slices)
    kinds = {item.kind for item in table.slices}
    assert kinds == {"group", "column", "text_length", "true_label", "predicted_label"}
    assert {"true_label", "predicted_label"}.isdisjoint(item.kind for item in table.known_beforehand())
    assert any(dict(item.name).get("age", "").startswith("under ") for item in table.slices)  # quartiles of a numeric column
    found = measured(ctx)
    worst = found["quality.worst_slice_accuracy"]
    assert worst.value == 0 and "job = cook" in worst.method and found["quality.slice_accuracy[job=cook]"].value == 0


def test_bounds_of_slices_hold_for_all_of_them_at_once(tmp_path: Path) -> None:
    """Accuracy is 0.8 everywhere: over many tables, at most about 5 % may have any slice whose bounds miss it."""
    misses = 0
    for seed in range(150):
        ctx = context(tmp_path, n=600, seed=seed)
        right = np.random.default_rng(1000 + seed).random(600) < 0.8
        ctx.answers.predicted[:] = np.where(right, ctx.test.labels, 1 - ctx.test.labels)
        slices = slice_accuracies(ctx).known_beforehand()
        misses += any(not item.low <= 0.8 <= item.high for item in slices)
    assert misses <= 14


def test_text_columns_never_become_slices(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    texts = ["yes please", "no thanks"] * 750
    test = Split("test", texts, ctx.test.labels, {}, pa.table({"text": texts}), ctx.test.row_numbers, "", "sha256:0")
    fields = {name: getattr(ctx, name) for name in ctx.__dataclass_fields__}
    audit_classes(AuditContext(**{**fields, "test": test}))
    assert "please" not in (tmp_path / "quality.json").read_text()


def test_slices_name_no_text_no_extreme_and_no_small_group(tmp_path: Path) -> None:
    ctx = context(tmp_path, minimum_cell=2)
    n = len(ctx.test)
    remarks = ["please call my mother on 555 0100 as soon as you can", "no remark"] * (n // 2)
    income = np.random.default_rng(0).integers(1000, 90_000, n)
    income[7], income[8] = 17, 987_654  # of single rows
    job = np.array(["clerk", "cook"] * (n // 2), object)
    job[:20] = "astronaut"
    table = pa.table({"remark": remarks, "income": [str(x) for x in income], "job": job.tolist()})
    fields = {name: getattr(ctx.test, name) for name in ctx.test.__dataclass_fields__}
    made = {name: getattr(ctx, name) for name in ctx.__dataclass_fields__} | {"test": Split(**{**fields, "table": table})}
    found = audit_classes(AuditContext(**made))
    told = (tmp_path / "quality.json").read_text() + " ".join(f"{f.id} {f.method} {f.reason}" for f in found)
    for secret in ("mother", "987654", "987_654", "17 to", "astronaut", '"rare"'):
        assert secret not in told
    assert '"cook"' in told and "and over" in told


def test_evidence_holds_the_report(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    audit_classes(ctx)
    evidence = files.read_json(tmp_path / "quality.json")
    assert evidence["confusion"] == metrics.confusion_matrix(ctx.test.labels, ctx.answers.predicted).tolist()
    assert [row["label"] for row in evidence["classes"]] == list(ctx.labels.names)
    assert all(row["recall_low"] <= row["recall"] <= row["recall_high"] for row in evidence["classes"])
    roc = evidence["curves"]["roc"]
    assert len(roc["fpr"]) == len(roc["tpr"]) == 101 and roc["tpr"] == sorted(roc["tpr"]) and roc["tpr"][-1] == 1.0


def test_same_seed_same_findings(tmp_path: Path) -> None:
    first, second = (audit_classes(context(tmp_path)) for _ in range(2))
    assert first == second


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "old": 4}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    backend.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    return SimpleNamespace(backend_tokenizer=backend, unk_token_id=0, all_special_ids=[0, 1, 2], truncation_side="right")


def test_unknown_tokens_are_counted_and_warned_of(tmp_path: Path) -> None:
    warnings: list[str] = []

    def emit(event: str, /, **fields: Any) -> None:
        if event == "warning":
            warnings.append(fields["text"])

    ctx = context(tmp_path, predictor=SimpleNamespace(tokenizer=tokenizer()), emit=emit)
    finding = unknown_tokens(ctx)
    very = sum(text.count("very") for text in ctx.test.texts)
    assert finding.value == pytest.approx(very / (very + len(ctx.test))) and finding.low < finding.value < finding.high  # type: ignore[operator]
    assert len(warnings) == 1 and "unknown to the base model" in warnings[0]
    assert measured(context(tmp_path))["quality.unknown_tokens"].status == "not_applicable"


def test_share_of_tokens_covers_over_texts() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(400):
        whole = rng.integers(5, 60, 150)
        rate = rng.beta(2, 18, 150)  # texts differ, so tokens of one text go together
        interval = share_of(rng.binomial(whole, rate), whole)
        inside += interval.low <= 0.1 <= interval.high
    assert 0.92 <= inside / 400 <= 0.98
    none = share_of(np.zeros(100, int), np.full(100, 10))
    assert none.value == none.low == 0 and 0.02 < none.high < 0.04
