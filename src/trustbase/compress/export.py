"""The artefact that is shipped: weights, tokenizer, and the runtime, precision and decision that `candidates` settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from trustbase import files
from trustbase.compress.candidates import Choice, Decide, choose, parity
from trustbase.compress.merging import Measure, merging
from trustbase.compress.options import ReleaseOptions
from trustbase.device import choose_device
from trustbase.errors import ModelError
from trustbase.events import Emit, ignore
from trustbase.model.adapt import adapted_with, merge, merges
from trustbase.model.artifact import ONNX_FILE, set_decision, write_artifact
from trustbase.model.checkpoint import load_checkpoint, save_checkpoint
from trustbase.model.columns import encoder_in
from trustbase.model.ensemble import member_folder, parts_of
from trustbase.model.load import describe_base
from trustbase.model.searching import MOST_TOKENS
from trustbase.model.sequencer import CONTEXT, Sequencer
from trustbase.model.task import TEXT_CLASSIFICATION, Task
from trustbase.model.tokenizer import load_tokenizer
from trustbase.outputs.answers.base import answering
from trustbase.records import ArtifactInfo, BaseModel, LabelSchema, Trained

__all__ = ["make_artifact", "parity", "set_decision"]


def make_artifact(
    trained: Trained,
    folder: Path,
    *,
    options: ReleaseOptions,
    labels: LabelSchema,
    text: str,
    base: BaseModel,
    max_length: int,
    sample: Sequence[str],
    decide: Decide | None = None,
    task: Task = TEXT_CLASSIFICATION,
    stride: int | None = None,
    answer_tokens: int = MOST_TOKENS,
    entity_types: tuple[str, ...] | None = None,
    device: str | None = None,
    emit: Emit = ignore,
) -> ArtifactInfo:
    """Make the folder that is audited and served.

    Args:
        trained: a checkpoint that reloads equal, or several whose mean answers.
        folder: where the artefact goes; replaced as a whole.
        options: what the recipe asks for.
        labels: the label schema, in score order.
        text: the recipe's text column or template.
        base: the base model, named by reference and revision in the artefact.
        max_length: tokens after which an input is cut.
        sample: real inputs (validation; with their cells, where columns are read): candidates are compared on the first of them, the
            decision is chosen on all.
        decide: from the scores of the whole sample to the decision; by default the highest score answers.
        task: what is predicted.
        stride: tokens by which windows over longer inputs overlap; None cuts these off.
        answer_tokens: of the longest answer, where texts are searched for one.
        entity_types: that the training rows tell of the entities marked in them; None where none are.
        device: what candidates of torch run on; by default the device that a Predictor would take.
        emit: where choices are told.

    Returns:
        What was made, `artifact.json` written.

    Raises:
        ModelError: there are no sample texts, or what the recipe insists on does not agree with fp32.
    """
    if len(sample) < 2:
        raise ModelError(
            f"an artefact is compared with fp32 on validation texts, but there are {len(sample)}", hint="give a larger validation split"
        )
    where = device or choose_device()
    usual = _usual(task)
    made: list[ArtifactInfo] = []
    sequencer = Sequencer.by_task(task.name, max_length, stride, answer_tokens)

    def fill(staging: Path) -> None:
        measure = partial(
            merging,
            sample=list(sample),
            sequencer=sequencer,
            labels=labels,
            kind=task.answer_kind,
            device=where,
            limit=options.max_difference,
        )
        form, moved = _write_all(trained, staging, base=base, merged=options.weights == "merged", measure=measure)
        choice = choose(staging, options, list(sample), sequencer, labels, decide or usual, where, emit, task.answer_kind)
        info = _described(choice, staging, base, task=task, labels=labels, text=text, sequencer=sequencer)
        made.append(write_artifact(replace(info, facts=_facts(choice, form, moved, trained, base), entity_types=entity_types)))
        emit("note", text=f"artefact: {info.runtime} {info.precision} on {choice.chosen.device}: {choice.why}")

    files.replace_folder(folder, fill)
    return replace(made[0], folder=folder)  # the digest speaks of relative names, so moving the folder did not change it


def _usual(task: Task) -> Decide:
    decision = answering(task.answer_kind).default()
    return lambda scores: decision


def _described(
    choice: Choice, folder: Path, base: BaseModel, *, task: Task, labels: LabelSchema, text: str, sequencer: Sequencer
) -> ArtifactInfo:
    """What is shipped, before its digest and facts are known; files that only another choice needs are removed."""
    chosen, parts = choice.chosen, parts_of(folder)
    encoder = encoder_in(parts[0])
    if chosen.runtime != "onnx":
        for part in parts:
            (part / ONNX_FILE).unlink(missing_ok=True)
    return ArtifactInfo(
        folder=folder,
        digest="",
        task=task.name,
        answer_kind=task.answer_kind,
        labels=labels,
        runtime=chosen.runtime,
        precision=chosen.precision,
        max_length=sequencer.max_length,
        stride=sequencer.stride,
        answer_tokens=sequencer.answer_tokens if sequencer.form == CONTEXT else None,
        base=str(describe_base(base)["reference"]),  # a folder becomes its name: nothing absolute is shipped
        revision=base.revision,
        text=text,
        columns=encoder.names if encoder is not None else (),
        features=encoder.features if encoder is not None else {},
        decision=choice.decision,
        members=len(parts),
    )


def _facts(choice: Choice, form: str, moved: dict[str, Any], trained: Trained, base: BaseModel) -> dict[str, Any]:
    """What the artefact says of itself: what it was made from, and how it was chosen."""
    return {
        "why": choice.why,
        "weights": form,
        **({"merging": moved} if moved else {}),
        "trained_digest": trained.digest,
        **({"member_seeds": [int(member.facts["seed"]) for member in trained.members]} if trained.members else {}),
        "base_digest": base.digest,
        "parity": choice.chosen.parity,
        "candidates": [candidate.to_json() for candidate in choice.candidates],
        "device": choice.chosen.device,
        "decision": choice.settled,
    }


def _write_all(trained: Trained, folder: Path, *, base: BaseModel, merged: bool, measure: Measure) -> tuple[str, dict[str, Any]]:
    """The one trained model, or each of several in a folder of its own; what the files hold is the same in all.

    Returns:
        What the files hold, and what merging changed: of several models, where it changed most.
    """
    shared: dict[str, Any] = {"base": base, "merged": merged, "measure": measure}
    if not trained.members:
        return _write_weights(trained, folder, **shared)
    written = [_write_weights(each, member_folder(folder, place), **shared) for place, each in enumerate(trained.members)]
    return written[0][0], max((moved for _, moved in written), key=lambda moved: moved.get("max_difference", 0.0))


def _write_weights(trained: Trained, folder: Path, *, base: BaseModel, merged: bool, measure: Measure) -> tuple[str, dict[str, Any]]:
    """The trained model as a whole, what was added merged where that can be; or adapter and head with the base named by its digest.

    Returns:
        What the files hold: "merged" (a plain model), "adapted" (the base's weights and a module beside them) or "adapter"; and what
        merging changed, where something was merged.
    """
    model, tokenizer, _ = load_checkpoint(trained.folder, base=base)
    if tokenizer is None:
        tokenizer = load_tokenizer(base.folder)
    folder.mkdir(exist_ok=True)
    inner, plain = folder / "weights.part", merges(model)
    shipped = merge(model) if merged and plain else model
    save_checkpoint(shipped, tokenizer, inner, meta={"trained_digest": trained.digest}, whole=merged)
    for path in sorted(inner.iterdir()):
        path.rename(folder / path.name)
    inner.rmdir()
    moved = measure(model, shipped, tokenizer) if merged and plain and adapted_with(model) is not None else {}
    return "adapter" if not merged else "merged" if plain else "adapted", moved
