"""What may stand in the place of a word or a cell: words of other rows that the model takes for near ones, and cells of other rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustbase import seeds
from trustbase.audit.context import AuditContext
from trustbase.audit.explain.subject import Item
from trustbase.audit.explain.units import Units, words
from trustbase.audit.measured import asked_inputs, sampled_rows
from trustbase.data.columns import kind_of_column, number_of

OTHERS = 4  # for each word or cell
_ROWS = 1000  # test rows whose words are known
_WORDS = 1500  # the most frequent of them
_LEAST_ROWS = 2  # that a word must stand in


@dataclass(frozen=True)
class Others:
    """What may stand in the place of each cell, by column, and of each word."""

    cells: Mapping[str, Sequence[str]]
    words: Mapping[str, Sequence[str]]

    def of(self, units: Units, item: Item) -> list[list[str]]:
        """For each unit of an input, `(units,)`."""
        row = item["row"] or {}

        def replacing(unit: int) -> list[str]:
            name = units.names[unit]
            if units.spans[unit] is None:
                return [cell for cell in self.cells.get(name, ()) if cell != row.get(name)]
            return list(self.words.get(name, ()))

        return [replacing(unit) for unit in range(len(units))]


def other_cells(context: AuditContext) -> dict[str, list[str]]:
    """Cells of each column that stand for all: of numbers five places between the smallest and the largest, else the most frequent."""
    table, found = context.test.table, dict[str, list[str]]()
    for name in table.column_names:
        given = [cell for cell in table[name].to_pylist() if isinstance(cell, str) and cell]
        if given and kind_of_column(given) == "numbers":
            ordered = sorted((cell for cell in given if number_of(cell) is not None), key=lambda cell: (number_of(cell), cell))
            places = np.round(np.linspace(0.05, 0.95, OTHERS + 1) * (len(ordered) - 1)).astype(int)
            found[name] = list(dict.fromkeys(ordered[place] for place in places))
        elif given and kind_of_column(given) == "categories":
            counts = Counter(given)
            found[name] = sorted(counts, key=lambda cell: (-counts[cell], cell))[: OTHERS + 1]
    return found


def other_words(context: AuditContext, items: Sequence[Item]) -> dict[str, list[str]]:
    """For each word of these items the nearest frequent ones of the test rows, as the model embeds them; drawn ones where it does not."""
    info, askers = context.artifact, context.askers
    assert info is not None and askers is not None
    inputs = asked_inputs(context)
    rows = sampled_rows(context, _ROWS, "explanation", "words", one_each=False).tolist()
    counts = Counter(word for row in rows for word in set(_words(inputs[row], info.columns)))
    often = sorted((word for word, times in counts.items() if times >= _LEAST_ROWS), key=lambda word: (-counts[word], word))[:_WORDS]
    wanted = sorted({word for item in items for word in _words(item["text"], info.columns)})
    if not often or not wanted:
        return {}
    if "embedding" not in askers.predictor.runtime.outputs:
        return {word: _drawn(word, often, context.seed) for word in wanted}
    known = list(dict.fromkeys((*often, *wanted)))
    vectors = np.array(askers.ask("embedding", known, what="looking for words near others", emit=context.emit), dtype=np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    place = {word: row for row, word in enumerate(known)}
    return {word: _nearest(word, often, vectors[: len(often)] @ vectors[place[word]]) for word in wanted}


def _words(text: str, columns: Sequence[str]) -> list[str]:
    units = words(text, columns=columns)
    return [name for name, span in zip(units.names, units.spans, strict=True) if span is not None]


def _nearest(word: str, often: Sequence[str], near: np.ndarray[Any, Any]) -> list[str]:
    order = np.argsort(-near, kind="stable")[: 2 * OTHERS].tolist()
    return [often[place] for place in order if often[place].casefold() != word.casefold()][:OTHERS]


def _drawn(word: str, often: Sequence[str], seed: int) -> list[str]:
    rng = seeds.generator(seed, "explanation", "other words", word)
    return [often[place] for place in rng.permutation(len(often))[:OTHERS].tolist() if often[place] != word]
