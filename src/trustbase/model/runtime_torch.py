"""PyTorch behind the Predictor's face: fp32 or bf16, on CPU or GPU, any `…ForSequenceClassification` of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustbase.device import choose_device, choose_precision
from trustbase.errors import ModelError
from trustbase.model.tokenizer import encode, pad


class TorchRuntime:
    """Runs a transformers model on ragged encodings.

    Attributes:
        precision_reason: why this precision, in words.
    """

    name = "torch"
    outputs = ("logits", "embedding")

    def __init__(
        self, model: Any, tokenizer: Any, *, max_length: int, precision: str = "fp32", device: str = "cpu", reason: str = ""
    ) -> None:
        self.precision = precision
        self.precision_reason = reason
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._device = torch.device(device)
        self._model = model.to(self._device).eval().requires_grad_(False)
        pad_id = tokenizer.pad_token_id if tokenizer is not None else None
        self._pad_id = int(pad_id if pad_id is not None else 0)

    @classmethod
    def open(cls, folder: Path, *, tokenizer: Any, max_length: int, precision: str = "fp32", device: str | None = None) -> TorchRuntime:
        """Load the weights of an artefact.

        Raises:
            ModelError: weights or configuration cannot be read.
            UsageError: the precision does not exist on this device.
        """
        where = device or choose_device()
        chosen, reason = choose_precision(precision, where)
        return cls(load_model(folder), tokenizer, max_length=max_length, precision=chosen, device=where, reason=reason)

    def prepare(self, inputs: Sequence[Any]) -> Any:
        return encode(self._tokenizer, inputs, max_length=self._max_length)

    def computed_tokens(self, lengths: NDArray[np.integer]) -> int:
        return int(lengths.max()) * len(lengths)

    def forward(self, output: str, encodings: Any, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        batch = {name: torch.from_numpy(array).to(self._device) for name, array in pad(encodings, rows, self._pad_id).items()}
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            result = self._logits(batch) if output == "logits" else self._embedding(batch)
        return result.float().cpu().numpy()

    def _logits(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = self._model(**batch).logits
        return logits

    def _embedding(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return mean_hidden(self._model, batch)


def mean_hidden(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean of the last hidden states over the real tokens, `(rows, width)`; the encoder's where there is a decoder."""
    outputs = model.base_model(**batch)
    hidden = getattr(outputs, "encoder_last_hidden_state", None)
    if hidden is None:
        hidden = outputs.last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).float()
    return (hidden.float() * mask).sum(dim=1) / mask.sum(dim=1)


def load_model(folder: Path) -> Any:
    """The plain transformers model of a folder, in fp32: safetensors only, no remote code, no network.

    Raises:
        ModelError: weights or configuration cannot be read.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        return AutoModelForSequenceClassification.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder}: the weights cannot be loaded: {error}", hint="the folder must hold config.json and model.safetensors"
        ) from error
