"""From two splits to a plain model that was saved, read again and found to answer as the library that learned it.

The one call that a run makes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from trustbase import files, seeds
from trustbase.data.cells import inputs_of, text_and_cells
from trustbase.data.columns import Kind
from trustbase.errors import TrainingError
from trustbase.events import Emit, ignore
from trustbase.model.plain.options import LinearOptions, PlainOptions
from trustbase.model.plain.readers import Reader, Words, all_features, read_all
from trustbase.model.plain.store import Readable, read_plain, write_plain
from trustbase.model.questions import log_softmax
from trustbase.recipe.entries import load
from trustbase.recipe.lookup import PLAIN_MODELS
from trustbase.records import LabelSchema, Split, Trained
from trustbase.train.plain.learned import Learned, Material
from trustbase.train.plain.readers import Wanted, choose_readers

MOST_DIFFERENCE = 1e-9  # of a probability, between our evaluation and that of the library that learned the model
TRAINED = "trained"


def fit_plain(
    options: PlainOptions,
    labels: LabelSchema,
    train: Split,
    validation: Split,
    *,
    columns: Mapping[str, Kind],
    folder: Path,
    seed: int,
    emit: Emit = ignore,
) -> Trained:
    """Learn a plain model, and leave it in `folder/trained`.

    Args:
        options: which model, and how.
        labels: the label schema; every label has a training row.
        train: the training rows.
        validation: rows on which the model read again is held against the library that learned it, and its score is told.
        columns: those that are read one by one, and what each is taken for; none where the text is read.
        folder: gets `trained/`.
        seed: of the run.
        emit: takes events.

    Raises:
        DataError: there is nothing to read.
        TrainingError: what was saved does not answer as the library does.
    """
    began, entry = time.monotonic(), PLAIN_MODELS[options.kind]
    view = load(entry).view
    steps = options.steps if isinstance(options, LinearOptions) else 0
    readers = choose_readers(train, columns, Wanted(view, options.terms, options.least_rows, steps))
    features = all_features(readers, view)
    emit("note", text=f"learning {options.kind} from {len(train):,} rows of {len(features):,} words, numbers and categories")
    state = seeds.stream_seed(seed, "plain", options.kind) % 2**31
    names = tuple(columns)
    matrix = _matrix(readers, view, train, names)
    material = Material(matrix, train.labels, len(labels.names), _words_alone(readers), _codes(readers, view))
    learned: Learned = entry.learner()(material, options, state=state)
    for note in learned.notes:
        emit("warning", text=note)
    target = folder / TRAINED
    files.replace_folder(target, lambda staging: write_plain(Readable(learned.model, names, readers), staging))
    difference, accuracy = _held_against(read_plain(target), learned, _matrix(readers, view, validation, names), validation)
    facts: dict[str, Any] = {
        "library": f"scikit-learn {metadata.version('scikit-learn')}",
        "features": len(features),
        "seconds": round(time.monotonic() - began, 3),
        "why": f"learned by scikit-learn, answered by plain numbers: the two differ by {difference:.1e} on {len(validation):,} rows",
    }
    emit("note", text=f"accuracy on the validation rows {accuracy:.4f}; {facts['why']}")
    return Trained(target, files.digest_folder(target), 1, 1.0, "quality.accuracy", accuracy, difference, facts)


def _matrix(readers: tuple[Reader, ...], view: Any, split: Split, columns: tuple[str, ...]) -> sparse.csr_matrix:
    """The rows as the runtime will read them: out of the very strings that it is asked with."""
    if not columns:
        return read_all(readers, view, split.texts, {})
    apart = [text_and_cells(value, len(columns)) for value in inputs_of(split, columns)]
    cells: Mapping[str, Any] = dict(zip(columns, zip(*(cells for _, cells in apart), strict=True), strict=True))
    return read_all(readers, view, [text for text, _ in apart], cells)


def _words_alone(readers: tuple[Reader, ...]) -> bool:
    return all(isinstance(reader, Words) for reader in readers)


def _codes(readers: tuple[Reader, ...], view: Any) -> NDArray[np.bool_]:
    return np.array([view == "raw" and reader.is_code for reader in readers for _ in reader.features(view)], dtype=np.bool_)


def _held_against(saved: Readable, learned: Learned, matrix: sparse.csr_matrix, rows: Split) -> tuple[float, float]:
    """Largest |Δ probability| between what was saved and the library, and the accuracy of the highest score.

    Raises:
        TrainingError: they do not agree.
    """
    found = np.exp(log_softmax(saved.model.logits(matrix)))
    difference = float(np.abs(found - learned.oracle(matrix)).max())
    if not difference <= MOST_DIFFERENCE:
        raise TrainingError(
            f"the saved model answers other than the library that learned it: probabilities differ by up to {difference:.2g}",
            hint="this is a fault of Trustbase, or a version of scikit-learn that it does not know: install that of constraints.txt",
        )
    return difference, float((found.argmax(axis=1) == rows.labels).mean())
