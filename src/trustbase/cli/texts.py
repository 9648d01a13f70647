"""Options that name what is read beside a text: the same of every command that reads rows."""

from __future__ import annotations

from typing import Annotated

import typer

TextPair = Annotated[str | None, typer.Option("--text-pair", help="The second text, where pairs are read.")]
Question = Annotated[str | None, typer.Option("--question", help="What is asked of the text, where an answer is searched in it.")]
Choices = Annotated[list[str] | None, typer.Option("--choices", help="The choices, where one answers the text, with commas between.")]
Head = Annotated[str | None, typer.Option("--head", help="Column of the first entity, where relations are told.")]
Tail = Annotated[str | None, typer.Option("--tail", help="Column of the second entity.")]
