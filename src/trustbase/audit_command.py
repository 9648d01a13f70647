"""`trustbase audit`: any model on any rows, or somebody else's answers. Leaves audit.json, verdict.json, report.html, evidence/."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trustbase import files
from trustbase.audit.asked import GIVEN_DIMENSIONS, refuse_impossible
from trustbase.audit.named_texts import NamedTexts
from trustbase.audit.options import AuditOptions, options_of
from trustbase.audit.wanted import find_models, read_wanted
from trustbase.audit_limits import limits_of
from trustbase.audit_rows import Named, Rows, entity_of, read_rows
from trustbase.data.pair import sides
from trustbase.events import Emit, ignore
from trustbase.places import alone_in, output_folder
from trustbase.recipe.lookup import ANSWER_KINDS, audited_dimensions, calibrates
from trustbase.records import ArtifactInfo, AuditReport, LabelSchema, Split, Verdict
from trustbase.train.launcher import refuse_launchers

if TYPE_CHECKING:
    from trustbase.bundle.both import Beside
    from trustbase.gate.policy import Policy

_NO_POLICY = "no limits were given, so nothing was judged"

_PARTS = ("audit.json", "evidence", "verdict.json", "report.html", "scores.parquet", "marked_rows.json", "explained_rows.json")


@dataclass(frozen=True)
class AuditResult:
    """What an audit came to.

    `exit_code` is 0 where every gate passed or there was none, and 3 where a gate did not pass.
    """

    report: AuditReport
    verdict: Verdict
    folder: Path

    @property
    def exit_code(self) -> int:
        return 0 if self.verdict.released or not self.verdict.gates else 3

    def _repr_html_(self) -> str:
        from trustbase.report.notebook import page_html

        return page_html((self.folder / "report.html").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class _Call:
    """What both forms of the command share: where results go, what judges them, and the name of this look."""

    folder: Path
    dimensions: list[str]
    seed: int
    limits: Policy | None
    emit: Emit
    holding: ExitStack  # until everything is written
    options: AuditOptions
    id: str = field(default_factory=lambda: f"audit-{uuid.uuid4().hex}")

    @property
    def policy_digest(self) -> str | None:
        return self.limits.digest if self.limits is not None else None

    def hold(self) -> None:
        """Let no other call write to the same folder.

        Raises:
            UsageError: one does.
        """
        self.holding.enter_context(alone_in(self.folder))

    def tell_assumed(self, labels: LabelSchema, groups: Sequence[str]) -> None:
        """Which label is taken as the positive and as the favourable one, where nobody said it."""
        from trustbase.data.labels import assumed

        for text in assumed(labels, groups=bool(groups), options="--"):
            self.emit("warning", text=text)

    def look(self, test: Split, labels: LabelSchema, source: str | Path, model_digest: str, kind: str = "classes") -> int:
        """Count this look at the test rows, before the model is asked, so that a look cut short counts too."""
        from trustbase.gate.ledger import record_look_at

        digests = {"policy_digest": self.policy_digest, "model_digest": model_digest}
        return record_look_at(test, labels, source, run=self.id, kind=kind, **digests)


def audit(
    model: str | Path | None = None,
    *,
    data: str | Path | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    question: str | None = None,
    choices: Sequence[str] = (),
    head: str | None = None,
    tail: str | None = None,
    label: str | None = None,
    groups: Sequence[str] = (),
    entity: str | None = None,
    entities: str | Path | None = None,
    types: Mapping[str, str] | None = None,
    farthest: int | None = None,
    most_pairs: int | None = None,
    train: str | Path | None = None,
    policy: str | Path | None = None,
    only: Sequence[str] = (),
    predictions: str | Path | None = None,
    score: str | None = None,
    predicted: str | None = None,
    positive: str | None = None,
    favourable: str | None = None,
    out: str | Path,
    lang: str = "en",
    seed: int = 0,
    workers: int = 1,
    budget: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    emit: Emit = ignore,
) -> AuditResult:
    """Audit a model on rows, or the answers that somebody else's model gave.

    Args:
        model: checkpoint folder, bundle, run folder, `package:NAME` or hub id; needs `data`, `text` and `label`.
        data: rows to audit on.
        text: text column or template; a bundle knows its own.
        text_pair: the second one, of a model that reads pairs.
        question: column or template of what is asked of the text, of a model that searches it for the answer.
        choices: columns or templates of the choices, of a model that weighs them.
        head: column of the first entity in the text, of a model that tells relations.
        tail: column of the second one.
        label: column of the true label.
        groups: columns to audit by.
        entity: column of whom a row is about (a customer, a patient), where several rows may be of one; intervals allow for it. By
            default the one by which the recipe of a bundle or a run divided its rows, where this file has it.
        entities: a model of task token-classification, where `model` tells relations: what both find together is measured too, in
            `quality.relation_f1#end-to-end`, precision and recall.
        types: with `entities`: what the rows of the relation model called each type; by default equal names mean the same.
        farthest: with `entities`: most characters between the two of a pair.
        most_pairs: with `entities`: pairs of one text (2,000 by default); in one with more no relation counts as told.
        train: training rows for the rivals, with the same columns.
        policy: file of limits; by default a bundle's own (also where a released run is named), and for other models none.
        only: dimensions to measure; by default every one that exists (with `predictions`: quality and fairness).
        predictions: file of answers, in place of a model; imports no torch.
        score: its column with the probability of the positive label, or
        predicted: its column with the predicted label.
        positive: the positive label; by default the model's own, else the last in sorted order.
        favourable: the outcome that counts as selected in fairness; by default the positive label.
        out: folder for the results.
        lang: language of the report, "en" or "zh".
        seed: of everything that is sampled.
        workers: processes of this machine that ask the model; findings are those of one.
        budget: how much is asked, by dimension: `{"explanation": {"texts": 20}}`; the recipe's `audit:` takes the same.
        emit: takes events.

    Raises:
        UsageError: options that are missing or do not go together, or limits that cannot be judged; every one of them.
        DataError: rows that cannot be used; every one of them.
        ModelError: the model cannot be opened.
        VerificationError: a bundle that is not what somebody trusted released.
    """
    refuse_launchers("an audit")
    folder, named = output_folder(out, _PARTS, "audit.json"), NamedTexts(text, text_pair, question, tuple(choices), head, tail)
    refuse_impossible(
        model=model,
        data=data,
        named=named,
        label=label,
        groups=groups,
        entity=entity,
        train=train,
        only=only,
        predictions=predictions,
        score=score,
        predicted=predicted,
        workers=workers,
        together={"--entities": entities, "--types": types, "--farthest": farthest, "--most-pairs": most_pairs},
    )
    options = options_of(only, budget)
    wanted = read_wanted(options, Path(), option="--budget ")
    limits = limits_of(
        policy,
        only,
        groups,
        ("classes",) if predictions is not None else tuple(ANSWER_KINDS),
        given=predictions is not None,
        neutral=predictions is None,
        entities=entities is not None,
    )
    with ExitStack() as holding:
        if predictions is not None:
            call = _Call(folder, list(only) or list(GIVEN_DIMENSIONS), seed, limits, emit, holding, options)
            report, looks = _audit_given(call, predictions, str(label), score, predicted, groups, positive, favourable)
        else:
            from trustbase.bundle.both import audited_with
            from trustbase.bundle.subject import open_subject, own_purpose

            how = {name: value for name, value in (("types", types), ("farthest", farthest), ("most", most_pairs)) if value is not None}
            with ExitStack() as stack:
                info, own = stack.enter_context(open_subject(str(model), emit))
                info, shown = named.of(info)
                beside = stack.enter_context(audited_with(entities, info, how, emit))
                known = {"neutral": info.labels.neutral is not None, "choices": len(sides(shown or info.text or "")) > 2}
                known["entities"] = entities is not None
                limits = limits_of(policy, only, groups, (info.answer_kind,), given=False, **known)
                call = _Call(folder, list(only), seed, own if limits is None else limits, emit, holding, options)
                wanted.refuse_unfit(info.labels, info.answer_kind)
                wanted.refuse_unread(replace(info, text=shown if shown is not None else info.text))
                measured = list(only) or audited_dimensions(info.answer_kind)
                wanted = replace(wanted, models=find_models(options, Path(), measured, option="--budget "))
                whose = entity_of(entity, str(model), str(data), emit)
                taught = str(train) if train is not None else None
                rows = read_rows(info, Named(str(data), shown, str(label), groups, taught, positive, favourable, whose), emit)
                if info.answer_kind == "classes" and not known["choices"]:
                    call.tell_assumed(rows.labels, groups)
                told = {"purpose": own_purpose(str(model)), "wanted": wanted}
                report, looks = _audit_model(call, info, rows, str(data), shown if shown is not None else info.text, workers, beside, told)
        return _finish(call, report, looks, lang)


def _audit_model(
    call: _Call,
    info: ArtifactInfo,
    rows: Rows,
    source: str,
    shown: str | None,
    workers: int,
    beside: Beside | None,
    told: Mapping[str, Any],
) -> tuple[AuditReport, int]:
    from trustbase.audit.artifact import audit_artifact
    from trustbase.audit.calibrated import HOLD_OUT
    from trustbase.shifted import read_shift
    from trustbase.train.cluster import ClusterOptions

    shift = read_shift(call.options.robustness.shift, replace(info, text=shown), Path())
    call.hold()
    looks = call.look(rows.splits["test"], rows.labels, source, info.digest, info.answer_kind)
    report = audit_artifact(
        info,
        rows,
        options=call.options,
        folder=call.folder,
        seed=call.seed,
        policy_digest=call.policy_digest,
        cluster=ClusterOptions(workers=workers),
        hold_out=HOLD_OUT if calibrates(call.options.dimensions, info.answer_kind) else 0.0,
        shift=shift,
        further=beside.further if beside is not None else None,
        emit=call.emit,
        **told,
    )
    if beside is not None:
        report = replace(report, model={**report.model, "entities": dict(beside.model)})
    return report, looks


def _audit_given(
    call: _Call,
    predictions: str | Path,
    label: str,
    score: str | None,
    predicted: str | None,
    groups: Sequence[str],
    positive: str | None,
    favourable: str | None,
) -> tuple[AuditReport, int]:
    from trustbase.audit.context import AuditContext, fresh_evidence
    from trustbase.audit.given import read_given
    from trustbase.audit.run import run_audit, write_scores
    from trustbase.records import Decision

    given = read_given(predictions, label=label, score=score, predicted=predicted, groups=groups, positive=positive, favourable=favourable)
    if score is not None and given.labels.positive_assumed:
        what = f"column '{score}' is read as the probability of '{given.labels.positive}'"
        call.emit("warning", text=f"{what}, the last label in sorted order: were it that of another, every number would be wrong")
    call.tell_assumed(given.labels, groups)
    options = call.options
    call.hold()
    looks = call.look(given.test, given.labels, predictions, given.digest)
    decision = Decision(0.5, "one half, as no threshold was given") if score is not None else Decision(None, "labels as given")
    with fresh_evidence(call.folder) as evidence:
        context = AuditContext(
            test=given.test,
            labels=given.labels,
            decision=decision,
            answers=given.answers,
            evidence=evidence,
            seed=call.seed,
            options=options,
            emit=call.emit,
            confidence=options.confidence,
            minimum_cell=options.minimum_cell,
        )
        report = run_audit(context, call.dimensions, policy_digest=call.policy_digest, emit=call.emit)
        write_scores(call.folder / "scores.parquet", given.test, given.labels, given.answers)
    return replace(report, model={**report.model, "digest": given.digest}), looks


def _finish(call: _Call, report: AuditReport, looks: int, lang: str) -> AuditResult:
    """Judge, and write what a person and a machine read."""
    from trustbase.gate.decide import decide
    from trustbase.report.html import report as write_report

    folder, limits = call.folder, call.limits
    for name in ("policy.json", "verdict.json", "report.html"):  # of an earlier audit in this folder: never beside findings of this one
        (folder / name).unlink(missing_ok=True)
    if limits is not None:
        files.write_text(folder / "policy.json", limits.to_text())
    files.write_json(folder / "audit.json", report.to_json())
    if limits is None:
        verdict = Verdict(False, looks, (), _NO_POLICY)
    else:
        verdict = decide(limits, report, test_looks=looks)
    files.write_json(folder / "verdict.json", verdict.to_json())
    write_report(folder, lang=lang)
    return AuditResult(report, verdict, folder)
