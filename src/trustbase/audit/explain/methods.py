"""The ways to explain one answer, by name. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

    from trustbase.audit.explain.local import Attribution, Game

Method = Literal["shapley", "orders", "lime", "occlusion"]


async def attribute(game: Game, target: int, method: Method, *, samples: int, rng: np.random.Generator) -> Attribution:
    """What each unit adds to a score.

    Args:
        game: the input.
        target: which score.
        method: the way; see `local` for each.
        samples: most inputs that are asked about. Occlusion asks one for each unit.
        rng: of what is drawn.
    """
    from trustbase.audit.explain import local

    if method == "shapley":
        return await local.by_shapley(game, target, evaluations=samples)
    if method == "orders":
        return await local.by_orders(game, target, evaluations=samples, rng=rng)
    if method == "lime":
        return await local.by_lime(game, target, samples=samples, rng=rng)
    return await local.by_occlusion(game, target)
