"""How a batch goes through the model: precision, dropout streams, and the quicker route where it gives the same answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from trustbase import seeds
from trustbase.model.adaptations.shared import in_front
from trustbase.model.cut import Cut
from trustbase.model.evaluating import evaluating
from trustbase.model.fused import COLUMNS
from trustbase.model.heads import outputs_of
from trustbase.train.batches import Batch, Labelled
from trustbase.train.quick import Dropout, QuickBert

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ROUTE_TOLERANCE = 1e-4  # of the largest score, in fp32


class Forward:
    """Scores before softmax of a batch, `(rows, classes)`; where units are tagged, of those that are read, `(units, tags)`.

    What a model says of several sequences of a row is put together.

    Attributes:
        route: "model" (its own forward) or "quick", for the facts of the run.
    """

    def __init__(self, model: nn.Module, *, precision: str, device: str, seed: int, cut: Cut | None = None) -> None:
        """Args:
        model: what is trained.
        precision: number format of the matrix products.
        device: where it runs.
        seed: of the dropout streams.
        cut: where batches enter the model that hold `states` of its frozen layers.
        """
        self.route = "model"
        self._model = model
        self._cut = cut
        self._device = device
        self._dtype = DTYPES[precision]
        self._seed = seed
        self._dropout = Dropout()
        self._quick: QuickBert | None = None

    def __call__(self, batch: Batch, draw: int = 0) -> Tensor:
        """Training pass: dropout is drawn from the stream of this batch's number, wherever the process started; others by `draw`."""
        stream = ("dropout", batch.number, draw) if draw else ("dropout", batch.number)
        torch.manual_seed(seeds.stream_seed(self._seed, *stream))
        self._dropout.start(self._seed, *stream)
        return self._scores(batch)

    def score(self, batch: Batch) -> Tensor:
        """Scoring pass, without dropout."""
        with evaluating(self._model):
            self._dropout.stop()
            return self._scores(batch)

    def try_quick(self, material: Labelled) -> str:
        """Take the quicker route if it knows the model and agrees with it; returns the reason in words."""
        inner = unwrapped(self._model)
        if self._device != "cpu" or inner is None or not QuickBert.serves(inner):
            return "the quicker route knows BERT's classifiers of texts and tokens on a CPU only"
        if in_front(inner.base_model):  # type: ignore[arg-type]
            return "the quicker route does not know what the adaptation puts in front of a text"
        quick = QuickBert(inner, self._dropout, frozen=0 if self._cut is None else self._cut.layers)
        order = np.argsort(material.lengths, kind="stable")
        batch = material.take(np.unique(np.concatenate([order[:2], order[-2:]])), self._device)
        batch = replace(batch, inputs={name: each.float() if name == "states" else each for name, each in batch.inputs.items()})
        with torch.inference_mode(), evaluating(self._model):
            own, other = self._own(batch), quick.logits(batch.inputs, torch.float32, batch.targets.get("places"))
        difference = float((own - other).abs().max())
        if not difference <= _ROUTE_TOLERANCE * max(1.0, float(own.abs().max())):
            return f"the quicker route differs from the model's own by {difference:.1e}"
        self._quick, self.route = quick, "quick"
        return f"the quicker route agrees with the model's own to {difference:.1e}"

    def _scores(self, batch: Batch) -> Tensor:
        scores = self._of_sequences(batch)
        return scores if batch.pooling is None else batch.pooling(scores)

    def _of_sequences(self, batch: Batch) -> Tensor:
        with torch.autocast(self._device.split(":")[0], self._dtype, enabled=self._dtype != torch.float32):
            if self._quick is not None:
                return self._quick.logits(batch.inputs, self._dtype, batch.targets.get("places"))
            return self._own(batch)

    def _own(self, batch: Batch) -> Tensor:
        """By the model's own forward, or by that of its upper part."""
        scores: Tensor
        if self._cut is not None:
            scores = self._cut.logits(batch.inputs)
        elif "features" in batch.inputs:
            scores = self._model(batch.inputs["features"], batch.inputs.get(COLUMNS)).logits
            return scores.flatten(0, 1) if scores.dim() > 2 else scores
        else:
            scores = outputs_of(self._model(**batch.inputs))
        places = batch.targets.get("places")
        return scores if places is None else scores.flatten(0, 1).index_select(0, places)


def unwrapped(model: nn.Module) -> nn.Module | None:
    """The transformers model itself, out of a LoRA wrapper; None where a wrapper changes more than its layers."""
    kinds = {str(getattr(config.peft_type, "value", config.peft_type)) for config in getattr(model, "peft_config", {}).values()}
    if not kinds or not hasattr(model, "get_base_model"):  # updates injected in place leave the model's own class
        return model
    if kinds != {"LORA"}:
        return None
    inner: nn.Module = model.get_base_model()  # type: ignore[operator]
    return inner
