"""Tensors that may lie in parts, one in each process (`shard.py`): what is here of them, and how they become whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def here(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, in the memory that it lies in: of a plain one all."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def finite(parameters: Iterable[Tensor]) -> bool:
    """Whether what this process holds of them is all finite numbers."""
    return all(bool(torch.isfinite(here(parameter.detach())).all()) for parameter in parameters)


def part_of(whole: Tensor, like: Any) -> Tensor:
    """A whole tensor as another one is: in parts where that is, and on its device."""
    whole = whole.to(like.device)
    if not hasattr(like, "device_mesh"):
        return whole
    from torch.distributed.tensor import distribute_tensor  # torch may come without it

    found = torch.empty_like(like.detach())  # of its own: a view would keep the whole one in memory
    here(found).copy_(here(distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)))
    return found


def put_together(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Tensors made whole one after another, so that whoever drops them never holds two; all processes must ask for them."""
    for name, tensor in tensors.items():
        yield name, tensor.full_tensor().cpu() if hasattr(tensor, "full_tensor") else tensor


def bytes_here(parameters: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the memory in which this process holds parameters, their gradients and the optimizer's state."""
    found: dict[int, int] = {}
    for parameter in parameters:
        state: list[Any] = [parameter, parameter.grad, *optimizer.state.get(parameter, {}).values()]
        for tensor in state:
            if isinstance(tensor, Tensor):
                storage = here(tensor.detach()).untyped_storage()
                found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())
