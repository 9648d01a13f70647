"""Weak slices: parts of the test rows, by words, length, columns and groups, in which more answers are wrong than in the others.

Looked at is every single part and every two parts together that hold rows enough; which these are does not depend on where the errors lie.
Two together count only where the rows in both are worse than the rest of either, so that a weak word is not told again beside every column.
Each is compared by Fisher's exact test, and its p-value is corrected for the number looked at, so that on rows whose errors lie anywhere
hardly one audit in twenty names a slice.

Whether rows are enough to find anything is tried in the same audit: errors are added to parts of them, and these must be named.

`evidence/quality.weak_slices.json` lists what was looked at, the likeliest to be weak first; weak are those whose corrected p-value lies
under the level. `value` is the share of right answers, with bounds that hold for all that were looked at.

Source: Chung et al. (2020), "Automated Data Slicing for Model Validation", IEEE TKDE 32, section 2 (the slices); Fisher (1922), J. R.
Statist. Soc. 85; Holm (1979), Scand. J. Statist. 6; Berger (1982), Technometrics 24 (worse than each of several).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase import finding_id, seeds
from trustbase.audit.clustered import Entities
from trustbase.audit.context import Answers, AuditContext
from trustbase.audit.exact_tests import fisher, holm
from trustbase.audit.guard import guarded
from trustbase.audit.slices import AFTERWARDS, least_rows, partitions
from trustbase.audit.stats import normal_quantile, proportion_bounds
from trustbase.data.terms import finder, manner_of
from trustbase.outputs.answers.base import answering
from trustbase.records import Finding

ID = "quality.weak_slices"
WORD = "word"
_MOST_ROWS = 20_000  # of which words are counted; of more, so many are drawn
_MOST_WORDS = 1_000  # the most frequent ones
_LISTED = 50
CONTROLS, MORE_ERRORS, NAMED = 8, 0.3, 0.5  # parts that are made worse, by how much, and the share of them that must be named
_METHOD = "Fisher's exact test of each against the other rows, corrected for all that were looked at (Holm)"
_SOURCE = (
    "Chung et al. (2020), IEEE TKDE 32, section 2; Fisher (1922), J. R. Statist. Soc. 85; Holm (1979), Scand. J. Statist. 6; "
    "Berger (1982), Technometrics 24"
)

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Parts:
    """Single parts of the rows.

    Attributes:
        names: `((column, value),)` of each; several columns where groups are combined.
        columns: numbers of what each part divides the rows by; two of the same are never put together.
        inside: rows of each part, bool `(rows, parts)`.
    """

    names: tuple[tuple[tuple[str, str], ...], ...]
    columns: Counts
    inside: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class WeakSlices:
    """What was looked at, worst first.

    Attributes:
        names, n, right, low, high, p: of the slices that are told, the likeliest to be weak first; `p` is corrected.
        looked: how many were looked at.
        weak: of how many of them the corrected p-value lies under the level.
    """

    names: tuple[tuple[tuple[str, str], ...], ...]
    n: Counts
    right: Counts
    low: Floats
    high: Floats
    p: Floats
    looked: int
    weak: int

    def to_json(self) -> list[dict[str, Any]]:
        """The table that stands in the evidence."""
        return [
            {
                "slice": finding_id.format_slice(self.names[place]),
                "n": int(self.n[place]),
                "value": float(self.right[place] / self.n[place]),
                "low": float(self.low[place]),
                "high": float(self.high[place]),
                "p_adjusted": float(self.p[place]),
            }
            for place in range(len(self.names))
        ]


def weak_slice_findings(context: AuditContext) -> list[Finding]:
    """How many slices are weak; nothing where parts of the rows are measured for another audit of them."""
    if context.whole is not None or context.parts is not None:
        return []
    return [guarded(context, ID, "lower", lambda: _weak_slices(context))]


def _weak_slices(context: AuditContext) -> Finding:
    shared: dict[str, Any] = {"direction": "lower", "confidence": context.confidence, "unit": "slices"}
    context, about = _independent(context)
    kind = context.artifact.answer_kind if context.artifact is not None else "classes"
    wrong = answering(kind).flips(context.answers.predicted, context.test.labels)
    least = least_rows(context)
    if len(wrong) < 2 * least:
        context.evidence.write(ID, [])
        why = f"{len(wrong)} rows, and a slice and the rest need {least} each"
        return Finding.without_value(ID, "insufficient", why, n=len(wrong), **shared)
    parts, level = single_parts(context), 1 - context.confidence
    found = find_weak(wrong, parts, least=least, level=level)
    context.evidence.write(ID, found.to_json())
    if not found.looked:
        return Finding.without_value(
            ID, "insufficient", f"no word, length, column or group divides the rows into parts of {least}", **shared
        )
    named, sizes = _controls(context, wrong, parts, least, level)
    of = f"of {len(sizes)} parts of {min(sizes, default=0)} to {max(sizes, default=0)} rows"
    control = f"{of} whose answers were made wrong {100 * MORE_ERRORS:.0f} points more often {named} were named"
    if not found.weak and (named < NAMED * len(sizes) or not sizes):
        return Finding.without_value(ID, "insufficient", f"control not found: {control}", n=len(wrong), **shared)
    method = f"slices whose corrected p-value is under {level:.2g}, of {found.looked} looked at; {_METHOD}{about}; control: {control}"
    return Finding.exact(ID, float(found.weak), n=len(wrong), method=method, source=_SOURCE, **shared)


def _controls(context: AuditContext, wrong: NDArray[np.bool_], parts: Parts, least: int, level: float) -> tuple[int, list[int]]:
    """How many of some parts are named once more of their answers are wrong, and how many rows each part has that was tried."""
    rng = seeds.generator(context.seed, "quality", "weak slices")
    inside = parts.inside.sum(axis=0)
    fit = np.flatnonzero((inside >= least) & (len(wrong) - inside >= least))
    drawn = rng.permutation(fit)[:CONTROLS].tolist()
    named = 0
    for part in drawn:
        worse = wrong | (parts.inside[:, part] & (rng.random(len(wrong)) < MORE_ERRORS / max(1 - wrong.mean(), MORE_ERRORS)))
        found = find_weak(worse, parts, least=least, level=level)
        named += parts.names[part] in found.names[: found.weak]
    return named, inside[drawn].tolist()


def _independent(context: AuditContext) -> tuple[AuditContext, str]:
    """Rows of which none says anything of another: one of each entity, and no more than words are counted of; drawn by their content."""
    entities, about = Entities.of(context.test), ""
    if entities is None and len(context.test) <= _MOST_ROWS:
        return context, about
    salt = f"{context.seed}\x1fweak slices\x1f".encode()
    keys = [hashlib.sha256(salt + text.encode("utf-8", "surrogatepass")).digest() for text in context.test.texts]
    rows = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    if entities is not None:
        rows, about = rows[np.sort(np.unique(entities.codes[rows], return_index=True)[1])], "; of one row of each entity"
    if len(rows) > _MOST_ROWS:
        rows, about = rows[:_MOST_ROWS], f"{about}; of {_MOST_ROWS:,} rows"
    return _of_rows(context, np.sort(rows)), about


def _of_rows(context: AuditContext, rows: Counts) -> AuditContext:
    import pyarrow as pa

    test, told = context.test, context.answers
    part = replace(
        test,
        texts=[test.texts[row] for row in rows.tolist()],
        labels=test.labels[rows],
        groups={name: values[rows] for name, values in test.groups.items()},
        table=test.table.take(pa.array(rows)),
        row_numbers=test.row_numbers[rows],
        entities=None,
    )
    return replace(context, test=part, answers=Answers(None if told.scores is None else told.scores[rows], told.predicted[rows]))


def single_parts(context: AuditContext) -> Parts:
    """The single parts that are looked at: by group, column, length of the text, and words that stand in it."""
    names: list[tuple[tuple[str, str], ...]] = []
    columns: list[int] = []
    inside: dict[bytes, NDArray[np.bool_]] = {}  # a word that stands in every row of a category alone says nothing beside it
    for number, (kind, named, codes, values) in enumerate(partitions(context)):
        if kind in AFTERWARDS or len(named) > 1:  # two groups together are found as two parts together
            continue
        for code, value in enumerate(values):
            if (rows := codes == code).tobytes() not in inside:
                inside[rows.tobytes()] = rows
                names.append(tuple(zip(named, value, strict=True)))
                columns.append(number)
    first = max(columns, default=-1) + 1
    for number, (word, rows) in enumerate(_words(context)):
        if rows.tobytes() not in inside:
            inside[rows.tobytes()] = rows
            names.append(((WORD, word),))
            columns.append(first + number)
    table = np.stack(list(inside.values()), axis=1) if inside else np.zeros((len(context.test), 0), dtype=bool)
    return Parts(tuple(names), np.array(columns, dtype=np.int64), table)


def _words(context: AuditContext) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The most frequent words of the texts, and the rows that hold them."""
    texts, least = context.test.texts, least_rows(context)
    find, places = finder(manner_of(texts), longest=1), dict[str, list[int]]()
    for row, text in enumerate(texts):
        for word in dict.fromkeys(find(text)):
            if any(sign.isalnum() for sign in word):
                places.setdefault(word, []).append(row)
    kept = sorted(
        (word for word, rows in places.items() if least <= len(rows) <= len(texts) - least), key=lambda word: (-len(places[word]), word)
    )
    for word in kept[:_MOST_WORDS]:
        rows = np.zeros(len(texts), dtype=bool)
        rows[places[word]] = True
        yield word, rows


def find_weak(wrong: NDArray[np.bool_], parts: Parts, *, least: int, level: float = 0.05) -> WeakSlices:
    """Look at every single part, and at every two of them together, of which at least one is no word.

    Args:
        wrong: rows that were answered wrongly, bool `(rows,)`.
        parts: single parts.
        least: rows that a slice must hold, and leave outside.
        level: under which a corrected p-value counts.
    """
    looked = _looked_at(wrong, parts, least)
    n, errors = looked.n, looked.errors
    adjusted = holm(looked.p)
    order = np.lexsort((-errors / np.maximum(n, 1), adjusted))
    weak = int((adjusted < level).sum())
    told = order[: max(min(weak, 10 * _LISTED), min(_LISTED, len(order)))]
    quantile = normal_quantile(1 - level / max(len(n), 1))
    right = n[told] - errors[told]
    low, high = proportion_bounds(right, n[told], quantile) if told.size else (np.zeros(0), np.zeros(0))
    share = right / np.maximum(n[told], 1)
    return WeakSlices(
        tuple(tuple(part for single in looked.of[place] if single >= 0 for part in parts.names[single]) for place in told.tolist()),
        n[told],
        right,
        np.minimum(low, share),
        np.maximum(high, share),
        adjusted[told],
        len(n),
        weak,
    )


@dataclass(frozen=True, eq=False)
class _Looked:
    """All that is looked at.

    Attributes:
        of: which single parts each is made of, `(slices, 2)`; the second is -1 of a single one.
        n, errors, p: rows, wrong answers and p-values, `(slices,)`.
    """

    of: Counts
    n: Counts
    errors: Counts
    p: Floats


def _looked_at(wrong: NDArray[np.bool_], parts: Parts, least: int) -> _Looked:
    rows, total = len(wrong), int(wrong.sum())
    n = parts.inside.sum(axis=0, dtype=np.int64)
    kept = np.flatnonzero((n >= least) & (rows - n >= least))
    inside = parts.inside[:, kept].astype(np.float32)
    own, errors = n[kept], parts.inside[wrong][:, kept].sum(axis=0, dtype=np.int64)
    p = fisher(errors, own, np.full(kept.size, total), np.full(kept.size, rows))
    one, other, together, wrong_in = _pairs(inside, wrong, own, parts.columns[kept], _are_words(parts)[kept], least)
    joint, left = np.zeros(one.size), np.arange(one.size)
    against = ((np.full(one.size, total), np.full(one.size, rows)), (errors[one], own[one]), (errors[other], own[other]))
    for bad, whole in against:  # worse than the other rows, and than the rest of either part: the largest of three p-values
        joint[left] = np.maximum(joint[left], fisher(wrong_in[left], together[left], bad[left], whole[left]))
        left = left[joint[left] < 1]
    of = np.stack([np.concatenate([kept, kept[one]]), np.concatenate([np.full(kept.size, -1), kept[other]])], axis=1)
    return _Looked(of, np.concatenate([own, together]), np.concatenate([errors, wrong_in]), np.concatenate([p, joint]))


def _are_words(parts: Parts) -> NDArray[np.bool_]:
    return np.array([name[0][0] == WORD for name in parts.names], dtype=bool)


def _pairs(
    inside: NDArray[np.float32], wrong: NDArray[np.bool_], own: Counts, columns: Counts, words: NDArray[np.bool_], least: int
) -> tuple[Counts, Counts, Counts, Counts]:
    """Two parts together that hold rows enough and leave enough of either, not both of them words: which two, rows, and wrong answers."""
    both, bad = inside.T @ inside, inside[wrong].T @ inside[wrong]  # counts below 2^24, which float32 holds exactly
    one, other = np.triu_indices(len(own), k=1)
    together = np.rint(both[one, other]).astype(np.int64)
    fits = (columns[one] != columns[other]) & ~(words[one] & words[other])
    fits &= (together >= least) & (own[one] - together >= least) & (own[other] - together >= least)
    one, other = one[fits], other[fits]
    return one, other, together[fits], np.rint(bad[one, other]).astype(np.int64)
