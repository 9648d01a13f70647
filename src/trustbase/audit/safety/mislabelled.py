"""Training rows whose label is wrong: how many, and which are suspect, by probabilities that no row was learned for.

The model's own probabilities of its training rows would say that all of them are right. Here a linear model of words, and one of the
model's embeddings, are fitted on four fifths of the rows and asked about the last; a row is suspect where another label is likelier than
that label usually is where it is given. Rows that are hard to tell are suspect too, so that suspect rows are not counted: the share of
wrong labels is what the same probabilities do not expect of rows as hard as these (`label_noise`).

Source: Northcutt, Jiang & Chuang (2021), "Confident learning", JAIR 70, section 3.1 (suspect rows); `label_noise`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.rival_inputs import word_vectors
from trustbase.audit.safety.asking import FEW_ROWS, Floats, Indices, embedded, training_rows
from trustbase.audit.safety.label_noise import Noise, wrong_share
from trustbase.audit.safety.leaked import NO_TRAIN
from trustbase.audit.stats import proportion
from trustbase.data.stored import in_memory
from trustbase.records import Finding, Split

NAME = "safety.mislabelled_rows"
SOURCE = (
    "Angluin & Laird (1988), Machine Learning 2, section 2; Guo et al. (2017), ICML, section 4; "
    "Northcutt et al. (2021), JAIR 70, section 3.1"
)
FOLDS = 5
LEAST_OF_A_LABEL = 10  # rows under which a label is left out: a fold would hardly hold one
CONTROL = 0.05  # of the labels are turned on purpose
FOUND = 0.3  # by how much more often turned rows must be suspect than others


@dataclass(frozen=True, eq=False)
class Confident:
    """What probabilities say of given labels.

    Attributes:
        thresholds: mean probability of each label where it is given, `(labels,)`.
        counts: confident joint: rows by given label and by the label that is confidently told, `(labels, labels)`.
        share: of wrong labels, were no row hard to tell (section 3.2): evidence only, as it counts hard rows too.
        suspect: rows whose given label is confidently told to be another, `(rows,)`.
        likely: the label that is told of each row, `(rows,)`.
    """

    thresholds: Floats
    counts: Indices
    share: float
    suspect: NDArray[np.bool_]
    likely: Indices


def confident(given: Indices, probabilities: Floats) -> Confident:
    """The confident joint of given labels and held-out probabilities.

    Args:
        given: label of each row, each of `0 … labels - 1` at least once, `(rows,)`.
        probabilities: by a model that did not learn the row, `(rows, labels)`.
    """
    labels = probabilities.shape[1]
    own = np.eye(labels)[given]
    thresholds = (own * probabilities).sum(0) / own.sum(0)
    passed = probabilities >= thresholds
    likely = np.where(passed, probabilities, -1.0).argmax(1)
    told = passed.any(1)
    counts = np.zeros((labels, labels), dtype=np.int64)
    np.add.at(counts, (given[told], likely[told]), 1)
    return Confident(thresholds, counts, _share(counts, own.sum(0)), told & (likely != given), likely)


def _share(counts: NDArray[Any], rows: Floats) -> float:
    """Share of wrong labels by a joint that is calibrated to how often each label is given (section 3.2)."""
    told = counts.sum(1)
    off = np.divide(told - np.diag(counts), told, out=np.zeros(len(told)), where=told > 0)
    return float((off * rows).sum() / rows.sum())


class Learner:
    """Held-out probabilities of labels: the mean of a linear model of words and of one of embeddings."""

    def __init__(self, split: Split, embeddings: Floats | None, state: int) -> None:
        from sklearn.preprocessing import StandardScaler

        self.state = state
        words = word_vectors(split).fit_transform(list(split.texts))
        self.features: list[tuple[Any, float]] = [(words, 10.0)]  # tf-idf rows have length one: a weak penalty, as in the rival
        if embeddings is not None:
            self.features.append((StandardScaler().fit_transform(embeddings), 0.05))

    def probabilities(self, given: Indices) -> Floats:
        """Of each label by models that did not learn the row, `(rows, labels)`."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold

        found = np.zeros((len(given), int(given.max()) + 1))
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=self.state)
        for learned, asked in folds.split(np.zeros(len(given)), given):
            for features, penalty in self.features:
                model = LogisticRegression(C=penalty, max_iter=300).fit(features[learned], given[learned])
                found[np.ix_(asked, model.classes_)] += model.predict_proba(features[asked]) / len(self.features)
        return found


def measure_mislabelled(context: AuditContext) -> list[Finding]:
    """The estimated share of training rows with a wrong label; which rows are suspect lies beside the scores, never in the evidence."""
    told: dict[str, Any] = {"direction": "lower", "confidence": context.confidence}
    drawn = training_rows(context, context.options.safety.rows)
    if drawn is None:
        return [Finding.without_value(NAME, "insufficient", NO_TRAIN, **told)]
    train, rows, inputs = drawn
    names, place = np.unique(train.labels[rows], return_inverse=True)
    enough = np.bincount(place) >= LEAST_OF_A_LABEL
    kept = enough[place]
    order = np.flatnonzero(kept)[np.argsort(rows[kept])]
    rows, inputs = rows[order], [inputs[int(index)] for index in order]
    names, given = np.unique(train.labels[rows], return_inverse=True)
    if len(rows) < FEW_ROWS or len(names) < 2:
        reason = f"{len(rows)} training rows of labels that have {LEAST_OF_A_LABEL} each, fewer than the minimum of {FEW_ROWS}"
        return [Finding.without_value(NAME, "insufficient", reason, n=len(rows), **told)]
    vectors = embedded(context, inputs)
    state = seeds.stream_seed(context.seed, "safety", "mislabelled") % 2**31
    learner = Learner(in_memory(train, rows), vectors if isinstance(vectors, np.ndarray) else None, state)
    given = given.astype(np.int64)
    probabilities = learner.probabilities(given)
    found, noise = confident(given, probabilities), wrong_share(given, probabilities, context.confidence)
    control = _control(context, learner, given, found)
    _leave(context, train, rows, names, given, found, noise, control, learner)
    if control["found"] < FOUND:
        reason = f"control not found: of {control['turned']} labels turned on purpose {control['suspect']} were suspect"
        return [Finding.without_value(NAME, "insufficient", reason, n=len(rows), **told)]
    return [_finding(context, len(rows), noise, control, len(learner.features) > 1)]


def _control(context: AuditContext, learner: Learner, given: Indices, before: Confident) -> dict[str, Any]:
    """How often rows are suspect whose label is turned on purpose, less how often others are."""
    rng = seeds.generator(context.seed, "safety", "turned labels")
    count = max(10, round(CONTROL * len(given)))
    turned = np.sort(rng.permutation(np.flatnonzero(~before.suspect))[:count])
    other, labels = given.copy(), int(given.max()) + 1
    other[turned] = (given[turned] + rng.integers(1, labels, len(turned))) % labels
    probabilities = learner.probabilities(other)
    after = confident(other, probabilities)
    rest = np.ones(len(given), dtype=bool)
    rest[turned] = False
    recall = float(after.suspect[turned].mean())
    return {
        "turned": len(turned),
        "suspect": int(after.suspect[turned].sum()),
        "recall": recall,
        "precision": float(
            after.suspect[turned].sum() / max(1, after.suspect[turned].sum() + (after.suspect & rest & ~before.suspect).sum())
        ),
        "wrong_then": asdict(wrong_share(other, probabilities, context.confidence)),
        "found": recall - float(after.suspect[rest].mean()),
    }


def _leave(
    context: AuditContext,
    train: Split,
    rows: Indices,
    names: Indices,
    given: Indices,
    found: Confident,
    noise: Noise,
    control: dict[str, Any],
    learner: Learner,
) -> None:
    """Counts by class in the evidence; row numbers beside the scores."""
    labels = [context.labels.names[int(name)] for name in names]
    named = len(labels) <= 50
    joint = [
        {"given": labels[i], "likelier": labels[j], "rows": int(found.counts[i, j])}
        for i, j in zip(*np.nonzero(found.counts), strict=True)
        if i != j
    ]
    joint.sort(key=lambda item: (-int(item["rows"]), item["given"], item["likelier"]))
    per_label = [
        {"label": labels[i], "rows": int((given == i).sum()), "suspect": int(found.suspect[given == i].sum())} for i in range(len(labels))
    ]
    context.evidence.write(
        NAME,
        {
            "rows": len(rows),
            "of": len(train),
            "suspect": int(found.suspect.sum()),
            "confident_share": found.share,
            "wrong": asdict(noise),
            "labels": per_label,
            "joint": joint if named else joint[:200],
            "learned_from": ["words", "embeddings"][: len(learner.features)],
            "control": control,
        },
    )
    context.marked.note(NAME, np.sort(train.row_numbers[rows[found.suspect]]), of="training rows", source=train.source)


def _finding(context: AuditContext, rows: int, noise: Noise, control: dict[str, Any], embeddings: bool) -> Finding:
    models = "linear models of words and of embeddings" if embeddings else "a linear model of words"
    method = (
        f"labels that are wrong at random beyond what held-out probabilities of {models} expect of rows as hard as these; "
        "profile likelihood interval, never inside a mid-P interval; wrong labels of rows that are hard to tell are not seen; "
        f"control: of {control['turned']} labels turned on purpose {control['suspect']} were suspect"
    )
    counted = proportion(min(rows, round(noise.share * rows)), rows, confidence=context.confidence)
    low, high = min(noise.low, counted.low), max(noise.high, counted.high)  # none seen is not none there
    told: dict[str, Any] = {"unit": "share", "source": SOURCE, "seed": context.seed, "method": method, "direction": "lower"}
    return Finding(NAME, noise.share, low, high, rows, confidence=context.confidence, **told)
