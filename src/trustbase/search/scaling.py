"""A scaling fit: three sizes are trained for a short time, the loss of a fourth is predicted, and then the fourth is trained too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from trustbase import files, seeds
from trustbase.errors import TrainingError, UsageError, system_errors_told
from trustbase.events import Listener, RunLog
from trustbase.recipe import marks
from trustbase.search.compare import Noise, pooled_noise
from trustbase.search.grid import FIXED, overrides_of
from trustbase.search.power_law import METHOD, Law, Prediction, fit_law, predict
from trustbase.stages import Stages, locked

if TYPE_CHECKING:
    from trustbase.recipe.read import Plan
    from trustbase.search.trial import Bench

SCHEMA = "trustbase/scaling/1"
LEAST = 4  # sizes: three to fit, one to predict
_PREDICTS = {"causal", "masked", "span_corruption", "infilling"}
RULE = "every size reads the same tokens in the same order, with the same learning rate unless a size names its own"


@dataclass(frozen=True)
class Size:
    """One size of the model.

    Attributes:
        settings: values by dotted key.
        parameters: without embeddings.
        losses: validation loss of each training, by seed.
        facts: of the first training.
    """

    settings: Mapping[str, str]
    parameters: int
    losses: tuple[float, ...]
    facts: Mapping[str, Any]

    @property
    def loss(self) -> float:
        """Mean over seeds."""
        return fmean(self.losses)

    @property
    def said(self) -> str:
        """Its settings in a line."""
        return " ".join(text.removeprefix("model.") for text in overrides_of(self.settings))

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        shape = {"settings": dict(self.settings), "non_embedding_parameters": self.parameters}
        return {**shape, "losses": list(self.losses), "loss": self.loss if self.losses else None, "facts": dict(self.facts)}


@dataclass(frozen=True)
class Scaling:
    """What the fit said, and what came.

    Attributes:
        folder: where `scaling.json` lies.
        fitted: sizes that the law was fitted to, the smallest first.
        law: the law.
        target: the largest size; without losses until it is trained.
        prediction: its loss, from the others.
        noise: from seed to seed.
        metric: which loss.
        tokens: that each size reads.
        validation: how much text scored them.
        seed: of everything random beside the recipe's own.
    """

    folder: Path
    fitted: tuple[Size, ...]
    law: Law
    target: Size
    prediction: Prediction
    noise: Noise
    metric: str
    tokens: int
    validation: Mapping[str, int]
    seed: int

    @property
    def reached(self) -> float | None:
        """Loss of the largest size, once trained."""
        return self.target.loss if self.target.losses else None

    @property
    def inside(self) -> bool | None:
        """Whether the interval held what was reached."""
        low, high, reached = self.prediction.low, self.prediction.high, self.reached
        return None if low is None or high is None or reached is None else low <= reached <= high

    @property
    def doubt(self) -> str:
        """Why the law may not hold, as far as its own values tell; empty where they tell nothing."""
        if self.law.exponent == 0:
            return "the losses do not fall with size, so that the law says nothing: more tokens, or sizes that lie farther apart, may help"
        if self.law.floor == 0:
            return (
                "E lies at its bound 0: from size to size the losses fall as fast as a law without a floor, or faster, as they do where "
                "sizes have read too few tokens; the prediction is then likely too high"
            )
        return ""

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        reached = self.reached
        return {
            "schema": SCHEMA,
            "metric": self.metric,
            "tokens": self.tokens,
            "rule": RULE,
            "seed": self.seed,
            "validation": dict(self.validation),
            "fitted": [size.to_json() for size in self.fitted],
            "law": {**self.law.to_json(), "form": "floor + scale / parameters ** exponent", "method": METHOD},
            "noise": {"deviation": self.noise.deviation, "degrees_of_freedom": self.noise.freedom},
            "target": self.target.to_json(),
            "predicted": self.prediction.to_json(),
            "reached": reached,
            "error": None if reached is None else reached - self.prediction.value,
            "error_of_no_change": None if reached is None else reached - self.prediction.unchanged,
            "inside_interval": self.inside,
            "doubt": self.doubt,
        }


def scaling(
    recipe: str | Path | Mapping[str, Any],
    sizes: Sequence[Mapping[str, Any] | str],
    overrides: Sequence[str] = (),
    *,
    tokens: int | str,
    repeats: int = 3,
    out: str | Path | None = None,
    seed: int = 0,
    listeners: Sequence[Listener] = (),
) -> Scaling:
    """Fit loss against size on all sizes but the largest, predict the largest, then train it and put the two side by side.

    The prediction stands in `scaling.json` before the largest size is trained. The same call again goes on where the last one stopped.

    Args:
        recipe: path of a recipe with `stage: pretrain`, or the recipe as a mapping.
        sizes: four or more, as `{"layers": 2, "width": 128, "heads": 2}` or `layers=2,width=128,heads=2`; a name without a dot is one of
            the section `model`, others are whole keys, such as `train.learning_rate`.
        overrides: `key=value` texts that change the recipe for all sizes.
        tokens: that each size reads, padding included.
        repeats: trainings of each size but the largest, from different seeds, so that the noise is known.
        out: folder; `runs/NAME-scaling` by default.
        seed: of the validation part, the repeats and the interval.
        listeners: called with every event, progress included.

    Raises:
        RecipeError, DataError: the recipe, one of the sizes or the data are wrong; every problem is named.
        UsageError: too few sizes, or a recipe that has none.
        TrainingError: a size could not be trained.
        Interrupted: a signal came; the state left behind is resumable.
    """
    from trustbase.search.trial import read_plan, set_bench

    named = [read_size(size) for size in sizes]
    _refuse(named, repeats)
    plan = read_plan(recipe, list(overrides), tokens)
    _refuse_recipe(plan)
    folder = Path(out) if out is not None else Path("runs") / f"{plan.name}-scaling"
    marks.require_text(str(folder), "the folder of the fit")
    own = [plan.recipe.train.seed, *(seeds.stream_seed(seed, "scaling", "repeat", number) % 2**31 for number in range(1, repeats))]
    plans = [[read_plan(recipe, [*overrides, *overrides_of(settings), f"train.seed={one}"], tokens) for one in own] for settings in named]
    with system_errors_told(), locked(folder):
        log = RunLog(folder / "log.jsonl", listeners=tuple(listeners))
        bench = set_bench(Stages(folder, log), plan, seed=seed)
        empty = _by_size(bench, named, [several[0] for several in plans])
        trained = [_train(bench, size, plans[named.index(dict(size.settings))]) for size in empty[:-1]]
        fitted, metric, target = [size for size, _ in trained], trained[0][1], empty[-1]
        budget = plan.recipe.train.tokens
        assert budget is not None  # read_plan has looked
        result = _fit(folder, fitted, target, metric, budget, bench.validation, seed)
        files.write_json(folder / "scaling.json", result.to_json())  # before it is known
        log.enter("scaling")
        log("note", text=f"predicted before training: {result.prediction.value:.4f} for {target.parameters:,} parameters")
        result = replace(result, target=_train(bench, target, plans[named.index(dict(target.settings))][:1])[0])
        files.write_json(folder / "scaling.json", result.to_json())
        log("scaling_done", predicted=result.prediction.value, reached=result.reached)
    return result


def read_size(size: Mapping[str, Any] | str) -> dict[str, str]:
    """A size as values by dotted key.

    Raises:
        UsageError: it cannot be read as one.
    """
    pairs = [text.partition("=")[::2] for text in size.split(",")] if isinstance(size, str) else [(k, str(v)) for k, v in size.items()]
    if not all(key.strip() and value.strip() for key, value in pairs):
        raise UsageError(f"size '{size}' cannot be read", hint="write layers=2,width=128,heads=2")
    return {key.strip() if "." in key else f"model.{key.strip()}": value.strip() for key, value in pairs}


def _refuse(sizes: Sequence[Mapping[str, str]], repeats: int) -> None:
    if len(sizes) < LEAST:
        raise UsageError(
            f"a scaling fit needs {LEAST} sizes or more, got {len(sizes)}: three to fit, the largest to predict", hint="add --size"
        )
    if repeats < 1:
        raise UsageError(f"repeats must be 1 or more, got {repeats}", hint="with 1 nothing is known of the noise, and there is no interval")
    odd = sorted({key for size in sizes for key in size if key in FIXED or key.partition(".")[0] not in ("model", "train")})
    if odd:
        raise UsageError(f"sizes cannot differ in {', '.join(odd)}: their losses would not compare", hint="name layers, width, heads")


def _refuse_recipe(plan: Plan) -> None:
    from trustbase.model.shape import objective_names
    from trustbase.recipe.schema import PretrainRecipe

    if not isinstance(plan.recipe, PretrainRecipe):
        raise UsageError(f"{plan.name} is a recipe for fine-tuning, whose base has its size", hint="name a recipe with stage: pretrain")
    if plan.recipe.model.base is not None:
        raise UsageError(
            f"{plan.name} goes on with '{plan.recipe.model.base}', which has its size", hint="name a recipe that builds a new model"
        )
    names = objective_names(plan.recipe.objective)
    if "replaced_token" in names or not set(names) & _PREDICTS:
        raise UsageError(
            f"objective {' + '.join(names)} has no cross-entropy of tokens, which the law is about",
            hint=f"fit with one of {', '.join(sorted(_PREDICTS))}",
        )


def _by_size(bench: Bench, named: Sequence[Mapping[str, str]], plans: Sequence[Plan]) -> list[Size]:
    """The sizes, untrained, the smallest first; each model is built once to count its parameters.

    Raises:
        UsageError: two are equally large.
    """
    assert bench.count is not None  # a recipe for pretraining has models to build
    found = [Size(settings, bench.count(plan), (), {}) for settings, plan in zip(named, plans, strict=True)]
    if len({size.parameters for size in found}) < len(found):
        shown = ", ".join(f"{size.said}: {size.parameters:,}" for size in found)
        raise UsageError(
            f"two sizes have the same number of parameters without embeddings ({shown})", hint="make each larger than the last"
        )
    return sorted(found, key=lambda size: size.parameters)


def _train(bench: Bench, size: Size, plans: Sequence[Plan]) -> tuple[Size, str]:
    """One size, once for each seed; with the name of the loss.

    Raises:
        TrainingError: it could not be trained.
    """
    outcomes = []
    for number, plan in enumerate(plans, start=1):
        outcome = bench.run(plan, f"{size.said}: training {number} of {len(plans)}")
        if outcome.score is None:
            raise TrainingError(
                f"size {size.said} could not be trained: {outcome.failed}",
                hint="a lower learning rate for this size often helps: add train.learning_rate=… to its --size",
            )
        outcomes.append(outcome)
    losses = tuple(outcome.score for outcome in outcomes if outcome.score is not None)
    return replace(size, losses=losses, facts=outcomes[0].facts), outcomes[0].metric


def _fit(folder: Path, fitted: Sequence[Size], target: Size, metric: str, tokens: int, validation: Mapping[str, int], seed: int) -> Scaling:
    """The law, and what it says of the largest size."""
    counts, losses = [size.parameters for size in fitted], [size.losses for size in fitted]
    noise = pooled_noise(losses)
    prediction = predict(counts, losses, target.parameters, deviation=noise.deviation, freedom=noise.freedom, seed=seed)
    law = fit_law(counts, [size.loss for size in fitted])
    return Scaling(folder, tuple(fitted), law, target, prediction, noise, metric, tokens, validation, seed)
