"""The optimizers that `train.optimizer` names: AdamW, Adafactor and Muon, all torch's own.

Muon turns the momentum of a weight matrix into the nearest orthogonal one. It is for matrices between hidden layers;
embeddings, heads, biases, norms and low-rank updates stay with AdamW, in one optimizer for the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from trustbase.errors import UsageError
from trustbase.model.adaptations.shared import ADDED
from trustbase.train.options import TrainOptions

Group = dict[str, Any]
_HEADS = {
    *("classifier", "score", "classification_head", "pre_classifier", "lm_head", "generator_lm_head"),
    *("seq_relationship", "dense_prediction"),  # next sentence or sentence order (BERT), replaced token (ELECTRA)
}


def adamw(groups: Sequence[Group], options: TrainOptions) -> torch.optim.AdamW:
    """Source: Loshchilov, Hutter (2019), Decoupled weight decay regularization."""
    betas = (options.beta1, options.beta2)
    return torch.optim.AdamW(list(groups), lr=options.learning_rate, betas=betas, eps=options.epsilon, fused=True)


def adafactor(groups: Sequence[Group], options: TrainOptions) -> torch.optim.Adafactor:
    """Row and column means in place of a second moment for each weight, and no first moment: a fraction of the memory.

    Its learning rate is relative: an update moves a tensor by about `learning_rate` times its own size.

    Source: Shazeer, Stern (2018), Adafactor, algorithms 4 and 5.
    """
    return torch.optim.Adafactor(list(groups), lr=options.learning_rate)


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for hidden matrices and AdamW for everything else, as one optimizer: one list of groups, one state.

    Attributes:
        parts: the two, which share their groups and states with this one.
    """

    def __init__(self, muon: torch.optim.Optimizer | None, rest: torch.optim.Optimizer | None) -> None:
        self.parts = [part for part in (muon, rest) if part is not None]
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        for part in self.parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter."""
        if closure is not None:
            raise NotImplementedError("this optimizer takes gradients as they are")
        for part in self.parts:
            part.step()


def muon(groups: Sequence[Group], options: TrainOptions, *, hidden: set[int]) -> MuonWithAdamW:
    """Muon on the hidden matrices, AdamW on the rest, both at the learning rate that AdamW would have.

    Args:
        groups: all parameters, with decay and rates.
        options: `beta1` to `epsilon` are AdamW's, `momentum` is Muon's.
        hidden: `id` of each parameter that Muon takes.

    Source: Jordan et al. (2024), Muon; Liu et al. (2025), Muon is scalable for LLM training, section 2.2: an update scaled by
    0.2 √max(rows, columns) has the size of AdamW's, so that learning rate and decay carry over.

    Raises:
        UsageError: this torch has no Muon.
    """
    if not hasattr(torch.optim, "Muon"):
        raise UsageError(f"train.optimizer: muon needs torch 2.9 or later, and this is {torch.__version__}", hint="set optimizer: adamw")
    inside = [{**group, "params": [p for p in group["params"] if id(p) in hidden]} for group in groups]
    outside = [{**group, "params": [p for p in group["params"] if id(p) not in hidden]} for group in groups]
    inside, outside = [group for group in inside if group["params"]], [group for group in outside if group["params"]]
    first = (
        torch.optim.Muon(inside, lr=options.learning_rate, momentum=options.momentum, adjust_lr_fn="match_rms_adamw") if inside else None
    )
    return MuonWithAdamW(first, adamw(outside, options) if outside else None)


def hidden_matrices(model: nn.Module) -> set[str]:
    """Names of the weights that Muon is meant for: matrices between hidden layers.

    Not embeddings (nor heads tied to them), not output heads, not what an adaptation adds.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    models: list[Any] = [module for module in model.modules() if hasattr(module, "get_output_embeddings")]
    outputs = [module.get_output_embeddings() for module in models]
    tables |= {id(head.weight) for head in outputs if head is not None}
    found = set()
    for name, parameter in model.named_parameters():
        parts = set(name.split("."))
        outside = id(parameter) in tables or parts & _HEADS or any(part.startswith(("lora_", ADDED)) for part in parts)
        if parameter.dim() == 2 and not outside:
            found.add(name)
    return found
