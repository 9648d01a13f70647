"""One ONNX graph with two outputs, logits and embedding, for any number of rows and any length."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from trustbase.errors import ModelError
from trustbase.model.adaptations.four_bits import packed_layers
from trustbase.model.columns import encode_inputs
from trustbase.model.encoded import pad
from trustbase.model.fused import COLUMNS, network_of
from trustbase.model.heads import SPAN, TOKENS, head_of, outputs_of
from trustbase.model.sequencer import Sequencer


class _BothOutputs(torch.nn.Module):
    """Logits, and the mean of the last hidden states over the real tokens, from one pass."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        columns: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kinds = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        if columns is not None:
            kinds[COLUMNS] = columns
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True, **kinds)
        states = outputs.hidden_states if getattr(outputs, "hidden_states", None) is not None else outputs.encoder_hidden_states
        mask = attention_mask.unsqueeze(-1).to(states[-1].dtype)
        return outputs_of(outputs), (states[-1] * mask).sum(dim=1) / mask.sum(dim=1)


def export_onnx(model: Any, tokenizer: Any, path: Path, *, texts: Sequence[str], max_length: int) -> None:
    """Write the graph to one file (no second file of weights beside it).

    Args:
        model: a transformers classifier in fp32.
        tokenizer: its tokenizer, for example inputs.
        path: `model.onnx`.
        texts: at least two example inputs (with their cells, of a model that reads columns); two rows of more than one token, so that
            no dimension is taken for a constant.
        max_length: tokens after which an input is cut.

    Raises:
        ModelError: the architecture cannot be exported, or its weights are held in 4 bits.
    """
    if packed_layers(model):
        raise ModelError(
            f"{type(model).__name__} cannot be exported to ONNX: its weights are held in 4 bits, of a form that ONNX has no operation for",
            hint="set release: {weights: merged}, which unpacks them, or release: {runtime: torch}",
        )
    first = {TOKENS: "output_unit_logits", SPAN: "output_span"}.get(head_of([type(model).__name__]), "output_logits")
    pad_id = int(tokenizer.pad_token_id or 0)
    network = network_of(model)
    encoder = network.encoder if network is not None else None
    examples = [*texts[:2], "export"][:2]
    batch = pad(encode_inputs(tokenizer, encoder, examples, Sequencer(max_length)), [0, 1], pad_id)
    names = list(batch)  # of pairs, segments too; of a model that reads columns, these
    arguments = {name: torch.from_numpy(batch[name]) for name in names}
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with torch.no_grad(), _quiet():
            torch.onnx.export(
                _BothOutputs(model).eval(),
                (),
                str(path),
                kwargs=arguments,
                input_names=names,
                output_names=[first, "output_embedding"],  # plain "embedding" is what the exporter calls its own nodes
                dynamo=True,
                dynamic_shapes={name: {0: torch.export.Dim.DYNAMIC} if name == COLUMNS else dynamic for name in names},
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises whatever its parts raise; the cause is kept
        path.unlink(missing_ok=True)
        raise ModelError(
            f"{type(model).__name__} cannot be exported to ONNX: {type(error).__name__}: {error}", hint="set release: {runtime: torch}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own chatter (deprecations, missing optional packages) is no news to the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
