"""The body as it is: its pooled outputs computed once, and a head that is trained on them alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trustbase.data.batch import plan_batches
from trustbase.errors import ModelError
from trustbase.events import Emit, ignore
from trustbase.model.encoded import Encoded, pad, within
from trustbase.model.fused import COLUMNS, show_columns
from trustbase.model.pretrained import body_prefix, config_of
from trustbase.model.quiet import quiet
from trustbase.model.token_units import read_places

_TOLERANCE = 1e-4


class HeadOnly(nn.Module):
    """The head of a model, sharing its parameters: what is trained here is trained in the model.

    `forward(features)` takes pooled features `(rows, width)` from `frozen_features` (and the rows' table columns, where the model reads
    any) and returns an object with `.logits` `(rows, classes)`. In training mode only the head's own dropout is on.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        # A shallow copy whose body is a stand-in: the architecture's own forward then runs its head, whatever it is.
        prefix = body_prefix(model)
        shell = copy.copy(model)
        shell._modules = dict(model._modules)
        shell._modules[prefix] = _StandIn(getattr(model, prefix))
        self.shell = shell

    def forward(self, features: torch.Tensor, columns: torch.Tensor | None = None) -> Any:
        """Logits of pooled features `(rows, width)`, `(rows, classes)`; of a head for tokens `(rows, 1, tags)`."""
        show_columns(self.shell, {COLUMNS: columns})
        return self.shell(inputs_embeds=features[:, None, :])


class _StandIn(nn.Module):
    """Plays a body whose last hidden state is what it was given: one token a row."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.pooler = getattr(body, "pooler", None)
        self.activation = getattr(body, "pooler_activation", None)  # ALBERT keeps it beside a plain linear pooler

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        class Output(BaseModelOutputWithPooling):  # type: ignore[misc]
            """Also answers None for what bodies of other families return (caches, memories), which heads pass on unread."""

            def __getattr__(self, name: str) -> Any:
                if name.startswith("_"):
                    raise AttributeError(name)
                return None

        pooled = None
        if self.pooler is not None:
            pooled = self.pooler(inputs_embeds) if self.activation is None else self.activation(self.pooler(inputs_embeds[:, 0]))
        return Output(last_hidden_state=inputs_embeds, pooler_output=pooled)


def head_only(model: nn.Module) -> HeadOnly:
    """The trainable head of a model, to be trained on `frozen_features`; parameters are shared with the model."""
    return HeadOnly(model)


@torch.no_grad()
def frozen_features(
    model: nn.Module,
    encoded: Encoded,
    *,
    pad_id: int,
    batch_tokens: int = 8192,
    device: torch.device | str | None = None,
    autocast: torch.dtype | None = None,
    emit: Emit = ignore,
) -> torch.Tensor:
    """What the frozen body says of each text, pooled as its head pools: fp32 on the CPU, `(rows, width)`; or of each unit that is read.

    The body runs once, without dropout, so that the result does not depend on epoch, order or seed. On the first
    rows, head-on-features is compared with the whole model, so that an architecture that pools in another way is
    refused and never trained on wrong features.

    Args:
        model: from `adapt` with method frozen.
        encoded: the texts.
        pad_id: padding token.
        batch_tokens: tokens in one batch, padding included.
        device: where to run; by default where the model is.
        autocast: precision of the body's matrix products, such as `torch.bfloat16`; None: fp32.
        emit: takes `progress` events.

    Raises:
        ModelError: the head of this architecture does not work on pooled features.
    """
    where = torch.device(device) if device is not None else next(model.parameters()).device
    training = model.training
    model.eval().to(where)
    try:
        _check_head(model, encoded, pad_id, where)
        rows: torch.Tensor | None = None
        bounds = _feature_bounds(encoded)
        plan = plan_batches(encoded.lengths, batch_tokens=batch_tokens)
        for done, batch in enumerate(plan):
            emit("progress", what="outputs of the frozen body", done=done, total=len(plan))
            with torch.autocast(where.type, dtype=autocast, enabled=autocast is not None):
                pooled = _pooled(model, encoded.take(batch), pad_id, where).float().cpu()
            if rows is None:
                rows = torch.empty(int(bounds[-1]), pooled.shape[1])
            rows[torch.from_numpy(within(bounds[batch], np.diff(bounds)[batch]))] = pooled
        emit("progress", what="outputs of the frozen body", done=len(plan), total=len(plan))
    finally:
        model.train(training)
    return rows if rows is not None else torch.empty(0, 0)


def _feature_bounds(encoded: Encoded) -> NDArray[np.int64]:
    """Where the features of each row begin and end: one a row, or one for each unit that is read, `(rows + 1,)`."""
    if encoded.unit_places is None:
        return np.arange(len(encoded) + 1)
    return np.asarray(np.concatenate([[0], np.cumsum(encoded.unit_places >= 0)])[encoded.row_units], dtype=np.int64)


def _tensors(encoded: Encoded, rows: Any, pad_id: int, device: torch.device) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array).to(device) for name, array in pad(encoded, rows, pad_id).items()}


def _pooled(model: nn.Module, part: Encoded, pad_id: int, device: torch.device) -> torch.Tensor:
    """The hidden state that the head looks at: each unit's first token where units are tagged, else the last token's in decoders, the mean
    where configured, and the first's.
    """
    batch = {name: tensor for name, tensor in _tensors(part, np.arange(len(part)), pad_id, device).items() if name != COLUMNS}
    hidden: torch.Tensor = getattr(model, body_prefix(model))(**batch).last_hidden_state
    mask = batch["attention_mask"]
    if part.unit_places is not None:
        return hidden[tuple(torch.from_numpy(each).to(device) for each in read_places(part))]
    if hasattr(model, "score"):
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
    if getattr(config_of(model), "classifier_pooling", "cls") == "mean":
        return (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    return hidden[:, 0]


def _check_head(model: nn.Module, encoded: Encoded, pad_id: int, device: torch.device) -> None:
    rows = np.arange(min(4, len(encoded)))
    if not len(rows):
        return
    part = encoded.take(rows)
    batch = _tensors(part, rows, pad_id, device)
    kind = type(model).__name__
    try:
        with quiet():  # decoders warn that padding is not seen in embeddings; there is none
            on_features = head_only(model).eval()(_pooled(model, part, pad_id, device), batch.get(COLUMNS)).logits
            whole = model(**batch).logits
            if part.unit_places is not None:
                asked = tuple(torch.from_numpy(each).to(device) for each in read_places(part))
                whole, on_features = whole[asked], on_features.flatten(0, 1)
        difference = float((on_features - whole).abs().max())
    except Exception as error:  # architectures differ in what their forward accepts; the cause is kept
        raise _not_frozen(kind, f"{type(error).__name__}: {error}") from error
    if not difference <= _TOLERANCE:
        raise _not_frozen(kind, f"its logits differ by {difference:.2g} from those of the whole model")


def _not_frozen(kind: str, why: str) -> ModelError:
    return ModelError(
        f"adapt: frozen does not work for {kind}: its head cannot be run on pooled outputs ({why})", hint="use adapt: lora or adapt: full"
    )
