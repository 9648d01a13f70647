"""Reasons and methods in Chinese: every text that the audits and gates really write has a form, and keeps all that it says."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import answers_kit as kit
import numpy as np
import pyarrow as pa
import pytest
import shift_kit
from changed_texts import changed_findings
from explained_texts import explained_findings
from robustness_texts import robustness_findings
from safety_kit import safety_findings

import trustbase.report.words as catalogue
from entity_world import CUES, sentence
from trustbase import files
from trustbase.audit import counted, efficiency, fairness, measure, quality, quality_labels, quality_tokens, reliability
from trustbase.audit.askers.asking import Alone
from trustbase.audit.clustered import Entities, _widened
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.end_to_end import findings_of
from trustbase.audit.explain.fluent import Trial
from trustbase.audit.explain.turned import FROM_COLUMNS, NO_TEXT, said_of
from trustbase.audit.measure import Effort, Timings
from trustbase.audit.measured import measure_parts
from trustbase.audit.options import AuditOptions, CostOptions
from trustbase.audit.quality_relation import relation_findings
from trustbase.audit.ratios import share_of
from trustbase.audit.rivals import why_not
from trustbase.audit.robustness.abstention import measure_abstention
from trustbase.audit.robustness.audit import PARTS as ROBUSTNESS
from trustbase.audit.robustness.conformal import measure_conformal
from trustbase.audit.robustness.shift import measure_shift
from trustbase.audit.run import run_audit
from trustbase.audit.slices import slice_accuracies
from trustbase.audit.unknown_tokens import unknown_tokens
from trustbase.audit.weak_slices import weak_slice_findings
from trustbase.audit_command import audit
from trustbase.data.marked import HEAD, TAIL, TYPED
from trustbase.data.tags import tag_names
from trustbase.errors import ModelError, PredictionError
from trustbase.gate.decide import decide
from trustbase.gate.policy import read_policy
from trustbase.model.encoded import Encoded, offsets_of
from trustbase.model.questions import Answer, Likelihood, Question
from trustbase.model.ragged import ragged
from trustbase.records import ArtifactInfo, AuditReport, Decision, Finding, LabelSchema, Split
from trustbase.report.html import render
from trustbase.report.reasons import method_in, reason_in
from trustbase.report.words import words

Texts = set[tuple[str, str]]  # (family, text)
EFFORT = Effort(warm_up=1, calls=400, call_seconds=5, chunks=5, chunk_seconds=0.1, invariance=8)
# Terms of the field, names from the data below, and names of code, which stand in the Chinese text as they are.
TERMS = (
    r"torch|explanation\.fluent|data\.split\.calibration|data\.favourable|corpus\.held_out|data\.groups|bf16|fp32|logit|delta|transformer|safetensors|classes"
    r"|per|reuse|unknown|nan"
)


# --- what really is written ---------------------------------------------------------------------------------------------------


def answers(path: Path, rows: int, labels: list[str], *, seed: int = 0, west: int = 3) -> None:
    """A file of answers with small groups, a missing value, and a column of many values."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream)
        out.writerow(["truth", "said", "score", "g", "p", "zip"])
        for i in range(rows):
            score = rng.random()
            truth = labels[int(rng.random() < score)] if len(labels) == 2 else labels[rng.integers(len(labels))]
            said = truth if rng.random() < 0.7 else labels[rng.integers(len(labels))]
            g = "w" if i < west else "" if i < west + 2 else ["n", "s"][i % 2]
            out.writerow([truth, said, f"{score:.4f}", g, ["e; (5 rw)", "o"][i % 2], f"z{i % 60}"])


def page_texts(folder: Path) -> Texts:
    """Every method and reason in an audit's folder, evidence and verdict included."""
    found = {("method", f.method) for f in AuditReport.from_json(files.read_json(folder / "audit.json")).findings}
    found |= {("reason", text) for path in folder.rglob("*.json") for text in _under(files.read_json(path), "reason")}
    return {item for item in found if item[1]}


def _under(value: Any, key: str) -> Iterable[str]:
    if isinstance(value, Mapping):
        yield from (text for name, text in value.items() if name == key and isinstance(text, str))
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _under(item, key)


def finding_texts(findings: Iterable[Finding]) -> Texts:
    return {item for f in findings for item in (("method", f.method), ("reason", f.reason)) if item[1]}


def command_texts(folder: Path) -> Texts:
    """Of the command itself, in the form that needs no model: small groups, several labels, few rows, no groups."""
    found: Texts = set()
    policy = folder / "limits.yaml"
    policy.write_text(
        "quality.accuracy: '>= 0.99'\nquality.auroc: '>= 0.5'\nquality.macro_f1: {limit: '>= 0.1', judge: value}\n"
        "quality.log_loss: {limit: '<= 0.001', judge: value}\nfairness.accuracy[g=w]: '>= 0.5'\n"
        "fairness.accuracy_difference[g]: '<= 0.12'\nquality.gain_over_majority: '>= 0'\n"
    )
    for name, rows, labels, how, groups in (
        ("scores", 400, ["no", "yes"], {"score": "score"}, ["g", "p", "zip"]),
        ("labels", 400, ["a", "b; c", "d's"], {"predicted": "said"}, ["g"]),
        ("few", 40, ["no", "yes"], {"score": "score"}, ["g"]),
        ("none", 20, ["no", "yes"], {"predicted": "said"}, []),
    ):
        answers(folder / f"{name}.csv", rows, labels)
        made = {"policy": policy} if name == "scores" else {}
        audit(predictions=folder / f"{name}.csv", label="truth", groups=groups, out=folder / name, lang="zh", **how, **made)
        found |= page_texts(folder / name)
    return found


def split(rows: int, classes: int, table: pa.Table | None = None, *, least: int = 2) -> Split:
    rng = np.random.default_rng(3)
    truth = np.concatenate([np.full(least, classes - 1), rng.integers(0, classes - (least < 10), rows - least)])
    groups = {"g": np.array([["n", "s"][i % 2] for i in range(rows)], object)}
    raw = table or pa.table({"a": [str(i % 50) for i in range(rows)], "j": ["a", "b"] * (rows // 2)})
    texts = [f"text {'x' * (i % 60)} {i}" for i in range(rows)]
    return Split("test", texts, truth, groups, raw, np.arange(rows), "t", "sha256:d")


def context(folder: Path, test: Split, classes: int, **more: Any) -> AuditContext:
    names = tuple(f"label {i}" for i in range(classes))
    rng = np.random.default_rng(4)
    scores = rng.dirichlet(np.ones(classes), len(test)) + np.eye(classes)[test.labels]
    scores /= scores.sum(1, keepdims=True)
    given = Answers(scores, scores.argmax(1).astype(np.int64))
    schema = LabelSchema(names, names[-1], names[-1], favourable_assumed=classes == 2)
    return AuditContext(test, schema, Decision(), more.pop("answers", given), Evidence(folder), 0, **more)


def quality_texts(folder: Path) -> Texts:
    """Labels of a handful of rows, rivals, slices by length and column, costs, rows that fit nothing, and numbers that break."""
    whole, few, big = split(600, 3, least=60), split(600, 3), split(3000, 2, least=60)
    rival = {"majority": Answers(None, np.zeros(600, np.int64))}
    plain = pa.table({"text": whole.texts})
    words_alone = pa.table({"text": [f"a text {i}" for i in range(600)], "note": [f"one more {i}" for i in range(600)]})
    cost = Decision(0.5, "t", {"false_negative": 5.0, "false_positive": 1.0})
    same = Answers(None, np.zeros(60, np.int64))
    made = [
        context(folder, whole, 3, train=whole, rivals=rival),
        context(folder, few, 3, train=replace(whole, table=plain)),
        context(folder, few, 3, train=replace(whole, table=words_alone)),
        replace(context(folder, big, 2), decision=cost),
        context(folder, replace(split(60, 2, least=30), groups={}, table=pa.table({"t": ["x"] * 60})), 2, answers=same),
    ]
    found = set().union(*(finding_texts([*quality.audit_classes(c), *fairness.audit_classes(c)]) for c in made))
    found |= finding_texts(fairness.audit_classes(replace(made[-1], answers=same)))
    alone = replace(made[-1], test=replace(split(20, 2), groups={}), answers=Answers(None, np.zeros(20, np.int64)))
    found |= finding_texts(quality.audit_classes(alone))
    broken = Answers(np.full((60, 2), 2.0), np.zeros(60, np.int64))
    found |= finding_texts(run_audit(replace(made[-1], answers=broken), ["quality", "privacy"], policy_digest=None).findings)
    owned = replace(big, entities=np.arange(3000) // 2)
    found |= finding_texts(weak_slice_findings(context(folder, owned, 2)))
    never = context(folder, big, 2, answers=Answers(None, np.zeros(3000, np.int64)))
    found |= finding_texts(fairness.audit_classes(never))
    many = replace(big, groups={"g": np.array([f"z{i % 60}" for i in range(3000)], object)})  # 60 groups of 50 rows
    lopsided = replace(split(60, 2, least=59), groups={"g": np.array(["n"] * 31 + ["s"] * 29, object)})
    found |= finding_texts([*fairness.audit_classes(context(folder, many, 2)), *fairness.audit_classes(context(folder, lopsided, 2))])
    found |= {("reason", reason) for path in folder.glob("*.json") for reason in _under(files.read_json(path), "reason") if reason}
    rng = np.random.default_rng(0)
    found.add(("method", reliability.expected_calibration_error([0.5, 0.6], [1, 0], rng=rng, draws=200).method))
    for part in ([0, 0], [1, 0]):
        found.add(("method", share_of(np.array(part), np.array([5, 5])).method))
    found.add(("method", said_of(Trial("folder", "模型", -0.8, {}, ""))))
    found |= {("method", FROM_COLUMNS), ("reason", NO_TEXT)}
    for tokenizer in (None, SimpleNamespace(unk_token_id=None)):
        found |= finding_texts([unknown_tokens(replace(made[0], predictor=SimpleNamespace(tokenizer=tokenizer)))])  # type: ignore[arg-type]
    return found


def answer_texts(folder: Path) -> Texts:
    """Of models that give numbers or sets of labels: rivals, no intervals, small groups and many, and few rows."""
    many = np.array([f"z{i % 60}" for i in range(3000)], object)
    plain = {"rows_like": {"groups": False}}
    found: Texts = set()
    for kind, make, rivals in (("number", kit.numbers, kit.rivals_of_numbers), ("labels", kit.labels, kit.rivals_of_labels)):
        whole = make(folder)
        contexts = [make(folder, train=whole.test, rivals=rivals(whole)), make(folder, 15), make(folder, decision=Decision(), **plain)]
        big = make(folder, 3000)
        contexts += [make(folder, 60), replace(big, test=replace(big.test, groups={"g": many}))]
        contexts.append(replace(whole, answers=Answers(None, whole.answers.predicted)))
        if kind == "labels":
            contexts.append(make(folder, 3000, wrong=0.0))
        for each in contexts:
            found |= finding_texts(run_audit(each, ["quality", "fairness"], policy_digest=None, answer_kind=kind).findings)
    return found


def entity_texts(folder: Path) -> Texts:
    """Of models that find entities: all right, none found, and too few of a type or of rows."""
    found: Texts = set()
    labels = LabelSchema(tag_names(CUES), "B-PER", "B-PER")
    for rows, told in ((300, True), (300, False), (60, True), (15, True)):
        rng = np.random.default_rng(rows)
        made = [sentence(rng) for _ in range(rows)]
        truth = ragged(tuple((e["start"], e["end"], e["label"]) for e in entities) for _, entities in made)
        texts, numbers = [text for text, _ in made], np.arange(1, rows + 1)
        test = Split("test", texts, truth, {}, pa.table({"text": texts}), numbers, "made up", "sha256:0")
        answers = Answers(None, truth if told else ragged([()] * rows))
        asked = AuditContext(test, labels, Decision(), answers, Evidence(folder), 0)
        found |= finding_texts(run_audit(asked, ["quality"], policy_digest=None, answer_kind="tokens").findings)
        if told and rows == 300:  # a rival that misses the entities of five rows
            rival = Answers(None, ragged([() if row < 5 else spans for row, spans in enumerate(truth)]))
            found |= finding_texts([quality_tokens._gain(replace(asked, rivals={"window": rival}), "window")])
    return found


class Fake:
    tokenizer = None

    def scores(self, texts: Any) -> np.ndarray:
        p = np.array([(len(text) % 10) / 10 for text in texts])
        return np.column_stack([1 - p, p])

    def clear_cache(self) -> None: ...


def encoded(lengths: list[int]) -> Encoded:
    return Encoded(np.zeros(sum(lengths), np.int32), offsets_of(np.array(lengths)), np.array(lengths))


def efficiency_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Texts:
    """A stand-in that is timed, one that is timed too seldom, and an artefact that tells nothing, something, or breaks."""
    ctx = context(folder, split(90, 2), 2, predictor=Fake(), options=AuditOptions(cost=CostOptions(currency="EUR")))
    info = ArtifactInfo(folder / "gone", "d", "t", "classes", ctx.labels, "torch", "bf16", 64, "base", "1")
    parity = replace(info, facts={"parity": {"n": 500, "max_difference": 0.004, "label_flips": 1}})
    found = finding_texts(efficiency.audit_any(replace(ctx, predictor=None)))
    for artifact in (None, info, parity):
        found |= finding_texts(efficiency.audit_any(replace(ctx, artifact=artifact), effort=EFFORT))
    timed = Timings([1.0] * 30, [8] * 3, [0.001, 0.001, 5.0], [[0.5, 0.5]], [[0.5, 0.5]], 2.5, 10**9, 10**9, {})
    found |= finding_texts([*efficiency._latencies(ctx, timed), *efficiency._running(ctx, timed, ctx.options.cost)])
    model = folder / "M"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "bert", "hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8}')
    info = replace(info, folder=model, facts={"weights": "adapter"})
    for content in (None, b"\x00", b"\x02\x00\x00\x00\x00\x00\x00\x00{]"):
        if content:
            (model / "m.safetensors").write_bytes(content)
        with pytest.raises(ModelError) as error:
            counted.tensor_sizes(model)
        found.add(("reason", error.value.message))
    head = b'{"w": {"shape": [2, 2], "dtype": "F32", "data_offsets": [0, 16]}}'
    (model / "m.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(16))
    monkeypatch.setattr("trustbase.model.sequencer.encode", lambda t, texts, **more: encoded([len(x) for x in texts]))
    tokenized = replace(ctx, predictor=SimpleNamespace(tokenizer=object()), artifact=info)  # type: ignore[arg-type]
    for kind in (info, replace(info, facts={})):
        found |= finding_texts(efficiency._counted(tokenized, kind, [f"text {i}" for i in range(120)]))
    found |= finding_texts(efficiency._counted(ctx, info, ["a", "b"])) | finding_texts(efficiency._counted(tokenized, info, ["a"]))
    (model / "config.json").write_text("{}")
    found |= finding_texts(efficiency._counted(tokenized, info, [f"text {i}" for i in range(120)]))
    for script, seconds in (("echo 'no such device' >&2; exit 3", 60.0), ("exec sleep 60", 0.2)):
        program = folder / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(measure.sys, "executable", str(program))
        monkeypatch.setattr(measure, "CHILD_SECONDS", seconds)
        with pytest.raises(PredictionError) as failure:
            measure.measure_apart(model, ["a"], effort=EFFORT, seed=0)
        found.add(("reason", failure.value.message))
    return found


def base_context(folder: Path, **more: Any) -> Any:
    """A base model that answers by chance, for the audits of base models."""
    rng = np.random.default_rng(6)

    def answer(question: Question) -> Answer:
        return Answer(rng.standard_normal(4) if question.kind == "embedding" else Likelihood(-20 * rng.random() - 1, 7))

    predictor = more.get("predictor") or SimpleNamespace(
        runtime=SimpleNamespace(outputs=("log_likelihood", "embedding"), way="masked"),
        tokenizer=None,
        ask_all=lambda questions: [answer(question) for question in questions],
    )
    fields = {
        "artifact": SimpleNamespace(facts={"objectives": ["masked"]}, max_length=128, base="random weights"),
        "predictor": predictor,
        "asking": Alone(predictor),
        "card": {"languages": {"documents": {"zh": 990, "en": 10, "other": 9000}}, "contamination": {"ngram": 13, "sets": {}}},
        "training": {"flops": 1e15, "seconds": 100.0, "peak_flops": 2.6e11, "precision": "bf16"},
        "evidence": Evidence(folder),
        "options": AuditOptions(),
        "probes": {},
        "contamination": {"reviews": {"texts": 50, "looked_for": 49, "found": 0}, "short": {"texts": 50, "looked_for": 9, "found": 0}},
        "canaries": None,
        "emit": lambda event, /, **fields: None,
        "confidence": 0.95,
        "minimum_cell": 30,
        "seed": 0,
    }
    return SimpleNamespace(**{**fields, **more})


def base_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Texts:
    """Held-out documents, probes and test sets; pairs of sentences; canaries; and what the training took."""
    from trustbase.audit import language, likelihood
    from trustbase.audit.pair_sets import read_pairs
    from trustbase.train.heldout import Tally
    from trustbase.train.probes import ProbeSet

    rng, ctx = np.random.default_rng(7), base_context(folder)
    units = np.full(200, 9)
    tally = Tally(rng.random(200) * 30 + 1, units, rng.integers(0, 9, 200))
    few = Tally(tally.losses[:3], units[:3], tally.right[:3] if tally.right is not None else None)
    found = finding_texts([language._perplexity(ctx, term, tally) for term in ("masked", "causal", "infilling")])
    found |= finding_texts([language._perplexity(ctx, "masked", few), *(language._accuracy(ctx, "masked", one) for one in (tally, few))])
    found |= finding_texts(language._predictions(base_context(folder, artifact=SimpleNamespace(facts={"objectives": ["replaced_token"]}))))
    rows = ([f"text {i}" for i in range(60)], np.arange(60) % 2)
    probe = ProbeSet("p", rows, rows, ("a", "b"), "sha256:p")
    found |= finding_texts(language._probes(base_context(folder, probes={"p": probe}))) | finding_texts(language._contamination(ctx))
    known = read_pairs("gender_zh")
    mute = SimpleNamespace(runtime=SimpleNamespace(outputs=("embedding",), way=None), tokenizer=None)
    causal = SimpleNamespace(**{**vars(ctx.predictor), "runtime": SimpleNamespace(outputs=("log_likelihood",), way="causal")})
    for pairs, unknown in ((known.pairs, 0.0), (known.pairs[:3], 0.0), (known.pairs, 0.63)):
        monkeypatch.setattr(likelihood, "readable", lambda context, given, made=(pairs, unknown): made)
        for predictor in (ctx.predictor, causal):
            found |= finding_texts(likelihood._of_set(base_context(folder, predictor=predictor), known)[0])
    strange = {"languages": {"documents": {"zh": 2, "en": 998}}}
    for changes in ({"card": strange}, {"predictor": mute}):
        found |= finding_texts(likelihood._of_set(base_context(folder, **changes), known)[0])
    return found | canary_texts(folder, monkeypatch, mute) | training_texts(folder, monkeypatch)


def canary_texts(folder: Path, monkeypatch: pytest.MonkeyPatch, mute: Any) -> Texts:
    from trustbase.audit import canaries
    from trustbase.data.canaries import CanaryOptions, make_canaries

    planted = make_canaries(CanaryOptions(), seed=0)
    found = finding_texts(canaries.audit_language(base_context(folder)))
    found |= finding_texts(canaries.audit_language(base_context(folder, canaries=planted, predictor=mute)))
    for length, alike in ((3, True), (200, False)):
        numbers = iter(range(10**6))
        encode = lambda texts, length=length, alike=alike, numbers=numbers: [  # noqa: E731
            SimpleNamespace(ids=[0 if alike else next(numbers)] * length) for _ in texts
        ]
        tokenizer = SimpleNamespace(unk_token_id=None, backend_tokenizer=SimpleNamespace(encode_batch=encode))
        ctx = base_context(folder, canaries=planted)
        ctx.predictor.tokenizer = tokenizer
        found |= finding_texts(canaries.audit_language(ctx))
    monkeypatch.setattr(canaries, "_refusal", lambda context, given: None)
    return found | finding_texts(canaries.audit_language(base_context(folder, canaries=planted)))


def training_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Texts:
    from trustbase.audit import training

    monkeypatch.setattr(training, "size_findings", lambda artifact, **more: ([], None))
    whole = base_context(folder)
    kept = {key: whole.training[key] for key in ("flops", "seconds")}
    contexts = (whole, base_context(folder, training=kept), base_context(folder, training={}))
    return set().union(*(finding_texts(training.audit_language(ctx)) for ctx in contexts))


def ensemble_texts(folder: Path) -> Texts:
    """An ensemble whose members differ, and one whose members do not; what is counted of all of them."""
    from safetensors.numpy import save_file

    one = kit.labels(folder, rows=40)
    scores = one.answers.scores
    assert scores is not None
    found: Texts = set()
    for others in (1 - scores, scores):
        context = kit.ensemble(one, np.stack([scores, others], axis=1), folder=folder)
        found |= finding_texts(f for f in quality_labels.audit_labels(context) if f.parts.variant == "seeds")
    for place in range(2):
        (folder / f"member-{place}").mkdir()
        save_file({"w": np.zeros(3, np.float32)}, folder / f"member-{place}" / "model.safetensors")
    assert context.artifact is not None
    return found | finding_texts(counted.size_findings(context.artifact, confidence=0.95)[0])


def relation_texts(folder: Path) -> Texts:
    """Relations of few rows, of rows with few relations, and of rows that are all right."""
    found: Texts = set()
    for rows, least in ((20, 2), (600, 60)):
        test = replace(split(rows, 3), labels=np.where(np.arange(rows) < least, 2, 0))
        right = Answers(None, test.labels.astype(np.int64))
        given = context(folder, test, 3, answers=right)
        found |= finding_texts(relation_findings(replace(given, labels=replace(given.labels, neutral=given.labels.names[0]))))
    for units in ("texts", "owners of texts"):
        for hits, units_counted in ((1, 5), (1, 40), (0, 40)):
            sums = np.tile([float(hits), 1.0, 2.0], (units_counted, 1)) * np.arange(1, units_counted + 1)[:, None]
            found |= finding_texts(findings_of(context(folder, split(60, 2), 2), sums, units))
            found |= finding_texts(findings_of(context(folder, split(60, 2), 2), np.minimum(sums, 1.0), units))
    marked = replace(test, texts=[f"{HEAD}{TYPED}a{HEAD} and {TAIL}{TYPED}b{TAIL}"] * len(test))
    return found | {("reason", str(why_not("boosting", marked)))}


def shift_texts(folder: Path) -> Texts:
    """Thresholds fitted on rows kept apart, on a part of the rows, or on none; models that lack a score, or see nothing."""
    context = shift_kit.context_of(folder, 400)
    owned = replace(context, test=replace(context.test, entities=np.arange(400) // 2))
    kept = replace(context, calibration=context.test, held_out=None)
    train = replace(context.test, labels=context.test.labels[:60], texts=context.test.texts[:60])
    few = shift_kit.context_of(folder, 60, groups=False)
    contexts = [
        *(context, kept, few, replace(context, held_out=None), replace(context, train=train)),
        shift_kit.context_of(folder, 400, asked=shift_kit.Asked(blind=True)),
        shift_kit.context_of(folder, 400, asked=shift_kit.Asked(logits=False), outputs=("logits",)),
        shift_kit.context_of(folder, 400, kind="number"),
        *(shift_kit.context_of(folder, 400, shift=tuple(f"given {n}" for n in range(count))) for count in (5, 60)),
    ]
    found = set().union(*(finding_texts(measure_shift(each)) for each in contexts))
    classes = [each for each in contexts if each.artifact is not None and each.artifact.answer_kind == "classes"]
    parts = [part for part in ROBUSTNESS if part.name in ("shift", "abstention")]  # which say whose rows they measured
    found |= finding_texts(measure_parts(owned, "robustness", parts, {}))
    return found.union(*(finding_texts([*measure_abstention(each), *measure_conformal(each)]) for each in classes))


def gate_texts() -> Texts:
    """Every verdict's reason, and every gate's."""
    ok = Finding("quality.accuracy", 0.8, 0.7, 0.9, 90)
    limits = {"quality.accuracy": ">= 0.75"}
    found: Texts = set()

    def look(gates: Mapping[str, Any], findings: tuple[Finding, ...], **more: Any) -> None:
        policy = read_policy(gates)
        report = replace(AuditReport({"digest": "m"}, {}, policy.digest, {}, findings, True), **more)
        verdict = decide(policy, report, test_looks=1, model_digest="m")
        found.update(("reason", text) for text in [verdict.reason, *(gate.reason for gate in verdict.gates)] if text)

    look({}, (ok,))
    look({"quality.accuracy": ">= 0.5"}, (ok,), policy_set_before=False)
    look(limits, (ok,))
    look(limits, (ok,), policy_digest=None)
    look(limits, (ok,), policy_digest="O")
    look(limits, (ok,), model={"digest": "O"})
    look(limits, (ok, ok))
    look(limits, (replace(ok, id="quality.macro_f1"),))
    look(limits, ())
    look({"quality.accuracy": {"limit": ">= 0.75", "judge": "value"}}, (ok,))
    look({"quality.accuracy": {"limit": ">= 0.95", "judge": "value"}}, (ok,))
    look({"quality.accuracy": ">= 0.95"}, (ok,))
    look({"efficiency.parameters": "<= 5"}, (Finding.exact("efficiency.parameters", 9, direction="lower"),))
    look(limits, (Finding.without_value("quality.audit", "failed", "ValueError: bad scores"),))
    for status in ("failed", "not_applicable", "insufficient"):
        look(limits, (Finding.without_value("quality.accuracy", status, "only answers were given, no scores"),))
    for changes in ({"value": math.nan}, {"value": 0.95}, {"status": "failed", "reason": ""}):
        odd = object.__new__(Finding)
        odd.__dict__.update({**ok.__dict__, **changes})
        look(limits, (odd,))
    return found


# --- what is made of it -------------------------------------------------------------------------------------------------------


def part_texts(folder: Path) -> Texts:
    """Rows of so many labels that none has a part of its own; and findings on rows of entities, which make intervals wider or hardly so."""
    labels = 25
    test = split(500, labels)
    found = {("method", slice_accuracies(context(folder, test, labels)).method)}
    finding = Finding("quality.accuracy", 0.8, 0.7, 0.9, n=60, method="mid-P interval")
    entities = Entities(np.arange(60) // 2, 30, 2.0)
    for spread in (0.001, 0.05):
        values = list(0.8 + spread * np.resize([-1, 1], 40))
        found |= finding_texts([_widened(finding, values, 40, entities, False)])
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Texts, Path]:
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TRUSTBASE_HOME", str(folder / "home"))
        found = command_texts(folder)
        found |= quality_texts(folder / "quality") | entity_texts(folder / "entities")
        found |= answer_texts(folder / "answers")
        found |= part_texts(tmp_path_factory.mktemp("parts"))
        found |= relation_texts(tmp_path_factory.mktemp("relations"))
        found |= finding_texts(explained_findings(tmp_path_factory.mktemp("explained")))
        found |= finding_texts(robustness_findings(tmp_path_factory.mktemp("robustness")))
        found |= finding_texts(safety_findings(tmp_path_factory.mktemp("safety"), monkeypatch))
        found |= ensemble_texts(tmp_path_factory.mktemp("ensemble"))
        found |= efficiency_texts(tmp_path_factory.mktemp("efficiency"), monkeypatch)
        found |= shift_texts(tmp_path_factory.mktemp("shift"))
        with pytest.MonkeyPatch.context() as patch:
            found |= finding_texts(changed_findings(tmp_path_factory.mktemp("changed"), patch))
        found |= base_texts(tmp_path_factory.mktemp("base"), monkeypatch)
    return found | gate_texts(), folder


def lost(family: str, text: str) -> list[str]:
    """What a Chinese text lacks of the recorded one: its form, its numbers and names; and what of it is still English."""
    told = words("zh").recorded(family, text)
    if told is None:
        return ["no form"]
    facts = (
        re.findall(r"(?<![\w.])\d+(?:[.,]\d+)*%?", text)
        + re.findall(r"(?<!\w)'(.+?)'(?!\w)", text)
        + re.findall(r"(\w[^;:]*?) \(\d+ rows", text)
    )
    gone = [fact for fact in facts if fact not in told]
    own = re.sub(r"（[A-Z]\w*）：.*|以代码 .*|safetensors 文件：.*|“.+?”|'.+?'", "", told)  # an error's own words, and quoted names
    return gone + re.findall(r"(?<![\w.-])[a-z]{3,}(?![\w])", re.sub(TERMS, "", own))


def test_every_text_has_a_chinese_form_that_says_all_of_it(written: tuple[Texts, Path]) -> None:
    texts = written[0]
    assert len(texts) > 150 and len({text for family, text in texts if family == "method"}) > 45
    faults = {text: missing for family, text in sorted(texts) if (missing := lost(family, text))}
    assert faults == {}


def test_every_form_of_the_catalogue_is_one_that_something_writes(written: tuple[Texts, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()

    class Table(dict[str, str]):
        def __getitem__(self, key: str) -> str:
            read.add(key)
            return super().__getitem__(key)

    spied = replace(words("zh"), table=Table(words("zh").table))
    monkeypatch.setattr(catalogue, "words", lambda lang: spied if lang == "zh" else words(lang))
    catalogue._translated.cache_clear()
    for family, text in written[0]:
        catalogue._translated("zh", family, text)
    catalogue._translated.cache_clear()
    forms = {key for key in words("zh").table if key.startswith(("reason.", "method."))}
    assert len(forms) > 100
    assert sorted(forms - read) == []


def test_no_page_shows_an_english_method_or_a_reason_as_recorded(written: tuple[Texts, Path]) -> None:
    shown = 0
    for name in ("scores", "labels", "few", "none"):
        page = render(written[1] / name, lang="zh")
        assert words("zh")("page.recorded", reason="") not in page
        for family, text in page_texts(written[1] / name):
            assert len(text) < 20 or text not in page, text
            shown += (method_in if family == "method" else reason_in)(text, words("zh")) in page
    assert shown > 60


def test_a_text_of_no_known_form_stands_as_recorded_and_so_said() -> None:
    t = words("zh")
    assert (
        reason_in("something else; only answers were given, no scores", t) == "原始记录：something else; only answers were given, no scores"
    )
    assert method_in("counted by hand", t) == "原始记录：counted by hand"
    assert reason_in("not measured: by nobody", t) == "原始记录：not measured: by nobody"
    assert reason_in("by nobody", words("en")) == "by nobody" and reason_in("", t) == ""


def test_left_out_groups_are_named_each_with_its_rows() -> None:
    text = (
        "a gap needs two groups of at least 30 rows; left out, as fewer than 30: f, x; y (3 rows); (4 rows) (29 rows that truly have the "
        "label); left out and not named, as there are more than 50 groups: 9 of the groups beyond the 50 largest, 99 rows together"
    )
    assert reason_in(text, words("zh")) == (
        "差距需要两个至少 30 行的群体才能比较；因少于 30 行而未计入：f, x; y（3 行）；(4 rows)（真实标签为此的有 29 行）；"
        "群体超过 50 个，以下未计入，也不列出名称：最大的 50 个之外的 9 个群体，共 99 行"
    )


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("quality.slice_accuracy[text length=under 30 characters]", "某一部分的准确率（文本长度 = 少于 30 个字符）"),
        ("quality.slice_accuracy[text length=60 characters and over]", "某一部分的准确率（文本长度 = 60 个字符及以上）"),
        ("quality.slice_accuracy[age=28 to 37.5]", "某一部分的准确率（age = 28 至 37.5）"),
        ("quality.slice_accuracy[age=1.2e+06 and over]", "某一部分的准确率（age = 1.2e+06 及以上）"),
        ("quality.slice_accuracy[job=missing,sex=to be]", "某一部分的准确率（job = 缺失，sex = to be）"),
        ("fairness.accuracy[band=under 30]", "准确率（band = under 30）"),  # a group's own name
    ],
)
def test_parts_that_the_audit_named_are_in_words(id: str, name: str) -> None:
    assert words("zh").finding(id) == name


def test_every_length_and_quartile_that_is_cut_has_words() -> None:
    from trustbase.audit.slices import _quartiles

    for unit in ("", "characters"):
        for values in (np.arange(1000.0), np.arange(1000.0) * 1e6, np.arange(100.0) / 7 - 5):
            made = _quartiles(values, unit)
            assert made is not None and len(made[1]) == 4
            assert all(words("zh").recorded("part", name) for (name,) in made[1])
