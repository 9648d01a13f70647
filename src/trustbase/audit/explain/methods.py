"""The ways to explain one answer, by name. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

    from trustbase.audit.explain.local import Attribution, Game

Method = Literal["shapley", "orders", "lime", "occlusion", "integrated_gradients", "gradient_input", "attention_relevance"]

INSIDE = ("integrated_gradients", "gradient_input", "attention_relevance")  # ask the torch weights and not what ships: `whitebox`

MOST_UNITS = 10_000  # of an input; what is kept of them grows with their square
MOST_LINEAR = 2_000  # of LIME, whose work grows with the cube


def refusal(method: Method, units: int, samples: int) -> str:
    """Why an input of so many units cannot be explained so; "" where it can."""
    most = MOST_LINEAR if method == "lime" else MOST_UNITS
    if units > most:
        return f"it has {units:,} units, and {method} explains {most:,} at most"
    needed = {"orders": 2 * units, "occlusion": units + 1}.get(method, 0)
    return f"{method} asks {needed:,} inputs at least for {units:,} units, and {samples:,} are allowed" if needed > samples else ""


async def attribute(game: Game, target: int, method: Method, *, samples: int, rng: np.random.Generator) -> Attribution:
    """What each unit adds to a score.

    Args:
        game: the input.
        target: which score.
        method: the way; see `local` for each. Those of `INSIDE` are none that a game can be played for.
        samples: most inputs that are asked about; `refusal` says where these are too few.
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
