"""PyTorch behind the Predictor's face: fp32 or bf16, on CPU or GPU, any classifier of texts or of tokens that transformers has.

BERT classifiers take the packed path (`packed.py`: no padding, nothing computed that is not read); every other
architecture runs as transformers wrote it, padded, in bf16 by autocast.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustbase.device import choose_device, choose_precision
from trustbase.errors import UsageError
from trustbase.model.columns import encode_inputs
from trustbase.model.encoded import Encoded, pad
from trustbase.model.fused import COLUMNS, network_of
from trustbase.model.heads import SPAN, TOKENS, head_of, outputs_of
from trustbase.model.packed import PackedBert, packed_tokens, unsupported
from trustbase.model.pooling import pooled
from trustbase.model.runtime import Output
from trustbase.model.searching import MOST_TOKENS, TABLES, searched
from trustbase.model.sequencer import CONTEXT, TEXT, UNITS, Sequencer
from trustbase.model.token_units import by_row, read_places
from trustbase.recipe.lookup import ADAPTATIONS


class TorchRuntime:
    """Runs a transformers model on ragged encodings.

    Args:
        model: a transformers classifier in fp32; it is moved and switched to eval mode.
        tokenizer: a fast tokenizer.
        max_length: tokens after which an input is cut.
        precision: `fp32` or `bf16` (weights stay fp32 on disk).
        device: where it runs.
        reason: why this precision, in words.
        packed: False keeps to the forward pass of transformers (comparisons).
        stride: tokens by which windows over longer inputs overlap; None cuts these off.
        form: what an input is (`model.sequencer`).
        answer_tokens: of the longest answer, where a text is searched for one.
    """

    name = "torch"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int,
        precision: str = "fp32",
        device: str = "cpu",
        reason: str = "",
        packed: bool = True,
        stride: int | None = None,
        form: str = TEXT,
        answer_tokens: int = MOST_TOKENS,
    ) -> None:
        self.precision = precision
        self.precision_reason = reason
        self._tokenizer = tokenizer
        self._device = torch.device(device)
        self._pad_id = int(tokenizer.pad_token_id or 0) if tokenizer is not None else 0
        head = head_of([type(model).__name__])
        self._units, self._spans = head == TOKENS, head == SPAN  # each unit of a text is answered, or a part of it, and not the whole
        self._sequencer = Sequencer(max_length, stride, UNITS if self._units else CONTEXT if self._spans else form, answer_tokens)
        self.outputs: tuple[str, ...] = ("unit_logits" if self._units else "span" if self._spans else "logits", "embedding")
        model = model.to(self._device).eval().requires_grad_(False)
        network = network_of(model)
        self._encoder = network.encoder if network is not None else None
        why_not = unsupported(model) if packed else "not asked for"
        self.path = "packed" if why_not is None else f"transformers ({why_not})"
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._packed = PackedBert(model, dtype=dtype) if why_not is None else None
        self._model: Any = model if self._packed is None else None  # the packed path keeps its own form of the weights

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        tokenizer: Any,
        max_length: int,
        precision: str = "fp32",
        device: str | None = None,
        threads: int | None = None,
        packed: bool = True,
        stride: int | None = None,
        form: str = TEXT,
        answer_tokens: int = MOST_TOKENS,
    ) -> TorchRuntime:
        """Load the weights of an artefact; `threads` is torch's own, set in the thread that asks.

        Where the processor has no bf16 arithmetic torch emulates it: the same answers within tolerance, several times slower
        than fp32, and `precision_reason` says so. On Apple's GPU bf16 was never tried, so such an artefact runs on the CPU.

        Raises:
            ModelError: weights or configuration cannot be read.
            UsageError: the precision does not exist on this device, or the device does not exist here.
        """
        where, chosen, reason = place_of(precision, device)
        settings: dict[str, Any] = {
            "max_length": max_length,
            "stride": stride,
            "form": form,
            "answer_tokens": answer_tokens,
            "packed": packed,
        }
        return cls(load_model(folder), tokenizer, precision=chosen, device=where, reason=reason, **settings)

    def prepare(self, inputs: Sequence[Any]) -> Encoded:
        return encode_inputs(self._tokenizer, self._encoder, inputs, self._sequencer)

    def computed_tokens(self, lengths: NDArray[np.integer]) -> int:
        return packed_tokens(lengths) if self._packed is not None else int(lengths.max()) * len(lengths)

    def forward(self, output: str, encodings: Encoded, rows: NDArray[np.int64]) -> Output:
        with torch.inference_mode():
            if output == "unit_logits":
                return self._forward_units(encodings, rows)
            if output in ("span", TABLES):
                part = encodings.take(rows)
                return searched(output, self._token_tables(part), part, self._sequencer.answer_tokens)
            flat, places = encodings.flat, encodings.of_rows(rows)
            if self._packed is not None:
                values = self._forward_packed(self._packed, output, flat, places)
            else:
                values = self._forward_padded(output, flat, places)
        return pooled(values, encodings, rows)

    def _forward_packed(self, packed: PackedBert, output: str, encodings: Encoded, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        order = np.argsort(encodings.lengths[rows], kind="stable")  # a batch that was halved or filtered is still sorted; be sure
        places = [slice(encodings.offsets[row], encodings.offsets[row + 1]) for row in rows[order]]
        tokens = [encodings.ids[place] for place in places]
        segments = None if encodings.segments is None else [encodings.segments[place] for place in places]
        if output == "logits":
            columns = None if encodings.columns is None else torch.from_numpy(encodings.columns[rows[order]]).to(self._device)
            values = packed.logits(tokens, segments, columns).float().cpu().numpy()
        else:
            values = packed.embedding(tokens, segments).float().cpu().numpy()
        result = np.empty_like(values)
        result[order] = values
        return result

    def _forward_units(self, encodings: Encoded, rows: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """Logits of the units of each row, `(units, tags)`."""
        part = encodings.take(rows)
        order = np.argsort(part.flat.lengths, kind="stable")
        sorted_ = part.flat.take(order)
        asked = read_places(sorted_)
        if self._packed is not None:
            values = self._packed.token_logits(*_apart(sorted_), asked=asked)
        else:
            batch = self._padded(sorted_, np.arange(len(sorted_)))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                logits = self._model(**batch).logits
            values = logits[tuple(torch.from_numpy(each).to(self._device) for each in asked)]
        tables = by_row(sorted_, values.float().cpu().numpy())
        tables = [tables[place] for place in np.argsort(order, kind="stable")]
        if part.sequences is None:
            return tables
        return [np.concatenate(tables[start:end]) for start, end in pairwise(part.sequences.tolist())]

    def _token_tables(self, part: Encoded) -> list[NDArray[np.float32]]:
        """The scores of each sequence's tokens to be the first and the last of the answer, `(tokens, 2)`."""
        flat = part.flat
        order = np.argsort(flat.lengths, kind="stable")
        sorted_ = flat.take(order)
        lengths = sorted_.lengths
        places = np.repeat(np.arange(len(lengths)), lengths), np.arange(lengths.sum()) - np.repeat(sorted_.offsets[:-1], lengths)
        if self._packed is not None:
            values = self._packed.token_logits(*_apart(sorted_), asked=places)
        else:
            batch = self._padded(sorted_, np.arange(len(sorted_)))
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                outputs = outputs_of(self._model(**batch))
            values = outputs[tuple(torch.from_numpy(each).to(self._device) for each in places)]
        tables = np.split(values.float().cpu().numpy(), sorted_.offsets[1:-1])
        return [tables[place] for place in np.argsort(order, kind="stable")]

    def _padded(self, encodings: Encoded, rows: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array).to(self._device) for name, array in pad(encodings, rows, self._pad_id).items()}

    def _forward_padded(self, output: str, encodings: Encoded, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        batch = self._padded(encodings, rows)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if output != "logits":
                batch.pop(COLUMNS, None)  # an embedding is the text's
            result: torch.Tensor = self._model(**batch).logits if output == "logits" else mean_hidden(self._model, batch)
        return np.asarray(result.float().cpu().numpy(), dtype=np.float32)


def _apart(part: Encoded) -> tuple[list[NDArray[np.int32]], list[NDArray[np.uint8]] | None]:
    """Tokens of each row, and which text of a pair they belong to."""
    bounds = list(pairwise(part.offsets.tolist()))
    return [part.ids[a:b] for a, b in bounds], None if part.segments is None else [part.segments[a:b] for a, b in bounds]


def place_of(precision: str, device: str | None) -> tuple[str, str, str]:
    """Device, precision and its reason of an artefact's weights; on Apple's GPU bf16 was never tried, so such weights stay on the CPU.

    Raises:
        UsageError: the precision does not exist on this device, or the device does not exist here.
    """
    where = device or choose_device()
    if device is not None:
        refuse_missing_device(device)
    elif where == "mps" and precision == "bf16":
        where = "cpu"
    chosen, reason = choose_precision(precision, where)
    return where, chosen, reason


def refuse_missing_device(device: str) -> None:
    """Try one number there: names, builds and counts of devices are then torch's own knowledge.

    Raises:
        UsageError: torch knows no such device, or it is not here.
    """
    try:
        torch.zeros(1, device=device).tolist()
    except (AssertionError, RuntimeError) as error:  # torch has no error of its own for a device that is missing
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"device '{device}' cannot be used here: {reason}", hint=f"leave the device open, and it is {choose_device()}"
        ) from error


def mean_hidden(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean of the last hidden states over the real tokens, `(rows, width)`; the encoder's where there is a decoder."""
    outputs = model.base_model(**batch)
    hidden = getattr(outputs, "encoder_last_hidden_state", None)
    if hidden is None:
        hidden = outputs.last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).float()
    mean: torch.Tensor = (hidden.float() * mask).sum(dim=1) / mask.sum(dim=1)
    return mean


def load_model(folder: Path) -> Any:
    """The model of a folder, in fp32, no pickle, remote code or random head; an adapter is merged into its base where it can be.

    One that was trained beside packed weights stays beside them, so that it answers to the bit as it was trained.

    Raises:
        ModelError: weights or configuration cannot be read, or are not those of a whole classifier.
    """
    from trustbase.model.adapt import adapted_with, merge, merges
    from trustbase.model.checkpoint import load_checkpoint

    model = load_checkpoint(folder)[0]
    options = adapted_with(model)
    return merge(model) if options is not None and merges(model) and ADAPTATIONS[options.method].opens_merged else model
