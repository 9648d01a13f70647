"""Rules by which relevance goes back through a transformer, put into torch's functions while a model runs: gradients then carry it.

Every rule leaves the values as they are and changes what comes back: a product of two activations gives each of them half, a layer norm
counts as a fixed scale, and an activation function as the factor by which it scales its input. Softmax keeps its gradient, and linear
layers theirs (the ε-rule with ε → 0: what biases add is nobody's). Input times such a gradient is the input's relevance.

Source: Achtibat et al. (2024), "AttnLRP: Attention-aware layer-wise relevance propagation for transformers", ICML, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the field's own name)
from torch import Tensor
from torch.overrides import TorchFunctionMode

#: Architectures whose every product, norm and activation goes through the functions that have a rule here.
ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "roformer")
ACTIVATIONS = ("gelu", "relu", "silu", "swish", "tanh")
_NEAR = 1e-6  # of zero, where the factor of an activation is taken a little beside it


def without_rules(config: Any) -> str | None:
    """Why relevance cannot go back through such a model; None where it can."""
    if config.model_type not in ARCHITECTURES:
        return f"the rules of attention relevance are known for {', '.join(ARCHITECTURES)}, and this is {config.model_type}"
    used = getattr(config, "hidden_act", None) or getattr(config, "activation", None)
    return None if used in ACTIVATIONS else f"no rule is known for the activation {used}"


class RelevanceRules(TorchFunctionMode):
    """While it is active, what `torch.autograd` carries back through a model is relevance divided by the activation that it belongs to.

    Attributes:
        seen: how often each rule was applied: "norm", "product", "gate".
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = {"norm": 0, "product": 0, "gate": 0}

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        name = _RULES.get(func)
        if name is None or not torch.is_grad_enabled():
            return func(*args, **named)
        self.seen["product" if name == "attention" else name] += 2 if name == "attention" else 1
        return _APPLIED[name](func, args, named)


def halved(x: Tensor) -> Tensor:
    """The same values; half of what comes back goes on."""
    return 0.5 * x + 0.5 * x.detach()


def _product(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    out: Tensor = func(*args, **kwargs)
    return halved(out)


def _norm(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """The mean is taken away as before, which is linear; the scale is a number."""
    out: Tensor = func(*args, **kwargs)
    named = {**dict(zip(("input", "normalized_shape", "weight", "bias", "eps"), args, strict=False)), **kwargs}
    x: Tensor = named["input"]
    over = tuple(range(-len(named["normalized_shape"]), 0))
    centred = x - x.mean(over, keepdim=True)
    scale = torch.rsqrt(centred.detach().square().mean(over, keepdim=True) + named.get("eps", 1e-5))
    weight = named.get("weight")
    scale = scale if weight is None else scale * weight.detach()
    return out.detach() + (centred - centred.detach()) * scale


def _gate(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    out: Tensor = func(*args, **kwargs)
    x: Tensor = args[0] if args else kwargs["input"]
    with torch.no_grad():
        beside = torch.where(x.abs() < _NEAR, torch.full_like(x, 1e-3), x)
        gate = func(beside, *args[1:], **{key: value for key, value in kwargs.items() if key not in ("input", "inplace")}) / beside
    told: Tensor = out.detach() + (x - x.detach()) * gate
    return told


def _attention(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """softmax(q kᵀ · scale + mask) v, with a rule at both products.

    Raises:
        ValueError: an attention of another form.
    """
    named = {**dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False)), **kwargs}
    if named.get("is_causal") or named.get("enable_gqa") or named.get("dropout_p"):
        raise ValueError("relevance goes back through plain attention alone: not causal, without dropout and shared heads")
    query, key, value, mask = named["query"], named["key"], named["value"], named.get("attn_mask")
    scale = named.get("scale") or 1 / math.sqrt(query.shape[-1])
    scores = halved(query @ key.transpose(-1, -2)) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return halved(torch.softmax(scores, dim=-1) @ value)


_RULES: Mapping[Any, str] = {
    **dict.fromkeys((F.layer_norm, torch.layer_norm), "norm"),
    **dict.fromkeys((torch.matmul, torch.bmm, Tensor.matmul, Tensor.__matmul__, Tensor.bmm), "product"),
    **dict.fromkeys((F.gelu, F.relu, torch.relu, F.silu, torch.tanh, Tensor.tanh, F.tanh), "gate"),
    F.scaled_dot_product_attention: "attention",
}
_APPLIED: Mapping[str, Callable[[Any, Sequence[Any], Mapping[str, Any]], Tensor]] = {
    "norm": _norm,
    "product": _product,
    "gate": _gate,
    "attention": _attention,
}
