"""Coverage of the intervals that need scores: rankings, calibration, losses."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from scipy.stats import norm

from simulate import EDGE, FEW_ERRORS, Row, Z, loop, row
from trustbase.audit import ranks, reliability, stats
from trustbase.audit.guard import LEAST_ALARMS, LEAST_ROWS
from trustbase.audit.quality_scores import (
    LEAST_CALIBRATION,
    LEAST_DISTANCE,
    LEAST_RANKED,
    brier_scores,
    log_losses,
    macro_auroc,
    mean_loss,
)

UNLIKE = 0.1  # share of the positives that look like negatives, where they are mixed


def positives(shape, shift, rows, rng):
    """Scores of positives; those of negatives are standard normal."""
    x = rng.normal(shift, 1.6 if shape == "spread" else 1, rows)
    return np.where(rng.random(rows) < UNLIKE, rng.normal(0, 1, rows), x + 1) if shape == "mixed" else x


def recall(shape, shift, threshold):
    """True share of positives above a threshold."""
    if shape == "spread":
        return norm.sf((threshold - shift) / 1.6)
    if shape == "mixed":
        return (1 - UNLIKE) * norm.sf(threshold - shift - 1) + UNLIKE * norm.sf(threshold)
    return norm.sf(threshold - shift)


def area(shape, shift):
    if shape == "spread":
        return float(norm.cdf(shift / np.hypot(1, 1.6)))
    if shape == "mixed":
        return float((1 - UNLIKE) * norm.cdf((shift + 1) / np.sqrt(2)) + UNLIKE / 2)
    return float(norm.cdf(shift / np.sqrt(2)))


def distance(shape, shift):
    at = np.linspace(-8, 14, 20_001)
    return float(np.abs(recall(shape, shift, at) - norm.sf(at)).max())


@cache
def precision(shape, shift, base, rows=1_000_000):
    """True average precision, from a million rows."""
    rng = np.random.default_rng(1)
    truth = np.arange(rows) < round(rows * base)
    scores = rng.normal(0, 1, rows)
    scores[truth] = positives(shape, shift, int(truth.sum()), rng)
    return ranks.auprc(truth, scores).value


SIZES = ((30, 30), (30, 70), (30, 270), (30, 970), (30, 1470), (50, 50), (50, 450), (50, 1600), (100, 200), (300, 700))
SHAPES = ("normal", "spread", "mixed")  # equal spread; positives spread more; a tenth of the positives unlike the rest


def ranking(draws, rng, sizes=SIZES, shifts=(0.7, 1.8, 2.7), shapes=SHAPES, metrics=("area", "precision", "ks", "recall")):
    """Metrics of a ranking. The number of positives is fixed, but drawn for average precision, whose truth depends on their share."""
    for n1, n0 in sizes:
        for shape in shapes:
            for shift in shifts:
                case = f"positives={n1} negatives={n0} {shape} shift={shift}"
                truth = np.arange(n1 + n0) < n1

                def draw(n1=n1, n0=n0, shape=shape, shift=shift):
                    return np.concatenate([positives(shape, shift, n1, rng), rng.normal(0, 1, n0)])

                if "area" in metrics:
                    true = area(shape, shift)
                    reason = FEW_ERRORS if min(n1, n0) * (1 - true) < 4 else ""
                    yield loop("AUROC", case, true, 4 * draws, lambda d=draw, t=truth: ranks.auroc(t, d()), reason=reason)
                if "ks" in metrics and min(n1, n0) >= LEAST_DISTANCE:
                    true = distance(shape, shift)
                    yield loop("KS", case, true, 2 * draws, lambda d=draw, t=truth: ranks.ks(t, d(), rng=rng, replicates=40))
                if "precision" in metrics:
                    yield _precision(draws, rng, n1, n0, shape, shift)
                for rate in (0.01, 0.05):
                    if "recall" in metrics and rate * n0 >= LEAST_ALARMS:

                        def make(d=draw, t=truth, r=rate):
                            return ranks.recall_at_fpr(t, d(), r, rng=rng, replicates=500)

                        true = float(recall(shape, shift, norm.isf(rate)))
                        yield loop(f"recall at {rate:.0%} FPR", case, true, 5 * draws, make)


def _precision(draws, rng, n1, n0, shape, shift):
    """Average precision of rows whose labels are drawn too; half more positives, as the audit gives no number under thirty."""
    rows = n1 + n0 + n1 // 2
    base = 1.5 * n1 / rows

    def make():
        n1 = 0
        while not LEAST_RANKED <= n1 <= rows - LEAST_RANKED:
            n1 = rng.binomial(rows, base)
        scores = np.concatenate([positives(shape, shift, n1, rng), rng.normal(0, 1, rows - n1)])
        return ranks.auprc(np.arange(rows) < n1, scores)

    case = f"rows={rows} positives={base:.1%} {shape} shift={shift}"
    return loop("average precision", case, precision(shape, shift, base), 4 * draws, make)


def macro_areas(
    draws, rng, cases=((3, (100, 60, 40)), (3, (1000, 100, 30)), (10, (30,) * 10), (5, (200, 150, 90, 60, 40))), shifts=(0.7, 1.8, 3.0)
):
    """Macro AUROC; a label's score has mean `shift` on its own rows and 0 on all others, so each area's truth is known."""
    for classes, sizes in cases:
        truth = np.repeat(np.arange(classes), sizes)
        for shift in shifts:
            true = area("normal", shift)
            eye = shift * np.eye(classes)[truth]
            case = f"{classes} labels of {min(sizes)}-{max(sizes)} rows shift={shift}"
            reason = FEW_ERRORS if min(sizes) * (1 - true) < 4 else ""
            yield loop(
                "macro AUROC", case, true, draws, lambda t=truth, e=eye: macro_auroc(t, rng.normal(0, 1, e.shape) + e), reason=reason
            )


MISCALIBRATION = {
    "calibrated": lambda s: s,
    "3 points over": lambda s: s - 0.03,
    "10 points over": lambda s: s - 0.1,
    "slope 0.7": lambda s: 0.5 + (s - 0.5) * 0.7,
    "wavy": lambda s: np.clip(s + 0.1 * np.sin(20 * s), 0, 1),
    "top bin only": lambda s: np.where(s > 0.95, s - 0.05, s),
}


def calibration(
    draws, rng, sizes=(LEAST_CALIBRATION, 1000, 5000), patterns=tuple(MISCALIBRATION), bins=15, kinds=("answered", "favourable")
):
    """Expected calibration error of the answered label's score (over a half) and of one label's score (of any size)."""

    draw = {"answered": lambda rows: 0.5 + 0.5 * rng.beta(3, 1.2, rows), "favourable": lambda rows: rng.beta(0.6, 1.2, rows)}
    for kind, name in product(kinds, patterns):
        scores, pattern = draw[kind], MISCALIBRATION[name]

        def chance(s, pattern=pattern):
            return np.clip(pattern(s), 0, 1)

        many = scores(1_000_000)
        index = np.minimum((many * bins).astype(int), bins - 1)
        gap, noise = (np.bincount(index, x, bins) / many.size for x in (chance(many) - many, chance(many) * (1 - chance(many))))
        truth = float(np.abs(gap).sum())
        for n in sizes:

            def interval(n=n, chance=chance, scores=scores):
                sure = scores(n)
                return reliability.expected_calibration_error(sure, rng.random(n) < chance(sure), bins=bins, rng=rng, draws=500)

            # most gaps smaller than one standard error of their bin: an absolute value near its edge
            reason = EDGE if np.median(np.abs(gap[noise > 0]) / np.sqrt(noise[noise > 0] / n)) < 1 else ""
            yield loop("calibration error", f"{kind} {name} n={n} truth={truth:.3f}", truth, 2 * draws, interval, reason=reason)


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

                yield loop(name, f"n={n} base={base}", truths[name], draws * (2 if n < 5000 else 1), interval)


def calibration_gaps(draws, rng, sizes=(30, 100, 300, 1000), shapes=((2, 2), (1, 9), (0.3, 0.3), (0.1, 5)), shifts=(0.0, 0.05)):
    """Mean score less share of one group, for scores of several shapes, calibrated or too high."""
    for n in sizes:
        for shape in shapes:
            for shift in shifts:
                many = 5 * draws if n <= 100 else draws
                chance = rng.beta(*shape, (many, n))
                score = chance + shift * (1 - chance)
                values = score - (rng.random((many, n)) < chance)
                low, high = stats.bounded_mean_bounds(values, score.min(1) - 1, score.max(1), Z)
                truth = shift * (1 - shape[0] / sum(shape))
                yield row("calibration gap", f"n={n} scores=Beta{shape} shift={shift}", low, high, truth)


SIMULATIONS = {
    "ranking": ranking,
    "macro_areas": macro_areas,
    "calibration": calibration,
    "losses": losses,
    "calibration_gaps": calibration_gaps,
}
__all__ = ["SIMULATIONS", "Row"]
