"""The steps that are other where `base:` is a model that a person can read: linear, tree, rules or boosting."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files
from trustbase.finding_id import OUT_OF_TIME
from trustbase.labelled_rows import DATA_CODE
from trustbase.machine import machine_key
from trustbase.model.plain.options import PlainOptions
from trustbase.records import ArtifactInfo, LabelSchema, Trained
from trustbase.stages import Stages
from trustbase.steps import ARTIFACT_CODE, MODEL_CODE

if TYPE_CHECKING:
    from trustbase.data.dataset import Dataset
    from trustbase.model.plain.store import Readable
    from trustbase.recipe.read import Plan


def describe_data(stages: Stages, plan: Plan, dataset: Dataset, later: Dataset | None = None) -> None:
    """The data card: the rows as data. No tokenizer reads them, so there are no tokens to count."""
    target = stages.folder

    def compute() -> dict[str, Any]:
        from trustbase.data.card import data_card
        from trustbase.data.card_page import card_markdown

        card = data_card(dataset, licence=plan.finetune.data.licence, later=later)
        files.write_json(target / "data_card.json", card)
        files.write_text(target / "data_card.md", card_markdown(card))
        return {}

    beside = {OUT_OF_TIME: [later.digest, later.facts]} if later is not None else {}
    taken = {"columns": dataset.facts.get("columns")}
    inputs = {"data": dataset.digest, "base": None, "licence": plan.finetune.data.licence, **taken, **beside}
    stages.run("card", inputs=inputs, code=DATA_CODE, outputs=["data_card.json", "data_card.md"], compute=compute, firm_after="train")


def learn_model(stages: Stages, plan: Plan, dataset: Dataset, base: PlainOptions) -> Trained:
    """A plain model that was learned, saved, read again and found to answer as the library that learned it."""
    from trustbase.data.apart import kinds_of

    recipe, target = plan.finetune, stages.folder / "checkpoints"
    columns = kinds_of(dataset.facts.get("columns", {}))

    def compute() -> dict[str, Any]:
        from trustbase.train.plain.fit import fit_plain

        parts = dataset.splits
        trained = fit_plain(
            base,
            dataset.labels,
            parts["train"],
            parts["validation"],
            columns=columns,
            folder=target,
            seed=recipe.train.seed,
            emit=stages.log,
        )
        return trained.to_json(stages.folder)

    inputs = {
        "data": dataset.digest,
        "columns": columns,
        "base": base.model_dump(mode="json"),
        "task": recipe.task,
        "seed": recipe.train.seed,
        "machine": machine_key(),
    }
    result = stages.run(
        "train",
        inputs=inputs,
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


def make_plain_artifact(stages: Stages, plan: Plan, dataset: Dataset, trained: Trained) -> ArtifactInfo:
    """What is shipped: the learned numbers as they are, with the threshold that validation rows choose."""
    from trustbase.model.artifact import read_artifact

    recipe, target = plan.finetune, stages.folder / "artifact"

    def compute() -> dict[str, Any]:
        from trustbase.data.cells import inputs_of
        from trustbase.model.artifact import set_decision, write_artifact
        from trustbase.model.plain.store import read_plain
        from trustbase.model.predict import Predictor
        from trustbase.outputs.threshold import choose_decision

        validation, readable = dataset.splits["validation"], read_plain(trained.folder)

        def fill(staging: Path) -> None:
            for path in sorted(trained.folder.iterdir()):
                shutil.copyfile(path, staging / path.name)
            said = _described(staging, readable, dataset.labels, task=recipe.task, text=dataset.template.source, trained=trained)
            made = write_artifact(said)
            with Predictor.open(made) as predictor:
                scores = predictor.class_scores(inputs_of(validation, made.columns))
            set_decision(staging, choose_decision(scores, validation.labels, dataset.labels, recipe.decision))

        files.replace_folder(target, fill)
        made = replace(read_artifact(target), folder=target)
        stages.log("note", text=f"artefact: {made.facts['model']['summary']}")
        return {"digest": made.digest}

    inputs = {
        "trained": trained.digest,
        "validation": dataset.splits["validation"].digest,
        "decision": recipe.decision.model_dump(mode="json"),
        "machine": machine_key(),
    }
    stages.run("artifact", inputs=inputs, code=ARTIFACT_CODE, outputs=["artifact"], compute=compute, any_machine=True)
    return read_artifact(target)


def _described(folder: Path, readable: Readable, labels: LabelSchema, *, task: str, text: str, trained: Trained) -> ArtifactInfo:
    """The artefact but for its digest and decision; what it says of itself includes the model in words."""
    return ArtifactInfo(
        folder=folder,
        digest="",
        task=task,
        answer_kind="classes",
        labels=labels,
        runtime="plain",
        precision="fp32",
        max_length=0,
        base=readable.model.kind,
        revision=str(trained.facts["library"]),
        text=text,
        columns=readable.columns,
        numbers=readable.numbers,
        facts={
            "why": trained.facts["why"],
            "model": readable.told(labels).to_json(),
            "features": len(readable.features),
            "trained_digest": trained.digest,
        },
    )
