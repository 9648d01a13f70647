"""Bottleneck adapters: beside the frozen body, a small network after the blocks of each layer, which begins by doing nothing.

`x + up(act(down(x)))` follows the last linear layer of the feed-forward block (Pfeiffer), and of the attention too (Houlsby), before
dropout, residual sum and norm. `up` starts at zero, so that training starts from the base. The body's norms stay frozen, where Houlsby
et al. train them: what is trained is what was added, and the head. It hangs on the layer as a hook, so that the model keeps its class.

Source: Houlsby et al. (2019), Parameter-efficient transfer learning for NLP, section 2.1; Pfeiffer et al. (2021), AdapterFusion,
section 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trustbase.errors import Problem, RecipeError
from trustbase.model.adaptations.options import AdaptOptions
from trustbase.model.adaptations.shared import ADDED, Way, added, train_only_head
from trustbase.model.adaptations.targets import ends_with, is_turned, linear_layers
from trustbase.seeds import stream_seed

_NAME = f"{ADDED}bottleneck"
_AFTER_ATTENTION = ("attention.output.dense", "attention.out_lin", "attn.c_proj", "self_attn.o_proj", "self_attn.out_proj", "attn.Wo")
_AFTER_FEED_FORWARD = ("output.dense", "ffn.lin2", "mlp.c_proj", "mlp.down_proj", "fc2", "mlp.Wo")


class Bottleneck(nn.Module):
    """`x + up(gelu(down(x)))`, of a width that is given and a bottleneck of `size`."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.up(nn.functional.gelu(self.down(x)))
        return y

    def after(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """As a hook of the layer it follows."""
        y: Tensor = self(output)
        return y


def prepare(model: nn.Module, options: AdaptOptions, *, seed: int) -> None:
    """Hang a bottleneck on each chosen layer, drawn from the stream of its name.

    Raises:
        RecipeError: this architecture has no such layers.
    """
    problems = _problems(model, options)
    if problems:
        raise RecipeError(f"adapt: adapter does not work for {type(model).__name__}", problems=problems)
    for name in places_of(model, options.style):
        layer: Any = model.get_submodule(name)
        with torch.random.fork_rng(devices=[]):  # torch draws what is then overwritten
            bottleneck = Bottleneck(int(layer.nf if is_turned(layer) else layer.out_features), options.size)
        stream = torch.Generator().manual_seed(stream_seed(seed, "bottleneck", name))
        with torch.no_grad():
            bottleneck.down.weight.copy_(torch.randn(bottleneck.down.weight.shape, generator=stream) * 0.02)
            for rest in (bottleneck.down.bias, bottleneck.up.weight, bottleneck.up.bias):
                rest.zero_()
        layer.add_module(_NAME, bottleneck.to(layer.weight.device).train(layer.training))
        layer.register_forward_hook(bottleneck.after)
    train_only_head(model, also=ADDED)


def places_of(model: nn.Module, style: str) -> list[str]:
    """Names of the layers that a bottleneck follows."""
    linear = linear_layers(model)
    attention = [name for name in linear if ends_with(name, _AFTER_ATTENTION)]
    forward = [name for name in linear if ends_with(name, _AFTER_FEED_FORWARD) and name not in attention]
    return sorted([*forward, *(attention if style == "houlsby" else [])])


def _problems(model: nn.Module, options: AdaptOptions) -> list[Problem]:
    """Blocks whose last layer is not known here."""
    blocks = {"feed-forward": "pfeiffer", **({"attention": "houlsby"} if options.style == "houlsby" else {})}
    pfeiffer = places_of(model, "pfeiffer")
    found = {"feed-forward": pfeiffer, "attention": [name for name in places_of(model, "houlsby") if name not in pfeiffer]}
    lost = [block for block in blocks if not found[block]]
    if not lost:
        return []
    what = f"the last layer of its {' and '.join(lost)} blocks is not known here, so that no bottleneck can follow"
    return [Problem("adapt.method", f"{type(model).__name__}: {what}", "use adapt: lora")]


ADAPTER = Way(prepare, leaves=added(prepare), problems=_problems)
