"""The whole journey, from recipe to bundle, as one function that can be read aloud. Resumes by digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import bases, files, interpretable, labelled_rows, pretraining, raw_text, releasing, steps
from trustbase.errors import UsageError, system_errors_told
from trustbase.events import Listener, RunLog
from trustbase.model.plain.options import PlainOptions
from trustbase.recipe import marks
from trustbase.records import ArtifactInfo, AuditReport, Bundle, Verdict
from trustbase.stages import Stages, locked

if TYPE_CHECKING:
    from trustbase.gate.policy import Policy
    from trustbase.recipe.read import Plan
    from trustbase.train.cluster import ClusterOptions
    from trustbase.train.on_launcher import Crew


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    `exit_code` is 0 where a bundle was released and 3 where a gate did not pass.
    """

    folder: Path
    audit: AuditReport
    verdict: Verdict
    bundle: Bundle
    report: Path
    computed: tuple[str, ...]  # stages that this call computed; empty on a finished run
    taken: tuple[str, ...] = ()  # stages that this call took from the run that `reuse` names

    @property
    def exit_code(self) -> int:
        return 0 if self.verdict.released else 3

    def _repr_html_(self) -> str:
        from trustbase.report.notebook import page_html

        return page_html(self.report.read_text(encoding="utf-8"))


def run(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    reuse: str | Path | None = None,
    key: str | Path | None = None,
    force: bool = False,
    lang: str | None = None,
    listeners: Sequence[Listener] = (),
) -> RunResult:
    """Take a recipe the whole way: data, training, artefact, audit, gates, bundle, report.

    The same call again goes on where the last one stopped, and computes nothing on a finished run. Where a launcher such as torchrun
    started several processes, each makes this call: the first does all of it, the others help it train, and get the same result.

    Args:
        recipe: path of a recipe, or the recipe as a mapping.
        overrides: `key=value` texts that change it.
        out: run folder; `runs/NAME` by default.
        reuse: another run folder; stages whose inputs agree are taken from it.
        key: private key (PEM) that signs the bundle; the user's own by default.
        force: recompute stages whose inputs changed, instead of refusing.
        lang: language of the report, over the recipe's own.
        listeners: called with every event, progress included.

    Raises:
        RecipeError, DataError: the recipe or the data are wrong; every problem is named.
        UsageError: a launcher started other processes than the recipe's `cluster` names, or does not say how they find each other.
        StaleRunError: the folder was made from other inputs.
        FirstProcessError: in a launcher's other processes, where the first one's call raised any of these.
        Interrupted: a signal came; the state left behind is resumable.
    """
    from trustbase.train.launcher import launched

    journey = partial(_run, recipe, overrides, out=out, reuse=reuse, key=key, force=force, lang=lang, listeners=listeners)
    process = launched()
    if process is None:
        return journey(None)
    from trustbase.train.on_launcher import led

    return led(journey, process)


def _run(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    crew: Crew | None,
    *,
    out: str | Path | None,
    reuse: str | Path | None,
    key: str | Path | None,
    force: bool,
    lang: str | None,
    listeners: Sequence[Listener],
) -> RunResult:
    from trustbase.gate.policy import read_policy
    from trustbase.recipe.schema import Recipe

    plan = _read(recipe, overrides, crew)
    releasing.named_signer(key)  # a key that cannot sign is noticed now, not after training
    folder = Path(out) if out is not None else Path("runs") / plan.name
    marks.require_text(str(folder), "the run folder")
    other = _other_run(reuse, folder)
    with system_errors_told(), locked(folder):
        log = RunLog(folder / "log.jsonl", listeners=tuple(listeners))
        stages = Stages(folder, log, reuse=other, force=force)
        policy = read_policy(plan.recipe.gates, root=plan.root)
        log("run_started", recipe=files.digest_json(plan.resolved), policy=policy.digest)
        for warning in plan.warnings:
            log("warning", text=warning)
        steps.write_wishes(stages, plan, policy)
        journey = _finetune if isinstance(plan.recipe, Recipe) else _pretrain
        artifact, audit, verdict = journey(stages, plan, policy, crew)
        bundle, report = releasing.release(stages, plan, artifact, audit, verdict, key, lang)
        log.enter("run")
        log("run_done", released=verdict.released, computed=stages.computed)
    return RunResult(folder, audit, verdict, bundle, report, tuple(stages.computed), tuple(stages.taken))


def _read(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str], crew: Crew | None) -> Plan:
    """The recipe; where a launcher started several processes, with these as its cluster."""
    from trustbase.recipe.read import read_recipe

    plan = read_recipe(recipe, overrides)
    if crew is None:
        return plan
    if plan.recipe.cluster is None:
        return read_recipe(recipe, [*overrides, f"cluster.workers={crew.size}"])
    crew.refuse(plan.recipe.cluster)
    return plan


def _finetune(stages: Stages, plan: Plan, policy: Policy, crew: Crew | None) -> tuple[ArtifactInfo, AuditReport, Verdict]:
    """A base model and labelled rows to a model for a task."""
    if isinstance(plan.finetune.base, PlainOptions):
        return _learn(stages, plan, plan.finetune.base, policy)
    base = bases.choose_base(stages, plan)
    dataset = labelled_rows.read_data(stages, plan)
    wanted = steps.read_files(plan, dataset)
    later = labelled_rows.read_later(stages, plan, dataset)
    base = base or bases.build_base(stages, plan, dataset)
    labelled_rows.describe_data(stages, plan, dataset, base, later)
    trained = steps.train_model(stages, plan, dataset, base, crew)
    artifact = steps.make_model_artifact(stages, plan, dataset, base, trained)
    audit = steps.audit_model(stages, plan, dataset, artifact, policy, wanted, _askers(plan, crew), later)
    return artifact, audit, releasing.judge(stages, releasing.test_rows(dataset), artifact, audit, policy)


def _learn(stages: Stages, plan: Plan, base: PlainOptions, policy: Policy) -> tuple[ArtifactInfo, AuditReport, Verdict]:
    """Labelled rows to a model that a person can read."""
    dataset = labelled_rows.read_data(stages, plan)
    wanted = steps.read_files(plan, dataset)
    later = labelled_rows.read_later(stages, plan, dataset)
    interpretable.describe_data(stages, plan, dataset, later)
    trained = interpretable.learn_model(stages, plan, dataset, base)
    artifact = interpretable.make_plain_artifact(stages, plan, dataset, trained)
    audit = steps.audit_model(stages, plan, dataset, artifact, policy, wanted, plan.recipe.cluster, later)
    return artifact, audit, releasing.judge(stages, releasing.test_rows(dataset), artifact, audit, policy)


def _pretrain(stages: Stages, plan: Plan, policy: Policy, crew: Crew | None) -> tuple[ArtifactInfo, AuditReport, Verdict]:
    """Raw text to a base model."""
    pretraining.check_probes(stages, plan)
    base = raw_text.choose_base(stages, plan)
    corpus = raw_text.prepare_texts(stages, plan)
    start = raw_text.choose_tokenizer(stages, plan, corpus, base)
    tokens = raw_text.encode_texts(stages, plan, corpus, start)
    raw_text.describe_corpus(stages, plan, corpus, start)
    estimate = pretraining.estimate_cost(stages, plan, corpus, tokens, start)
    trained = pretraining.train_base(stages, plan, corpus, tokens, start, estimate, crew)
    artifact = pretraining.make_base_artifact(stages, plan, start, trained)
    audit = pretraining.audit_base(stages, plan, corpus, tokens, artifact, trained, estimate, policy, _askers(plan, crew))
    return artifact, audit, releasing.judge(stages, raw_text.held_out(corpus), artifact, audit, policy)


def _askers(plan: Plan, crew: Crew | None) -> ClusterOptions | None:
    """The processes that ask in the audit: those of the recipe, and this one alone where a launcher's others hold the devices."""
    return None if crew is not None else plan.recipe.cluster


def _other_run(reuse: str | Path | None, folder: Path) -> Path | None:
    if reuse is None:
        return None
    other = Path(reuse)
    with system_errors_told():
        there = (other / "stages").is_dir()
    if not there:
        raise UsageError(f"--reuse {other} is not a run folder: it has no stages/", hint="name a folder that `trustbase run` left")
    if other.resolve() == folder.resolve():
        raise UsageError(f"--reuse {other} is the run folder itself", hint="give another --out")
    return other
