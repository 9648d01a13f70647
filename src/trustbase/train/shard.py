"""A model whose state is divided over the processes: each keeps a part of every parameter, gradient and moment (torch's FSDP2).

A layer's parameters are put together out of all parts before it computes, and given up afterwards; gradients are summed, and each process
keeps its part of the sum. So a process holds its share of the state and, for a moment, one layer whole, and the updates are those of
processes that hold all, up to the order of sums.

Source: Rajbhandari et al. (2020), ZeRO, stage 3; Zhao et al. (2023), PyTorch FSDP.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from trustbase.errors import RecipeError, UsageError
from trustbase.train.cluster import shard_problems
from trustbase.train.options import TrainOptions
from trustbase.train.world import World, digest_of

T = TypeVar("T")
_SKIPPING = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")  # settings by which a model leaves out layers at random


def divided(model: nn.Module, world: World, device: str, options: TrainOptions) -> World:
    """Divide a model's state over the processes of a training, and name it in what they know of each other.

    Args:
        model: whole, on the CPU, the same in every process; keeps its part until `Divided.put_together`.
        world: the processes.
        device: where the parts will lie.
        options: of the training.

    Raises:
        RecipeError: the options, or the model, do not allow it.
        UsageError: this torch cannot do it.
        TrainingError: the processes hold different models.
    """
    problems = list(shard_problems(world.size, options))
    if problems:
        raise RecipeError("The model's state cannot be divided", problems=problems)
    if not hasattr(FSDPModule, "reset_iter_state"):
        raise UsageError(f"cluster.shard needs torch 2.13 or later, and this is {torch.__version__}", hint="remove cluster.shard")
    config = getattr(model, "config", None)
    skipping = [name for name in _SKIPPING if getattr(config, name, 0.0)]
    if skipping:
        raise RecipeError(
            f"The model's state cannot be divided: its {skipping[0]} leaves out layers at random, and processes must go through the same",
            hint=f"set {skipping[0]} to 0 in the base's config.json, or remove cluster.shard",
        )
    world.agree_on({"weights": digest_of(model.parameters())})  # every process keeps its part of what it built itself
    return replace(world, divided=Divided(model, world, device))


class _Work(nn.Module):
    """A call of any work at all as the forward of the whole model.

    Objectives ask for single parts of a model (an encoder, a pooler, a generator), so it cannot be the model's own forward that puts
    together what lies outside the layers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], T]) -> T:
        return work()


class Divided:
    """A model of which this process holds its part; all processes must ask it the same, in the same order."""

    def __init__(self, model: nn.Module, world: World, device: str) -> None:
        """Divide it; the model itself is afterwards in parts."""
        self._model, self._first = model, world.first
        states = (*model.parameters(), *model.buffers())
        self._shell = copy.deepcopy(model, {id(state): state for state in states})  # the model as it was, around the same parameters
        self._work = _Work(model)
        mesh = init_device_mesh(device.split(":")[0], (world.size,))
        for unit in (*layers_of(model), self._work):
            whole = [parameter for parameter in unit.parameters() if not isinstance(parameter, DTensor)]
            part: Any = fully_shard(unit, mesh=mesh)
            part.set_gradient_divide_factor(1.0)  # an update divides by its units itself
            part.set_force_sum_reduction_for_comms(True)  # Gloo knows no other
            for parameter in whole:
                parameter.data = parameter.data.new_empty(0)
        with torch.no_grad():
            self._work(lambda: None)  # the first call decides what is the root
        for part in self._work.modules():
            if isinstance(part, FSDPModule):  # memory for it as a whole is made now: what inference mode makes would not serve training
                part.unshard()
                part.reshard()

    def trained(self, work: Callable[[], T]) -> T:
        """What comes of work with the model from which gradients are to follow."""
        with _sparing():
            return self._work(work)  # type: ignore[no-any-return]

    def asked(self, work: Callable[[], T]) -> T:
        """What comes of work with the model without gradients."""
        try:
            with torch.no_grad(), _sparing():
                return self._work(work)  # type: ignore[no-any-return]
        finally:
            self._work.reset_iter_state()  # type: ignore[operator]

    def put_together(self) -> None:
        """Make the model of the first process a plain and whole one, on the CPU; those of the others are left without weights."""
        self._work.reset_iter_state()  # type: ignore[operator]
        parts: dict[str, Any] = dict(self._model.named_parameters())
        with torch.no_grad():
            for name, parameter in self._shell.named_parameters():
                whole = parts.pop(name).full_tensor()
                parameter.data = whole.cpu() if self._first else whole.new_empty(0)
            for buffer in self._shell.buffers():
                buffer.data = buffer.data.cpu()
        self._shell.train(self._model.training)
        vars(self._model).clear()
        vars(self._model).update(vars(self._shell))


@contextmanager
def _sparing() -> Iterator[None]:
    """Autocast keeps no 16-bit copy of each weight while the context lasts: together they would be half of the model."""
    kept = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "FSDP2-wrapped module")  # layers return views, as T5's do; nothing changes them in place
            yield
    finally:
        torch.set_autocast_cache_enabled(kept)


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The repeated layers of a model, each of which is put together alone: those in its outermost lists that share nothing with others."""
    owners = _owners(model)
    found = {id(layer): layer for layer in _listed(model) if not isinstance(layer, nn.ModuleList | nn.ModuleDict)}
    return [layer for layer in found.values() if any(True for _ in layer.parameters()) and _apart(layer, owners)]


def _listed(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else _listed(child)


def _owners(module: nn.Module) -> Counter[int]:
    """How many modules name each parameter."""
    return Counter(id(parameter) for each in module.modules() for parameter in each.parameters(recurse=False))


def _apart(layer: nn.Module, owners: Counter[int]) -> bool:
    return all(owners[parameter] == count for parameter, count in _owners(layer).items())
