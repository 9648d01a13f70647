"""The further steps of pretraining: tokens to a base model that was measured, keyed as all steps are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files, seeds
from trustbase.events import Emit
from trustbase.machine import machine_key
from trustbase.raw_text import Start, canaries_of, held_out, names_of
from trustbase.records import ArtifactInfo, AuditReport, Trained
from trustbase.releasing import look
from trustbase.stages import Stages
from trustbase.steps import ARTIFACT_CODE, AUDIT_CODE, MODEL_CODE, report_of

if TYPE_CHECKING:
    from torch import nn

    from trustbase.data.corpus.pack import TokenStore
    from trustbase.data.corpus.prepare import Corpus
    from trustbase.gate.policy import Policy
    from trustbase.recipe.read import Plan
    from trustbase.recipe.schema import PretrainRecipe
    from trustbase.train.cluster import ClusterOptions
    from trustbase.train.on_launcher import Crew


def model_at_start(plan: Plan, start: Start, tokenizer: Any) -> tuple[nn.Module, list[str]]:
    """The model as training begins, and which of its parameters a checkpoint that goes on did not have."""
    from trustbase.model.continued import continue_model
    from trustbase.model.scratch import build_model

    recipe = plan.pretrain
    if start.base is None:
        return build_model(recipe.model, tokenizer, objectives=names_of(recipe), seed=recipe.train.seed), []
    return continue_model(start.base, names_of(recipe), seed=recipe.train.seed, dropout=recipe.model.dropout)


def _training_inputs(plan: Plan, corpus: Corpus, tokens: TokenStore, start: Start) -> dict[str, Any]:
    recipe = plan.pretrain
    return {
        "corpus": corpus.digest,
        "tokens": tokens.digest,
        "start": start.digest,
        "model": recipe.model.model_dump(mode="json", exclude={"base"}),
        "objective": recipe.objective,
        "whole_words": recipe.whole_words,
        "train": recipe.train.model_dump(mode="json"),
        "machine": machine_key(),
    }


def estimate_cost(stages: Stages, plan: Plan, corpus: Corpus, tokens: TokenStore, start: Start) -> dict[str, Any]:
    """Tokens, operations, hours, energy and CO2 that training will take, from a trial on this machine; said before the first step."""
    recipe, target = plan.pretrain, stages.folder / "estimate.json"
    shard = recipe.cluster is not None and recipe.cluster.shard

    def compute() -> dict[str, Any]:
        if shard:
            why = "a trial needs the whole model in one process, and cluster.shard is for models that do not fit one"
            stages.log("note", text=f"no estimate is made: {why}")
            files.write_json(target, {"left_out": why})
            return {}
        from trustbase.model.tokenizer import load_tokenizer
        from trustbase.train.estimate import estimate
        from trustbase.train.range_test import STEPS, range_test
        from trustbase.train.rehearsal import rehearsing

        tokenizer, seed = load_tokenizer(start.tokenizer), recipe.train.seed
        model, _ = model_at_start(plan, start, tokenizer)
        asked: dict[str, Any] = {
            "context": recipe.model.context,
            "options": recipe.train,
            "whole_words": recipe.whole_words,
            "folder": stages.folder / "checkpoints",  # words are marked once, for the training too
            "order": lambda epoch: corpus.store.epoch(seed=seed, epoch=epoch),
            "emit": stages.log,
        }
        with rehearsing(model, recipe.objective, tokens, tokenizer, **asked) as rehearsal:
            found = estimate(rehearsal, cost=recipe.audit.cost, seconds=recipe.estimate.seconds, emit=stages.log)
        stages.log("note", text=found.said)
        peak = _peak(recipe, found.precision, found.device)
        about = {**found.to_json(), "peak_flops": peak, "utilisation": found.flops_per_second / peak}
        if recipe.estimate.range_test:
            with rehearsing(model, recipe.objective, tokens, tokenizer, steps=STEPS, **asked) as rehearsal:
                tested = range_test(rehearsal, emit=stages.log)
            stages.log("note", text=tested.said)
            about["range_test"] = tested.to_json()
        files.write_json(target, about)
        return {}

    inputs = {
        **_training_inputs(plan, corpus, tokens, start),
        "estimate": recipe.estimate.model_dump(mode="json"),
        "cost": recipe.audit.cost.model_dump(mode="json"),
        **({"shard": True} if shard else {}),
    }
    stages.run("estimate", inputs=inputs, code=MODEL_CODE, outputs=["estimate.json"], compute=compute, firm_after="train", any_machine=True)
    return dict(files.read_json(target))


def check_probes(stages: Stages, plan: Plan) -> None:
    """Read every probe before anything is trained: one that cannot be used is said now, not after the training."""
    from trustbase.train.probes import read_probe

    if stages.record("train") is None:
        for probe in plan.pretrain.probes:
            read_probe(probe, root=plan.root, seed=plan.pretrain.train.seed, emit=stages.log)


def train_base(
    stages: Stages,
    plan: Plan,
    corpus: Corpus,
    tokens: TokenStore,
    start: Start,
    estimate: Mapping[str, Any],
    crew: Crew | None = None,
) -> Trained:
    """A base model that was trained, saved, reloaded and found equal."""
    recipe, target = plan.pretrain, stages.folder / "checkpoints"
    known = "estimate" in stages.computed  # else it may be of another machine, or of another hour
    described = _ancestor(plan, corpus, start)
    work = partial(
        _pretrained,
        plan=plan,
        start=start,
        described=described,
        documents=corpus.store.folder.resolve(),
        folder=stages.folder.resolve(),
        peak=estimate.get("peak_flops") if known else None,
    )

    def compute() -> dict[str, Any]:
        if recipe.cluster is None:
            return work(stages.log)
        from trustbase.train.spread import spread

        return spread(work, recipe.cluster, target, stages.log, crew)

    result = stages.run(
        "train",
        inputs={
            **_training_inputs(plan, corpus, tokens, start),
            "described": files.digest_json(described),
            **({"cluster": recipe.cluster.numbers} if recipe.cluster is not None else {}),
        },
        code=MODEL_CODE,
        outputs=["checkpoints/trained"],
        compute=compute,
        clear=["checkpoints"],
        any_machine=True,
    )
    try:
        return Trained.from_json(result, stages.folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise stages.damaged("train", error) from error


def _peak(recipe: PretrainRecipe, precision: str, device: str) -> float:
    """Operations a second that this machine can do at most, measured now."""
    from trustbase.train.flops import matmul_peak

    return matmul_peak(precision, recipe.train.threads, device=device, seconds=min(3.0, recipe.estimate.seconds))


def _pretrained(
    emit: Emit, *, plan: Plan, start: Start, described: Mapping[str, Any], documents: Path, folder: Path, peak: float | None
) -> dict[str, Any]:
    """What pretraining leaves, as JSON; in one of several processes too, so that it names its data by path.

    `peak` is what was measured of this machine just before, if it was.
    """
    from trustbase.data.corpus.pack import TokenStore
    from trustbase.data.corpus.store import CorpusStore
    from trustbase.device import choose_device, choose_precision
    from trustbase.model.tokenizer import load_tokenizer
    from trustbase.train.base import train_and_save
    from trustbase.train.probes import read_probe

    recipe, store, tokens = plan.pretrain, CorpusStore.open(documents), TokenStore.open(folder / "tokens")
    seed, tokenizer = recipe.train.seed, load_tokenizer(start.tokenizer)
    device = choose_device()
    precision, _ = choose_precision(recipe.train.precision, device)
    alone = recipe.cluster is None  # what several workers could do together was not measured
    peak = (peak or _peak(recipe, precision, device)) if alone else None
    model, fresh = model_at_start(plan, start, tokenizer)
    if fresh:
        emit("note", text=f"new parameters, which the base did not have: {', '.join(fresh)}")
    trained = train_and_save(
        model,
        tokenizer,
        tokens,
        recipe.objective,
        context=recipe.model.context,
        options=recipe.train,
        whole_words=recipe.whole_words,
        order=lambda epoch: store.epoch(seed=seed, epoch=epoch),
        probes=[read_probe(probe, root=plan.root, seed=seed, emit=emit) for probe in recipe.probes if probe.live],
        peak=peak,
        shard=recipe.cluster is not None and recipe.cluster.shard,
        described=described,
        folder=folder / "checkpoints",
        emit=emit,
    )
    return trained.to_json(folder)


def _probes(plan: Plan) -> list[Any]:
    """Options and data of every probe."""
    from trustbase.data.load import source_digests
    from trustbase.train.probes import data_options

    return [[probe.model_dump(mode="json"), source_digests(data_options(probe), root=plan.root)] for probe in plan.pretrain.probes]


def _ancestor(plan: Plan, corpus: Corpus, start: Start) -> dict[str, Any]:
    """What the base model came from, for its lineage: a model that went on, or random weights; and in both cases the corpus."""
    from trustbase.model.load import describe_base

    learned = f"pretrained on corpus {corpus.digest}"
    if start.base is not None:
        about = describe_base(start.base)
        return {**about, "lineage": [*about["lineage"], learned]}
    shape = plan.pretrain.model.model_dump(mode="json", exclude_none=True)
    digest = files.digest_json({"model": shape, "seed": plan.pretrain.train.seed})
    licences = "; ".join(dict.fromkeys(str(source["licence"]) for source in corpus.card["sources"]))
    said = f"corpus: {licences}"
    return {
        "reference": "random weights",
        "revision": f"seed {plan.pretrain.train.seed}",
        "digest": digest,
        "licence": said,
        "lineage": [learned],
    }


def make_base_artifact(stages: Stages, plan: Plan, start: Start, trained: Trained) -> ArtifactInfo:
    """What is shipped: the base model in fp32, which the next recipe names."""
    from trustbase.model.artifact import read_artifact
    from trustbase.model.options import portable_reference

    target, base = stages.folder / "artifact", start.base
    reference, revision = (base.reference, base.revision) if base else ("random weights", f"seed {plan.pretrain.train.seed}")

    def compute() -> dict[str, Any]:
        from trustbase.compress.base import ship_base

        made = ship_base(trained, target, context=plan.pretrain.model.context, reference=reference, revision=revision)
        return {"digest": made.digest}

    inputs = {"trained": trained.digest, "reference": portable_reference(reference), "revision": revision}
    stages.run("artifact", inputs=inputs, code=ARTIFACT_CODE, outputs=["artifact"], compute=compute)
    return read_artifact(target)


def audit_base(
    stages: Stages,
    plan: Plan,
    corpus: Corpus,
    tokens: TokenStore,
    artifact: ArtifactInfo,
    trained: Trained,
    estimate: Mapping[str, Any],
    policy: Policy,
    cluster: ClusterOptions | None = None,
) -> AuditReport:
    """Every finding about the base model as it ships, on documents that no step of training has seen."""
    recipe, folder, seen = plan.pretrain, stages.folder, held_out(corpus)
    seed = seeds.stream_seed(recipe.train.seed, "audit") % 2**31

    def compute() -> dict[str, Any]:
        from trustbase.audit.pretrained import audit_pretrained
        from trustbase.data.corpus.testsets import measure_contamination
        from trustbase.train.probes import read_probe

        look(folder, artifact, seen, policy)  # counted before the documents are seen
        report = audit_pretrained(
            artifact,
            corpus,
            tokens,
            digest=seen.digest,
            training={**trained.facts, "estimate": estimate},
            contamination=measure_contamination(corpus.store.train, recipe.corpus, root=plan.root) if recipe.corpus.contamination else {},
            probes=[read_probe(probe, root=plan.root, seed=recipe.train.seed, emit=stages.log) for probe in recipe.probes],
            canaries=canaries_of(plan),
            options=recipe.audit,
            folder=folder,
            seed=seed,
            policy_digest=policy.digest,
            cluster=cluster,
            emit=stages.log,
        )
        files.write_json(folder / "findings.json", report.to_json())
        return {"policy": policy.digest}

    inputs = {
        "artifact": artifact.digest,
        "held_out": seen.digest,
        "card": files.digest_json(corpus.card),
        "training": files.digest_json(dict(trained.facts)),
        "probes": _probes(plan),
        "audit": recipe.audit.model_dump(mode="json"),
        "seed": seed,
        "machine": machine_key(),
    }
    result = stages.run("audit", inputs=inputs, code=AUDIT_CODE, outputs=["findings.json", "evidence"], compute=compute)
    return report_of(stages, result, policy)
