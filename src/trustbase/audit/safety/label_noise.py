"""How many labels are wrong, beyond those that merely look so because their rows are hard to tell.

Labels that were drawn from a row's true probabilities are not wrong, however often another one was likelier. Held-out probabilities tell
how hard a row is, but not how sure they ought to be, so that is fitted too: probabilities q of a row are its held-out ones to a power (a
temperature), and its label was given as drawn from q, but with probability e replaced by another one, each as likely. A share e of wrong
labels then shows as disagreement that does not go away where the rows are easiest. Both are fitted by maximum likelihood.

What is assumed: that the easiest rows are all but certain. Where no rows are, wrong labels look like hard ones: the interval then
begins at 0. Wrong labels that somebody chose by what a row says look like hard rows too.

Source: Guo et al. (2017), "On calibration of modern neural networks", ICML, section 4 (temperature); Angluin & Laird (1988), "Learning from
noisy examples", Machine Learning 2, section 2 (labels that are wrong at random).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustbase.audit.safety.asking import Floats, Indices

SHARES = np.linspace(0.0, np.sqrt(0.5), 101) ** 2  # that are tried, the closer the fewer
_COARSE = np.linspace(-3.0, 4.0, 36)  # logarithms of powers
_FINE = 25  # between those that are best for shares that may be
_FAR = 10.0  # log-likelihood under the best, from which a share cannot be
_TINY = 1e-9


@dataclass(frozen=True)
class Noise:
    """What the likelihood says of the share of wrong labels.

    Attributes:
        share: the likeliest.
        low, high: profile likelihood interval.
        power: that the held-out probabilities were raised to there.
    """

    share: float
    low: float
    high: float
    power: float


def wrong_share(given: Indices, probabilities: Floats, confidence: float = 0.95) -> Noise:
    """The share of labels that are wrong beyond what held-out probabilities expect of rows as hard as these.

    Args:
        given: label of each row, `(rows,)`.
        probabilities: by a model that did not learn the row, `(rows, labels)`.
        confidence: of the interval.
    """
    from scipy.stats import chi2

    logs = np.log(np.clip(probabilities, _TINY, 1.0))
    coarse = _likelihoods(given, logs, _COARSE)
    may = coarse.max(0) > coarse.max() - _FAR
    near, step = _COARSE[coarse.argmax(0)[may]], _COARSE[1] - _COARSE[0]
    fine = np.linspace(near.min() - step, near.max() + step, _FINE)
    likelihoods, powers = np.concatenate([coarse, _likelihoods(given, logs, fine)]), np.concatenate([_COARSE, fine])
    profile = likelihoods.max(0)
    best = int(profile.argmax())
    inside = np.flatnonzero(profile[best] - profile <= chi2.ppf(confidence, 1) / 2)
    low, high = SHARES[max(0, inside[0] - 1)], SHARES[min(len(SHARES) - 1, inside[-1] + 1)]  # the first that are outside
    power = float(np.exp(powers[likelihoods[:, best].argmax()]))
    return Noise(float(SHARES[best]), float(low), float(high), power)


def _likelihoods(given: Indices, logs: Floats, powers: Floats) -> Floats:
    """Log-likelihood of the given labels, `(powers, shares)`."""
    others, found = logs.shape[1] - 1, np.empty((len(powers), len(SHARES)))
    for place, power in enumerate(powers):
        raised = np.exp(power) * logs
        raised -= raised.max(1, keepdims=True)
        own = np.exp(raised[np.arange(len(given)), given]) / np.exp(raised).sum(1)
        told = own + SHARES[:, None] * ((1 - own) / others - own)
        found[place] = np.log(np.clip(told, _TINY, 1.0)).sum(1)
    return found
