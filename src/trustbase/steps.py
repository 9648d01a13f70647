"""The steps of the journey: each names what it depends on, does its work once, and reads back what it left."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustbase
from trustbase import files, seeds
from trustbase.errors import RecipeError
from trustbase.recipe.lookup import TASKS
from trustbase.records import ArtifactInfo, AuditReport, BaseModel, Bundle, Trained, Verdict
from trustbase.stages import Stages, load_target, machine_key

if TYPE_CHECKING:
    from trustbase.data.load import Dataset
    from trustbase.gate.policy import Policy
    from trustbase.recipe.read import Plan

MODEL_CODE = ("data", "model", "train")
ARTIFACT_CODE = (*MODEL_CODE, "outputs", "compress")
AUDIT_CODE = (*ARTIFACT_CODE, "audit")


def named_signer(key: str | Path | None) -> str | None:
    """Fingerprint of the key that `--key` or the environment names; None where the user's own key is to sign."""
    from trustbase.bundle.keys import KEY_VARIABLE, signing_key

    if key is None and not os.environ.get(KEY_VARIABLE, "").strip():
        return None
    return signing_key(Path(key) if key is not None else None).public.fingerprint


def write_wishes(stages: Stages, plan: Plan, policy: Policy) -> None:
    """What is wanted and the limits stand on disk before anything is measured; changed ones are refused."""

    def compute() -> dict[str, Any]:
        files.write_text(stages.folder / "recipe.resolved.yaml", plan.resolved)
        files.write_text(stages.folder / "policy.json", policy.to_text())
        return {"policy": policy.digest}

    inputs = {**plan.recipe.model_dump(mode="json", by_alias=True), "policy": policy.digest}
    stages.run("wishes", inputs=inputs, code=("recipe", "gate"), outputs=["recipe.resolved.yaml", "policy.json"], compute=compute)


def _run_id(folder: Path) -> str:
    """A random name of this run folder, made at first use; the ledger of looks knows the run by it."""
    path = folder / "run.json"
    if not path.is_file():
        files.write_json(path, {"schema": "trustbase/run/1", "id": uuid.uuid4().hex, "trustbase": trustbase.__version__})
    return str(files.read_json(path)["id"])


def read_data(stages: Stages, plan: Plan) -> Dataset:
    """Rows read, checked, split; every later stage starts from what this one saved."""
    from trustbase.data.load import load, source_digests
    from trustbase.data.save import load_dataset, save_dataset

    options, seed = plan.recipe.data, plan.recipe.train.seed
    target = stages.folder / "data"

    def compute() -> dict[str, Any]:
        dataset = load(options, root=plan.root, seed=seed, emit=stages.log)
        save_dataset(dataset, target)
        return {"digest": dataset.digest}

    inputs = {"options": options.model_dump(mode="json"), "sources": source_digests(options, root=plan.root), "seed": seed}
    stages.run("data", inputs=inputs, code=("data",), outputs=["data"], compute=compute)
    return load_dataset(target)


def choose_base(stages: Stages, plan: Plan) -> BaseModel:
    """The base model by digest, and whether this recipe can be done with it."""
    from trustbase.model.adapt import base_problems
    from trustbase.model.load import resolve_base

    recipe = plan.recipe
    stages.log.enter("base")
    base = resolve_base(recipe.base, root=plan.root)

    def compute() -> dict[str, Any]:
        _check_signer(base)
        problems = base_problems(base, recipe.adapt, max_length=recipe.train.max_length)
        if problems:
            raise RecipeError(f"base '{recipe.base}' cannot do what the recipe asks", problems=problems, hint="nothing was trained")
        return {"reference": base.reference, "revision": base.revision, "digest": base.digest, "lineage": list(base.lineage)}

    inputs = {"base": base.digest, "adapt": recipe.adapt.model_dump(mode="json"), "max_length": recipe.train.max_length}
    stages.run("base", inputs=inputs, code=("model",), outputs=[], compute=compute)
    return base


def _check_signer(base: BaseModel) -> None:
    """A bundle of ours serves as a base only when it was signed by somebody this user trusts."""
    from trustbase.bundle.verify import verify

    bundle = base.folder.parent
    if base.folder.name == "model" and (bundle / "manifest.json").is_file():
        verify(bundle)


def describe_data(stages: Stages, plan: Plan, dataset: Dataset, base: BaseModel) -> None:
    """The data card: the rows as data, and as the base model's tokenizer reads them."""
    max_length, target = plan.recipe.train.max_length, stages.folder

    def compute() -> dict[str, Any]:
        from trustbase.data.card import card_markdown, data_card
        from trustbase.model.tokenizer import load_tokenizer, token_stats

        tokenizer = load_tokenizer(base.folder)
        card = data_card(dataset, tokenizer_stats=lambda texts: token_stats(tokenizer, texts, max_length), licence=plan.recipe.data.licence)
        files.write_json(target / "data_card.json", card)
        files.write_text(target / "data_card.md", card_markdown(card))
        return {}

    inputs = {"data": dataset.digest, "base": base.digest, "max_length": max_length, "licence": plan.recipe.data.licence}
    stages.run("card", inputs=inputs, code=("data", "model"), outputs=["data_card.json", "data_card.md"], compute=compute)


def train_model(stages: Stages, plan: Plan, dataset: Dataset, base: BaseModel) -> Trained:
    """A checkpoint that was trained, saved, reloaded and found equal."""
    recipe, target = plan.recipe, stages.folder / "checkpoints"

    def compute() -> dict[str, Any]:
        from trustbase.train.fit import fit

        if "train" in stages.forced:
            shutil.rmtree(target, ignore_errors=True)  # checkpoints of other inputs must not be resumed
        train, validation = dataset.splits["train"], dataset.splits["validation"]
        trained = fit(
            base,
            load_target(TASKS[recipe.task].target),
            dataset.labels,
            train,
            validation,
            adapt=recipe.adapt,
            options=recipe.train,
            folder=target,
            emit=stages.log,
        )
        return trained.to_json(stages.folder)

    inputs = {
        "data": dataset.digest,
        "base": base.digest,
        "task": recipe.task,
        "adapt": recipe.adapt.model_dump(mode="json"),
        "train": recipe.train.model_dump(mode="json"),
        "machine": machine_key(),
    }
    result = stages.run("train", inputs=inputs, code=MODEL_CODE, outputs=["checkpoints/trained"], compute=compute)
    return Trained.from_json(result, stages.folder)


def make_model_artifact(stages: Stages, plan: Plan, dataset: Dataset, base: BaseModel, trained: Trained) -> ArtifactInfo:
    """What is shipped: runtime and precision chosen on validation rows, and the threshold with it."""
    from trustbase.model.artifact import read_artifact

    recipe, target = plan.recipe, stages.folder / "artifact"

    def compute() -> dict[str, Any]:
        from trustbase.compress.export import make_artifact, set_decision
        from trustbase.model.predict import Predictor
        from trustbase.outputs.threshold import choose_decision

        validation = dataset.splits["validation"]
        make_artifact(
            trained,
            target,
            options=recipe.release,
            labels=dataset.labels,
            text=dataset.template.source,
            base=base,
            max_length=recipe.train.max_length,
            sample=validation.texts,
            emit=stages.log,
        )
        with Predictor.open(target) as predictor:
            scores = predictor.class_scores(validation.texts)
        decision = choose_decision(scores, validation.labels, dataset.labels, recipe.decision)
        return {"digest": set_decision(target, decision).digest}

    inputs = {
        "trained": trained.digest,
        "validation": dataset.splits["validation"].digest,
        "release": recipe.release.model_dump(mode="json"),
        "decision": recipe.decision.model_dump(mode="json"),
        "machine": machine_key(),
    }
    stages.run("artifact", inputs=inputs, code=ARTIFACT_CODE, outputs=["artifact"], compute=compute)
    return read_artifact(target)


def audit_model(stages: Stages, plan: Plan, dataset: Dataset, artifact: ArtifactInfo, policy: Policy) -> AuditReport:
    """Every finding about the artefact itself, on test rows that nothing before has seen."""
    recipe, folder = plan.recipe, stages.folder
    seed = seeds.stream_seed(recipe.train.seed, "audit") % 2**31

    def compute() -> dict[str, Any]:
        from trustbase.audit.artifact import audit_artifact

        _look(folder, artifact, dataset.splits["test"].digest, policy)  # counted before the rows are seen
        report = audit_artifact(
            artifact, dataset, options=recipe.audit, folder=folder, seed=seed, policy_digest=policy.digest, emit=stages.log
        )
        files.write_json(folder / "findings.json", report.to_json())
        return {"policy": policy.digest}

    inputs = {
        "artifact": artifact.digest,
        "data": dataset.digest,
        "audit": recipe.audit.model_dump(mode="json"),
        "seed": seed,
        "machine": machine_key(),
    }
    outputs = ["findings.json", "evidence", "scores.parquet"]
    result = stages.run("audit", inputs=inputs, code=AUDIT_CODE, outputs=outputs, compute=compute)
    measured = AuditReport.from_json(files.read_json(folder / "findings.json"))
    before = result["policy"] == policy.digest
    report = replace(measured, policy_digest=policy.digest, policy_set_before=before)
    files.write_json(folder / "audit.json", report.to_json())
    return report


def judge(stages: Stages, artifact: ArtifactInfo, audit: AuditReport, policy: Policy) -> Verdict:
    """The limits against the findings; the look at the test set is counted, also where findings were taken over."""
    from trustbase.gate.decide import decide

    folder = stages.folder

    def compute() -> dict[str, Any]:
        looks = _look(folder, artifact, audit.data["digest"], policy)
        verdict = decide(policy, audit, test_looks=looks)
        files.write_json(folder / "verdict.json", verdict.to_json())
        return {"released": verdict.released}

    inputs = {"audit": files.digest_json(audit.to_json()), "policy": policy.digest}
    stages.run("gate", inputs=inputs, code=("gate",), outputs=["verdict.json", "audit.json"], compute=compute)
    return Verdict.from_json(files.read_json(folder / "verdict.json"))


def _look(folder: Path, artifact: ArtifactInfo, test_digest: str, policy: Policy) -> int:
    """Count this look at the test set; the same run, model and policy count once."""
    from trustbase.gate.ledger import record_look

    return record_look(test_digest, run=_run_id(folder), policy_digest=policy.digest, model_digest=artifact.digest)


def release(
    stages: Stages,
    plan: Plan,
    artifact: ArtifactInfo,
    audit: AuditReport,
    verdict: Verdict,
    key: str | Path | None,
    lang: str | None,
) -> tuple[Bundle, Path]:
    """`bundle/`, signed, or `rejected/`, never signed; and the report that a person reads."""
    from trustbase.bundle.pack import pack, read_bundle
    from trustbase.report.html import report

    folder = stages.folder
    place = "bundle" if verdict.released else "rejected"
    language = lang or plan.recipe.report.language

    def compute() -> dict[str, Any]:
        purpose = plan.recipe.purpose.model_dump(exclude_none=True)
        pack(
            folder,
            artifact=artifact,
            report=audit,
            verdict=verdict,
            recipe_text=plan.resolved,
            purpose=purpose,
            key=Path(key) if key is not None else None,
            emit=stages.log,
        )
        report(folder, lang=language)
        return {"place": place}

    inputs: dict[str, Any] = {"artifact": artifact.digest, "audit": files.digest_json(audit.to_json()), "verdict": verdict.to_json()}
    inputs |= {"signer": named_signer(key)}
    stages.run("release", inputs=inputs, code=("bundle", "report"), outputs=[place], compute=compute)
    page = folder / "report.html"  # a reading of what lies there, not evidence: it may be written again in another language
    if lang is not None or not page.is_file():
        report(folder, lang=language)
    return read_bundle(folder / place), page
