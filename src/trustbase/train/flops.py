"""Operations of a pretraining step, counted from shapes, and the most that this machine can do in a second.

The count is nominal: what the mathematics of the model asks for, not what a machine happens to execute. So work that a route
saves (the quicker one asks the last layer for the tokens to be found only) or repeats (gradient checkpointing) changes the time
and not the count, and padding counts for nothing.

Source: 6 operations for each parameter outside the embeddings and each token (a multiply and an add forward, twice that backward):
Kaplan et al. (2020), Scaling laws for neural language models, section 2.1; attention and utilisation: Chowdhery et al. (2022), PaLM,
appendix B.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from trustbase.events import Emit
from trustbase.model.scratch import ReplacedTokenPair
from trustbase.train.batches import Batch
from trustbase.train.forward import DTYPES
from trustbase.train.process import threads
from trustbase.train.state import Progress
from trustbase.train.update import Update, UpdateResult, UpdateTools

_TRAINED, _ATTENDED = 6, 12  # operations: a parameter and token; a number of a query and a token that it looks at
_SQUARES = {"cpu": ((1024, 1024, 1024), (2048, 2048, 2048), (8192, 512, 2048), (4096, 1024, 4096))}
_LARGE = ((4096, 4096, 4096), (8192, 8192, 8192), (16384, 8192, 8192))
_LEAST_CALLS = 3

#: What a parameter is multiplied with: tokens that are read; those that a decoder beside an encoder writes; those read, by the parts of
#: such a decoder that look at them; those predicted; one a piece; those that a discriminator judges.
Where = Literal["read", "written", "looked_at", "predicted", "firsts", "judged"]


@dataclass(frozen=True)
class Shape:
    """Where the parameters of a model are used.

    Attributes:
        parameters: outside embedding tables and the head's own table, by what they are multiplied with.
        table: numbers in the table of the head for words (width × vocabulary), which predicted tokens go through.
        attention: layers × width of the attention, by what its queries and keys are.
    """

    parameters: Mapping[Where, int]
    table: int
    attention: Mapping[Literal["read", "written", "looked_at"], int]


@dataclass(frozen=True)
class Sizes:
    """What a batch asks of a model, padding left out.

    Attributes:
        counts: how many of each.
        read_length: tokens of a row that is read.
        written_length: of a row that a decoder beside an encoder writes.
    """

    counts: Mapping[Where, int]
    read_length: int
    written_length: int


def shape_of(model: nn.Module) -> Shape:
    """The shape of a model from `build_model` or `continue_model`, in any of their architectures."""
    if isinstance(model, ReplacedTokenPair):
        first, second = shape_of(model.generator), shape_of(model.discriminator)
        parameters = {where: first.parameters.get(where, 0) + second.parameters.get(where, 0) for where in _wheres()}
        return Shape(parameters, first.table, {"read": first.attention["read"] + second.attention["read"]})
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    inner: Any = model
    head = inner.get_output_embeddings()
    table = 0 if head is None else head.weight.numel()
    left_out = tables if head is None else tables | {id(head.weight)}
    parameters = dict.fromkeys(_wheres(), 0)
    place = _places(inner)
    for name, parameter in model.named_parameters():
        if id(parameter) not in left_out:
            parameters[place(name, parameter)] += parameter.numel()
    return Shape(parameters, table, _attention(inner.config))


def sizes_of(batch: Batch) -> Sizes:
    """What a batch of an objective asks of a model."""
    inputs, targets = batch.inputs, batch.targets
    asked = {name: len(targets[name]) if name in targets else 0 for name in ("places", "firsts", "judged")}
    written = "decoder_input_ids" in inputs
    read = asked["places"] if batch.objective == "causal" else _real(inputs)  # every token of a causal batch is asked for its next one
    counts: dict[Where, int] = {
        "read": read,
        "written": asked["places"] if written else 0,
        "looked_at": read if written else 0,
        "predicted": asked["places"],
        "firsts": asked["firsts"],
        "judged": asked["judged"],
    }
    return Sizes(counts, inputs["input_ids"].shape[1], inputs["decoder_input_ids"].shape[1] if written else 0)


def training_flops(shape: Shape, batches: Iterable[Batch]) -> float:
    """Operations of one update on these batches, forward and backward.

    6 × (parameters outside the embeddings × the tokens that go through them) + 6 × width × vocabulary × predicted tokens + 12 × layers ×
    width × tokens × tokens of a row. The last is the attention: a row counts whole, whatever part of it a causal mask or a neighbouring
    document hides, as in PaLM's count. The optimiser's own arithmetic is left out.

    Source: see the head of this file.
    """
    total = 0.0
    for batch in batches:
        sizes = sizes_of(batch)
        counts = sizes.counts
        products = sum(number * counts[where] for where, number in shape.parameters.items()) + shape.table * counts["predicted"]
        seen = {"read": sizes.read_length, "written": sizes.written_length, "looked_at": sizes.read_length}
        asking = {"read": counts["read"], "written": counts["written"], "looked_at": counts["written"]}
        attended = sum(size * asking[where] * seen[where] for where, size in shape.attention.items())
        total += _TRAINED * products + _ATTENDED * attended
    return float(total)


def counted(update: Update, shape: Shape) -> Update:
    """An update rule that also says how many operations its update is worth."""

    def both(tools: UpdateTools, batches: Sequence[Batch], step: int) -> UpdateResult:
        asked = [batch for batch in batches if not batch.idle]
        return replace(update(tools, batches, step), flops=sum(tools.world.gather(training_flops(shape, asked))))

    return both


def telling_utilisation(emit: Emit, peak: float | None) -> Emit:
    """An `Emit` that adds to each step which share of the machine's peak it was."""

    def tell(event: str, /, **fields: Any) -> None:
        rate = fields.get("flops_per_second")
        emit(event, **fields, **({"utilisation": rate / peak} if event == "step" and rate and peak else {}))

    return tell


def work_of(progress: Progress, peak: float | None) -> dict[str, Any]:
    """What a training cost: `seconds` are those of all its processes, with looks at held-out text and checkpoints.

    What a process did after its last checkpoint and was killed for is in none of the numbers.
    """
    rate = progress.flops / progress.seconds if progress.flops and progress.seconds else None
    return {
        "training_tokens": progress.tokens,
        "flops": progress.flops,
        "flops_per_second": rate,
        "peak_flops": peak,
        "utilisation": rate / peak if rate and peak else None,
    }


def matmul_peak(precision: str, thread_count: int | None = None, *, device: str = "cpu", seconds: float = 3.0) -> float:
    """Operations a second at which this machine multiplies two matrices, measured now: the best call of several sizes.

    Best, since whatever else a machine does can only slow a call down; so utilisation is rather told too low than too high. The
    smallest size is always measured, a larger one where the time that is left holds a few calls of it: a machine on which it does
    not is slow enough to come to its best on a smaller one.

    Args:
        precision: `fp32`, `bf16` or `fp16`.
        thread_count: CPU threads; torch's own choice where None.
        device: where.
        seconds: of measuring in all, about.
    """
    kind, dtype = device.split(":")[0], DTYPES[precision]
    sizes = sorted(_SQUARES.get(kind, _LARGE), key=math.prod)
    best, left = 0.0, seconds
    with threads(thread_count), torch.inference_mode():
        for number, (rows, inner, columns) in enumerate(sizes):
            work, share = 2 * rows * inner * columns, left / (len(sizes) - number) / 2
            if best and 2 * _LEAST_CALLS * work / best > left:
                break
            first = torch.empty(rows, inner, dtype=dtype, device=device).normal_(generator=torch.Generator(device).manual_seed(0))
            second = torch.empty(columns, inner, dtype=dtype, device=device).normal_(generator=torch.Generator(device).manual_seed(1))
            for call in _products(first, second):
                took = _timed(call, device, share)
                best, left = max(best, work / min(took)), left - sum(took)
    return best


def _products(left: torch.Tensor, right: torch.Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """A layer's product, and the plain one: which is quicker depends on the machine."""
    turned, into = right.t().contiguous(), torch.empty(len(left), len(right), dtype=left.dtype, device=left.device)
    return lambda: nn.functional.linear(left, right), lambda: torch.mm(left, turned, out=into)


def _timed(call: Callable[[], object], device: str, seconds: float) -> list[float]:
    """Seconds of each call but the first, for so many seconds and a few calls at least."""
    wait: Callable[[], object] = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    call()
    wait()
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < _LEAST_CALLS or time.perf_counter() < until:
        began = time.perf_counter()
        call()
        wait()
        found.append(time.perf_counter() - began)
    return found


def _wheres() -> tuple[Where, ...]:
    return ("read", "written", "looked_at", "predicted", "firsts", "judged")


def _places(model: Any) -> Callable[[str, nn.Parameter], Where]:
    """Tells what a parameter of a model is multiplied with."""
    both = bool(model.config.is_encoder_decoder)
    decoder = {id(parameter) for parameter in model.get_decoder().parameters()} if both else set()
    body = {id(parameter) for parameter in model.base_model.parameters()}
    if both:
        body = decoder | {id(parameter) for parameter in model.get_encoder().parameters()}

    def place(name: str, parameter: nn.Parameter) -> Where:
        parts = name.split(".")
        if {"pooler", "seq_relationship"} & set(parts):
            return "firsts"
        if "discriminator_predictions" in parts:
            return "judged"
        if id(parameter) in decoder:
            return "looked_at" if _looks(parts) else "written"
        return "read" if id(parameter) in body else "predicted"

    return place


def _looks(parts: Sequence[str]) -> bool:
    """Whether a decoder's layer makes keys or values of what the encoder read (T5's and BART's names)."""
    crossing = {"EncDecAttention", "encoder_attn", "crossattention"} & set(parts)
    return bool(crossing) and bool({"k", "v", "k_proj", "v_proj", "key", "value"} & set(parts))


def _attention(config: Any) -> dict[Literal["read", "written", "looked_at"], int]:
    """Layers × width of the attention of a transformers model."""
    heads = config.num_attention_heads
    width = heads * (getattr(config, "d_kv", None) or getattr(config, "head_dim", None) or config.hidden_size // heads)
    layers = config.num_hidden_layers
    if not config.is_encoder_decoder:
        return {"read": layers * width}
    writing = getattr(config, "num_decoder_layers", None) or getattr(config, "decoder_layers", None) or layers
    return {"read": layers * width, "written": writing * width, "looked_at": writing * width}


def _real(inputs: Mapping[str, torch.Tensor]) -> int:
    """Tokens of a batch that are no padding."""
    if "pieces" in inputs:
        return int((inputs["pieces"] >= 0).sum())
    if "attention_mask" in inputs:
        return int(inputs["attention_mask"].sum())
    return inputs["input_ids"].numel()
