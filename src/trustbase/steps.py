"""The steps of the journey beside those of its rows: each names what it depends on, does its work once, and reads back what it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files, seeds
from trustbase.audit.wanted import Wanted, find_models, read_wanted
from trustbase.events import Emit
from trustbase.finding_id import OUT_OF_TIME
from trustbase.labelled_rows import DATA_CODE
from trustbase.machine import machine_key
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import TASKS, audited_dimensions
from trustbase.records import ArtifactInfo, AuditReport, BaseModel, Trained
from trustbase.releasing import Seen, look, test_rows
from trustbase.shifted import read_shift, shift_digest
from trustbase.stages import Stages

if TYPE_CHECKING:
    from trustbase.data.dataset import Dataset
    from trustbase.gate.policy import Policy
    from trustbase.recipe.read import Plan
    from trustbase.recipe.schema import Recipe
    from trustbase.train.cluster import ClusterOptions
    from trustbase.train.on_launcher import Crew

MODEL_CODE = (*DATA_CODE, "model", "train")
ARTIFACT_CODE = (*MODEL_CODE, "outputs", "compress")
AUDIT_CODE = (*ARTIFACT_CODE, "audit")


def write_wishes(stages: Stages, plan: Plan, policy: Policy) -> None:
    """What is wanted and the limits stand on disk before anything is measured; changed ones are refused."""

    def compute() -> dict[str, Any]:
        files.write_text(stages.folder / "recipe.resolved.yaml", plan.resolved)
        files.write_text(stages.folder / "policy.json", policy.to_text())
        return {"policy": policy.digest}

    inputs = {**plan.recipe.model_dump(mode="json", by_alias=True), "policy": policy.digest}
    stages.run(
        "wishes",
        inputs=inputs,
        code=("recipe", "gate"),
        outputs=["recipe.resolved.yaml", "policy.json"],
        compute=compute,
        firm_after="train",
    )


def train_model(stages: Stages, plan: Plan, dataset: Dataset, base: BaseModel, crew: Crew | None = None) -> Trained:
    """A checkpoint that was trained, saved, reloaded and found equal."""
    recipe, target = plan.finetune, stages.folder / "checkpoints"

    def compute() -> dict[str, Any]:
        if recipe.cluster is None:
            return _fitted(dataset, base, recipe, stages.folder, stages.log)
        from trustbase.train.spread import spread

        work = partial(_fitted_by_worker, base=base, recipe=recipe, folder=stages.folder.resolve())
        return spread(work, recipe.cluster, target, stages.log, crew)

    inputs = {
        "data": dataset.digest,
        "base": base.digest,
        "task": recipe.task,
        "adapt": recipe.adapt.model_dump(mode="json"),
        "train": recipe.train.model_dump(mode="json"),
        "stride": [recipe.data.stride, recipe.decision.max_answer_tokens],
        "features": recipe.data.features.model_dump(mode="json"),
        "machine": machine_key(),
        **({"cluster": recipe.cluster.numbers} if recipe.cluster is not None else {}),
    }
    outputs = [f"checkpoints/member-{place}/trained" for place in range(recipe.train.members)] if recipe.train.members > 1 else []
    result = stages.run(
        "train",
        inputs=inputs,
        code=MODEL_CODE,
        outputs=outputs or ["checkpoints/trained"],
        compute=compute,
        clear=["checkpoints"],
        any_machine=True,
    )  # checkpoints of other inputs are never resumed; a trained model is one wherever it was trained
    try:
        return Trained.from_json(result, stages.folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise stages.damaged("train", error) from error


def _fitted(dataset: Dataset, base: BaseModel, recipe: Recipe, folder: Path, emit: Emit) -> dict[str, Any]:
    """What training the run's rows leaves, as JSON."""
    from trustbase.train.members import fit_members

    trained = fit_members(
        base,
        load(TASKS[recipe.task]),
        dataset.labels,
        dataset.splits["train"],
        dataset.splits["validation"],
        adapt=recipe.adapt,
        options=recipe.train,
        features=recipe.data.features,
        folder=folder / "checkpoints",
        shard=recipe.cluster is not None and recipe.cluster.shard,
        stride=recipe.data.stride,
        answer_tokens=recipe.decision.max_answer_tokens,
        emit=emit,
    )
    return trained.to_json(folder)


def _fitted_by_worker(emit: Emit, *, base: BaseModel, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The same in one of several processes, which reads the rows that the run's data stage left."""
    from trustbase.data.save import load_dataset

    return _fitted(load_dataset(folder / "data"), base, recipe, folder, emit)


def make_model_artifact(stages: Stages, plan: Plan, dataset: Dataset, base: BaseModel, trained: Trained) -> ArtifactInfo:
    """What is shipped: runtime and precision chosen on validation rows, and the threshold with it."""
    from trustbase.model.artifact import read_artifact

    recipe, target = plan.finetune, stages.folder / "artifact"

    def compute() -> dict[str, Any]:
        from trustbase.compress.export import make_artifact
        from trustbase.data.cells import inputs_of
        from trustbase.data.marked import types_in
        from trustbase.outputs.answers.base import answering

        validation, kind = dataset.splits["validation"], answering(dataset.answers)
        made = make_artifact(
            trained,
            target,
            options=recipe.release,
            labels=dataset.labels,
            text=dataset.template.source,
            base=base,
            max_length=recipe.train.max_length,
            sample=inputs_of(validation, validation.features),
            task=load(TASKS[recipe.task]),
            stride=recipe.data.stride,
            answer_tokens=recipe.decision.max_answer_tokens,
            entity_types=types_in(dataset.splits["train"].texts) if dataset.template.entities else None,
            decide=lambda scores: kind.choose(scores, validation.labels, dataset.labels, recipe.decision),
            emit=stages.log,
        )
        return {"digest": made.digest}

    inputs = {
        "trained": trained.digest,
        "validation": dataset.splits["validation"].digest,
        "release": recipe.release.model_dump(mode="json"),
        "decision": recipe.decision.model_dump(mode="json"),
        "machine": machine_key(),
    }
    stages.run("artifact", inputs=inputs, code=ARTIFACT_CODE, outputs=["artifact"], compute=compute, any_machine=True)
    return read_artifact(target)


def audit_seed(seed: int) -> int:
    """The seed of a run's audit, from the seed of the run."""
    return seeds.stream_seed(seed, "audit") % 2**31


def read_files(plan: Plan, dataset: Dataset) -> Wanted:
    """Files and models that the recipe's audit names; what is not there, or does not fit the rows' labels, is said before training.

    Raises:
        UsageError: some cannot be used; every problem of all.
    """
    options = plan.finetune.audit
    wanted = read_wanted(options, plan.root)
    wanted.refuse_unfit(dataset.labels, dataset.answers)
    measured = options.dimensions or audited_dimensions(dataset.answers)
    return replace(wanted, models=find_models(options, plan.root, measured))


def audit_model(
    stages: Stages,
    plan: Plan,
    dataset: Dataset,
    artifact: ArtifactInfo,
    policy: Policy,
    wanted: Wanted,
    cluster: ClusterOptions | None = None,
    later: Dataset | None = None,
) -> AuditReport:
    """Every finding about the artefact itself, on test rows that nothing before has seen, and on later ones."""
    recipe, folder = plan.finetune, stages.folder
    seed, purpose = audit_seed(recipe.train.seed), recipe.purpose.model_dump(mode="json")
    wanted.refuse_unread(artifact)
    asked_what_for = "safety" in (recipe.audit.dimensions or ["safety"])

    def compute() -> dict[str, Any]:
        from trustbase.audit.artifact import audit_artifact

        look(folder, artifact, test_rows(dataset), policy)  # counted before the rows are seen
        if later is not None:
            look(folder, artifact, Seen(later.splits[OUT_OF_TIME].digest), policy)
        report = audit_artifact(
            artifact,
            dataset,
            purpose=purpose,
            wanted=wanted,
            options=wanted.rooted(recipe.audit),
            folder=folder,
            seed=seed,
            policy_digest=policy.digest,
            cluster=cluster,
            beside={} if later is None else later.splits,
            shift=read_shift(recipe.audit.robustness.shift, artifact, plan.root),
            emit=stages.log,
        )
        files.write_json(folder / "findings.json", report.to_json())
        return {"policy": policy.digest}

    inputs = {
        "artifact": artifact.digest,
        "data": dataset.digest,
        "groups": list(dataset.splits["test"].groups),  # their order names intersections; the digest of the rows is blind to it
        "assumed": [dataset.labels.positive_assumed, dataset.labels.favourable_assumed],
        "audit": recipe.audit.model_dump(mode="json"),
        "seed": seed,
        "machine": machine_key(),
        **({"purpose": purpose} if asked_what_for else {}),
        **wanted.digests(),
        **({OUT_OF_TIME: later.digest} if later is not None else {}),
        **shift_digest(recipe.audit.robustness.shift, plan.root),
    }
    outputs = ["findings.json", "evidence", "scores.parquet", "marked_rows.json", "explained_rows.json"]
    result = stages.run("audit", inputs=inputs, code=AUDIT_CODE, outputs=outputs, compute=compute)
    return report_of(stages, result, policy)


def report_of(stages: Stages, result: Mapping[str, Any], policy: Policy) -> AuditReport:
    """What an audit stage left, under the policy of this run, with whether that policy was set before measuring."""
    folder = stages.folder
    measured = AuditReport.from_json(files.read_json(folder / "findings.json"))
    if "policy" not in result:
        raise stages.damaged("audit", KeyError("policy"))
    before = result["policy"] == policy.digest
    report = replace(measured, policy_digest=policy.digest, policy_set_before=before)
    files.write_json(folder / "audit.json", report.to_json())
    return report
