"""AdaLoRA's schedule: which ranks of which layers are kept, decided after each update by how much the loss hangs on them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from trustbase.model.adaptations.low_rank import ADAPTER, adapted_layers
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import State

_SMOOTHED, _UNSURE = 0.85, 0.85  # β1 and β2 of the paper
_ORTHOGONAL = 0.5  # weight of what keeps P and Q orthogonal
_PARTS = ("lora_A", "lora_E", "lora_B")


class Ranks:
    """Importance of every rank, and the ranks that are kept.

    The importance of a number is its sensitivity |w · gradient|, smoothed, times how much that wavers, smoothed; that of a rank is the
    importance of its singular value plus the means over its two vectors. After each update the least important ranks of all layers
    together get the singular value 0, so many that the budget is left; what was taken away may come back until ranks are settled.

    Source: Zhang et al. (2023), AdaLoRA, equations 4 to 13; smoothing and weights as in its code, which PEFT follows.
    """

    def __init__(self, model: nn.Module, options: AdaptOptions, total: int) -> None:
        """For a training of `total` planned updates."""
        self._layers: dict[str, Any] = adapted_layers(model)
        self._first = math.floor(options.prune_from * total)
        self._settled = max(self._first + 1, math.floor(options.prune_until * total))
        self._start = sum(int(layer.lora_E[ADAPTER].shape[0]) for layer in self._layers.values())
        self._target = options.rank * len(self._layers)
        self._sensitivity: dict[str, Tensor] = {}
        self._wavering: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}  # by layer, `(ranks, 1)`; empty until ranks are settled

    def before(self) -> None:
        """Add the gradient of what keeps both sides of an update orthogonal: the mean of ‖QQᵀ − 1‖ and ‖PᵀP − 1‖ over all layers."""
        sides = [side for layer in self._layers.values() for side in (layer.lora_A[ADAPTER], layer.lora_B[ADAPTER])]
        with torch.enable_grad():
            distances = [_from_orthogonal(layer.lora_A[ADAPTER]) for layer in self._layers.values()]
            distances += [_from_orthogonal(layer.lora_B[ADAPTER].T) for layer in self._layers.values()]
            gradients = torch.autograd.grad(_ORTHOGONAL * torch.stack(distances).mean(), sides)
        for side, gradient in zip(sides, gradients, strict=True):
            side.grad = gradient if side.grad is None else side.grad + gradient

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Weigh the ranks by this update's gradients, and keep what the budget of this step allows."""
        if self._kept:
            self._keep(self._kept)
            return
        self._weigh()
        if step <= self._first:
            return
        kept = self._best(self.budget(step))
        self._keep(kept)
        if step >= self._settled:
            self._kept = kept
            self._sensitivity, self._wavering = {}, {}

    def budget(self, step: int) -> int:
        """Ranks that all layers may have together after an update (from 1)."""
        if step <= self._first:
            return self._start
        left = max(0.0, 1 - (step - self._first) / (self._settled - self._first))
        return int(self._target + (self._start - self._target) * left**3)

    def kept(self) -> dict[str, int]:
        """Ranks of each layer whose singular value is not 0."""
        return {name: int((layer.lora_E[ADAPTER] != 0).sum()) for name, layer in self._layers.items()}

    def state(self) -> dict[str, Tensor]:
        known = (("sensitivity", self._sensitivity), ("wavering", self._wavering), ("kept", self._kept))
        return {f"{what}:{name}": tensor.contiguous() for what, tensors in known for name, tensor in tensors.items()}

    def load(self, state: State) -> None:
        self._sensitivity, self._wavering, self._kept = {}, {}, {}
        own = {"sensitivity": self._sensitivity, "wavering": self._wavering, "kept": self._kept}
        for full, tensor in state.items():
            what, name = full.split(":", 1)
            layer = self._layers[name if what == "kept" else name.rsplit(":", 1)[0]]
            own[what][name] = tensor.to(layer.lora_E[ADAPTER].device)

    def _weigh(self) -> None:
        for name, layer in self._layers.items():
            for part in _PARTS:
                parameter, key = getattr(layer, part)[ADAPTER], f"{name}:{part}"
                now = (parameter * parameter.grad).abs()
                before = self._sensitivity.get(key, torch.zeros_like(now))
                smoothed = _SMOOTHED * before + (1 - _SMOOTHED) * now
                wavering = self._wavering.get(key, torch.zeros_like(now))
                self._sensitivity[key] = smoothed
                self._wavering[key] = _UNSURE * wavering + (1 - _UNSURE) * (now - smoothed).abs()

    def _best(self, budget: int) -> dict[str, Tensor]:
        """Which ranks are the most important ones, by layer, `(ranks, 1)`; of equal ones the first."""
        importance = [self._importance(name) for name in self._layers]
        order = torch.sort(torch.cat(importance), descending=True, stable=True).indices
        best = torch.zeros(len(order), dtype=torch.bool, device=order.device)
        best[order[:budget]] = True
        parts = torch.split(best, [len(weights) for weights in importance])
        return {name: part[:, None].clone() for name, part in zip(self._layers, parts, strict=True)}

    def _importance(self, name: str) -> Tensor:
        """Of each rank of a layer, `(ranks,)`."""
        right, value, left = (self._sensitivity[f"{name}:{part}"] * self._wavering[f"{name}:{part}"] for part in _PARTS)
        every: Tensor = value[:, 0] + right.mean(dim=1) + left.mean(dim=0)
        return every

    def _keep(self, kept: dict[str, Tensor]) -> None:
        for name, layer in self._layers.items():
            layer.lora_E[ADAPTER].masked_fill_(~kept[name], 0.0)


def _from_orthogonal(rows: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.matrix_norm(rows @ rows.T - torch.eye(len(rows), device=rows.device, dtype=rows.dtype))
    return distance
