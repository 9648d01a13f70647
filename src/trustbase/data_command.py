"""`trustbase data`: what a file of rows holds, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustbase import files
from trustbase.errors import Problem, UsageError, system_errors_told
from trustbase.events import Emit, ignore
from trustbase.places import output_folder
from trustbase.recipe.lookup import TASKS

if TYPE_CHECKING:
    from trustbase.data.reference import Format


@dataclass(frozen=True)
class DataDescription:
    """The data card of a file of rows; of its columns alone, where nobody said what they mean.

    Attributes:
        card: counts and choices, as JSON.
        markdown: the same as a page to read.
    """

    card: dict[str, Any]
    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown


def data(
    file: str | Path,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    question: str | None = None,
    choices: Sequence[str] = (),
    head: str | None = None,
    tail: str | None = None,
    label: str | None = None,
    groups: Sequence[str] = (),
    query: str | None = None,
    format: Format | None = None,
    positive: str | None = None,
    favourable: str | None = None,
    licence: str | None = None,
    task: str = "text-classification",
    out: str | Path | None = None,
    emit: Emit = ignore,
) -> DataDescription:
    """Read rows as a recipe would, and describe them; nothing is divided, and no bad row is passed over.

    Args:
        file: whatever `data.train` of a recipe may name: a file, a folder or glob, a database, a sample.
        text: text column, or a template over columns; without it and `label` only columns are described.
        text_pair: the second text, where two are read together.
        question: what is asked of the text, where an answer is searched in it.
        choices: columns or templates of which one answers the text.
        head, tail: columns of two entities in the text.
        label: label column.
        groups: columns to count labels by.
        query: which rows of a database.
        format: what the file is, where its name does not say it.
        positive: the positive label; the last in sorted order by default.
        favourable: the favourable label; the positive one by default.
        licence: licence of the data.
        task: what the rows are for: it says how the label column is read.
        out: folder for data_card.json and data_card.md; nothing is written by default.
        emit: takes warnings: of labels that may be slips.

    Raises:
        UsageError: text without label, or the other way round; groups or further texts without both; texts of different tasks.
        DataError: the file, a column or any row cannot be used; every problem is in it.
    """
    from trustbase.audit.named_texts import NamedTexts
    from trustbase.data.card import data_card
    from trustbase.data.card_page import card_markdown
    from trustbase.data.whole import columns_card, columns_markdown, load_whole

    if task not in TASKS:
        raise UsageError(f"--task '{task}' is no task of this version", hint=f"it can do: {', '.join(TASKS)}")
    named = NamedTexts(text, text_pair, question, tuple(choices), head, tail)
    absent = [option for option, value in {"--text": text, "--label": label}.items() if value is None]
    wanted = len(absent) == 1 or (absent and (groups or positive or favourable or named.options))
    problems = [Problem(option, "is missing", "name a column") for option in absent] if wanted else list(named.problems())
    if problems:
        raise UsageError("these rows cannot be described", problems=problems)
    folder = None if out is None else output_folder(out, ("data_card.json", "data_card.md"), "data_card.json")
    with system_errors_told():
        if absent:
            card = columns_card(str(file), root=Path(), format=format, query=query)
            found = DataDescription(card, columns_markdown(card))
        else:
            meant = {
                **asdict(named),
                "label": label,
                "groups": list(groups),
                "positive": positive,
                "favourable": favourable,
            }
            dataset = load_whole(
                {"train": str(file), "query": query, "format": format, "licence": licence, **meant},
                root=Path(),
                answers=TASKS[task].answers,
                emit=emit,
            )
            card = data_card(dataset)
            found = DataDescription(card, card_markdown(card))
        if folder is not None:
            files.write_json(folder / "data_card.json", found.card)
            files.write_text(folder / "data_card.md", found.markdown)
    return found
