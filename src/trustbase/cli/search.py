"""`trustbase sweep` and `trustbase scaling`: their options, and what they print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trustbase.cli.values import names


def sweep_command(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides for all trials.")] = None,
    over: Annotated[
        list[str] | None, typer.Option("--over", help="What is tried: train.learning_rate=3e-4,1e-3; one option for each key.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", help="Most combinations; of more a seeded choice is tried.")] = 12,
    tokens: Annotated[str, typer.Option("--tokens", help="Tokens that each trial reads, such as 200k.")] = "200k",
    repeats: Annotated[int, typer.Option("--repeats", help="Other seeds that the best two are trained with.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; runs/NAME-sweep by default.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of what is chosen.")] = 0,
) -> None:
    """Short trainings under different settings, scored on validation text: which are best, and how surely."""
    from trustbase.cli.show import show_sweep
    from trustbase.cli.watch import watching
    from trustbase.search.sweep import sweep

    values = {key: list(names([rest])) for key, _, rest in (text.partition("=") for text in over or ())}
    with watching() as listener:
        result = sweep(
            recipe, values, overrides or (), trials=trials, tokens=tokens, repeats=repeats, out=out, seed=seed, listeners=(listener,)
        )
    show_sweep(result)


def scaling_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe with stage: pretrain (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides for all sizes.")] = None,
    size: Annotated[
        list[str] | None, typer.Option("--size", help="layers=2,width=128,heads=2; four options or more, the largest is predicted.")
    ] = None,
    tokens: Annotated[str, typer.Option("--tokens", help="Tokens that each size reads, such as 1M.")] = "1M",
    repeats: Annotated[int, typer.Option("--repeats", help="Trainings of each size but the largest.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; runs/NAME-scaling by default.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the validation part and of the repeats.")] = 0,
) -> None:
    """Fit loss against size on small models, predict the largest, train it, and put both side by side."""
    from trustbase.cli.show import show_scaling
    from trustbase.cli.watch import watching
    from trustbase.search.scaling import scaling

    with watching() as listener:
        result = scaling(recipe, size or (), overrides or (), tokens=tokens, repeats=repeats, out=out, seed=seed, listeners=(listener,))
    show_scaling(result)
