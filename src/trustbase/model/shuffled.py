"""Copies of an artefact's torch weights that can be asked as the artefact is: as they are, or with every weight somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from trustbase.model.predict import Predictor


@contextmanager
def copied(predictor: Predictor, model: Any, *, shuffle: np.random.Generator | None = None) -> Iterator[Predictor]:
    """Ask a copy of the model that `predictor.white_box()` lends, in fp32.

    Args:
        predictor: of the artefact, whose tokenizer and manner of reading the copy shares.
        model: the copy; it is taken over, and written to where weights are shuffled.
        shuffle: draws a new place for every weight within its own tensor, so that their sizes stay what they were.
    """
    from trustbase.model.runtime_torch import TorchRuntime, place_of
    from trustbase.model.sequencer import Sequencer

    if shuffle is not None:
        shuffle_weights(model, shuffle)
    device, precision, reason = place_of("fp32", None)
    settings = {"max_length": predictor.info.max_length, **Sequencer.of(predictor.info).unusual}
    runtime = TorchRuntime(model, predictor.tokenizer, precision=precision, device=device, reason=reason, **settings)
    with Predictor(predictor.info, runtime, tokenizer=predictor.tokenizer) as asked:
        yield asked


def shuffle_weights(model: Any, rng: np.random.Generator) -> None:
    """Give the numbers of every tensor of a model a random order."""
    import torch

    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            order = torch.from_numpy(rng.permutation(parameter.numel()))
            parameter.copy_(parameter.flatten()[order.to(parameter.device)].reshape(parameter.shape))
