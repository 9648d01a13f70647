"""The mean of many states of the weights in place of the last one: over all updates with fading weight (EMA), or over the last evaluations.

The average goes along with training and changes nothing of it. It is what every evaluation measures, so that early stopping and the best
checkpoint are those of the average, and it is what the model holds in the end.

Source: Polyak, Juditsky (1992), Acceleration of stochastic approximation by averaging; Izmailov et al. (2018), Averaging weights leads to
wider optima and better generalization, algorithm 1 (`last`, here at the recipe's own learning rates).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trustbase.model.adaptations.shared import Companion, State
from trustbase.train.options import AveragingOptions

_PREFIX = "average"
_FAINT = 0.1  # weight of the first update in the end, from which on it is worth a word


class Averaging:
    """The average of the trained parameters, as a companion of the training that carries an adaptation's own one with it.

    Args:
        options: which average.
        trained: what is trained, by name; the order is that of checkpoints.
        inner: what an adaptation does around each update; it comes first.
    """

    def __init__(self, options: AveragingOptions, trained: Sequence[tuple[str, nn.Parameter]], inner: Companion | None = None) -> None:
        self._options, self._inner = options, inner
        self._names, self._parameters = [name for name, _ in trained], [parameter for _, parameter in trained]
        self._states: list[list[Tensor]] = []  # ema: the average alone; last: those that are averaged, the newest at the end

    def before(self) -> None:
        if self._inner is not None:
            self._inner.before()

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Take in an update: average ← decay · average + (1 − decay) · weights, which begins at the first update's."""
        if self._inner is not None:
            self._inner.after(step)
        if self._options.method != "ema":
            return
        if self._states:
            torch._foreach_lerp_(self._states[0], [parameter.detach() for parameter in self._parameters], 1 - self._options.decay)
        else:
            self._states = [self._now()]

    def look(self) -> None:
        """Take in the weights of an evaluation."""
        if self._options.method == "last":
            self._states = [*self._states[1 - self._options.count :], self._now()]

    def state(self) -> dict[str, Tensor]:
        known = {f"{_PREFIX}:{i}:{name}": one for i, some in enumerate(self._states) for name, one in zip(self._names, some, strict=True)}
        return known | (self._inner.state() if self._inner is not None else {})

    def load(self, state: State) -> None:
        own = {name: tensor for name, tensor in state.items() if name.startswith(f"{_PREFIX}:")}
        if self._inner is not None:
            self._inner.load({name: tensor for name, tensor in state.items() if name not in own})
        count = len({name.split(":", 2)[1] for name in own})
        places = [(name, parameter.device) for name, parameter in zip(self._names, self._parameters, strict=True)]
        self._states = [[own[f"{_PREFIX}:{i}:{name}"].to(device) for name, device in places] for i in range(count)]

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The model with the average in place of its weights, while the context lasts; training then goes on with the same bits."""
        weights = [parameter.data for parameter in self._parameters]
        self.settle()
        try:
            yield
        finally:
            for parameter, own in zip(self._parameters, weights, strict=True):
                parameter.data = own

    @torch.no_grad()
    def settle(self) -> None:
        """Give the model the average for good; where nothing was averaged yet, its weights stay."""
        if not self._states:
            return
        for parameter, *states in zip(self._parameters, *self._states, strict=True):
            parameter.data = states[0].clone() if len(states) == 1 else torch.stack(states).mean(dim=0)

    def _now(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self._parameters]


def faint(options: AveragingOptions, total: int) -> str:
    """What to say where so few updates are planned that the first of them would still weigh much in the average; empty where not."""
    share = options.decay ** (total - 1)
    if options.method != "ema" or share <= _FAINT:
        return ""
    enough = max(0.0, 1 - 10 / total)
    return (
        f"averaging: after {total} updates at decay {options.decay:g} the weights of the first still make up {share:.0%} of the average; "
        f"a smaller decay forgets them, such as {enough:.3g}"
    )
