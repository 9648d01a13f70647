"""A task's rows as material of the loop: tokens, or what a frozen model or its frozen layers say of them, computed once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trustbase.data.stored import StoredTexts
from trustbase.errors import UsageError
from trustbase.events import Emit
from trustbase.model.adapt import adapted_with, cut_of, frozen_features
from trustbase.model.cut import Cut
from trustbase.model.encoded import Encoded
from trustbase.model.sequencer import CONTEXT, UNITS, Sequencer
from trustbase.model.states import Kept, frozen_states
from trustbase.records import Split
from trustbase.train.batches import Labelled
from trustbase.train.forward import DTYPES
from trustbase.train.labelled import FeatureRows, StateRows, TokenRows
from trustbase.train.units import SpanRows, UnitFeatureRows, UnitRows


@dataclass(frozen=True, eq=False)
class Readied:
    """What training reads.

    Attributes:
        encoded: the training texts.
        training: the training rows.
        validation: those that choose the best checkpoint; None where there are none.
        computed: what was computed once, in words; empty where nothing was.
        cut: where batches enter the model, if not at its embeddings.
    """

    encoded: Encoded
    training: Labelled
    validation: Labelled | None
    computed: str
    cut: Cut | None


def head_alone(model: nn.Module) -> bool:
    """Whether nothing of a model but its head is trained."""
    options = adapted_with(model)
    return options is not None and options.method == "frozen" and options.layers is None


def ready(
    model: nn.Module,
    tokenizer: Any,
    splits: Mapping[str, Split | None],
    *,
    targets: Callable[[Split], NDArray[Any]],
    columns: Callable[[Split], NDArray[np.float32] | None],
    sequencer: Sequencer,
    precision: str,
    device: str,
    folder: Path,
    files_of: Path,
    sharers: int,
    emit: Emit,
) -> Readied:
    """Tokenize the rows, once, and run what is frozen over them, once.

    Args:
        model: from `adapt`.
        tokenizer: its tokenizer.
        splits: `train`, and `validation` where there are such rows.
        targets: what the task compares answers with, of each row of a split.
        columns: table columns that the model reads beside the text, of each row of a split.
        sequencer: how a text becomes token sequences.
        precision: number format of training.
        device: where the model runs.
        folder: takes what memory has no room for.
        files_of: takes the tokens of splits whose texts are not in memory (`room_for_tokens`).
        sharers: processes that do the same on this machine.
        emit: takes `progress` events.

    Raises:
        UsageError: there are no training rows.
        ModelError: the architecture does not work with what is frozen.
    """
    pad_id, dtype, cut, computed = int(tokenizer.pad_token_id), DTYPES[precision], cut_of(model), ""
    found: dict[str, tuple[Encoded, Labelled]] = {}
    units, spans = sequencer.form == UNITS, sequencer.form == CONTEXT  # each unit of a text has a target, or a part of it is one

    def told(split: Split) -> NDArray[Any]:
        return np.zeros(len(split), np.int64) if units or spans else targets(split)  # these targets stand beside the rows

    for name, split in splits.items():
        if split is None or not len(split):
            continue
        rows = replace(sequencer.encode(tokenizer, split.texts, store=_store(split, files_of), emit=emit), columns=columns(split))
        several: dict[str, Any] = {"sequences": rows.sequences, "together": rows.together}
        if head_alone(model):
            autocast = None if precision == "fp32" else dtype
            features = frozen_features(model, rows.flat, pad_id=pad_id, device=device, autocast=autocast, emit=emit)
            material: Labelled = FeatureRows(features, rows.lengths, targets(split), rows.columns, **several)
            if units:
                material = UnitFeatureRows(features, rows, targets(split))
            computed = "outputs of the frozen body were computed once"
        elif cut is not None:
            kept = frozen_states(
                model, cut, rows.flat, pad_id=pad_id, dtype=dtype, folder=folder, sharers=sharers, device=device, emit=emit
            )
            tokens: TokenRows = StateRows(
                rows.ids, rows.offsets, told(split), pad_id, rows.segments, rows.columns, states=kept.states, **several
            )
            material = UnitRows(tokens, rows, targets(split)) if units else tokens
            computed = computed or _in_words(cut, kept)
        else:
            tokens = TokenRows(rows.ids, rows.offsets, told(split), pad_id, rows.segments, rows.columns, **several)
            material = UnitRows(tokens, rows, targets(split)) if units else tokens
        if spans:
            material = SpanRows(tokens, rows, targets(split), sequencer.answer_tokens)
        found[name] = rows, material
    if "train" not in found:
        raise UsageError("there are no training rows", hint="check the train split of the recipe's data")
    encoded, training = found["train"]
    return Readied(encoded, training, found["validation"][1] if "validation" in found else None, computed, cut)


@contextmanager
def room_for_tokens(folder: Path) -> Iterator[Path]:
    """A folder for tokens that memory may not hold; gone when training is over, or swept by the next call."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tokens.", suffix=".part", dir=folder) as place:
        yield Path(place)


def _store(split: Split, files_of: Path) -> Path | None:
    """Where the tokens of a split go: into a file where its texts are in one."""
    if not isinstance(split.texts, StoredTexts):
        return None
    (files_of / split.name).mkdir()
    return files_of / split.name


def _in_words(cut: Cut, kept: Kept) -> str:
    size, place = kept.states.nbytes / 2**20, "a file" if kept.in_file else "memory"
    layers = "layer" if cut.layers == 1 else f"{cut.layers} layers"
    return f"outputs of the first {layers} were computed once ({size:.0f} MiB in {place} for the training rows)"
