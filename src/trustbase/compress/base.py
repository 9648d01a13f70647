"""A base model as it ships: the trained checkpoint in fp32, and what it is, in `artifact.json`. The next recipe names it in `base:`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.model.artifact import read_artifact, write_artifact
from trustbase.model.folder import read_object
from trustbase.model.options import portable_reference
from trustbase.model.shape import family_of
from trustbase.records import ArtifactInfo, LabelSchema, Trained

TASK = "pretraining"
ANSWER_KIND = "language"
NO_LABELS = LabelSchema((), "", "")


def ship_base(trained: Trained, target: Path, *, context: int, reference: str, revision: str) -> ArtifactInfo:
    """Copy a trained base model and say what it is.

    Args:
        trained: from `train.base.train_and_save`.
        target: replaced if it exists.
        context: most tokens that it reads.
        reference, revision: what its training began from.
    """
    config = read_object(trained.folder / "config.json")
    facts: dict[str, Any] = {
        "objective": trained.facts["weights"],
        "objectives": trained.facts["objectives"],
        "context": context,
        "family": family_of(config),
        "model_type": config.get("model_type"),
        "why": "a base model ships in fp32, which whoever trains it further needs",
    }

    def fill(staging: Path) -> None:
        shutil.copytree(trained.folder, staging, dirs_exist_ok=True)
        write_artifact(
            ArtifactInfo(
                folder=staging,
                digest="",
                task=TASK,
                answer_kind=ANSWER_KIND,
                labels=NO_LABELS,
                runtime="language",
                precision="fp32",
                max_length=context,
                base=portable_reference(reference),
                revision=revision,
                text="text",
                facts=facts,
            )
        )

    files.replace_folder(target, fill)
    return read_artifact(target)
