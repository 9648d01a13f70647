"""Every registered audit keeps the contract of findings, a broken one is noticed, and the catalogue says what is emitted."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from base_kit import CASES, base, tokenizers
from base_kit import TEXTS as KNOWN
from tiny import tiny_bert
from trustbase.audit import efficiency
from trustbase.audit.catalogue import CATALOGUE, metric_names, why_never
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.language_context import Documents, LanguageContext
from trustbase.audit.measure import Timings
from trustbase.audit.options import AuditOptions
from trustbase.audit.pair_sets import read_pairs
from trustbase.data.canaries import CanaryOptions, make_canaries
from trustbase.data.corpus.options import CorpusOptions
from trustbase.data.corpus.pack import pack_tokens
from trustbase.data.corpus.prepare import prepare_corpus
from trustbase.finding_id import parse
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.recipe.lookup import AUDITS, load
from trustbase.records import ArtifactInfo, Decision, Finding, LabelSchema, Split
from trustbase.report.words import LANGUAGES, words
from trustbase.train.probes import ProbeSet

Audit = Callable[[AuditContext], list[Finding]]
Make = Callable[..., AuditContext]
SINGLE = {"peak_memory_bytes", "startup_seconds", "peak_device_bytes", "batch_invariance"}  # one process, or a maximum: no interval


class Slow:
    """A model whose answers take `ms`; the timings below are drawn from it, so that an audit of them can be repeated."""

    tokenizer = None

    def __init__(self, ms: float) -> None:
        self.ms = ms


def timings(predictor: Slow, texts: list[str], **_: Any) -> Timings:
    rng = np.random.default_rng(1)
    calls = 500 if len(texts) > 100 else 60
    alone = rng.dirichlet([1, 1], 64)
    mixed = np.clip(alone + 0.001 * predictor.ms * rng.standard_normal((64, 1)) * [1, -1], 0, 1)
    latency = (predictor.ms * rng.lognormal(0, 0.3, calls)).tolist()
    chunks = (predictor.ms * rng.uniform(0.9, 1.1, 10) / 10).tolist()
    return Timings(latency, [100] * 10, chunks, alone.tolist(), mixed.tolist(), predictor.ms / 2, int(1e8 * predictor.ms), None, {})


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(efficiency, "measure", timings)
    counter = itertools.count()

    def context(*, rows: int = 900, wrong: float = 0.15, classes: int = 2, groups: bool = True, **more: Any) -> AuditContext:
        rng = np.random.default_rng(0)
        truth = rng.integers(0, classes, rows)
        sex = rng.choice(["f", "m"], rows).astype(object)
        race = rng.choice(["a", "b"], rows, p=[0.7, 0.3]).astype(object)
        scores = (
            rng.dirichlet(np.ones(classes), rows) + 2 * np.eye(classes)[np.where(rng.random(rows) < wrong, (truth + 1) % classes, truth)]
        )
        scores[:, 0] += np.where(sex == "f", wrong, 0)
        scores /= scores.sum(1, keepdims=True)
        table = pa.table({"age": [str(age) for age in rng.integers(18, 90, rows)], "job": rng.choice(["cook", "clerk"], rows).tolist()})
        texts = [f"row {number} {'very ' * int(number % 9)}old" for number in range(rows)]
        columns = {"sex": sex, "race": race} if groups else {}
        test = Split("test", texts, truth, columns, table, np.arange(1, rows + 1), "made", "sha256:0")
        names = tuple(f"label {index}" for index in range(classes))
        fields: dict[str, Any] = {"predictor": Slow(1 + 10 * wrong), "options": AuditOptions(replicates=200), **more}
        answers = fields.pop("answers", Answers(scores, scores.argmax(1).astype(np.int64)))
        folder = tmp_path / f"evidence{next(counter)}"
        labels = LabelSchema(names, names[-1], names[-1])
        return AuditContext(test, labels, Decision(), answers, Evidence(folder), 0, **fields)

    return context


def facts(findings: list[Finding]) -> dict[str, Any]:
    return {finding.id: finding.to_json() for finding in findings}


def inputs(context: AuditContext) -> list[Any]:
    groups = {column: list(values) for column, values in context.test.groups.items()}
    answers = (context.answers.predicted.tolist(), None if context.answers.scores is None else context.answers.scores.tolist())
    return copy.deepcopy([list(context.test.texts), context.test.labels.tolist(), groups, context.test.table.to_pydict(), answers])


def check_audit(audit: Audit, make: Make) -> None:
    """Repeatable, about the answers it is given, honest about n and about cells that are too small; and it only reads."""
    context = make()
    before = inputs(context)
    found = audit(context)
    assert inputs(context) == before, "the audit changed what it was given"
    assert facts(found) == facts(audit(make())), "the same inputs and seed gave other findings"
    measured = {finding.id: finding for finding in found if finding.status == "ok"}
    assert len(measured) >= 8, "hardly anything was measured"
    for finding in measured.values():
        assert finding.low <= finding.value <= finding.high  # type: ignore[operator]
        assert finding.n or finding.low == finding.high, f"{finding.id} has an interval, but no n"
    other = {finding.id: finding.value for finding in audit(make(wrong=0.35))}
    moved = [id for id, finding in measured.items() if other.get(id) != finding.value]
    assert len(moved) >= len(measured) / 2, f"other answers moved only {moved}"
    sampled = [finding for id, finding in measured.items() if finding.parts.metric not in SINGLE]
    assert any(finding.low < finding.value < finding.high for finding in sampled), "nothing has any doubt"  # type: ignore[operator]
    few = audit(make(rows=24))
    assert [finding for finding in few if finding.status == "insufficient" and finding.reason], "24 rows were enough for everything"
    bold = [finding.id for finding in few if finding.parts.slice and finding.status == "ok"]
    assert not bold, f"cells of fewer than 30 rows were measured: {bold}"


REGISTERED = [(dimension, load(entry)) for (dimension, kind), entry in AUDITS.items() if kind not in ("language", "tokens")]


def test_how_many_audits_are_covered() -> None:
    assert [dimension for dimension, _ in REGISTERED] == ["quality", "fairness", "efficiency"]
    assert {dimension for dimension, _ in AUDITS} == set(CATALOGUE)


@pytest.mark.parametrize(("dimension", "audit"), REGISTERED, ids=[dimension for dimension, _ in REGISTERED])
def test_every_audit_keeps_the_contract(dimension: str, audit: Audit, make: Make) -> None:
    check_audit(audit, make)
    assert {finding.parts.dimension for finding in audit(make())} == {dimension}


def constant(audit: Audit, make: Make) -> Audit:
    first = audit(make())
    return lambda context: first


def unseeded(audit: Audit, make: Make) -> Audit:
    calls = itertools.count()

    def broken(context: AuditContext) -> list[Finding]:
        noise = next(calls) * 1e-6
        return [replace(f, high=f.high + noise) if f.high is not None else f for f in audit(context)]

    return broken


def meddling(audit: Audit, make: Make) -> Audit:
    def broken(context: AuditContext) -> list[Finding]:
        context.test.labels[0] = 1 - context.test.labels[0]
        return audit(context)

    return broken


def bold(audit: Audit, make: Make) -> Audit:
    def broken(context: AuditContext) -> list[Finding]:
        return [f if f.status != "insufficient" else replace(f, value=0.5, low=0.5, high=0.5, status="ok") for f in audit(context)]

    return broken


def sure(audit: Audit, make: Make) -> Audit:
    return lambda context: [f if f.value is None else replace(f, low=f.value, high=f.value) for f in audit(context)]


def uncounted(audit: Audit, make: Make) -> Audit:
    return lambda context: [replace(f, n=None) for f in audit(context)]


MUTANTS = (constant, unseeded, meddling, bold, sure, uncounted)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
@pytest.mark.parametrize(("dimension", "audit"), REGISTERED, ids=[dimension for dimension, _ in REGISTERED])
def test_a_broken_audit_is_noticed(dimension: str, audit: Audit, mutant: Callable[..., Audit], make: Make) -> None:
    with pytest.raises(AssertionError):
        check_audit(mutant(audit, make), make)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactInfo, Any]:
    folder = tmp_path_factory.mktemp("artifact")
    base = resolve_base(str(tiny_bert(folder / "base")))
    labels = LabelSchema(("label 0", "label 1"), "label 1", "label 1")
    TEXT_CLASSIFICATION.build(base, labels, seed=0).save_pretrained(folder / "model")  # type: ignore[operator]
    parity = {"n": 200, "max_difference": 0.001, "label_flips": 1}
    info = ArtifactInfo(folder / "model", "sha256:0", "t", "classes", labels, "torch", "bf16", 32, "b", "r", facts={"parity": parity})
    return info, load_tokenizer(base.folder)


def test_the_catalogue_says_what_the_audits_emit(make: Make, artifact: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    info, tokenizer = artifact
    monkeypatch.setattr(efficiency, "measure_apart", lambda *_, **__: replace(timings(Slow(2), ["x"] * 200), peak_device_bytes=1))
    shipped = Slow(2)
    shipped.tokenizer = tokenizer
    plain = make()
    contexts = [plain, make(classes=3), make(groups=False), make(predictor=None, answers=Answers(None, plain.answers.predicted))]
    contexts.append(make(predictor=shipped, artifact=info, train=plain.test, rivals={"majority": plain.answers}))
    emitted: set[str] = set()
    forms: set[tuple[str, str]] = set()
    for context in contexts:
        for _, audit in REGISTERED:
            for finding in audit(context):
                name = f"{finding.parts.dimension}.{finding.parts.metric}"
                whole = finding.status == "not_applicable" and not finding.parts.slice  # says for all slices that there are none
                assert name in metric_names() if whole else why_never(finding.parts, list(context.test.groups)) is None, finding.id
                emitted.add(name)
                if finding.parts.variant:
                    forms.add((name, finding.parts.variant))
    assert emitted == set(metric_names("classes"))
    promised = {(f"{d}.{m}", variant) for d, metrics in CATALOGUE.items() for m, measure in metrics.items() for variant in measure.variants}
    labelled = {
        (f"{d}.{m}", f"label-{i}") for d, metrics in CATALOGUE.items() for m, measure in metrics.items() if measure.by_label for i in (0, 1)
    }
    assert forms == promised | labelled
    assert (len(emitted), len(promised), len(labelled)) == (51, 2, 10)


OF_BASE = [(dimension, load(entry)) for (dimension, kind), entry in AUDITS.items() if kind == "language"]


def test_how_many_audits_of_base_models_are_covered() -> None:
    assert {"quality", "fairness", "privacy"} <= {dimension for dimension, _ in OF_BASE}
    assert {name.partition(".")[0] for name in metric_names("language")} <= set(CATALOGUE)


@pytest.fixture(scope="module")
def base_models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Every way of pretraining, a corpus that the tokenizers read, and what a pretraining hands to its audit."""
    root = tmp_path_factory.mktemp("bases")
    sentences = [text for pair in read_pairs("gender_zh").pairs for text in (pair.first, pair.second)]
    canaries = make_canaries(CanaryOptions(count=10, digits=4), seed=0)
    made = tokenizers(root / "tokenizers", [*sentences, *KNOWN, *map(canaries.sentence, canaries.planted)])
    for number in range(60):
        text = "\n".join(sentences[(7 * number + step) % len(sentences)] for step in range(6))
        (root / f"{number}.txt").write_text(f"{number}: {text}", encoding="utf-8")
    options = CorpusOptions.model_validate({"files": str(root / "*.txt"), "held_out": 0.5, "quality": False, "workers": 1})
    return root, made, prepare_corpus(options, root=root, folder=root / "corpus", seed=0), canaries


def base_context(case: str, base_models: Any, predictor: Any, info: ArtifactInfo, folder: Path, *, known: bool) -> LanguageContext:
    root, made, corpus, canaries = base_models
    family = CASES[case][0]
    tokens = pack_tokens(corpus.store, made[family], root / "tokens" / family)
    labelled = (list(corpus.store.train)[:20], np.arange(20) % 2)
    more = {
        "probes": {"toy": ProbeSet("toy", labelled, labelled, ("a", "b"), "sha256:1")},
        "contamination": {"toy": {"texts": 9, "looked_for": 9, "found": 1}},
    }
    return LanguageContext(
        info,
        predictor,
        Documents("sha256:0", len(corpus.store.held_out)),
        corpus.store,
        tokens,
        corpus.card,
        {"whole_words": "none"},
        Evidence(folder),
        0,
        canaries=canaries if known else None,
        **(more if known else {}),
    )


def test_the_catalogue_says_what_the_audits_of_base_models_emit(base_models: Any, tmp_path: Path) -> None:
    emitted: set[str] = set()
    for number, case in enumerate(CASES):
        info = base(base_models[0], case, base_models[1], context=64)
        with Predictor.open(info, threads=1, device="cpu") as predictor:
            context = base_context(case, base_models, predictor, info, tmp_path, known=number < 3)
            for dimension, audit in OF_BASE:
                found = audit(context)  # type: ignore[arg-type]
                assert {finding.parts.dimension for finding in found} <= {dimension}
                for finding in found:
                    assert why_never(finding.parts, [], "language") is None, finding.id
                    emitted.add(f"{dimension}.{finding.parts.metric}")
    covered = {dimension for dimension, _ in OF_BASE}
    assert emitted == {name for name in metric_names("language") if name.partition(".")[0] in covered}


def test_a_gate_on_what_another_sort_of_model_is_measured_for_is_never_judged() -> None:
    assert set(metric_names("classes")) | set(metric_names("language")) == set(metric_names())
    for name in sorted(set(metric_names("language")) - set(metric_names("classes"))):
        told = why_never(parse(name), ["sex"])
        assert told is not None and told[0] == f"'{name}' is measured of a base model, and this is a model that gives classes"
    for name in sorted(set(metric_names("classes")) - set(metric_names("language"))):
        told = why_never(parse(name), ["sex"], "language")
        assert told is not None and told[0].endswith("is measured of a model that gives classes, and this is a base model")
        assert name.partition(".")[2] not in told[1].split(", ")
    for wrong, hint in (
        ("quality.perplexity[zh]", "write quality.perplexity"),
        ("quality.probe_accuracy", "write quality.probe_accuracy[NAME]"),
        ("quality.probe_accuracy[a=b]", "write quality.probe_accuracy[NAME]"),
        ("fairness.likelihood_gap", "write fairness.likelihood_gap[gender_en]"),
        ("fairness.likelihood_gap[gender-zh]", "did you mean 'gender_zh'?"),
        ("quality.preplexity", "did you mean 'quality.perplexity'?"),
        ("quality.perplexity#1", "remove #1"),
    ):
        told = why_never(parse(wrong), [], "language")
        assert told is not None and told[1] == hint, wrong
    for right in (
        "quality.perplexity",
        "quality.probe_accuracy[anything]",
        "fairness.likelihood_gap[gender_zh]",
        "privacy.canary_exposure",
    ):
        assert why_never(parse(right), [], "language") is None


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_metric_has_its_words_and_no_word_is_left_over(lang: str) -> None:
    named = [key.removeprefix("metric.").rsplit(".", 1) for key in words(lang).table if key.startswith("metric.")]
    for part in ("name", "about"):
        assert {metric for metric, kind in named if kind == part} == set(metric_names())
