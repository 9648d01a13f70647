"""What is set before the first step of a pretraining: what fits together, the objectives, and the ways that batches take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from trustbase.device import choose_device, choose_precision
from trustbase.errors import Problem, RecipeError, UsageError
from trustbase.events import Emit
from trustbase.model.shape import PAIRED, base_model_problems
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import OBJECTIVES, TASKS
from trustbase.train.batches import Batch
from trustbase.train.heldout import HeldOut, measure_held_out
from trustbase.train.objectives.base import TextObjective, Texts
from trustbase.train.objectives.masked import Masked
from trustbase.train.options import TrainOptions
from trustbase.train.packing import TokenSource
from trustbase.train.pretrain_options import Whole
from trustbase.train.process import placed
from trustbase.train.reading import Reading
from trustbase.train.symbols import Symbols, symbols_of
from trustbase.train.trial import choose_ways
from trustbase.train.words import word_starts
from trustbase.train.world import ALONE, World

LIVE_TOKENS = 1 << 16  # of held-out documents that are measured while training goes on; in the end all are


class Corpus(Protocol):
    """Documents as tokens, such as `data.corpus.pack.TokenStore`."""

    @property
    def train(self) -> TokenSource: ...

    @property
    def held_out(self) -> TokenSource: ...

    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class Joined:
    """Several objectives as the one that the loop knows: each gets the batches that were made for it."""

    objectives: Mapping[str, TextObjective]

    def __call__(self, forward: Reading, batch: Batch) -> dict[str, torch.Tensor]:
        return self.objectives[batch.objective](forward, batch)


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


def _checkpoint_gradients(model: Any, options: TrainOptions) -> None:
    if not options.gradient_checkpointing:
        return
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise RecipeError(
            f"gradient_checkpointing cannot be used: {type(model).__name__} does not support it", hint="remove train.gradient_checkpointing"
        )
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
