"""Several trainings of one recipe that answer together: one after the other, alike but for their seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trustbase import files, seeds
from trustbase.data.options import FeatureOptions
from trustbase.errors import ModelError, UsageError
from trustbase.events import Emit, ignore
from trustbase.model.checkpoint import checkpoint_digest
from trustbase.model.ensemble import member_folder
from trustbase.model.options import AdaptOptions
from trustbase.model.searching import MOST_TOKENS
from trustbase.recipe.lookup import ANSWER_KINDS
from trustbase.records import BaseModel, LabelSchema, Split, Trained
from trustbase.train.fit import fit
from trustbase.train.options import TrainOptions

RECORD = "member.json"  # in a member's folder, once it is trained


def member_seed(seed: int, place: int) -> int:
    """The seed of a member's training: the first one's is the recipe's own, so that it is the training that there is without members."""
    return seed if place == 0 else seeds.stream_seed(seed, "member", place) % 2**31


def fit_members(
    base: BaseModel,
    task: Any,
    labels: LabelSchema,
    train_split: Split,
    validation_split: Split | None,
    *,
    adapt: AdaptOptions,
    options: TrainOptions,
    folder: Path,
    features: FeatureOptions | None = None,
    shard: bool = False,
    stride: int | None = None,
    answer_tokens: int = MOST_TOKENS,
    emit: Emit = ignore,
) -> Trained:
    """Train as many members as `options.members` says; the same call on the same folder goes on where it stopped.

    Arguments and errors are those of `train.fit.fit`, which one member alone is.

    Args:
        folder: gets `member-0/`, `member-1/`, …, each as `fit` leaves it; of one member, what `fit` leaves.

    Returns:
        All members; of a number that each of them has, the sum (steps, seconds) or the mean (epochs, what was watched).

    Raises:
        UsageError: answers of this kind have no mean.
    """
    wishes: dict[str, Any] = {"adapt": adapt, "features": features, "shard": shard, "stride": stride, "answer_tokens": answer_tokens}
    if options.members == 1:
        return fit(base, task, labels, train_split, validation_split, options=options, folder=folder, emit=emit, **wishes)
    if not ANSWER_KINDS[task.answer_kind].averaged:
        raise UsageError(f"task {task.name} cannot be done by several members: its answers have no mean", hint="train with members: 1")
    done = []
    for place in range(options.members):
        own = options.model_copy(update={"members": 1, "seed": member_seed(options.seed, place)})
        where, told = member_folder(folder, place), _told(emit, place)
        inputs = _inputs(base, labels, train_split, validation_split, own, wishes)
        trained = _finished(where, inputs)
        if trained is None:
            told("note", text=f"member {place + 1} of {options.members}, seed {own.seed}")
            trained = fit(base, task, labels, train_split, validation_split, options=own, folder=where, emit=told, **wishes)
            files.write_json(where / RECORD, {"inputs": inputs, "trained": trained.to_json(where)})
        done.append(replace(trained, facts={**trained.facts, "seed": own.seed}))
    return _together(done, options, folder)


def _told(emit: Emit, place: int) -> Emit:
    """Events that say whose they are: steps are counted from 1 in each member."""

    def told(event: str, /, **fields: Any) -> None:
        emit(event, **fields, member=place)

    return told


def _inputs(
    base: BaseModel,
    labels: LabelSchema,
    train_split: Split,
    validation_split: Split | None,
    options: TrainOptions,
    wishes: Mapping[str, Any],
) -> str:
    """The digest of all that a member depends on; a finished one of other inputs is not taken for this one."""
    features: FeatureOptions | None = wishes["features"]
    return files.digest_json(
        {
            "base": base.digest,
            "labels": labels.to_json(),
            "train": train_split.digest,
            "validation": None if validation_split is None else validation_split.digest,
            "adapt": wishes["adapt"].model_dump(mode="json"),
            "options": options.model_dump(mode="json"),
            "features": None if features is None else features.model_dump(mode="json"),
            "reading": [wishes["stride"], wishes["answer_tokens"]],
        }
    )


def _finished(folder: Path, inputs: str) -> Trained | None:
    """The member that lies here, if it was trained to its end from these inputs and is still what it was."""
    try:
        record = files.read_json(folder / RECORD)
        trained = Trained.from_json(record["trained"], folder)
        stands = record["inputs"] == inputs and checkpoint_digest(trained.folder) == trained.digest
    except (OSError, ValueError, KeyError, TypeError, ModelError):
        return None  # not finished, or damaged: trained from its last checkpoint, which `fit` checks for itself
    return trained if stands else None


def _together(members: list[Trained], options: TrainOptions, folder: Path) -> Trained:
    """All members as one record."""
    seconds = sum(float(member.facts["total_seconds"]) for member in members)
    return Trained(
        folder,
        files.digest_json([member.digest for member in members]),
        sum(member.steps for member in members),
        sum(member.epochs for member in members) / len(members),
        members[0].best_metric,
        sum(member.best_value for member in members) / len(members),
        max(member.reload_difference for member in members),
        {"total_seconds": seconds, "seed": options.seed, "members": len(members)},
        tuple(members),
    )
