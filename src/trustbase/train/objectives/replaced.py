"""Replaced-token detection: a small generator fills masks, and the model learns to tell what it filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trustbase.train.batches import Batch
from trustbase.train.layout import Layout
from trustbase.train.objectives.base import Numbers, Outcome, classes, tensor
from trustbase.train.objectives.masked import Masked
from trustbase.train.packing import Chosen
from trustbase.train.symbols import Symbols

_GENERATOR, _DISCRIMINATOR = 1.0, 50.0


class ReplacedToken(Masked):
    """The generator learns masked tokens, all of them shown as masks; the discriminator judges every token of the filled text.

    Source: Clark et al. (2020), ELECTRA, section 2; weights: section 3.2 and appendix A (λ = 50).
    """

    name = "replaced_token"
    main = "generator"

    def __init__(self, symbols: Symbols, context: int) -> None:
        super().__init__(symbols, context)
        self.weights = {"generator": _GENERATOR, "replaced_token": _DISCRIMINATOR}

    def batch(
        self,
        chosen: Chosen,
        layout: Layout,
        ids: Numbers,
        picked: NDArray[np.bool_],
        rng: np.random.Generator,
        device: str,
        number: int,
    ) -> Batch:
        whole = super().batch(chosen, layout, ids, picked, rng, device, number)
        owners = chosen.pieces.documents[layout.piece]
        targets = {
            **whole.targets,
            "ids": tensor(ids, device),
            "judged": tensor(layout.places, device),
            "draw": torch.tensor(int(rng.integers(2**62))),
        }
        inputs = {**whole.inputs, **layout.inputs(np.where(picked, self.mask, ids), self.symbols.pad, device)}
        return replace(whole, inputs=inputs, owners={"generator": owners[picked], "replaced_token": owners}, targets=targets)

    def outcomes(self, reading: Any, batch: Batch) -> Mapping[str, Outcome]:
        targets = batch.targets
        guesses = reading.generated(batch.inputs, targets["places"])
        drawn = _draw(guesses.detach(), int(targets["draw"]))
        filled = batch.inputs["input_ids"].clone()
        filled.view(-1)[targets["places"]] = drawn
        judged = reading.judged({**batch.inputs, "input_ids": filled}, targets["judged"]).to(torch.float32)
        truth = filled.view(-1)[targets["judged"]] != targets["ids"]
        losses = functional.binary_cross_entropy_with_logits(judged, truth.to(torch.float32), reduction="none")
        answers = Outcome(losses, lambda: (judged.detach() > 0) == truth)
        return {"generator": classes(guesses, targets["words"]), "replaced_token": answers}


def _draw(scores: Tensor, seed: int) -> Tensor:
    """One token from each distribution `(tokens, vocabulary)`, by the Gumbel trick."""
    source = torch.Generator(scores.device).manual_seed(seed)
    noise = torch.empty(scores.shape, dtype=torch.float32, device=scores.device).exponential_(generator=source)
    return (scores.to(torch.float32) - noise.log()).argmax(dim=-1)
