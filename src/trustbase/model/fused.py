"""Table columns fused with the text at the head: a small network beside the classifier's last layer, which adds to its scores.

It reads the columns (piecewise-linear encodings of numbers with their bins, embeddings of names, what is missing as a state of its
own) together with what the last layer reads of the text. It hangs on that layer as a hook, so that the model's class and the names of
its weights stay, and so that every route through the model that ends in its head (transformers' own, the packed, the quicker one, a
head trained alone) has it. What a batch's columns are is said with `show_columns`, or as the model's argument `columns`.

Source: Gorishniy et al. (2022), On embeddings for numerical features, section 3.3 (linear layer and ReLU over the encoding of each
number); Gu, Budhkar (2021), A package for learning on tabular and text data with transformers, section 3 (joined at the head).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trustbase import seeds
from trustbase.errors import ModelError
from trustbase.model.adaptations.shared import ADDED
from trustbase.model.columns import ColumnEncoder
from trustbase.model.evaluating import evaluating
from trustbase.model.pretrained import body_prefix, config_of

COLUMNS = "columns"  # the model's argument, and the name of an ONNX graph's input
_PART = f"{ADDED}columns"  # where the network hangs
_NUMBER_WIDTH, _NAME_WIDTH, _TEXT_WIDTH, _WIDTH = 32, 8, 32, 256
_DROPOUT = 0.2
_TOLERANCE = 1e-4


class _Shown:
    """The columns of the batch under way; no module attribute, so that exporting a graph does not take it for state."""

    columns: Tensor | None = None


class NumberEmbedding(nn.Module):
    """Places of one column of numbers `(rows,)` → `(rows, width)`: a piecewise-linear encoding, the bin, or that the cell is empty."""

    starts: Tensor

    def __init__(self, bins: int, width: int) -> None:
        super().__init__()
        self.bins = bins
        self.slopes = nn.Linear(bins, width)
        self.bin = nn.Embedding(bins + 1, width)  # 0: the cell is empty
        nn.init.normal_(self.bin.weight, std=bins**-0.5 / 2)
        self.register_buffer("starts", torch.arange(bins, dtype=torch.float32), persistent=False)

    def forward(self, places: Tensor) -> Tensor:
        there = (places >= 0).unsqueeze(1)
        pieces = (places.unsqueeze(1) - self.starts).clamp(0.0, 1.0)  # (rows, bins)
        numbers = torch.where(there, self.slopes(pieces), torch.zeros_like(pieces[:, :1]))
        return torch.relu(numbers + self.bin((places.floor() + 1).clamp(0, self.bins).long()))


class ColumnNetwork(nn.Module):
    """What the columns add to the scores of a text.

    Args:
        encoder: how many bins and names each column has.
        width: of what the classifier's last layer reads.
        classes: scores.
    """

    def __init__(self, encoder: ColumnEncoder, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.shown = _Shown()
        self.numbers = nn.ModuleList(NumberEmbedding(column.bins, _NUMBER_WIDTH) for column in encoder.numeric)
        self.names = nn.ModuleList(nn.Embedding(column.codes, _NAME_WIDTH) for column in encoder.categorical)
        self.text = nn.Linear(width, _TEXT_WIDTH)
        nn.init.zeros_(self.text.weight)  # so that what was learned of the columns alone holds until text and columns are trained together
        nn.init.zeros_(self.text.bias)
        total = _NUMBER_WIDTH * len(self.numbers) + _NAME_WIDTH * len(self.names)
        self.hidden = nn.Linear(total + _TEXT_WIDTH, _WIDTH)
        self.dropout = nn.Dropout(_DROPOUT)
        self.scores = nn.Linear(_WIDTH, classes)

    def embed(self, columns: Tensor) -> Tensor:
        """Places and codes `(rows, columns)` → `(rows, width of all embeddings)`."""
        middle = len(self.numbers)
        numbers = [part(columns[:, place]) for place, part in enumerate(self.numbers)]
        names = [part(columns[:, middle + place].long()) for place, part in enumerate(self.names)]
        return torch.cat([*numbers, *names], dim=1)

    def forward(self, columns: Tensor, text: Tensor | None = None) -> Tensor:
        """Scores to add.

        Args:
            columns: places and codes, fp32 `(rows, columns)`.
            text: what the classifier's last layer reads, `(rows, width)` or `(rows, length, width)`; None: the columns alone.

        Returns:
            `(rows, classes)`, or `(rows, length, classes)`.
        """
        parts = self.embed(columns)
        if text is None:
            read = parts.new_zeros(len(parts), _TEXT_WIDTH)
        else:
            read = self.text(text.to(self.text.weight.dtype))
            if text.dim() == 3:
                parts = parts.unsqueeze(1).expand(-1, text.shape[1], -1)
        inner = torch.relu(self.hidden(torch.cat([parts, read.to(parts.dtype)], dim=-1)))
        scores: Tensor = self.scores(self.dropout(inner))
        return scores


def fuse(model: nn.Module, encoder: ColumnEncoder, *, seed: int) -> nn.Module:
    """Hang a network for these columns on a classifier's last layer, in place; drawn from the stream `columns`.

    Raises:
        ModelError: the architecture's last layer is not found, or what is added to its scores is not added to the model's.
    """
    path = _last_layer(model)
    layer: Any = model.get_submodule(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.stream_seed(seed, COLUMNS))
        network = ColumnNetwork(encoder, layer.in_features, layer.out_features)
    layer.add_module(_PART, network.to(layer.weight.device))
    layer.register_forward_hook(_add)
    model.register_forward_pre_hook(_take, with_kwargs=True)
    try:
        _try(model, network)
    except Exception:
        delattr(layer, _PART)
        raise
    return model.eval()


def network_of(model: nn.Module) -> ColumnNetwork | None:
    """The network that reads a model's columns; None for a model that reads texts alone."""
    return next((module for module in model.modules() if isinstance(module, ColumnNetwork)), None)


def show_columns(model: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Say what the columns of the next batch are, where the model's own forward is passed by."""
    network = network_of(model)
    if network is not None and inputs.get(COLUMNS) is not None:
        network.shown.columns = inputs[COLUMNS]


def is_column_part(name: str) -> bool:
    """Whether a parameter belongs to the network of columns."""
    return _PART in name.split(".")


def _add(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    """Hook of the last layer: its scores and those of the columns."""
    network: Any = getattr(layer, _PART)
    columns, network.shown.columns = network.shown.columns, None
    if columns is None:
        names = ", ".join(network.encoder.names)
        raise ModelError(f"this model reads the columns {names} beside the text, and was asked without them", hint="give it `columns`")
    scores: Tensor = output + network(columns, args[0])
    return scores


def _take(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hook before the model: its argument `columns`, which its own forward does not know."""
    if COLUMNS not in kwargs:
        return args, kwargs
    show_columns(model, kwargs)
    return args, {name: value for name, value in kwargs.items() if name != COLUMNS}


def _last_layer(model: nn.Module) -> str:
    """Path of the linear layer that makes the scores: the last one outside the body with one output for each label."""
    classes, prefix = int(config_of(model).num_labels), body_prefix(model)
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes and not name.startswith(f"{prefix}.") and _PART not in name
    ]
    if not found:
        raise _impossible(model, "no linear layer outside its body gives one score for each label")
    return str(found[-1])


@torch.no_grad()
def _try(model: nn.Module, network: ColumnNetwork) -> None:
    """What the network adds must be what the model's scores gain, whatever its forward does with them."""
    device, vocabulary = network.scores.weight.device, config_of(model).vocab_size
    ids = torch.tensor([[5, 6, 7, 8], [7, 6, 5, 9]], device=device) % vocabulary
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    columns = torch.from_numpy(network.encoder.encode([[""] * len(network.encoder.names)] * 2)).to(device)
    before = network.scores.bias.clone()
    step = torch.arange(1.0, len(before) + 1, device=device)
    try:
        with evaluating(model):
            first = model(**inputs, columns=columns).logits
            network.scores.bias.add_(step)
            gained = model(**inputs, columns=columns).logits - first
    except ModelError:
        raise
    except Exception as error:  # architectures differ in what their forward accepts; the cause is kept
        raise _impossible(model, f"{type(error).__name__}: {error}") from error
    finally:
        network.scores.bias.copy_(before)
    if float((gained - step).abs().max()) > _TOLERANCE * max(1.0, float(first.abs().max())):
        raise _impossible(model, "what is added to its last layer is not added to its scores")


def _impossible(model: nn.Module, why: str) -> ModelError:
    return ModelError(f"data.features does not work with {type(model).__name__}: {why}", hint="use a BERT-like base, or leave features out")
