"""Do the intervals cover what they claim? Simulation on known truth.

    python benchmarks/coverage.py [--draws 1000] [--json FILE]

Each row is one case: data of a known truth are drawn many times, a 95 % interval is made from each draw, and the share that holds the
truth is printed with the mean width. For largest gaps and smallest ratios the width of the plain percentile bootstrap and its coverage
stand beside. `tests/unit/test_stats_coverage.py` runs the same functions on fewer cases.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import stats as scipy_stats

from trustbase.audit import contrasts, counts, ranks, reliability, stats
from trustbase.audit.contrasts import Rates
from trustbase.audit.guard import LEAST_ALARMS, LEAST_ROWS
from trustbase.audit.quality_scores import brier_scores, log_losses, macro_auroc, mean_loss

Z = stats.normal_quantile(0.95)


@dataclass(frozen=True)
class Row:
    """Coverage of one interval in one case."""

    interval: str
    case: str
    coverage: float
    width: float
    naive_coverage: float | None = None
    naive_width: float | None = None
    valid: bool = True  # False where the audit says `insufficient` for most such data


def covered(low, high, truth):
    return float(((low <= truth) & (truth <= high)).mean())


def proportions(draws, rng, sizes=(30, 50, 100, 300, 1000), rates=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5)):
    """At a fixed rate the coverage of any interval jumps with n and p, as counts are whole; so also over rates near it (±20 %)."""
    for n in sizes:
        for p in rates:
            low, high = stats.wilson_bounds(rng.binomial(n, p, draws), n, Z)
            yield Row("proportion", f"n={n} p={p}", covered(low, high, p), float((high - low).mean()))
            near = rng.uniform(0.8 * p, min(1.2 * p, 0.5 + 0.2 * p), draws)
            low, high = stats.wilson_bounds(rng.binomial(n, near), n, Z)
            yield Row("proportion, rates near p", f"n={n} p={p}", covered(low, high, near), float((high - low).mean()))


def paired(draws, rng, sizes=(30, 100, 1000, 10000), cases=((0.1, 0.1), (0.1, 0.05), (0.2, 0.02), (0.3, 0.3), (0.03, 0.02))):
    """Difference of two accuracies on the same rows; `p` are the shares where only one of them is right."""
    for n in sizes:
        for won, lost in cases:
            c = rng.multinomial(n, [won, lost, 1 - won - lost], draws)
            low, high = stats.tango_bounds(c[:, 0], c[:, 1], np.full(draws, n), Z)
            yield Row("paired difference", f"n={n} p={won},{lost}", covered(low, high, won - lost), float((high - low).mean()))


def rates_of_groups(groups, base, gap, shape):
    """True rates: all equal but one ("one"), or spread evenly ("even")."""
    if shape == "one":
        return np.array([base] * (groups - 1) + [base + gap])
    return np.linspace(base, base + gap, groups)


GAPS = {
    "largest gap": (lambda a, b: contrasts.gap_bounds(a), lambda p: np.ptp(p, axis=-1), lambda p, q: np.ptp(p)),
    "smallest ratio": (lambda a, b: contrasts.ratio_bounds(a), lambda p: p.min(-1) / p.max(-1), lambda p, q: p.min() / p.max()),
    "worst of two gaps": (lambda a, b: contrasts.worst_gap_bounds([a, b]), None, lambda p, q: max(np.ptp(p), np.ptp(q))),
    "mean of two gaps": (lambda a, b: contrasts.mean_gap_bounds(a, b), None, lambda p, q: (np.ptp(p) + np.ptp(q)) / 2),
}


def gaps(draws, rng, groups=(2, 5, 10), sizes=(30, 100, 1000, "mixed"), rates=(0.02, 0.1, 0.5), steps=(0.0, 0.05, 0.2), naive_draws=200):
    """Largest gaps and smallest ratios over groups; a gap of zero lies on the edge."""
    for k in groups:
        for size in sizes:
            n = np.array([30, 3000, 300, 100, 1000] * 2)[:k] if size == "mixed" else np.full(k, size)
            for base in rates:
                for gap in steps:
                    for shape in ("one", "even") if gap and k > 2 else ("one",):
                        yield from _gap_case(
                            draws, rng, n, rates_of_groups(k, base, gap, shape), f"groups={k} n={size} p={base}+{gap} {shape}", naive_draws
                        )


def _gap_case(draws, rng, n, p, case, naive_draws):
    q = p[::-1]
    sizes = np.broadcast_to(n, (draws, n.size))
    a, b = Rates.of(rng.binomial(n, p, (draws, n.size)), sizes), Rates.of(rng.binomial(n, q, (draws, n.size)), sizes)
    for name, (bounds, statistic, truth) in GAPS.items():
        made, true = bounds(a, b), truth(p, q)
        known = np.isfinite(made.value)
        row = Row(name, case, covered(made.low[known], made.high[known], true), float((made.high - made.low)[known].mean()))
        if statistic is not None and naive_draws:
            row = Row(*list(asdict(row).values())[:4], *_naive(a, statistic, true, rng, naive_draws))
        yield row


def _naive(rates, statistic, true, rng, naive_draws, replicates=200):
    """Coverage and width of the percentile bootstrap of the same statistic."""
    hits, widths = [], []
    for p, n in zip(rates.rate[:naive_draws], rates.n[:naive_draws], strict=True):
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = statistic(rng.binomial(n.astype(int), p, (replicates, n.size)) / n)
        drawn = drawn[np.isfinite(drawn)]
        if drawn.size:
            low, high = np.quantile(drawn, [0.025, 0.975])
            hits.append(low <= true <= high)
            widths.append(high - low)
    return float(np.mean(hits)), float(np.mean(widths))


def confusion(base, accuracy):
    """Cell probabilities: a class of share `base[i]` is right with `accuracy[i]`, its errors spread over the others."""
    base, accuracy = np.asarray(base, float), np.asarray(accuracy, float)
    cells = np.repeat((base * (1 - accuracy) / (base.size - 1))[:, None], base.size, axis=1)
    np.fill_diagonal(cells, base * accuracy)
    return cells


F1_CASES = {
    "2 classes, base 0.02": confusion([0.98, 0.02], [0.95, 0.7]),
    "2 classes, base 0.1": confusion([0.9, 0.1], [0.95, 0.7]),
    "2 classes, base 0.5": confusion([0.5, 0.5], [0.95, 0.8]),
    "10 equal classes": confusion([0.1] * 10, np.linspace(0.5, 0.98, 10)),
    "10 uneven classes": confusion([0.02] * 5 + [0.1] * 4 + [0.5], np.linspace(0.5, 0.98, 10)),
}


def f1(draws, rng, sizes=(30, 100, 300, 1000, 5000), cases=tuple(F1_CASES)):
    for n in sizes:
        for name in cases:
            cells = F1_CASES[name]
            if n < 10 * cells.shape[0]:
                continue
            drawn = rng.multinomial(n, cells.ravel(), draws).reshape(draws, *cells.shape).astype(float)
            bounds, truth = counts.f1_bounds(drawn, Z), counts.f1_scores(cells)
            rare = int(cells.sum(1).argmin())
            low, _, high = bounds.f1
            for label, lower, upper, true in (
                ("macro F1", bounds.macro[0], bounds.macro[2], truth["macro_f1"]),
                ("weighted F1", bounds.weighted[0], bounds.weighted[2], truth["weighted_f1"]),
                ("F1 of the rarest class", low[:, rare], high[:, rare], truth["f1"][rare]),
            ):
                yield Row(label, f"{name} n={n}", covered(lower, upper, true), float((upper - lower).mean()), valid=label_rows(n, cells))


def label_rows(n, cells):
    """Whether the rarest class can be expected to have the rows from which the audit reports a number."""
    return bool(n * cells.sum(1).min() >= 1.5 * LEAST_ROWS)


def _loop(name, case, truth, draws, interval, valid=True):
    made = [interval() for _ in range(draws)]
    low, high = np.array([i.low for i in made]), np.array([i.high for i in made])
    return Row(name, case, covered(low, high, truth), float((high - low).mean()), valid=valid)


@cache
def _population(shift, base, rows=1_000_000):
    """True average precision of normal scores, from a million rows."""
    rng = np.random.default_rng(1)
    n1 = round(rows * base)
    truth = np.arange(rows) < n1
    scores = rng.normal(0, 1, rows) + shift * truth
    return ranks.auprc(truth, scores).value


def ranking(
    draws,
    rng,
    cases=((60, 0.5), (100, 0.3), (300, 0.1), (1000, 0.03), (1500, 0.02), (1000, 0.3)),
    shifts=(0.7, 1.8, 2.7),
    slow_share=0.3,
    metrics=("area", "precision", "ks", "recall"),
):
    """Normal scores of two classes; base rates are fixed by the sample, as a test set's are."""
    for n, base in cases:
        truth = np.arange(n) < round(n * base)
        for shift in shifts:
            case = f"n={n} positives={truth.sum()} shift={shift}"

            def draw(shift=shift, truth=truth):
                return rng.normal(0, 1, truth.size) + shift * truth

            area = float(scipy_stats.norm.cdf(shift / np.sqrt(2)))
            if "area" in metrics:
                yield _loop("AUROC", case, area, draws, lambda d=draw, t=truth: ranks.auroc(t, d()))
            if "precision" in metrics:
                yield _loop("average precision", case, _population(shift, base), draws, lambda d=draw, t=truth: ranks.auprc(t, d()))
            slow = max(int(draws * slow_share), 1)
            distance = float(2 * scipy_stats.norm.cdf(shift / 2) - 1)
            if "ks" in metrics:
                yield _loop("KS", case, distance, slow, lambda d=draw, t=truth: ranks.ks(t, d(), rng=rng))
            for rate in (0.01, 0.05):
                if "recall" in metrics and rate * (n - truth.sum()) >= 2:
                    recall = float(scipy_stats.norm.sf(scipy_stats.norm.isf(rate) - shift))
                    yield _loop(
                        f"recall at {rate:.0%} FPR",
                        case,
                        recall,
                        slow,
                        lambda d=draw, t=truth, r=rate: ranks.recall_at_fpr(t, d(), r, rng=rng, replicates=200),
                        valid=bool(rate * (n - truth.sum()) >= LEAST_ALARMS),
                    )


MISCALIBRATION = {
    "calibrated": lambda s: s,
    "3 points over": lambda s: s - 0.03,
    "10 points over": lambda s: s - 0.1,
    "slope 0.7": lambda s: 0.5 + (s - 0.5) * 0.7,
    "wavy": lambda s: np.clip(s + 0.1 * np.sin(20 * s), 0, 1),
    "top bin only": lambda s: np.where(s > 0.95, s - 0.05, s),
}


def calibration(draws, rng, sizes=(100, 300, 1000, 5000), patterns=tuple(MISCALIBRATION), bins=15):
    def scores(rows):
        return 0.5 + 0.5 * rng.beta(3, 1.2, rows)

    for name in patterns:
        chance = MISCALIBRATION[name]
        many = scores(1_000_000)
        gap = np.bincount(np.minimum((many * bins).astype(int), bins - 1), chance(many) - many, bins)
        truth = float(np.abs(gap).sum() / many.size)
        for n in sizes:

            def interval(n=n, chance=chance):
                sure = scores(n)
                return reliability.expected_calibration_error(sure, rng.random(n) < chance(sure), bins=bins, rng=rng)

            yield _loop("calibration error", f"{name} n={n} truth={truth:.3f}", truth, draws, interval)


def losses(draws, rng, sizes=(100, 300, 1000, 5000), bases=(0.02, 0.1, 0.5)):
    """Log-loss and Brier score of a calibrated model; with under ten rows of a label no interval of a mean can know its tail.

    Draws in which a label has fewer rows than that are left out, as the audit gives no number for them.
    """
    for base in bases:
        logit = rng.normal(0, 1.5, 1_000_000) + np.log(base / (1 - base)) - 0.5
        p = 1 / (1 + np.exp(-logit))
        y = (rng.random(p.size) < p).astype(np.int64)
        scores = np.stack([1 - p, p], 1)
        truths = {"log-loss": float(-(p * np.log(p) + (1 - p) * np.log1p(-p)).mean()), "Brier score": float((p * (1 - p)).mean())}
        for n in sizes:
            if n * p.mean() < 1.5 * LEAST_ROWS:
                continue
            for name, of in (("log-loss", log_losses), ("Brier score", brier_scores)):

                def interval(n=n, of=of, y=y, scores=scores):
                    while True:
                        drawn = rng.integers(0, y.size, n)
                        if LEAST_ROWS <= y[drawn].sum() <= n - LEAST_ROWS:
                            return mean_loss(of, scores[drawn], y[drawn])

                yield _loop(name, f"n={n} base={base}", truths[name], draws, interval)


def costs(draws, rng, sizes=(30, 100, 300, 1000), cases=((0.1, 0.1), (0.02, 0.1), (0.1, 0.02), (0.005, 0.05)), prices=((5, 1), (1, 1))):
    """Expected cost: shares of false negatives and false positives of all rows, each with its price."""
    for n in sizes:
        for missed, alarms in cases:
            counts_ = rng.multinomial(n, [missed, alarms, 1 - missed - alarms], draws)[:, :2].astype(float)
            for price in prices:
                each = np.array(price, float)
                low, _, high = stats.cost_bounds(counts_, each, n, Z)
                truth = float(np.array([missed, alarms]) @ each)
                case = f"n={n} shares={missed},{alarms} costs={price[0]},{price[1]}"
                yield Row("expected cost", case, covered(low, high, truth), float((high - low).mean()))


def calibration_gaps(draws, rng, sizes=(30, 100, 300, 1000), shapes=((2, 2), (1, 9), (0.3, 0.3), (0.1, 5)), shifts=(0.0, 0.05)):
    """Mean score less share of one group, for scores of several shapes, calibrated or too high."""
    for n in sizes:
        for shape in shapes:
            for shift in shifts:

                def interval(n=n, shape=shape, shift=shift):
                    chance = rng.beta(*shape, n)
                    score = chance + shift * (1 - chance)
                    return stats.bounded_mean(score - (rng.random(n) < chance), score.min() - 1, score.max())

                truth = shift * (1 - shape[0] / sum(shape))
                yield _loop("calibration gap", f"n={n} scores=Beta{shape} shift={shift}", truth, draws, interval)


def macro_areas(draws, rng, cases=((3, (100, 60, 40)), (3, (1000, 100, 10)), (10, (30,) * 10), (10, (10,) * 10)), shifts=(0.7, 1.8, 3.0)):
    """Macro AUROC; each label's scores are shifted by as much, so the truth hardly depends on the classes' sizes for one label only."""
    for classes, sizes in cases:
        truth = np.repeat(np.arange(classes), sizes)
        for shift in shifts:
            # one label against the rest: its score has mean `shift` there and 0 elsewhere, whatever the mix of the rest
            area = float(scipy_stats.norm.cdf(shift / np.sqrt(2)))
            eye = shift * np.eye(classes)[truth]
            yield _loop(
                "macro AUROC",
                f"{classes} labels of {min(sizes)}-{max(sizes)} rows shift={shift}",
                area,
                draws,
                lambda t=truth, e=eye: macro_auroc(t, rng.normal(0, 1, e.shape) + e),
            )


def worst_slices(draws, rng, cases=((2, 30), (5, 100), (20, 100), (20, 1000)), rates=(0.6, 0.9), spreads=(0.0, 0.1)):
    """The lowest accuracy over disjoint slices, bounded as the audit bounds it: Bonferroni below and above."""
    for slices, n in cases:
        for rate in rates:
            for spread in spreads:
                true = np.linspace(rate - spread, rate, slices)
                k = rng.binomial(n, true, (draws, slices))
                low, high = stats.wilson_bounds(k, n, stats.normal_quantile(1 - 0.05 / slices))
                low, high = low.min(1), high.min(1)
                case = f"{slices} slices of {n} accuracy={rate} spread={spread}"
                yield Row("worst slice accuracy", case, covered(low, high, true.min()), float((high - low).mean()))


SIMULATIONS = {
    "proportions": proportions,
    "paired": paired,
    "gaps": gaps,
    "f1": f1,
    "ranking": ranking,
    "calibration": calibration,
    "losses": losses,
    "costs": costs,
    "calibration_gaps": calibration_gaps,
    "macro_areas": macro_areas,
    "worst_slices": worst_slices,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--only", choices=SIMULATIONS, action="append")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/coverage.json"))
    options = parser.parse_args()
    rows, start = [], time.perf_counter()
    print(f"{'interval':<26}{'case':<44}{'coverage':>9}{'width':>8}   percentile bootstrap: coverage, width")
    for index, name in enumerate(options.only or SIMULATIONS):
        for row in SIMULATIONS[name](options.draws, np.random.default_rng(index)):
            rows.append(row)
            naive = "" if row.naive_coverage is None else f"{row.naive_coverage:>9.3f}{row.naive_width:>8.3f}"
            print(f"{row.interval:<26}{row.case:<44}{row.coverage:>9.3f}{row.width:>8.3f}   {naive}", flush=True)
    print("Where the audit gives an interval (elsewhere it says `insufficient`):")
    print(f"{'interval':<26}{'cases':>6}{'lowest':>8}{'median':>8}{'highest':>8}{'within 93-97 %':>16}{'at least 93 %':>15}")
    for name in dict.fromkeys(row.interval for row in rows):
        c = np.array([row.coverage for row in rows if row.interval == name and row.valid])
        inside, enough = ((c >= 0.93) & (c <= 0.97)).mean(), (c >= 0.93).mean()
        print(f"{name:<26}{c.size:>6}{c.min():>8.3f}{np.median(c):>8.3f}{c.max():>8.3f}{inside:>15.0%} {enough:>14.0%}")
    result = {"draws": options.draws, "confidence": 0.95, "seconds": time.perf_counter() - start, "rows": [asdict(row) for row in rows]}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
