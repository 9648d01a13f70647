"""What frozen layers say of every token, computed once and kept: in memory where there is room, else in a file that is mapped into it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trustbase import files
from trustbase.data.batch import plan_batches
from trustbase.events import Emit, ignore
from trustbase.model.cut import Cut
from trustbase.model.encoded import Encoded, pad
from trustbase.model.evaluating import evaluating

_SHARE = 0.25  # of the memory that is free: the rest is for training, and for other processes


@dataclass(frozen=True, eq=False)
class Kept:
    """States of all tokens of some texts.

    Attributes:
        states: `(tokens, width)`, the rows end to end, as `Encoded` has them.
        in_file: whether they lie in a file rather than in memory.
    """

    states: Tensor
    in_file: bool


def frozen_states(
    model: nn.Module,
    cut: Cut,
    encoded: Encoded,
    *,
    pad_id: int,
    dtype: torch.dtype,
    folder: Path,
    sharers: int = 1,
    batch_tokens: int = 8192,
    device: torch.device | str = "cpu",
    emit: Emit = ignore,
) -> Kept:
    """What reaches the first trained layer from each token, without dropout.

    The frozen layers run once, over the same batches in the same order whatever the epoch or seed, so that a training that is gone on
    with finds the same states to the bit.

    Args:
        model: the classifier, whose lower layers are frozen.
        cut: where it is cut.
        encoded: the texts.
        pad_id: padding token.
        dtype: number format of training: of the matrix products, and of what is kept.
        folder: where the file goes, if memory is short; it has no name there once it is open, so that nothing can be left behind.
        sharers: processes that do the same on this machine.
        batch_tokens: tokens in one batch, padding included.
        device: where the layers run.
        emit: takes `progress` events.

    Raises:
        ModelError: the model cannot be cut there.
        TrainingError: the disk has no room.
    """
    if not len(encoded):
        return Kept(torch.empty(0, 0, dtype=dtype), in_file=False)
    kept: Kept | None = None
    plan = plan_batches(encoded.lengths, batch_tokens=batch_tokens)
    starts, lengths = torch.from_numpy(np.asarray(encoded.offsets)), torch.from_numpy(encoded.lengths)
    place = torch.device(device)
    with evaluating(model.to(place)), torch.no_grad():
        order = np.argsort(encoded.lengths, kind="stable")
        cut.check(_tensors(encoded, np.unique(np.concatenate([order[:2], order[-2:]])), pad_id, place))
        for done, rows in enumerate(plan):
            emit("progress", what="states of the frozen layers", done=done, total=len(plan))
            with torch.autocast(place.type, dtype=dtype, enabled=dtype != torch.float32):
                found = cut.states(_tensors(encoded, rows, pad_id, place)).to(dtype).cpu()
            if kept is None:
                kept = _room(len(encoded.ids), found.shape[2], dtype, folder, sharers)
            real = torch.arange(found.shape[1]) < lengths[rows][:, None]
            kept.states[(starts[rows][:, None] + torch.arange(found.shape[1]))[real]] = found[real]
    emit("progress", what="states of the frozen layers", done=len(plan), total=len(plan))
    assert kept is not None  # there is at least one row
    return kept


def _tensors(encoded: Encoded, rows: np.ndarray, pad_id: int, device: torch.device) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array).to(device) for name, array in pad(encoded, rows, pad_id).items()}


def _room(tokens: int, width: int, dtype: torch.dtype, folder: Path, sharers: int) -> Kept:
    size = tokens * width * dtype.itemsize
    if size <= _free_memory() * _SHARE / sharers:
        return Kept(torch.empty(tokens, width, dtype=dtype), in_file=False)
    files.make_folder(folder)
    with files.saving(folder, size):
        handle, name = tempfile.mkstemp(prefix=".states.", suffix=".part", dir=folder)
        try:
            if hasattr(os, "posix_fallocate"):  # else a full disk would end the process at some later write
                os.posix_fallocate(handle, 0, size)
            states = torch.from_file(name, shared=True, size=tokens * width, dtype=dtype).view(tokens, width)
        finally:
            os.close(handle)
            Path(name).unlink()
    return Kept(states, in_file=True)


def _free_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
