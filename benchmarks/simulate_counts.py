"""Coverage of the intervals that need counts alone: proportions, paired differences, gaps over groups, F1, costs, slices, quantiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import norm

from simulate import EDGE, WHOLE_COUNTS, Row, Z, loop, row, whole_counts
from trustbase.audit import contrasts, counts, stats
from trustbase.audit.contrasts import Rates
from trustbase.audit.durations import mean_duration, quantile_interval
from trustbase.audit.guard import LEAST_ROWS, NAMED_ROWS
from trustbase.audit.likelihood import half_difference
from trustbase.audit.ratios import LEAST_FREEDOM, freedom, mean_over_units, share_of, share_over_units
from trustbase.audit.stats import Interval

_MANY = 50  # draws of a closed form cost nothing, so fifty times as many


def proportions(draws, rng, sizes=(30, 50, 100, 300, 1000), rates=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5)):
    """At a fixed rate the coverage of any interval jumps with n and p, as counts are whole; so also over rates near it (±20 %)."""
    for n in sizes:
        for p in rates:
            low, high = stats.proportion_bounds(rng.binomial(n, p, _MANY * draws), n, Z)
            yield row("proportion", f"n={n} p={p}", low, high, p, reason=whole_counts(n, p))
            near = rng.uniform(0.8 * p, min(1.2 * p, 0.5 + 0.2 * p), _MANY * draws)
            low, high = stats.proportion_bounds(rng.binomial(n, near), n, Z)
            reason = whole_counts(n, *np.linspace(0.8 * p, 1.2 * p, 9))
            yield row("proportion, rates near p", f"n={n} p={p}", low, high, near, reason=reason)


def paired(draws, rng, sizes=(30, 100, 1000, 10000), cases=((0.1, 0.1), (0.1, 0.05), (0.2, 0.02), (0.3, 0.3), (0.03, 0.02))):
    """Difference of two accuracies on the same rows; `p` are the shares where only one of them is right."""
    for n in sizes:
        for won, lost in cases:
            c = rng.multinomial(n, [won, lost, 1 - won - lost], 20 * draws)
            low, high = stats.tango_bounds(c[:, 0], c[:, 1], np.full(len(c), n), Z)
            reason = WHOLE_COUNTS if n * (won + lost) < 3 else ""  # hardly two rows say anything at all
            yield row("paired difference", f"n={n} p={won},{lost}", low, high, won - lost, reason=reason)


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
                        p = rates_of_groups(k, base, gap, shape)
                        yield from _gap_case(draws, rng, n, p, f"groups={k} n={size} p={base}+{gap} {shape}", naive_draws)


def _gap_case(draws, rng, n, p, case, naive_draws):
    q = p[::-1]
    sizes = np.broadcast_to(n, (draws, n.size))
    a, b = Rates.of(rng.binomial(n, p, (draws, n.size)), sizes), Rates.of(rng.binomial(n, q, (draws, n.size)), sizes)
    for name, (bounds, statistic, truth) in GAPS.items():
        made, true = bounds(a, b), truth(p, q)
        known = np.isfinite(made.value)
        result = row(name, case, made.low[known], made.high[known], true, reason=EDGE)
        if statistic is not None and naive_draws:
            coverage, width = _naive(a, statistic, true, rng, naive_draws)
            result = replace(result, naive_coverage=coverage, naive_width=width)
        yield result


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
    """Macro and weighted F1, and the F1 of the rarest class, each where the audit gives a number for most such data."""
    for n in sizes:
        for name in cases:
            cells = F1_CASES[name]
            if n < 10 * cells.shape[0]:
                continue
            drawn = rng.multinomial(n, cells.ravel(), 5 * draws).reshape(5 * draws, *cells.shape).astype(float)
            bounds, truth = counts.f1_bounds(drawn, Z), counts.f1_scores(cells)
            rare = int(cells.sum(1).argmin())
            enough = bool(n * cells.sum(1).min() >= 1.5 * LEAST_ROWS)
            own = bool(n * min(cells.sum(1)[rare], cells.sum(0)[rare]) >= 1.5 * NAMED_ROWS)
            for label, (low, _, high), true, valid in (
                ("macro F1", bounds.macro, truth["macro_f1"], enough),
                ("weighted F1", bounds.weighted, truth["weighted_f1"], enough),
                ("F1 of the rarest class", [b[:, rare] for b in bounds.f1], truth["f1"][rare], own),
            ):
                yield row(label, f"{name} n={n}", low, high, true, valid=valid)


def costs(
    draws,
    rng,
    sizes=(30, 100, 300, 1000),
    cases=((0.1, 0.1), (0.02, 0.1), (0.1, 0.02), (0.005, 0.05), (0.01, 0.1), (0.001, 0.05)),
    prices=((5, 1), (1, 1), (20, 1), (50, 1)),
):
    """Expected cost: shares of false negatives and false positives of all rows, each with its price."""
    for n in sizes:
        for missed, alarms in cases:
            drawn = rng.multinomial(n, [missed, alarms, 1 - missed - alarms], (500 if n <= 100 else _MANY) * draws)[:, :2]
            kinds, place = np.unique(drawn, axis=0, return_inverse=True)
            for price in prices:
                each = np.array(price, float)
                low, _, high = stats.cost_bounds(kinds.astype(float), each, n, Z)
                truth = float(np.array([missed, alarms]) @ each)
                reason = whole_counts(n, missed + alarms) if price[0] == price[1] else ""
                case = f"n={n} shares={missed},{alarms} costs={price[0]},{price[1]}"
                yield row("expected cost", case, low[place.ravel()], high[place.ravel()], truth, reason=reason)


def worst_slices(draws, rng, cases=((2, 30), (5, 100), (20, 30), (20, 100), (20, 1000)), rates=(0.6, 0.9, 0.98), spreads=(0.0, 0.1)):
    """The lowest accuracy over disjoint slices, bounded as the audit bounds it: above for all at once, below for the lowest alone."""
    for slices, n in cases:
        for rate in rates:
            for spread in spreads:
                true = np.linspace(rate - spread, rate, slices)
                k = rng.binomial(n, true, (2 * draws, slices))
                low = stats.proportion_bounds(k, n, Z)[0].min(1)
                high = stats.proportion_bounds(k, n, stats.normal_quantile(1 - 0.05 / slices))[1].min(1)
                case = f"{slices} slices of {n} accuracy={rate} spread={spread}"
                yield row("worst slice accuracy", case, low, high, true.min(), reason=EDGE)


def latencies(draws, rng, sizes=(30, 100, 200, 368, 500), quantiles=(0.5, 0.95, 0.99)):
    """Quantiles of latencies (whatever their distribution) by order statistics, where the calls are enough to bound them."""
    for n in sizes:
        for q in quantiles:
            if quantile_interval(np.arange(n), q)[1] is None:
                continue
            true, made = float(np.exp(norm.ppf(q))), [quantile_interval(rng.lognormal(size=n), q) for _ in range(20 * draws)]
            low, high = np.array([i[1] for i in made]), np.array([i[2] for i in made])
            yield row(f"latency, {q:.0%} quantile", f"calls={n}", low, high, true)


def throughput(draws, rng, sizes=(5, 7, 10), spreads=(0.03, 0.1, 0.25, 0.4, 0.6)):
    """Mean seconds of bulk calls, whose reciprocal is the throughput; their times are skewed."""
    for n in sizes:
        for spread in spreads:
            true = float(np.exp(spread**2 / 2))

            def make(n=n, spread=spread):
                return mean_duration(rng.lognormal(0, spread, n))

            yield loop("throughput", f"calls={n} spread={spread}", true, 5 * draws, make)


def token_shares(draws, rng, sizes=(100, 1000), shares=(0.003, 0.02, 0.1)):
    """Share of unknown tokens over texts; unknown tokens come together in some texts."""
    for n in sizes:
        for share in shares:

            def make(n=n, share=share) -> Interval:
                whole = 5 + rng.poisson(20, n)
                return share_of(rng.binomial(whole, rng.beta(0.5, 0.5 / share - 0.5, n)), whole)

            yield loop("unknown tokens", f"texts={n} share={share}", share, 2 * draws, make)


def text_lengths(draws, rng, sizes=(100, 300, 1000), spreads=(0.5, 1.0, 1.5)):
    """Mean length of test texts, which are cut where the model no longer reads."""
    for spread in spreads:

        def drawn(n, spread=spread):
            return np.clip(rng.lognormal(3, spread, n).astype(int), 3, 128)

        true = float(drawn(4_000_000).mean())
        for n in sizes:
            yield loop("mean text length", f"texts={n} spread={spread}", true, 2 * draws, lambda n=n: stats.bounded_mean(drawn(n), 1, 128))


def template_means(draws, rng, templates=24, terms=4):
    """Mean difference of likelihood over templates of sentence pairs, terms as given; and half the difference of two kinds of them."""
    half = templates // 3
    for tail, name in ((lambda n: rng.standard_normal(n), "normal"), (lambda n: rng.gamma(4, 0.5, n) - 2, "skewed")):

        def means(count, shift=0.0, tail=tail):
            return shift + tail(count) + rng.standard_normal((count, terms)).mean(1) / 2

        yield loop("mean over templates", name, 0.3, 5 * draws, lambda means=means: stats.mean(means(templates, 0.3)))
        yield loop("half gap of templates", name, 0.25, 5 * draws, lambda means=means: half_difference(means(half, 0.5), means(half)))


def document_means(draws, rng, sizes=(30, 100, 300, 1000), spreads=(0.5, 1.0, 1.5), effects=(0.1, 0.3, 1.0)):
    """Mean loss, and share of tokens found, over held-out documents of very different lengths that differ in difficulty."""
    for n in sizes:
        for spread in spreads:
            lengths = np.maximum(1, rng.lognormal(3, spread, (50, n)).astype(int))
            if np.median([freedom(units) for units in lengths]) < 1.2 * LEAST_FREEDOM:
                continue  # insufficient there, or by a hair not
            for effect in effects:
                case = f"documents={n} lengths={spread} difficulty={effect}"

                def loss(n=n, spread=spread, effect=effect):
                    units = _lengths(rng, n, spread)
                    return mean_over_units(rng.gamma(units, rng.gamma(1 / effect**2, 3 * effect**2, n)), units)

                yield loop("mean loss of texts", case, 3.0, 2 * draws, loss)
                if effect > 0.5:
                    continue

                def share(n=n, spread=spread, effect=effect):
                    units = _lengths(rng, n, spread)
                    return share_over_units(rng.binomial(units, rng.beta(0.3 / effect**2, 0.7 / effect**2, n)), units)

                yield loop("tokens found in texts", case, 0.3, 2 * draws, share)


def _lengths(rng, n, spread):
    """Lengths that leave enough degrees of freedom, as the audit asks before it gives a number."""
    while True:
        units = np.maximum(1, rng.lognormal(3, spread, n).astype(int))
        if freedom(units) >= LEAST_FREEDOM:
            return units


SIMULATIONS = {
    "proportions": proportions,
    "paired": paired,
    "gaps": gaps,
    "f1": f1,
    "costs": costs,
    "worst_slices": worst_slices,
    "latencies": latencies,
    "throughput": throughput,
    "documents": document_means,
    "lengths": text_lengths,
    "templates": template_means,
    "token_shares": token_shares,
}
__all__ = ["SIMULATIONS", "Row"]
