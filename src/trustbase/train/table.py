"""Training a large word table by the rows that the training data use, so that a step's cost does not grow with the vocabulary.

A fine-tuning set holds a few thousand of a vocabulary's 30,000 words. The others never get a gradient: their moments stay zero,
and nothing but weight decay would move them. So the used rows are trained as a small parameter of their own, by the same
mathematics as a whole table; gradient norm, optimizer and checkpoints see that parameter only. **Rows of tokens that no
training row holds keep the base model's values** (a whole table under AdamW would shrink them by learning rate × decay a step).

The gradient goes into one kept buffer of which only the touched rows are cleared: a fresh one is fresh memory pages each step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

_LARGE_TABLE = 4_000_000  # elements; below this a whole table costs less than the detour


@contextmanager
def used_rows(model: nn.Module, tokens: NDArray[np.int64] | None) -> Iterator[list[UsedRows]]:
    """Train the word table of `model` by the rows of `tokens` while the context lasts; an empty list where it stays whole.

    Args:
        model: its input embedding is the table, if it is large, trained, on a CPU and shared with no other layer.
        tokens: the token ids that training will look up, or None where the model reads no tokens.
    """
    table = _word_table(model)
    tables = [] if tokens is None or table is None else [UsedRows(table, tokens)]
    try:
        yield tables
    finally:
        for each in tables:
            each.release()


def _word_table(model: nn.Module) -> nn.Embedding | None:
    module = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None  # type: ignore[operator]
    if type(module) is not nn.Embedding or module.weight.numel() < _LARGE_TABLE:
        return None
    owners = sum(parameter is module.weight for each in model.modules() for parameter in each.parameters(recurse=False))
    plain = not (module.sparse or module.scale_grad_by_freq or module.max_norm is not None)
    return module if plain and owners == 1 and module.weight.requires_grad and module.weight.device.type == "cpu" else None


class UsedRows:
    """The used rows of one embedding as a parameter (the module's `forward` is replaced until `release`).

    Attributes:
        weight: the whole table, `(vocabulary, width)`; scoring reads it, and gets the trained rows first.
        rows: what is trained, `(used, width)`.
    """

    def __init__(self, module: nn.Embedding, tokens: NDArray[np.int64]) -> None:
        self.weight = module.weight
        self._module = module
        self._tokens = torch.from_numpy(np.unique(tokens))
        self._place = torch.full((module.num_embeddings,), -1)  # an unused token has no row: looking it up in training raises
        self._place[self._tokens] = torch.arange(self._tokens.numel())
        self.rows = nn.Parameter(module.weight.detach()[self._tokens].clone())
        self._buffer = torch.zeros_like(self.rows)
        self._touched: list[Tensor] = []
        module.forward = self._forward  # type: ignore[method-assign, assignment]

    def release(self) -> None:
        """Give the trained rows to the table, and the module its own forward."""
        self._write_back()
        del self._module.forward
        self.clear()

    def clear(self) -> None:
        """Zero the gradient of the rows that were touched since the last clearing."""
        for places in self._touched:
            self._buffer[places] = 0.0
        self._touched.clear()
        self.rows.grad = None

    def _write_back(self) -> None:
        self.weight.data[self._tokens] = self.rows.data

    def _forward(self, ids: Tensor) -> Tensor:
        if not torch.is_grad_enabled():  # scoring may meet any token
            self._write_back()
            return functional.embedding(ids, self.weight)
        places = self._place[ids]
        vectors = functional.embedding(places, self.rows.detach())
        vectors.requires_grad_(True)
        vectors.register_hook(lambda gradient: self._collect(ids, places, gradient))  # type: ignore[no-untyped-call]
        return vectors

    def _collect(self, ids: Tensor, places: Tensor, gradient: Tensor) -> None:
        touched, inverse = torch.unique(places, return_inverse=True)
        padding = self._module.padding_idx
        if padding is not None:
            inverse = inverse.masked_fill(ids == padding, -1)  # like torch: the padding row has no gradient
        self._buffer[touched] += torch.ops.aten.embedding_dense_backward(gradient, inverse, touched.numel(), -1, False)
        self._touched.append(touched)
        self.rows.grad = self._buffer
