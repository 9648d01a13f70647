"""One short training of a recipe, scored on validation: prepared once for all trials of a folder, remembered when done."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import bases, files, labelled_rows, pretraining, raw_text, steps
from trustbase.errors import RecipeError, TrainingError, UsageError
from trustbase.events import Emit
from trustbase.machine import machine_key
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import TASKS
from trustbase.recipe.schema import PretrainRecipe
from trustbase.search.division import Division, divide
from trustbase.stages import code_digest, library_versions

if TYPE_CHECKING:
    from trustbase.data.dataset import Dataset
    from trustbase.raw_text import Start
    from trustbase.recipe.read import Plan
    from trustbase.records import BaseModel
    from trustbase.stages import Stages
    from trustbase.train.heldout import HeldOut
    from trustbase.train.options import TrainOptions

SEARCH_CODE = (*steps.MODEL_CODE, "search/division.py", "search/trial.py")
_NEVER = 10**9  # updates between two looks: a trial is looked at once, in its end
_TOLD = {"progress", "resumed", "warning", "spike", "step"}  # of the many events of a training


@dataclass(frozen=True)
class Outcome:
    """What became of one trial.

    Attributes:
        score: the validation loss; None where training failed.
        metric: which loss that is, in words.
        failed: why training stopped itself; empty where it did not.
        facts: tokens, updates, seconds and parameters, as far as training tells them; `losses` of every term.
    """

    score: float | None
    metric: str
    failed: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Bench:
    """Everything that trials share.

    Attributes:
        stages: of the folder.
        inputs: what the result of every trial depends on, beside its own recipe.
        validation: how much text scores a trial.
        sections: of a recipe that a trial may change.
        do: trains one recipe in a folder and returns what is remembered of it.
        count: parameters without embeddings of the model that a recipe builds; None where it builds none.
    """

    stages: Stages
    inputs: Mapping[str, Any]
    validation: Mapping[str, int]
    sections: tuple[str, ...]
    do: Callable[[Plan, Path, Emit], dict[str, Any]]
    count: Callable[[Plan], int] | None = None

    def run(self, plan: Plan, said: str) -> Outcome:
        """Train and score one recipe, unless the folder remembers it already.

        Args:
            plan: the recipe with its settings, seed and tokens.
            said: which trial it is, for the log.

        Raises:
            TrustbaseError: what is no failure of the settings, such as a full disk.
        """
        asked = {name: _asked(plan, name) for name in self.sections}
        inputs = {**self.inputs, **asked, "machine": machine_key()}
        # named by all that it depends on but the machine: what other code or libraries gave is neither taken nor in the way
        whole = {**self.inputs, **asked, "code": code_digest(SEARCH_CODE), "libraries": library_versions()}
        name = "trial-" + files.digest_json(whole).removeprefix("sha256:")[:16]
        place = self.stages.folder / "trials" / name
        self.stages.log.enter(name)
        self.stages.log("note", text=said)

        def compute() -> dict[str, Any]:
            try:
                return self.do(plan, place, _quieter(self.stages.log))
            except TrainingError as error:
                if error.__cause__ is not None:  # the disk stopped it, not its settings: nothing to remember
                    raise
                return {"score": None, "metric": "", "failed": error.message, "facts": {}}

        result = self.stages.run(name, inputs=inputs, code=SEARCH_CODE, outputs=[], compute=compute, any_machine=True)
        shutil.rmtree(place, ignore_errors=True)  # checkpoints of what is finished; only the score is kept
        try:
            return Outcome(result["score"], str(result["metric"]), str(result["failed"]), dict(result["facts"]))
        except (KeyError, TypeError, ValueError) as error:
            raise self.stages.damaged(name, error) from error


def _asked(plan: Plan, section: str) -> Any:
    value = getattr(plan.recipe, section)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _quieter(emit: Emit) -> Emit:
    """What a person wants to hear of one trial among many."""

    def told(event: str, /, **fields: Any) -> None:
        if event in _TOLD:
            emit(event, **fields)

    return told


def _once(options: TrainOptions) -> TrainOptions:
    """The same training, once, scored in its end alone, by one measure, and told to no tracker."""
    measured = {"evaluate_every": _NEVER, "early_stopping": None, "early_stopping_metric": None}
    return options.model_copy(update={**measured, "report_to": (), "members": 1})


def set_bench(stages: Stages, plan: Plan, *, seed: int) -> Bench:
    """Prepare what all trials share: texts or rows, tokenizer, tokens, the validation part.

    Args:
        stages: of the folder.
        plan: the recipe; its `train.tokens` is what one trial reads at most.
        seed: of the choice of validation documents.

    Raises:
        RecipeError, DataError: the recipe or its data are wrong.
        UsageError: a recipe with nothing to choose by.
    """
    return _pretraining(stages, plan, seed) if isinstance(plan.recipe, PretrainRecipe) else _finetuning(stages, plan)


def _pretraining(stages: Stages, plan: Plan, seed: int) -> Bench:
    base = raw_text.choose_base(stages, plan)
    corpus = raw_text.prepare_texts(stages, plan)
    start = raw_text.choose_tokenizer(stages, plan, corpus, base)
    tokens = raw_text.encode_texts(stages, plan, corpus, start)
    target, budget, order_seed = stages.folder / "division", plan.pretrain.train.tokens, plan.pretrain.train.seed
    assert budget is not None  # the caller has set it

    def compute() -> dict[str, Any]:
        return {"digest": divide(corpus.store, tokens.train, target, budget=budget, seed=seed, order_seed=order_seed).digest}

    inputs = {"corpus": corpus.digest, "tokens": tokens.digest, "budget": budget, "seed": seed, "order": order_seed}
    stages.run("division", inputs=inputs, code=SEARCH_CODE, outputs=["division"], compute=compute, firm_after="train")
    division = Division.open(target, corpus.store)

    def do(trial: Plan, folder: Path, emit: Emit) -> dict[str, Any]:
        return _pretrain(trial, start, division, folder, stages.folder / "words", emit)

    def count(trial: Plan) -> int:
        from trustbase.model.scratch import kept_model, size_of
        from trustbase.model.tokenizer import load_tokenizer

        model, _ = pretraining.model_at_start(trial, start, load_tokenizer(start.tokenizer))
        return size_of(kept_model(model))["non_embedding_parameters"]

    known = {"start": start.digest, "division": division.digest}
    return Bench(stages, known, division.held_out.size, ("model", "objective", "whole_words", "train"), do, count)


def _pretrain(plan: Plan, start: Start, division: Division, folder: Path, words: Path, emit: Emit) -> dict[str, Any]:
    """One pretraining from the beginning, on fewer tokens."""
    from trustbase.model.scratch import kept_model, size_of
    from trustbase.model.tokenizer import load_tokenizer
    from trustbase.train.pretrain import pretrain

    recipe, tokenizer = plan.pretrain, load_tokenizer(start.tokenizer)
    model, _ = pretraining.model_at_start(plan, start, tokenizer)
    _share_words(words, folder)
    done = pretrain(
        model,
        recipe.objective,
        division,
        tokenizer,
        context=recipe.model.context,
        options=_once(recipe.train),
        folder=folder,
        order=Division(division.folder, division.store, recipe.train.seed, division.digest).order,
        whole_words=recipe.whole_words,
        fingerprint={"start": start.digest},
        emit=emit,
    )
    _share_words(folder, words)
    assert done.held_out is not None  # a division has a validation part
    score, metric, losses = loss_of(done.held_out, done.facts["weights"])
    kept = ("step", "tokens", "seconds", "flops", "precision", "device", "threads", "spikes", "refused")
    facts = {**{name: done.facts[name] for name in kept if name in done.facts}, **size_of(kept_model(model)), "losses": losses}
    return _told(score, metric, facts)


def _told(score: float, metric: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    if not math.isfinite(score):
        return {"score": None, "metric": metric, "failed": f"the {metric} is {score}", "facts": {}}
    return {"score": score, "metric": metric, "failed": "", "facts": dict(facts)}


def loss_of(found: HeldOut, weights: Mapping[str, float]) -> tuple[float, str, dict[str, float]]:
    """What scores a pretraining: the loss whose exponential is the perplexity; where that is not what is learned, the whole objective.

    Returns:
        The loss in nats, its name, and the losses of all terms.
    """
    losses = {term: tally.loss for term, tally in found.tallies.items()}
    if found.main in losses and found.main != "generator":  # a discriminator is what stays, not the generator that teaches it
        return losses[found.main], f"validation loss ({found.main}), nats a token", losses
    whole = sum(weights.get(term, 1.0) * loss for term, loss in losses.items())
    return whole, f"validation loss ({' + '.join(losses)}, as weighted)", losses


def _share_words(source: Path, target: Path) -> None:
    """The marks of words, which are the same for all trials; `pretrain` itself looks whether they are those of its tokens."""
    for path in sorted(source.glob("words-*")):
        if not (target / path.name).exists():
            target.mkdir(parents=True, exist_ok=True)
            files.copy_files(source, target, [path.name])


def _finetuning(stages: Stages, plan: Plan) -> Bench:
    base = bases.choose_base(stages, plan)
    dataset = labelled_rows.read_data(stages, plan)
    base = base or bases.build_base(stages, plan, dataset)
    validation = dataset.splits["validation"]
    if not len(validation):
        raise UsageError(
            "this recipe has no validation rows to choose by", hint="give data.validation, or a share: split: {validation: 0.1}"
        )
    model: BaseModel = base

    def do(trial: Plan, folder: Path, emit: Emit) -> dict[str, Any]:
        return _finetune(trial, dataset, model, folder, emit)

    known = {"base": model.digest, "data": dataset.digest, "task": plan.finetune.task}
    return Bench(stages, known, {"rows": len(validation)}, ("adapt", "train"), do)


def _finetune(plan: Plan, dataset: Dataset, base: BaseModel, folder: Path, emit: Emit) -> dict[str, Any]:
    """One fine-tuning, scored once, in its end, so that no trial is helped by a lucky checkpoint."""
    from trustbase.train.fit import fit

    recipe = plan.finetune
    trained = fit(
        base,
        load(TASKS[recipe.task]),
        dataset.labels,
        dataset.splits["train"],
        dataset.splits["validation"],
        adapt=recipe.adapt,
        options=_once(recipe.train),
        folder=folder,
        stride=recipe.data.stride,
        emit=emit,
    )
    kept = ("step", "tokens", "seconds", "precision", "device", "threads", "trained_parameters", "parameters")
    facts = {name: trained.facts[name] for name in kept if name in trained.facts}
    return _told(trained.best_value, "validation log-loss, nats a row", facts)


def read_plan(recipe: Any, overrides: list[str], tokens: int | str) -> Plan:
    """A recipe as trials begin from it: so many tokens, and nothing else that ends a training.

    Raises:
        RecipeError: it cannot be done; all problems at once.
    """
    from trustbase.recipe.read import read_recipe

    plan = read_recipe(recipe, [*overrides, f"train.tokens={tokens}", "train.max_steps=null"])
    if plan.recipe.train.tokens is None:
        raise RecipeError(f"a trial needs a number of tokens, got '{tokens}'", hint="write a number such as 200k")
    if plan.recipe.cluster is not None:
        raise RecipeError("trials train in one process, and the recipe asks for a cluster", hint="add the override cluster=null")
    return plan
