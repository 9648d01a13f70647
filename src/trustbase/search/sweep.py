"""A small seeded sweep: short trainings of one recipe under different settings, and how sure the best of them is the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from trustbase import files, seeds
from trustbase.errors import TrainingError, UsageError, system_errors_told
from trustbase.events import Listener, RunLog
from trustbase.recipe import marks
from trustbase.search.compare import Difference, Noise, paired_difference, pooled_noise
from trustbase.search.grid import Grid, make_grid, overrides_of, refuse_incomparable
from trustbase.stages import Stages, locked

if TYPE_CHECKING:
    from trustbase.recipe.read import Plan
    from trustbase.search.trial import Bench

SCHEMA = "trustbase/sweep/1"
FINALISTS = 2
NARROW = "what is best in so short a training need not be best in a long one: the longer the trials, the surer the choice"


@dataclass(frozen=True)
class Trial:
    """One combination of settings.

    Attributes:
        settings: values by dotted key.
        score: its loss with the seed that all combinations were trained with; None where training failed.
        failed: why, where it did.
        repeats: losses with other seeds, of the finalists; None for a training that failed.
        facts: of the first training.
    """

    settings: Mapping[str, str]
    score: float | None
    failed: str
    facts: Mapping[str, Any]
    repeats: tuple[float | None, ...] = ()

    @property
    def mean(self) -> float | None:
        """Over the repeats alone: the first score chose the finalists, and what chooses flatters."""
        whole = [score for score in self.repeats if score is not None]
        return fmean(whole) if whole else None

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "settings": dict(self.settings),
            "overrides": overrides_of(self.settings),
            "score": self.score,
            "failed": self.failed,
            "repeats": list(self.repeats),
            "mean_of_repeats": self.mean,
            "facts": dict(self.facts),
        }


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        folder: where `sweep.json` and what can be taken over lie.
        grid: combinations, tried ones among them.
        trials: by loss, the best first; those that failed last.
        metric: what the scores are; lower is better.
        tokens: of one trial.
        validation: how much text scored them.
        difference: the runner-up minus the best, over fresh seeds; None where only one combination could be trained.
        noise: from seed to seed.
        edges: keys whose best value is the least or largest that was tried.
        seed: of everything that was chosen.
    """

    folder: Path
    grid: Grid
    trials: tuple[Trial, ...]
    metric: str
    tokens: int
    validation: Mapping[str, int]
    difference: Difference | None
    noise: Noise
    edges: tuple[str, ...]
    seed: int
    said: str = field(default="")

    @property
    def best(self) -> Trial:
        """The finalist with the lower mean over fresh seeds."""
        return self.trials[0]

    @property
    def overrides(self) -> list[str]:
        """The best settings, as they are written behind `trustbase run`."""
        return overrides_of(self.best.settings)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "schema": SCHEMA,
            "metric": self.metric,
            "direction": "lower",
            "tokens": self.tokens,
            "seed": self.seed,
            "validation": dict(self.validation),
            "over": {key: list(values) for key, values in self.grid.over.items()},
            "combinations": self.grid.combinations,
            "tried": len(self.grid.chosen),
            "trials": [trial.to_json() for trial in self.trials],
            "best": self.overrides,
            "difference": self.difference.to_json() if self.difference else None,
            "noise": {"deviation": self.noise.deviation, "degrees_of_freedom": self.noise.freedom, "band": self.noise.band()},
            "edges": list(self.edges),
            "said": self.said,
            "limits": NARROW,
        }


def sweep(
    recipe: str | Path | Mapping[str, Any],
    over: Mapping[str, Sequence[Any]],
    overrides: Sequence[str] = (),
    *,
    trials: int = 12,
    tokens: int | str,
    repeats: int = 3,
    out: str | Path | None = None,
    seed: int = 0,
    listeners: Sequence[Listener] = (),
) -> Sweep:
    """Train a recipe for a short time under different settings, and say which were best, and how surely.

    Every combination is trained once with the recipe's own seed; the best two are trained anew with other seeds, which alone decide
    between them. Scores are losses on validation text, never on what the audit will look at. The same call again goes on where the
    last one stopped; what a finished trial gave is remembered.

    Args:
        recipe: path of a recipe, for pretraining or fine-tuning, or the recipe as a mapping.
        over: values by dotted key, such as `{"train.learning_rate": [3e-4, 1e-3]}`.
        overrides: `key=value` texts that change the recipe for all trials.
        trials: most combinations; of more a seeded choice is tried.
        tokens: that each trial reads, padding included.
        repeats: seeds for each of the best two, besides the first one; two at least.
        out: folder; `runs/NAME-sweep` by default.
        seed: of the choice of combinations, of the validation part, and of the repeats.
        listeners: called with every event, progress included.

    Raises:
        RecipeError, DataError: the recipe, one of the combinations or the data are wrong; every problem is named.
        UsageError: keys whose values give scores that do not compare.
        TrainingError: no combination could be trained.
        Interrupted: a signal came; the state left behind is resumable.
    """
    from trustbase.search.trial import read_plan, set_bench

    if repeats < 2:
        raise UsageError(f"repeats must be 2 or more, or nothing is known of the noise; got {repeats}", hint="the usual 3 are few already")
    plan = read_plan(recipe, list(overrides), tokens)
    refuse_incomparable([key.strip() for key in over], plan.recipe)
    grid = make_grid(over, trials=trials, seed=seed)
    plans = [read_plan(recipe, [*overrides, *overrides_of(settings)], tokens) for settings in grid.chosen]
    folder = Path(out) if out is not None else Path("runs") / f"{plan.name}-sweep"
    marks.require_text(str(folder), "the folder of the sweep")
    with system_errors_told(), locked(folder):
        log = RunLog(folder / "log.jsonl", listeners=tuple(listeners))
        bench = set_bench(Stages(folder, log), plan, seed=seed)
        found, metric = _try_all(bench, grid, plans)

        def again(settings: Mapping[str, Any], own: int) -> Plan:
            return read_plan(recipe, [*overrides, *overrides_of(settings), f"train.seed={own}"], tokens)

        finalists = [_repeated(bench, trial, again, repeats, seed) for trial in found[:FINALISTS] if trial.score is not None]
        result = _judge(folder, grid, finalists, found[len(finalists) :], metric, plan, bench.validation, seed)
        files.write_json(folder / "sweep.json", result.to_json())
        log.enter("sweep")
        log("sweep_done", best=result.overrides)
    return result


def _repeated(bench: Bench, trial: Trial, again: Callable[[Mapping[str, Any], int], Plan], repeats: int, seed: int) -> Trial:
    """A finalist with its scores under other seeds."""
    fresh = [seeds.stream_seed(seed, "sweep", "repeat", number) % 2**31 for number in range(repeats)]
    outcomes = [bench.run(again(trial.settings, own), f"once more with seed {own}: {_told(trial.settings)}") for own in fresh]
    return replace(trial, repeats=tuple(outcome.score for outcome in outcomes))


def _try_all(bench: Bench, grid: Grid, plans: Sequence[Plan]) -> tuple[list[Trial], str]:
    """Every combination once, the best first.

    Raises:
        TrainingError: none could be trained.
    """
    found, metric = [], ""
    for number, (settings, plan) in enumerate(zip(grid.chosen, plans, strict=True), start=1):
        outcome = bench.run(plan, f"trial {number} of {len(plans)}: {_told(settings)}")
        found.append(Trial(settings, outcome.score, outcome.failed, outcome.facts))
        metric = outcome.metric or metric
    found.sort(key=lambda trial: (trial.score is None, trial.score))
    if found[0].score is None:
        reasons = "; ".join(dict.fromkeys(trial.failed for trial in found))
        raise TrainingError(f"not one of {len(found)} combinations could be trained: {reasons}", hint="lower learning rates often can")
    return found, metric


def _judge(
    folder: Path,
    grid: Grid,
    finalists: list[Trial],
    others: list[Trial],
    metric: str,
    plan: Plan,
    validation: Mapping[str, int],
    seed: int,
) -> Sweep:
    """Put the better finalist first, with what is known of the difference."""
    tokens = plan.recipe.train.tokens
    assert tokens is not None  # read_plan has looked

    def place(trial: Trial) -> tuple[bool, float]:
        return None in trial.repeats, trial.mean if trial.mean is not None else float("inf")

    finalists = sorted(finalists, key=place)
    difference = None
    if len(finalists) == FINALISTS:
        pairs = [pair for pair in zip(finalists[0].repeats, finalists[1].repeats, strict=True) if None not in pair]
        first, second = ([float(pair[side] or 0.0) for pair in pairs] for side in (0, 1))
        difference = paired_difference(first, second) if pairs else None
    noise = pooled_noise([[score for score in trial.repeats if score is not None] for trial in finalists])
    result = Sweep(folder, grid, (*finalists, *others), metric, tokens, validation, difference, noise, _edges(grid, finalists[0]), seed)
    return replace(result, said=_verdict(result))


def _edges(grid: Grid, best: Trial) -> tuple[str, ...]:
    """Keys of three numbers or more whose best value lies at the end of what was tried, so that a better one may lie beyond."""
    found = []
    for key in grid.over:
        values = sorted(number for number in (_number(settings[key]) for settings in grid.chosen) if number is not None)
        own = _number(best.settings[key])
        if own is not None and len(set(values)) > 2 and own in {values[0], values[-1]}:
            found.append(key)
    return tuple(found)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _verdict(result: Sweep) -> str:
    """What may be said of the best settings, in one sentence."""
    best = result.best
    if best.mean is None:
        return "the best settings failed with every other seed: they stand at the edge of what can be trained"
    unstable = sum(score is None for score in best.repeats)
    tail = f"; {unstable} of its {len(best.repeats)} repeats failed" if unstable else ""
    if result.difference is None or result.difference.beyond_noise is None:
        return f"how far it is from the next cannot be told from noise here{tail}"
    apart = result.difference
    between = f"{apart.value:.4f} [{apart.low:.4f}, {apart.high:.4f}] over {apart.pairs} seeds"
    if apart.beyond_noise:
        return f"better than the next beyond the noise of seeds: by {between}{tail}"
    return f"NOT better than the next beyond the noise of seeds: by {between}; take whichever is cheaper{tail}"


def _told(settings: Mapping[str, str]) -> str:
    return " ".join(overrides_of(settings))
