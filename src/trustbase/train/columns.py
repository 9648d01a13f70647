"""Table columns alone, before text and columns are trained together: in seconds the network learns what takes a text model epochs.

It goes over the rows with the objective of the training itself, and depends on rows, options and seed alone: a resumed training makes
the same start again, and then takes what its checkpoint holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trustbase import seeds
from trustbase.events import Emit, ignore
from trustbase.model.fused import COLUMNS, network_of
from trustbase.records import Split
from trustbase.train.batches import Batch
from trustbase.train.objectives.classification import Objective
from trustbase.train.options import TrainOptions
from trustbase.train.schedule import learning_rate_factor, undecayed

_ROWS = 64  # of a batch
_WARMUP = 0.1


def columns_of(model: nn.Module, split: Split) -> NDArray[np.float32] | None:
    """Places and codes of a split's columns, fp32 `(rows, columns)`; None where the model reads texts alone."""
    network = network_of(model)
    if network is None:
        return None
    cells = [split.table[name].to_pylist() for name in network.encoder.names]
    return network.encoder.encode(list(zip(*cells, strict=True)))


def learn_columns(
    model: nn.Module, split: Split, targets: NDArray[Any], objective: Objective, options: TrainOptions, emit: Emit = ignore
) -> None:
    """Train a model's network of columns alone, `options.feature_epochs` times over the rows; the global random state stays as it is.

    Args:
        model: with a network of columns.
        split: the training rows.
        targets: what the task compares answers with, `(rows, …)`.
        objective: of the training.
        options: learning rate, weight decay, epochs and seed are read.
        emit: takes `progress` events.
    """
    network, columns = network_of(model), columns_of(model, split)
    assert network is not None and columns is not None
    read, labels = torch.from_numpy(columns), torch.tensor(targets)
    optimizer = _optimizer(network, options)
    batches = -(-len(read) // _ROWS)
    total, step = options.feature_epochs * batches, 0

    def forward(batch: Batch, draw: int = 0) -> torch.Tensor:
        torch.manual_seed(seeds.stream_seed(options.seed, COLUMNS, "dropout", batch.number, draw))
        scores: torch.Tensor = network(batch.inputs[COLUMNS])
        return scores

    network.train()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        for epoch in range(options.feature_epochs):
            order = seeds.generator(options.seed, COLUMNS, "order", epoch).permutation(len(read))
            for rows in np.array_split(order, batches):
                if step % batches == 0:
                    emit("progress", what="learning the table columns", done=step, total=total)
                chosen = torch.from_numpy(rows)
                batch = Batch(rows, {COLUMNS: read[chosen]}, labels[chosen], len(rows), step, {"label": rows})
                for group in optimizer.param_groups:
                    group["lr"] = options.feature_learning_rate * learning_rate_factor(step, total, schedule="linear", warmup=_WARMUP)
                optimizer.zero_grad()
                torch.stack([losses.mean() for losses in objective(forward, batch).values()]).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
    if total:
        emit("progress", what="learning the table columns", done=total, total=total)
    network.zero_grad()
    network.train(model.training)


def _optimizer(network: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    plain = undecayed(network)
    named = list(network.named_parameters())
    groups = [
        {
            "params": [parameter for name, parameter in named if (name in plain) == free],
            "weight_decay": 0.0 if free else options.weight_decay,
        }
        for free in (False, True)
    ]
    return torch.optim.AdamW(groups, lr=options.feature_learning_rate, fused=True)
