"""Every registered audit keeps the contract of findings, a broken one is noticed, and the catalogue says what is emitted."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
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
from trustbase.data.pair import join
from trustbase.finding_id import parse
from trustbase.model.load import resolve_base
from trustbase.model.predict import Predictor
from trustbase.model.task import TEXT_CLASSIFICATION
from trustbase.model.tokenizer import load_tokenizer
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import ANSWER_KINDS, AUDITS, rivals_of
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

    def context(*, rows: int = 900, kind: str = "classes", groups: bool = True, wrong: float = 0.15, **more: Any) -> AuditContext:
        rng = np.random.default_rng(0)
        sex = rng.choice(["f", "m"], rows).astype(object)
        race = rng.choice(["a", "b"], rows, p=[0.7, 0.3]).astype(object)
        classes = more.pop("classes", 2)
        labels, truth, own = ANSWERED[kind](rng, rows, wrong, sex == "f", classes)
        table = pa.table({"age": [str(age) for age in rng.integers(18, 90, rows)], "job": rng.choice(["cook", "clerk"], rows).tolist()})
        texts = [f"row {number} {'very ' * int(number % 9)}old" for number in range(rows)]
        columns = {"sex": sex, "race": race} if groups else {}
        test = Split("test", texts, truth, columns, table, np.arange(1, rows + 1), "made", "sha256:0")
        fields: dict[str, Any] = {"predictor": Slow(1 + 10 * wrong), "options": AuditOptions(replicates=200), **more}
        folder = tmp_path / f"evidence{next(counter)}"
        answers = fields.pop("answers", own)
        decision = Decision(interval={"coverage": 0.9, "half_width": 1.5, "rows": 200.0}) if kind == "number" else Decision()
        return AuditContext(test, labels, fields.pop("decision", decision), answers, Evidence(folder), 0, **fields)

    return context


def of_classes(rng: np.random.Generator, rows: int, wrong: float, some: Any, classes: int) -> tuple[LabelSchema, Any, Answers]:
    truth = rng.integers(0, classes, rows)
    told = np.where(rng.random(rows) < wrong, (truth + 1) % classes, truth)
    scores = rng.dirichlet(np.ones(classes), rows) + 2 * np.eye(classes)[told]
    scores[:, 0] += np.where(some, wrong, 0)
    scores /= scores.sum(1, keepdims=True)
    names = tuple(f"label {index}" for index in range(classes))
    return LabelSchema(names, names[-1], names[-1]), truth, Answers(scores, scores.argmax(1).astype(np.int64))


def of_labels(rng: np.random.Generator, rows: int, wrong: float, some: Any, classes: int) -> tuple[LabelSchema, Any, Answers]:
    truth = rng.random((rows, classes)) < 0.4
    told = truth ^ (rng.random((rows, classes)) < wrong * np.where(some, 1.3, 1)[:, None])
    scores = np.clip(np.where(told, 0.8, 0.2) + rng.uniform(-0.15, 0.15, (rows, classes)), 0, 1)
    names = tuple(f"label {index}" for index in range(classes))
    return LabelSchema(names, names[-1], names[-1]), truth, Answers(scores, scores >= 0.5)


def of_numbers(rng: np.random.Generator, rows: int, wrong: float, some: Any, classes: int) -> tuple[LabelSchema, Any, Answers]:
    truth = 100 + rng.normal(0, 3, rows)
    told = truth + 6 * wrong * rng.normal(0, 1, rows) + np.where(some, wrong, 0)
    return LabelSchema(("price",), "price", "price", center=100.0, scale=3.0), truth, Answers(told[:, None], told)


ANSWERED = {"classes": of_classes, "labels": of_labels, "number": of_numbers}


def facts(findings: list[Finding]) -> dict[str, Any]:
    return {finding.id: finding.to_json() for finding in findings}


def inputs(context: AuditContext) -> list[Any]:
    groups = {column: list(values) for column, values in context.test.groups.items()}
    answers = (context.answers.predicted.tolist(), None if context.answers.scores is None else context.answers.scores.tolist())
    return copy.deepcopy([list(context.test.texts), context.test.labels.tolist(), groups, context.test.table.to_pydict(), answers])


def of_kind(make: Make, kind: str) -> Make:
    return lambda **more: make(kind=kind, **more)


def check_audit(audit: Audit, make: Make, *, least: int = 8) -> None:
    """Repeatable, about the answers it is given, honest about n and about cells that are too small; and it only reads."""
    context = make()
    before = inputs(context)
    found = audit(context)
    assert inputs(context) == before, "the audit changed what it was given"
    assert facts(found) == facts(audit(make())), "the same inputs and seed gave other findings"
    measured = {finding.id: finding for finding in found if finding.status == "ok"}
    assert len(measured) >= least, "hardly anything was measured"
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


BY_UNIT = ("tokens", "span")  # test_audits_tokens.py and test_audits_span.py hold these
ASKING = ("explanation", "robustness", "safety")  # test_audits_asking.py holds these, on models that really answer
REGISTERED = [
    (dimension, kind, load(entry))
    for (dimension, kind), entry in AUDITS.items()
    if kind != "language" and kind not in BY_UNIT and dimension not in ASKING
]
NAMED = pytest.mark.parametrize(
    ("dimension", "kind", "audit"), REGISTERED, ids=[f"{dimension}-{kind}" for dimension, kind, _ in REGISTERED]
)


def test_how_many_audits_are_covered() -> None:
    own = [(dimension, kind) for kind in ANSWER_KINDS if kind not in BY_UNIT for dimension in ("quality", "fairness")]
    assert [(dimension, kind) for dimension, kind, _ in REGISTERED] == [*own, ("efficiency", "*")]
    assert {dimension for dimension, _ in AUDITS} == set(CATALOGUE) and {*ANSWERED, *BY_UNIT} == set(ANSWER_KINDS)


@NAMED
def test_every_audit_keeps_the_contract(dimension: str, kind: str, audit: Audit, make: Make) -> None:
    own = of_kind(make, "classes" if kind == "*" else kind)
    check_audit(audit, own)
    assert {finding.parts.dimension for finding in audit(own())} == {dimension}


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
        context.test.labels[0] = context.test.labels[1] + 1 if context.test.labels.dtype == np.float64 else context.test.labels[0] ^ 1
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
@NAMED
def test_a_broken_audit_is_noticed(dimension: str, kind: str, audit: Audit, mutant: Callable[..., Audit], make: Make) -> None:
    own = of_kind(make, "classes" if kind == "*" else kind)
    with pytest.raises(AssertionError):
        check_audit(mutant(audit, own), own)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactInfo, Any]:
    folder = tmp_path_factory.mktemp("artifact")
    base = resolve_base(str(tiny_bert(folder / "base")))
    labels = LabelSchema(("label 0", "label 1"), "label 1", "label 1")
    TEXT_CLASSIFICATION.build(base, labels, seed=0).save_pretrained(folder / "model")  # type: ignore[operator]
    parity = {"n": 200, "max_difference": 0.001, "label_flips": 1}
    info = ArtifactInfo(folder / "model", "sha256:0", "t", "classes", labels, "torch", "bf16", 32, "b", "r", facts={"parity": parity})
    return info, load_tokenizer(base.folder)


def emitted_by(contexts: Sequence[AuditContext], kind: str) -> tuple[set[str], set[tuple[str, str]]]:
    """Names of all findings of a kind's audits, and (name, variant) of those that have one; each is one that the catalogue knows."""
    emitted: set[str] = set()
    forms: set[tuple[str, str]] = set()
    for context in contexts:
        for _, of, audit in REGISTERED:
            for finding in audit(context) if of in (kind, "*") else ():
                name = f"{finding.parts.dimension}.{finding.parts.metric}"
                whole = finding.status == "not_applicable" and not finding.parts.slice  # says for all slices that there are none
                never = None if whole else why_never(finding.parts, list(context.test.groups), kind)
                assert name in metric_names(kind) and never is None, finding.id
                emitted.add(name)
                if finding.parts.variant:
                    forms.add((name, finding.parts.variant))
    return emitted, forms


@pytest.mark.parametrize(("kind", "counts"), [("classes", (56, 2, 10)), ("labels", (37, 0, 15)), ("number", (36, 0, 0))])
def test_the_catalogue_says_what_the_audits_emit(
    kind: str, counts: tuple[int, int, int], make: Make, artifact: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, tokenizer = artifact
    monkeypatch.setattr(efficiency, "measure_apart", lambda *_, **__: replace(timings(Slow(2), ["x"] * 200), peak_device_bytes=1))
    shipped = Slow(2)
    shipped.tokenizer = tokenizer
    plain = make(kind=kind)
    contexts = [plain, make(kind=kind, classes=3), make(kind=kind, groups=False), make(kind=kind, decision=Decision())]
    contexts.append(replace(plain, labels=replace(plain.labels, neutral=plain.labels.names[0])) if kind == "classes" else plain)
    contexts.append(make(kind=kind, predictor=None, answers=Answers(None, plain.answers.predicted)))
    if kind == "classes":
        contexts.append(replace(plain, test=replace(plain.test, texts=[join(text, "one", "two") for text in plain.test.texts])))
    contexts.append(
        make(kind=kind, predictor=shipped, artifact=info, train=plain.test, rivals={next(iter(rivals_of(kind))): plain.answers})
    )
    emitted, forms = emitted_by(contexts, kind)
    assert emitted == {name for name in metric_names(kind) if name.partition(".")[0] not in ASKING}
    here = {dimension: metrics for dimension, metrics in CATALOGUE.items() if dimension not in ASKING}
    measures = [(f"{d}.{m}", measure) for d, metrics in here.items() for m, measure in metrics.items() if kind in measure.kinds]
    promised = {(name, variant) for name, measure in measures for variant in measure.variants}
    labelled = {(name, f"label-{i}") for name, measure in measures if measure.by_label for i in range(3 if kind == "labels" else 2)}
    assert {form for form in forms if form not in labelled} == promised and labelled <= forms
    assert (len(emitted), len(promised), len(labelled)) == counts


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
    of = {kind: entry.of for kind, entry in ANSWER_KINDS.items()} | {"language": "a base model"}
    assert set().union(*map(metric_names, of)) == set(metric_names())
    for kind, other in itertools.permutations(of, 2):
        for name in sorted(set(metric_names(other)) - set(metric_names(kind))):
            told = why_never(parse(name), ["sex"], kind)
            assert told is not None and told[0].startswith(f"'{name}' is measured of ") and told[0].endswith(f", and this is {of[kind]}")
            assert of[other] in told[0] and name.partition(".")[2] not in told[1].split(", ")
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


def test_gaps_of_labels_name_the_label_that_they_are_of() -> None:
    """Each label is compared by itself, so a gate that names none would never be judged."""
    gap = "fairness.demographic_parity_difference[sex]"
    told = why_never(parse(gap), ["sex"], "labels")
    assert told is not None and told[1] == f"write {gap}#LABEL"
    assert why_never(parse(f"{gap}#late"), ["sex"], "labels") is None and why_never(parse(gap), ["sex"], "classes") is None


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_metric_has_its_words_and_no_word_is_left_over(lang: str) -> None:
    named = [key.removeprefix("metric.").rsplit(".", 1) for key in words(lang).table if key.startswith("metric.")]
    for part in ("name", "about"):
        assert {metric for metric, kind in named if kind == part} == set(metric_names())
