"""Options of commands that ask a model of entities and one of relations together."""

from __future__ import annotations

from typing import Annotated

import typer

Types = Annotated[
    list[str] | None, typer.Option("--types", help="What the relation rows called each type of entity: PER=person,ORG=company.")
]
Farthest = Annotated[int | None, typer.Option("--farthest", help="Most characters between the two entities of a pair.")]
MostPairs = Annotated[int | None, typer.Option("--most-pairs", help="Most pairs of entities of one text; 2000 by default.")]
