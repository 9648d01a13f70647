"""Linear layers whose frozen weights are held in 4 bits, packed and unpacked by bitsandbytes.

A layer here is ours, around the library's arithmetic: the library's own layer changes how its weights are laid out at the first answer of
some processors, computes in bf16 there whatever was asked, and rounds its bias for good. Weights are always packed on the CPU, so that the
same base gives the same bits wherever it is then trained.

Source: Dettmers et al. (2023), QLoRA: Efficient finetuning of quantized LLMs, section 3 (NormalFloat, double quantization).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trustbase.errors import ModelError
from trustbase.model.adaptations.libraries import bitsandbytes, bitsandbytes_version
from trustbase.model.adaptations.targets import is_turned, linear_layers

FORMAT, BLOCK, NESTED_BLOCK = "nf4", 64, 256  # weights that share a scale, and scales that do where they are packed themselves
_COMPUTE = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Packing:
    """How weights are packed, and what they are multiplied in.

    Attributes:
        double: the scales of the blocks are packed too, in 8 bits.
        compute: "fp32", "bf16", or None: as all other layers, by the precision of the run.
    """

    double: bool = True
    compute: str | None = None

    def to_json(self, digest: str) -> dict[str, Any]:
        """As it stands beside an adapter."""
        return {
            "format": FORMAT,
            "block": BLOCK,
            "double": self.double,
            "compute": self.compute,
            "bitsandbytes": bitsandbytes_version(),
            "digest": digest,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Packing:
        """From beside an adapter.

        Raises:
            ModelError: it is of a form that this version does not know.
        """
        known = (said.get("format"), said.get("block")) == (FORMAT, BLOCK) and said.get("compute") in (None, *_COMPUTE)
        if not known or not isinstance(said.get("double"), bool):
            message = f"The base was packed in a way that this version does not know: {dict(said)}"
            raise ModelError(message, hint="use the version that wrote it")
        return cls(said["double"], said.get("compute"))


class FourBitLinear(nn.Linear):
    """A linear layer that is not trained, its weight `(out, in)` packed; `weight` unpacks it, in fp32.

    Attributes:
        turned: the layer in whose place it stands holds its weight the other way round (GPT-2).
    """

    packed: Tensor  # two weights a byte
    scales: Tensor  # of each block: fp32, or 8 bits where they are packed themselves
    codes: Tensor  # what the 16 codes stand for

    def __init__(self, weight: Tensor, bias: Tensor | None, packing: Packing, *, turned: bool = False) -> None:
        nn.Module.__init__(self)  # not that of a linear layer, which would make a weight
        self.out_features, self.in_features = weight.shape
        self.packing, self.turned = packing, turned
        self._compute = None if packing.compute is None else _COMPUTE[packing.compute]
        packed, state = bitsandbytes().functional.quantize_4bit(
            weight.detach().to("cpu", torch.float32).contiguous(),
            blocksize=BLOCK,
            compress_statistics=packing.double,
            quant_type=FORMAT,
        )
        for name, tensor in {"packed": packed, "scales": state.absmax, "codes": state.code}.items():
            self.register_buffer(name, tensor)
        if packing.double:
            for name, tensor in {"nested": state.state2.absmax, "offset": state.offset, "nested_codes": state.state2.code}.items():
                self.register_buffer(name, tensor)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False))
        self.to(weight.device)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]  # no parameter: it is computed
        found: Tensor = bitsandbytes().functional.dequantize_4bit(self.packed, self._state())
        return found.detach()

    def forward(self, x: Tensor) -> Tensor:
        """In the format that was asked for, or as autocast would have it; what is kept for the way back is the packed weight."""
        kind = x.device.type
        usual = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        dtype = usual if self._compute is None else self._compute
        bias = None if self.bias is None else self.bias.to(dtype)
        with torch.autocast(kind, enabled=False):  # it would compute in a format of its own inside the library
            y: Tensor = bitsandbytes().matmul_4bit(x.to(dtype), self.packed, bias=bias, quant_state=self._state())
        return y.to(usual)

    def plain(self, weight: Tensor) -> nn.Module:
        """The layer as it was before, with this weight `(out, in)`."""
        made: Any
        if self.turned:
            from transformers.pytorch_utils import Conv1D

            made = Conv1D(self.out_features, self.in_features)
            weight = weight.T
        else:
            made = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        made.weight = nn.Parameter(weight.contiguous())
        if self.bias is not None:
            made.bias = nn.Parameter(self.bias.detach().clone())
        made.train(self.training)
        return made  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {FORMAT}"

    def _state(self) -> Any:
        """What the library must know to unpack the weight."""
        library = bitsandbytes().functional
        about: dict[str, Any] = {"shape": torch.Size((self.out_features, self.in_features)), "dtype": torch.float32, "quant_type": FORMAT}
        if self.packing.double:
            nested = library.QuantState(absmax=self.nested, code=self.nested_codes, blocksize=NESTED_BLOCK, dtype=torch.float32)
            about |= {"offset": self.offset, "state2": nested}
        return library.QuantState(absmax=self.scales, code=self.codes, blocksize=BLOCK, **about)


def pack(model: nn.Module, packing: Packing) -> None:
    """Put packed layers in place of all linear ones of the body, whose weights are then gone; embeddings, norms and head stay."""
    for name in linear_layers(model):
        layer: Any = model.get_submodule(name)
        turned = is_turned(layer)
        made = FourBitLinear(layer.weight.T if turned else layer.weight, layer.bias, packing, turned=turned).train(layer.training)
        replace(model, name, made)


def packed_layers(model: nn.Module) -> dict[str, FourBitLinear]:
    """Packed layers by their full name, which those with an update beside them have in the update's layer."""
    return {name: module for name, module in model.named_modules() if isinstance(module, FourBitLinear)}


def packed_digest(model: nn.Module) -> str:
    """`sha256:…` over what the packed layers hold."""
    found = hashlib.sha256()
    for name, layer in sorted((name.removesuffix(".base_layer"), layer) for name, layer in packed_layers(model).items()):
        for part, tensor in layer.named_buffers():
            found.update(f"{name}\x00{part}\x00{tuple(tensor.shape)}\x00{tensor.dtype}\x00".encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"sha256:{found.hexdigest()}"


def replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in another's place."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def parameter_count(model: nn.Module) -> int:
    """Weights of a model, packed ones included, of which a byte holds two."""
    plain = sum(parameter.numel() for parameter in model.parameters())
    return plain + sum(layer.out_features * layer.in_features for layer in packed_layers(model).values())


def weight_bytes(model: nn.Module) -> int:
    """Bytes of memory that parameters and buffers take, packed ones as they lie there."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
