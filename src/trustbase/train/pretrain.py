"""Pretraining: a model and raw text in, a model that has learned from it out, over the loop that fine-tuning uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from trustbase.device import choose_device, choose_precision
from trustbase.errors import Problem, RecipeError, UsageError
from trustbase.events import Emit, ignore
from trustbase.model.shape import PAIRED, base_model_problems
from trustbase.recipe.lookup import OBJECTIVES, TASKS, load
from trustbase.train.batches import Batch
from trustbase.train.flops import counted, shape_of, telling_utilisation, work_of
from trustbase.train.heldout import HeldOut, measure_held_out
from trustbase.train.loop import facts_of, train
from trustbase.train.objectives.base import TextObjective, Texts
from trustbase.train.objectives.masked import Masked
from trustbase.train.options import TrainOptions
from trustbase.train.packing import TokenSource
from trustbase.train.pretrain_options import Whole
from trustbase.train.process import placed, trained_together
from trustbase.train.reading import Reading
from trustbase.train.rows import DocumentRows, Order
from trustbase.train.state import Progress
from trustbase.train.symbols import Symbols, symbols_of
from trustbase.train.trial import choose_ways
from trustbase.train.update import listed, plain
from trustbase.train.words import word_starts
from trustbase.train.world import ALONE, World, dealt, processes

LIVE_TOKENS = 1 << 16  # of held-out documents that are measured while training goes on; in the end all are


class Corpus(Protocol):
    """Documents as tokens, such as `data.corpus.pack.TokenStore`."""

    @property
    def train(self) -> TokenSource: ...

    @property
    def held_out(self) -> TokenSource: ...

    @property
    def digest(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretraining as it was done; the model itself was trained in place.

    Attributes:
        progress: where the loop ended.
        held_out: what held-out documents say of the result, document by document; None where there are none.
        facts: what the run says about itself.
    """

    progress: Progress
    held_out: HeldOut | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class Joined:
    """Several objectives as the one that the loop knows: each gets the batches that were made for it."""

    objectives: Mapping[str, TextObjective]

    def __call__(self, forward: Reading, batch: Batch) -> dict[str, torch.Tensor]:
        return self.objectives[batch.objective](forward, batch)


def pretrain(
    model: nn.Module,
    objectives: Mapping[str, float] | Sequence[str] | str,
    corpus: Corpus,
    tokenizer: Any,
    *,
    context: int,
    options: TrainOptions,
    folder: Path,
    order: Order | None = None,
    whole_words: Whole = "chinese",
    fingerprint: Mapping[str, Any] | None = None,
    peak: float | None = None,
    watch: Callable[[], Mapping[str, float]] = dict,
    shard: bool = False,
    emit: Emit = ignore,
) -> Pretrained:
    """Train a model on raw text; the same call on the same folder goes on where it stopped, to the same bits.

    Where a launcher started several processes, each makes this call, and all train the one model.

    Args:
        model: from `build_model` or `continue_model`; trained in place.
        objectives: names as in a recipe (`masked+next_sentence`, a list, or weights by name).
        corpus: its tokens, for training and held out, packed with this tokenizer.
        tokenizer: a fast one.
        context: tokens of a row.
        options: everything a recipe may say under `train`; `tokens` sets the length of the training.
        folder: gets `step-…/` (resumption) and the marks of words.
        order: documents of each epoch, such as `CorpusStore.epoch`; by default each once.
        whole_words: which words are masked whole.
        fingerprint: what else must be equal for a checkpoint to be resumed, such as the digest of the model that it began from.
        peak: operations a second that this machine can do at most (`flops.matmul_peak`); without it no utilisation is known.
        watch: what else is measured of the model at every evaluation, by finding id.
        shard: divide the model's state over the processes; the trained model is afterwards in the first of them alone, on the CPU.
        emit: takes events; those of a `step` also say `flops_per_second`, and `utilisation` of the peak.

    Raises:
        RecipeError: model, tokenizer, objectives and options do not fit together; all problems at once.
        UsageError: a corpus that the objective cannot learn from, a precision that this machine lacks, or processes that cannot be joined.
        TrainingError: training stopped itself.
        Interrupted: a signal came; the state left behind is resumable.
        StaleRunError: the folder holds checkpoints of other inputs.
    """
    options = dealt(options, processes(), length=context)
    refuse_misfits(model, objectives, tokenizer, context, options)
    began = time.monotonic()
    with trained_together(options, folder, emit) as (world, heard):
        told = telling_utilisation(heard, peak)  # trackers hear of it too
        scene = set_scene(model, objectives, corpus, tokenizer, context, options, folder, whole_words, told, world=world, shard=shard)
        world = scene.world
        told("note", text=f"pretraining in {scene.precision} on {scene.device}: {scene.reason}; {scene.said}")
        progress = train(
            model,
            scene.joined,
            counted(partial(plain, named=_documents), shape_of(model)),
            DocumentRows(scene.texts, scene.objectives, seed=options.seed, order=order),
            options=options,
            folder=folder,
            forward=scene.reading,
            measure=lambda: {**_live(scene, told), **watch()},
            weights=scene.weights,
            device=scene.device,
            fingerprint={
                **scene.fingerprint,
                "corpus": corpus.digest,
                "context": context,
                "whole_words": whole_words,
                **(fingerprint or {}),
            },
            world=world,
            emit=told,
        )
        held_out = None if scene.held_out is None else world.measured(lambda: measured(scene, told))
        facts = {**_facts(scene, progress, options, peak=peak, seconds=time.monotonic() - began), "processes": world.size, "shard": shard}
        if world.divided is not None:
            world.divided.put_together()
    if options.gradient_checkpointing:
        model.gradient_checkpointing_disable()  # type: ignore[operator]
    return Pretrained(progress, held_out, facts)


@dataclass(frozen=True, eq=False)
class Scene:
    """What is set before the first step."""

    reading: Reading
    objectives: list[TextObjective]
    texts: Texts
    held_out: Texts | None
    device: str
    precision: str
    reason: str
    ways: dict[str, str]
    world: World

    @property
    def weights(self) -> dict[str, float]:
        """All terms of the loss."""
        return {term: weight for objective in self.objectives for term, weight in objective.weights.items()}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What of it must be equal for a checkpoint to be resumed."""
        packed = {objective.name: objective.packs for objective in self.objectives}
        return {"weights": self.weights, "packed": packed, "precision": self.precision}

    @property
    def joined(self) -> Joined:
        """The objectives as the loop knows them."""
        return Joined({objective.name: objective for objective in self.objectives})

    @property
    def said(self) -> str:
        return "; ".join(f"{name}: {way}" for name, way in self.ways.items())


def measured(scene: Scene, emit: Emit, *, most: int | None = None) -> HeldOut:
    """The model as it is now, on held-out documents of at most so many tokens."""
    assert scene.held_out is not None
    return measure_held_out(scene.reading, scene.objectives, scene.held_out, device=scene.device, most=most, emit=emit)


def _live(scene: Scene, emit: Emit) -> dict[str, float]:
    """What some of the held-out documents say while training goes on."""
    return {} if scene.held_out is None else measured(scene, emit, most=LIVE_TOKENS).findings()


def refuse_misfits(
    model: Any, names: Mapping[str, float] | Sequence[str] | str, tokenizer: Any, context: int, options: TrainOptions
) -> None:
    """Everything that does not go together, before anything is made of it.

    Raises:
        RecipeError: with all problems.
    """
    problems = list(base_model_problems(model.config.to_dict(), tuple(weights_of(names)), length=context))
    rows = model.get_input_embeddings().num_embeddings if hasattr(model, "get_input_embeddings") else len(tokenizer)
    if len(tokenizer) > rows:
        problems.append(
            Problem("tokenizer", f"has {len(tokenizer)} tokens, and the model knows {rows}", "take the model's own, or extend it")
        )
    if context > options.batch_tokens:
        problems.append(Problem("train.batch_tokens", f"is {options.batch_tokens}, less than one row of {context}", "raise it"))
    if options.dropout is not None:
        problems.append(Problem("train.dropout", "is the model's own in pretraining", "write it under model"))
    if options.early_stopping is not None:
        problems.append(Problem("train.early_stopping", "chooses among checkpoints, and pretraining takes the last", "remove it"))
    if problems:
        raise RecipeError("This cannot be pretrained", problems=problems)


def set_scene(
    model: nn.Module,
    names: Mapping[str, float] | Sequence[str] | str,
    corpus: Corpus,
    tokenizer: Any,
    context: int,
    options: TrainOptions,
    folder: Path,
    whole_words: Whole,
    emit: Emit,
    *,
    world: World = ALONE,
    shard: bool = False,
) -> Scene:
    """Find words once, and decide on device, precision and the ways that batches take; divide the model where that is asked for."""
    device = choose_device()
    precision, reason = choose_precision(options.precision, device)
    symbols = symbols_of(tokenizer)
    learned = make_objectives(names, symbols, context, model=model, options=options)
    _checkpoint_gradients(model, options)
    with world.first_ahead():  # it marks the words
        texts = _texts(corpus, learned, symbols, folder, whole_words, emit)
    for objective in learned:
        objective.check(texts["train"])
    world = placed(model, world, device, options, shard=shard)
    reading = Reading(model, precision=precision, device=device, seed=options.seed)
    quick = not (options.gradient_checkpointing or shard)
    ways = world.asked(
        lambda: {objective.name: choose_ways(reading, objective, texts["train"], device, quick=quick) for objective in learned}
    )
    if world.divided is not None:
        ways = {name: f"{way}, since its state is divided" for name, way in ways.items()}
    held_out = texts["held_out"] if len(texts["held_out"].tokens.ids) else None
    return Scene(reading, learned, texts["train"], held_out, device, precision, reason, ways, world)


def _texts(
    corpus: Corpus, learned: Sequence[TextObjective], symbols: Symbols, folder: Path, whole_words: Whole, emit: Emit
) -> dict[str, Texts]:
    """Both parts of a corpus, with the beginnings of words where an objective masks them whole."""
    texts = {}
    for part in ("train", "held_out"):
        tokens: TokenSource = getattr(corpus, part)
        marks = None
        if any(isinstance(objective, Masked) for objective in learned):
            key = f"{corpus.digest}/{part}"
            marks = word_starts(tokens, symbols, folder / f"words-{part}.npy", whole=whole_words, key=key, emit=emit)
        texts[part] = Texts(tokens, marks)
    return texts


def _facts(scene: Scene, progress: Progress, options: TrainOptions, *, peak: float | None, seconds: float) -> dict[str, Any]:
    return {
        **facts_of(progress),
        **work_of(progress, peak),
        "precision": scene.precision,
        "precision_reason": scene.reason,
        "device": scene.device,
        "ways": scene.ways,
        "weights": scene.weights,
        "threads": torch.get_num_threads(),
        "total_seconds": seconds,
        "seed": options.seed,
    }


def make_objectives(
    names: Mapping[str, float] | Sequence[str] | str, symbols: Symbols, context: int, *, model: nn.Module, options: TrainOptions
) -> list[TextObjective]:
    """The objectives of a recipe; masks and a question about pairs become one that reads each batch once.

    Raises:
        UsageError: an objective does not exist, or tokenizer or model lack what it needs.
    """
    wanted = weights_of(names)
    known = [name for name in OBJECTIVES if name not in TASKS]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise UsageError(f"objective '{', '.join(unknown)}' is not known", hint=f"write one or more of {', '.join(known)}")
    asked = next((name for name in wanted if name in PAIRED), None)
    found = []
    for name in wanted:
        if name == "masked" and asked:
            continue
        arguments: dict[str, Any] = {}
        if name == asked and "masked" not in wanted:
            arguments["rate"] = 0.0
        if name == "causal":
            arguments["z_loss"] = options.z_loss
        if name in {"span_corruption", "infilling"}:
            arguments["decoder_start"] = model.config.decoder_start_token_id  # type: ignore[union-attr]
        objective: TextObjective = load(OBJECTIVES[name])(symbols, context, **arguments)
        objective.weights = {term: weight * wanted.get(term, wanted[name]) for term, weight in objective.weights.items()}
        found.append(objective)
    return found


def weights_of(names: Mapping[str, float] | Sequence[str] | str) -> dict[str, float]:
    """What a recipe's `objective` says, as weights by name: 1 where none is given."""
    if isinstance(names, Mapping):
        return {name.strip(): float(weight) for whole, weight in names.items() for name in whole.split("+")}
    listed_names = [names] if isinstance(names, str) else list(names)
    return {name.strip(): 1.0 for whole in listed_names for name in whole.split("+")}


def _documents(numbers: Sequence[int]) -> str:
    return f"documents {listed(numbers)} of the training part, counted from 0"


def _checkpoint_gradients(model: Any, options: TrainOptions) -> None:
    if not options.gradient_checkpointing:
        return
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise RecipeError(
            f"gradient_checkpointing cannot be used: {type(model).__name__} does not support it", hint="remove train.gradient_checkpointing"
        )
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
