"""How strongly one answer moves with the model's weights and with what it reads, by gradients of the lent torch model.

To first order, moving a tensor `t` of `N` numbers by independent normal noise of 1 % of its own size (`E‖δ‖² = (0.01 ‖t‖)²`) changes a
score `p` by `∇p·δ`, whose mean square is `0.01² ‖t‖² ‖∇p‖² / N`. In squared percentage points that is `‖t‖² ‖∇p‖² / N`: what is computed
here, of each tensor of weights by itself, so that tensors of different size compare, and of the word embeddings of an input. Squares of
tensors that are moved together add up, as their noises are independent.

Of several scores, one backward pass of their sum with random signs serves for all: its squared gradient is their sum in the mean.

Source: Hutchinson (1989), Communications in Statistics - Simulation 18 (random signs); Novak et al. (2018), ICLR, section 3.1 (norm of the
input-output Jacobian as sensitivity).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trustbase.model.encoded import Encoded, pad
from trustbase.model.pooling import Pooling

if TYPE_CHECKING:
    import torch

SOURCE = "Hutchinson (1989), Commun. Statist. Simul. 18; Novak et al. (2018), ICLR, section 3.1"
_BLOCK = re.compile(r"^(.*?\.\d+)\.")


@dataclass(frozen=True)
class Moved:
    """What 1 % of noise does to one row's score, in squared percentage points (of a number: squared hundredths of its spread).

    Attributes:
        inputs: noise on the embeddings of what is read.
        layers: noise on the weights, by layer.
        slope: `‖∇p‖` of the score by the embeddings.
        size: `‖e‖` of these.
    """

    inputs: float
    layers: Mapping[str, float]
    slope: float
    size: float


class Tracer:
    """Scores of single rows and their gradients.

    Args:
        model: the lent torch model, in eval mode.
        encoded: the rows.
        pad_id: of the tokenizer.
        kind: answer kind: classes, labels or number.
    """

    def __init__(self, model: Any, encoded: Encoded, pad_id: int, kind: str) -> None:
        self._model, self._encoded, self._pad_id, self._kind = model, encoded, pad_id, kind
        self._read: list[torch.Tensor] = []
        self._shift: Sequence[torch.Tensor] = ()
        self._mask: Any = None
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.is_floating_point()}
        self._spread = {name: float(weight.detach().norm()) ** 2 / weight.numel() for name, weight in self._weights.items()}

    @contextmanager
    def watching(self) -> Iterator[Tracer]:
        """Ready to trace: gradients on, and what the embedding layer gives is watched."""
        for weight in self._weights.values():
            weight.requires_grad_(True)
        hook = self._model.get_input_embeddings().register_forward_hook(self._watch)
        try:
            yield self
        finally:
            hook.remove()
            self._read = []

    def moved(self, row: int, answer: int | None, rng: np.random.Generator) -> Moved:
        """What noise does to the score of `answer`, or (None) to all scores of a row, by random signs."""
        import torch

        scores = self.scores(row)
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], len(scores))).to(scores)
        value = (scores * signs).sum() if answer is None else scores[answer]
        found = torch.autograd.grad(value, [*self._read, *self._weights.values()], allow_unused=True)
        read, slopes = found[: len(self._read)], found[len(self._read) :]
        size, slope, numbers = self._sizes(read)
        layers: dict[str, float] = {}
        for name, gradient in zip(self._weights, slopes, strict=True):
            part = 0.0 if gradient is None else self._spread[name] * float(gradient.norm()) ** 2
            layers[layer_of(name)] = layers.get(layer_of(name), 0.0) + part
        return Moved(size * slope / numbers, layers, slope**0.5, size**0.5)

    def checked(self, row: int, answer: int | None, rng: np.random.Generator, step: float) -> tuple[float, float]:
        """How the score moves by `step` of the embeddings' size along its gradient: as the gradient says, and as it really does."""
        import torch

        scores = self.scores(row)
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], len(scores))).to(scores)
        value = (scores * signs).sum() if answer is None else scores[answer]
        read = torch.autograd.grad(value, self._read, allow_unused=True)
        size, slope, _ = self._sizes(read)
        if slope == 0:
            return 0.0, 0.0
        along = [
            torch.zeros_like(one) if g is None else g * (step * (size / slope) ** 0.5) for one, g in zip(self._read, read, strict=True)
        ]
        there = []
        for side in (1.0, -1.0):
            self._shift = [side * one for one in along]
            with torch.no_grad():
                moved = self.scores(row)
            there.append(float((moved * signs).sum() if answer is None else moved[answer]))
        self._shift = ()
        return step * (size * slope) ** 0.5, (there[0] - there[1]) / 2

    def scores(self, row: int) -> torch.Tensor:
        """The scores of one row: probabilities, or a number in units of its spread, `(scores,)`."""
        import torch

        part = self._encoded.take([row])
        where = next(iter(self._weights.values())).device
        batch = {name: torch.from_numpy(array).to(where) for name, array in pad(part, [0], self._pad_id).items()}
        self._read, self._mask = [], batch["attention_mask"]
        logits = self._model(**batch).logits
        if part.sequences is not None:
            logits = Pooling(torch.zeros(len(logits), dtype=torch.int64, device=where), 1, part.together)(logits)
        one: torch.Tensor = logits[0].float()
        return one.softmax(0) if self._kind == "classes" else one.sigmoid() if self._kind == "labels" else one

    def _watch(self, module: Any, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        import torch

        if self._shift:
            output = output + self._shift[len(self._read)]
        elif torch.is_grad_enabled() and not output.requires_grad:  # the embeddings do not learn
            output = output.detach().requires_grad_()
        self._read.append(output)
        return output

    def _sizes(self, gradients: Sequence[torch.Tensor | None]) -> tuple[float, float, int]:
        """Squared size of what is read, that of the gradient by it, and how many numbers both have; of real tokens alone."""
        size = slope = 0.0
        numbers = 0
        for one, gradient in zip(self._read, gradients, strict=True):
            real = self._mask.bool() if self._mask.shape == one.shape[:2] else slice(None)
            size += float(one.detach()[real].square().sum())
            slope += 0.0 if gradient is None else float(gradient[real].square().sum())
            numbers += one.detach()[real].numel()
        return size, slope, max(numbers, 1)


def layer_of(name: str) -> str:
    """The layer that a weight belongs to: `bert.encoder.layer.3.output.dense.weight` → `bert.encoder.layer.3`."""
    numbered = _BLOCK.match(name)
    if numbered:
        return numbered[1]
    parts = name.split(".")
    return ".".join(parts[: min(2, len(parts) - 1)]) or name
