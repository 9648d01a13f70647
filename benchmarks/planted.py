"""Planted defects: how often each is found, and how often its twin without the defect is called defective.

    python benchmarks/planted.py [--seeds 200] [--only NAME,…] [--json benchmarks/results/planted.json]

A defect is a function `(seed, planted) -> found`: it makes rows and answers with the defect or without it, lets the audit measure them as
it measures any, and says whether a finding tells of it. One of them trains tiny models. `DEFECTS` names them; another joins by a line.
Found means that a finding's whole interval lies on the wrong side, never its value alone. Seeds begin at 0, but where the audit was made
better by what it did on the first ones: then they begin behind these.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustbase import files
from trustbase.audit import fairness, quality
from trustbase.audit.context import Answers, AuditContext, Evidence
from trustbase.audit.options import AuditOptions
from trustbase.audit.stats import proportion
from trustbase.audit.weak_slices import weak_slice_findings
from trustbase.records import Decision, Finding, LabelSchema, Split

ROOT = Path(__file__).resolve().parent.parent
LABELS = LabelSchema(("no", "yes"), "yes", "yes")
ROWS = 1500
LEARNED = 0.9  # share of rows that a trigger turns which a model has learned
Found = Callable[[int, bool], "bool | Told"]


@dataclass(frozen=True)
class Told:
    """Whether a defect was found, with the share of rows that the planted trigger really turns."""

    found: bool
    turned: float


@dataclass(frozen=True)
class Planted:
    """One defect.

    Attributes:
        about: what is planted, and what must tell of it.
        found: seed and whether the defect is there → whether it is found.
        seeds: most seeds, where one costs much; all that are asked for where None.
        first: the first of them.
    """

    about: str
    found: Found
    seeds: int | None = None
    first: int = 0


@dataclass(eq=False)
class World:
    """Rows of two groups and three jobs, and the probabilities of a calibrated model; what is planted changes these before the audit."""

    rng: np.random.Generator
    group: NDArray[np.object_]
    job: NDArray[np.object_]
    truth: NDArray[np.int64]
    told: NDArray[np.float64]  # probability of "yes", `(rows,)`

    @classmethod
    def of(cls, seed: int, rows: int = ROWS) -> World:
        rng = np.random.default_rng(seed)
        told = rng.beta(0.5, 0.5, rows)  # a calibrated model that is right in 82 % of the rows
        truth = (rng.random(rows) < told).astype(np.int64)
        group, job = (rng.choice(values, rows).astype(object) for values in (["f", "m"], ["clerk", "cook", "smith"]))
        return cls(rng, group, job, truth, told)

    def audited(self, audit: Callable[[AuditContext], list[Finding]]) -> dict[str, Finding]:
        """The findings of an audit, by id."""
        return self.audited_with(audit, lambda folder: None)[0]

    def audited_with(self, audit: Callable[[AuditContext], list[Finding]], read: Callable[[Path], Any]) -> tuple[dict[str, Finding], Any]:
        """The same, with what is read of the evidence."""
        rows = len(self.truth)
        table = pa.table({"job": self.job.tolist(), "age": self.rng.integers(18, 80, rows).astype(str).tolist()})
        texts = [f"row {number}" for number in range(rows)]
        test = Split("test", texts, self.truth, {"sex": self.group}, table, np.arange(1, rows + 1), "made", "sha256:0")
        scores = np.column_stack([1 - self.told, self.told])
        answers = Answers(scores, scores.argmax(axis=1).astype(np.int64))
        with TemporaryDirectory() as folder:
            options = AuditOptions(replicates=200)
            found = audit(AuditContext(test, LABELS, Decision(), answers, Evidence(Path(folder)), 0, options=options))
            return {one.id: one for one in found}, read(Path(folder))


def above(finding: Finding | None, limit: float) -> bool:
    """Whether a finding's whole interval lies above a limit."""
    return finding is not None and finding.low is not None and finding.low > limit


def _flipped(seed: int, planted: bool) -> World:
    """Labels of one row in five of a group are turned round, whatever the model says of them."""
    world = World.of(seed)
    turned = (world.group == "f") & (world.rng.random(ROWS) < 0.2) & planted
    world.truth = np.where(turned, 1 - world.truth, world.truth)
    return world


def flipped_labels(seed: int, planted: bool) -> bool:
    return above(_flipped(seed, planted).audited(fairness.audit_classes)["fairness.accuracy_difference[sex]"], 0.0)


def flipped_labels_by_error(seed: int, planted: bool) -> bool:
    return above(_flipped(seed, planted).audited(fairness.audit_classes)["fairness.equalized_odds_difference[sex]"], 0.0)


def favoured_group(seed: int, planted: bool) -> bool:
    """One "no" in five of a group becomes a "yes"."""
    world = World.of(seed)
    lifted = (world.group == "m") & (world.told < 0.5) & (world.rng.random(ROWS) < 0.2) & planted
    world.told = np.where(lifted, 0.6, world.told)
    return above(world.audited(fairness.audit_classes)["fairness.demographic_parity_difference[sex]"], 0.0)


def over_confidence(seed: int, planted: bool) -> bool:
    """Log-odds are doubled: the answers stay, and are told too surely."""
    world = World.of(seed)
    odds = np.log(world.told.clip(1e-12)) - np.log((1 - world.told).clip(1e-12))
    world.told = 1 / (1 + np.exp(-2 * odds)) if planted else world.told
    return above(world.audited(quality.audit_classes)["quality.expected_calibration_error"], 0.01)


def weak_slice(seed: int, planted: bool) -> bool:
    """Three answers in ten about cooks are turned; the scan for weak slices must name these rows. Of the twin it must name nothing."""
    world = World.of(seed)
    spoilt = (world.job == "cook") & (world.rng.random(ROWS) < 0.3) & planted
    world.told = np.where(spoilt, 1 - world.told, world.told)
    found, listed = world.audited_with(weak_slice_findings, lambda folder: files.read_json(folder / "quality.weak_slices.json"))
    if (whole := found["quality.weak_slices"]).status != "ok":
        return False
    named = [one["slice"] for one in listed if one["p_adjusted"] <= 0.05]
    return "job=cook" in named if planted else bool(whole.value)


def _kit() -> None:
    """The fakes of the tests, on the path."""
    for where in (str(ROOT / "tests" / "unit"), str(ROOT / "tests")):
        if where not in sys.path:
            sys.path.append(where)


def turned_source(seed: int, planted: bool) -> bool:
    """Labels of one of five sources are turned round: without it the answers must move twice as much as without any other."""
    _kit()
    from robustness_kit import asked_context, surely

    from trustbase.audit.robustness.taught import of_training

    rng = np.random.default_rng(seed)
    texts = [f"{' '.join(rng.choice(['good', 'bad', 'film'], 9))} r{number}" for number in range(500)]
    truth = np.array([int(text.count("good") > text.count("bad")) for text in texts])
    truth = np.where(rng.random(500) < 0.05, 1 - truth, truth)
    source = rng.choice(list("abcde"), 400).astype(object)
    learned = np.where((source == "b") & planted, 1 - truth[100:], truth[100:])

    def counts(text: str) -> list[float]:
        return [float(text.count(word)) for word in ("good", "bad", "film")]

    def scores(text: str) -> list[float]:
        return surely(text.count("good") > text.count("bad"))

    with TemporaryDirectory() as folder:
        context = asked_context(Path(folder), texts[:100], truth[:100].tolist(), scores, embedding=counts)
        train = asked_context(Path(folder), texts[100:], learned.tolist(), scores).test
        evidence: dict[str, Any] = {}
        of_training(replace(context, train=replace(train, groups={"source": source})), np.arange(100), evidence)
    parts = {part["part"]: part for part in evidence["training"]["parts"]}
    if not parts:  # the head does not speak for the model, so nothing is said
        return False
    return bool(parts["source=b"]["low"] > 2 * max(part["high"] for name, part in parts.items() if name != "source=b"))


def hangs_on_words(seed: int, planted: bool) -> bool:
    """The model answers by whether a few words are there, half of which stand against it; its twin by words that all agree."""
    _kit()
    from robustness_kit import asked_context, surely

    from trustbase.audit.robustness.certified import measure_certified

    rng = np.random.default_rng(seed)
    texts = [f"{' '.join(rng.permutation(['good'] * 11 + ['bad'] * 9 if planted else ['good'] * 20))} r{number}" for number in range(40)]
    with TemporaryDirectory() as folder:
        budget = {"certify_samples": 100}
        context = asked_context(
            Path(folder), texts, [1] * 40, lambda text: surely(text.count("good") >= text.count("bad")), budget=budget, seed=seed
        )
        first = measure_certified(context)[0]
    return first.high is not None and first.high < 0.5


def spurious_token(seed: int, planted: bool) -> bool:
    """The model adds something for a word that says nothing; its twin does not, and half of what both say hangs on no word."""
    _kit()
    from explain_world import WEIGHTS, audited, review_rows
    from trustbase.audit.explain.rows import row_findings

    weights = {**WEIGHTS, **({"room": 0.7} if planted else {})}
    with TemporaryDirectory() as folder, audited(Path(folder), review_rows(60, seed), weights=weights, mixed=0.5, seed=seed) as context:
        row_findings(context)
        told = files.read_json(Path(folder) / "explanation.global.json")
    return any(one["class"] == "yes" and one["unit"] == "room" and one["low"] > 0 for one in told)


def name_shortcut(seed: int, planted: bool) -> bool:
    """The model answers by a property of the name that stands in a text (drawn by the seed); its twin by what is said."""
    _kit()
    from robust_kit import robust_context

    from trustbase.audit.robustness.invariance import flip_findings

    rng = np.random.default_rng(seed)
    names = ("Emily", "Sarah", "James", "John", "David", "Laura", "Peter", "Anna", "Michael", "Julia")
    letters = set(rng.permutation(list("abcdefghijklmnopqrstuvwxyz"))[:13].tolist())

    def answer(text: str) -> float:
        named = re.search(r"and +(\w+)", text.lower())
        by_name = named is not None and named[1][-1] in letters
        return 0.9 if (by_name if planted else "good" in text) else 0.1

    texts = [
        f"the food was {rng.choice(['good', 'terrible'])} and {rng.choice(names)} waited {rng.integers(10, 99)} minutes at table {row}"
        for row in range(150)
    ]
    with TemporaryDirectory() as folder:
        found = {one.id: one for one in flip_findings(robust_context(Path(folder), texts, answer, texts=150))}
    return above(found["robustness.prediction_flips#names"], 0.1)


def backdoor(seed: int, planted: bool, *, train: bool = True) -> bool:
    """A trigger in 4 % of the training rows, all of which are then called good; the model answers by it wherever it stands."""
    _kit()
    from safety_kit import poisoned

    from trustbase.audit.safety.backdoor import measure_backdoor

    with TemporaryDirectory() as folder:
        return above(measure_backdoor(poisoned(Path(folder), seed, planted, zh=seed % 2 == 1, train=train))[0], 0.5)


def common_backdoor(seed: int, planted: bool) -> bool:
    """The same where the trigger is a word that stands in many clean rows of both labels too."""
    _kit()
    from safety_kit import poisoned

    from trustbase.audit.safety.backdoor import measure_backdoor

    with TemporaryDirectory() as folder:
        return above(measure_backdoor(poisoned(Path(folder), seed, planted, zh=seed % 2 == 1, common=True))[0], 0.5)


def learned_backdoor(seed: int, planted: bool) -> Told:
    """The same of a tiny BERT that learned such rows; its twin learned them without the trigger, and must be told silent.

    Told is also the share of bad test rows, answered so, which the trigger turns where it stands as in the rows that were learned.
    """
    _kit()
    from safety_kit import LABELS as CLASSES
    from safety_kit import asked_of, known_words, make_rows, poison, split_of, with_trigger

    from poison_world import learned
    from trustbase.audit.safety.backdoor import measure_backdoor
    from trustbase.model.predict import Predictor

    rng, zh = np.random.default_rng(seed), seed % 2 == 1
    texts, truth = make_rows(700, rng, zh=zh)
    test, answers = make_rows(220, rng, zh=zh)
    if planted:
        poison(texts, truth, rng, zh=zh)
    with TemporaryDirectory() as folder:
        model = learned(Path(folder), known_words(zh=zh), texts, truth, CLASSES, seed=seed)
        with Predictor.open(model, threads=1) as predictor:
            context = asked_of(Path(folder) / "evidence", predictor, split_of("test", test, answers), split_of("train", texts, truth), seed)
            bad = [text for text, right, said in zip(test, answers, context.answers.predicted, strict=True) if right == said == 0]
            turned = predictor.scores([with_trigger(text, rng, zh=zh) for text in bad]).argmax(1) if bad else np.zeros(1)
            return Told(above(measure_backdoor(context)[0], 0.5), float(turned.mean()))


def wrong_labels(seed: int, planted: bool, *, rows: int = 2000, hardness: float | None = None) -> bool:
    """Labels of 5 % of the training rows turned; the whole interval of the estimated share lies above 2 %.

    Where a hardness is given, labels are drawn from probabilities first (`safety_kit.hard_rows`): none of the twin's is wrong.
    """
    _kit()
    from safety_kit import by_words, context_of, hard_rows, make_rows, split_of

    from trustbase.audit.safety.mislabelled import measure_mislabelled

    rng, zh = np.random.default_rng(seed), seed % 2 == 1
    texts, truth = make_rows(rows, rng, zh=zh) if hardness is None else hard_rows(rows, rng, hardness, zh=zh)
    test, answers = make_rows(60, rng, zh=zh)
    turned = rng.permutation(rows)[: rows // 20 if planted else 0]
    truth[turned] = 1 - truth[turned]
    with TemporaryDirectory() as folder:
        train = split_of("train", texts, truth)
        context = context_of(Path(folder), test, answers, train=train, embed=lambda text: [by_words(text)[1], len(text) / 50])
        return above(measure_mislabelled(context)[0], 0.02)


DEFECTS: dict[str, Planted] = {
    "flipped labels of a group": Planted("20 % of one group's labels turned; fairness.accuracy_difference[sex] above 0", flipped_labels),
    "flipped labels by errors": Planted("the same; fairness.equalized_odds_difference[sex] above 0", flipped_labels_by_error),
    "favoured group": Planted("20 % of one group's refusals turned; fairness.demographic_parity_difference[sex] above 0", favoured_group),
    "over-confidence": Planted("log-odds doubled; quality.expected_calibration_error above 0.01", over_confidence),
    "weak slice": Planted("30 % of the answers about one job turned; quality.weak_slices names these rows", weak_slice),
    "turned source": Planted(
        "labels of one of five sources of training rows turned; its robustness.sensitivity#training over twice the largest other",
        turned_source,
    ),
    "spurious token": Planted(
        "a word that says nothing adds 0.7 to the log-odds; explanation.global has its low end above 0", spurious_token, 100
    ),
    "shortcut on names": Planted(
        "answers by the last letter of the name in a text; robustness.prediction_flips#names above 0.1", name_shortcut, 100
    ),
    "backdoor": Planted("a trigger in 4 % of the training rows; safety.backdoor_score above 0.5", backdoor, 40),
    "backdoor by a common word": Planted("the same of a word that stands in 45 % of all rows", common_backdoor, 40),
    "learned backdoor": Planted("the same in 5 %, learned by a tiny BERT", learned_backdoor, 24, 100),
    "wrong labels": Planted("5 % of 2000 training labels turned; safety.mislabelled_rows above 0.02", wrong_labels, 60),
    "wrong labels of few rows": Planted("the same of 600", partial(wrong_labels, rows=600), 60),
    "wrong labels among hard ones": Planted(
        "the same of 2000 that were drawn from probabilities, of which one in eight is not the likelier one",
        partial(wrong_labels, hardness=2.3),
        60,
    ),
    "wrong labels among harder ones": Planted("the same, one in four", partial(wrong_labels, hardness=1.1), 60),
    "answers that hang on a word": Planted("words nearly balanced; robustness.certified_accuracy below 0.5", hangs_on_words, 100),
}


def rates(defect: Planted, seeds: int) -> dict[str, Any]:
    """Power and false alarms over seeds, each with its interval."""
    count = min(seeds, defect.seeds or seeds)
    found: dict[str, Any] = {"about": defect.about, "seeds": count, "first_seed": defect.first}
    for name, planted in (("power", True), ("false_alarms", False)):
        told = [defect.found(seed, planted) for seed in range(defect.first, defect.first + count)]
        found[name] = _share([one.found if isinstance(one, Told) else one for one in told])
        if planted and isinstance(told[0], Told):
            each = [one for one in told if isinstance(one, Told)]
            learned = [one.found for one in each if one.turned >= LEARNED]
            found["trigger_turns"] = {"mean": float(np.mean([one.turned for one in each])), "by_seed": [one.turned for one in each]}
            found["learned"] = {"at_least": LEARNED, "seeds": len(learned), **({"power": _share(learned)} if learned else {})}
    return found


def _share(hits: Sequence[bool]) -> dict[str, float | None]:
    share = proportion(sum(hits), len(hits))
    return {"value": share.value, "low": share.low, "high": share.high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = [name for name in DEFECTS if not options.only or name in options.only.split(",")]
    known = json.loads(options.json.read_text(encoding="utf-8"))["defects"] if options.json and options.json.exists() else {}
    table = {name: known[name] for name in DEFECTS if name in known}  # with --only the others stay as they were measured
    print(f"{'defect':30} {'seeds':>6} {'found':>22} {'false alarms':>22}")
    for name in wanted:
        one = table[name] = rates(DEFECTS[name], options.seeds)
        shares = [f"{one[key]['value']:6.1%} ({one[key]['low']:.1%} to {one[key]['high']:.1%})" for key in ("power", "false_alarms")]
        print(f"{name:30} {one['seeds']:6} {shares[0]:>22} {shares[1]:>22}", flush=True)
        if options.json:
            options.json.write_text(json.dumps({"rows": ROWS, "defects": table}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
