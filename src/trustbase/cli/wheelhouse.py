"""`trustbase wheelhouse`: its options, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trustbase.cli.values import names


def wheelhouse_command(
    folder: Annotated[Path, typer.Argument(help="The offline folder.")],
    base: Annotated[list[str] | None, typer.Option("--base", help="A base model to take along, as recipes name it; once for each.")] = None,
    extra: Annotated[list[str] | None, typer.Option("--extra", help="Extras, with commas between: zh,demo.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="These packages and what they require, and Trustbase alone.")] = None,
    installed: Annotated[bool, typer.Option("--installed", help="Wheels from the installed files: no index is asked.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Make nothing: compare every file with its hash.")] = False,
) -> None:
    """Gather wheels with hashes, base models, a bill of materials and licences for a machine without a network."""
    from trustbase.cli.watch import watching
    from trustbase.wheelhouse_command import wheelhouse

    with watching() as listener:
        found = wheelhouse(
            folder,
            base=base or (),
            extra=names(extra),
            only=names(only),
            installed=installed,
            check=check,
            emit=lambda event, /, **fields: listener({"event": event, "stage": "wheelhouse", **fields}),
        )
    word = "as it was made" if check else "made"
    typer.echo(f"{found.folder}: {word}; packages: {found.packages}, base models: {len(found.bases)}, {found.bytes / 1e6:,.1f} MB")
    typer.echo(f"SHA-256 of manifest.json: {found.digest}")
    if not check:
        typer.echo(f"next: copy it, and read {found.folder / 'README.md'}")
