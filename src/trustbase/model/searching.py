"""The best answer that a text holds, from scores of each token to be its first or its last.

A span's score is the sum of both; windows of a text compete by it. That there is no answer has the score of the first token of a window,
and holds only if all windows say it: the least of them counts.

Source: Devlin et al. (2019), BERT, sections 4.2 and 4.3; the least over the windows: the evaluation of SQuAD 2.0 there and in transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trustbase.model.encoded import Encoded
from trustbase.model.runtime import Output

SPAN, TABLES = "span", "span_tables"  # what a runtime is asked for: the answers, or the scores that they are searched in
Table = NDArray[np.floating]  # scores of a sequence's tokens to be the first and the last of the answer, `(tokens, 2)`
MOST_TOKENS = 30
_FAR = -1e30


def searched(output: str, tables: Sequence[Table], part: Encoded, most: int) -> Output:
    """What a runtime gives of texts that are searched: the best span of each row, or the scores of all its tokens.

    Args:
        output: `SPAN` (`best_spans`) or `TABLES` (`row_tables`).
        tables: of every sequence of the rows, in order.
        part: these rows, with the characters of their tokens.
        most: tokens of the longest answer.
    """
    return row_tables(tables, part) if output == TABLES else best_spans(tables, part, most)


def row_tables(tables: Sequence[Table], part: Encoded) -> list[NDArray[np.float32]]:
    """The scores of all tokens of each row, its windows one after another, `(tokens, 2)` each.

    What an answer cannot begin or end with has a score that no model gives: all but the tokens of the text that is searched, and the first
    of each window, which stands for no answer.
    """
    assert part.sequences is not None and part.characters is not None
    whole = np.concatenate([*tables, np.empty((0, 2))]).astype(np.float32)
    counts = part.characters[:, 0] >= 0
    counts[part.offsets[:-1]] = True
    whole[~counts] = _FAR
    return np.split(whole, part.offsets[part.sequences[1:-1]])


def window_tables(rows: Sequence[Table], part: Encoded) -> list[Table]:
    """The scores of each sequence from those of its row: `row_tables` taken apart again."""
    return np.split(np.concatenate([*rows, np.empty((0, 2))]), part.offsets[1:-1])


def best_spans(tables: Sequence[Table], part: Encoded, most: int = MOST_TOKENS) -> NDArray[np.float32]:
    """What `data.truth.span.SCORES` names, of each row, `(rows, 5)`.

    `score` and `runner_up` are shares: the product of the softmax over all tokens of the row that can be first and of that over those
    that can be last. `answerable` is the logistic of the best span's score less that of no answer. Where one of these scores is no finite
    number, all five are NaN.

    Args:
        tables: of every sequence of the rows, in order.
        part: these rows, with the characters of their tokens.
        most: tokens of the longest answer.
    """
    assert part.sequences is not None and part.characters is not None
    found = np.zeros((len(part), 5), dtype=np.float64)
    for row, (first, last) in enumerate(zip(part.sequences[:-1].tolist(), part.sequences[1:].tolist(), strict=True)):
        windows = [np.asarray(table, dtype=np.float64) for table in tables[first:last]]
        places = [part.characters[part.offsets[number] : part.offsets[number + 1]] for number in range(first, last)]
        found[row] = _best(windows, places, most)
    return found.astype(np.float32)


def _best(windows: Sequence[Table], places: Sequence[NDArray[np.int32]], most: int) -> tuple[float, float, float, float, float]:
    inside = [np.flatnonzero(where[:, 0] >= 0) for where in places]
    if not all(np.isfinite(table[np.append(0, real)]).all() for table, real in zip(windows, inside, strict=True)):
        return np.nan, np.nan, np.nan, np.nan, np.nan  # else NaN would lose against every score, which says that there is no answer
    spans: dict[tuple[int, int], float] = {}
    for table, where, real in zip(windows, places, inside, strict=True):
        for start, end, score in _two_best(table[real], where[real], most):
            spans[start, end] = max(score, spans.get((start, end), _FAR))
    none = min(float(table[0].sum()) for table in windows)
    if not spans:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    (best, score), *others = sorted(spans.items(), key=lambda item: (-item[1], item[0]))
    total = 0.0
    for side in range(2):
        scores = np.concatenate([table[np.append(0, real), side] for table, real in zip(windows, inside, strict=True)])
        total += float(np.log(np.exp(scores - scores.max()).sum()) + scores.max())
    second = float(np.exp(others[0][1] - total)) if others else 0.0
    return (*best, float(np.exp(score - total)), second, float(0.5 * (1.0 + np.tanh(0.5 * (score - none)))))


def _two_best(table: Table, where: NDArray[np.int32], most: int) -> Iterator[tuple[int, int, float]]:
    """The two best spans of a window, in characters, with their scores."""
    if not len(table):
        return
    ends = np.append(table[:, 1], np.full(most - 1, _FAR))
    scores = table[:, :1] + np.lib.stride_tricks.sliding_window_view(ends, most)  # (first, tokens more)
    flat = scores.ravel()
    for place in np.argpartition(flat, -2)[-2:] if flat.size > 1 else [0]:
        first, more = divmod(int(place), most)
        if flat[place] > _FAR / 2:
            yield int(where[first, 0]), int(where[first + more, 1]), float(flat[place])
