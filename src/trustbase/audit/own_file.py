"""A YAML file that a user writes for an audit: expectations, or what must never be answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ValidationError

from trustbase.data.cells import Reading
from trustbase.data.pair import CELL, SEPARATOR
from trustbase.errors import Problem, UsageError
from trustbase.marked_yaml import Marked, read_yaml_file
from trustbase.marked_yaml import Path as Place

LARGEST = 10_000_000  # bytes
MOST = 1_000_000  # values


def _sayable(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if CELL in text or SEPARATOR in text:
        raise ValueError("holds a sign that parts what a model reads (U+001E, U+001F)")
    return text


Asked = Annotated[str, AfterValidator(_sayable)] | dict[str, str | None]  # a text, or a row of the recipe's columns


def unread(where: str, asked: Asked, reading: Reading) -> list[Problem]:
    """Why a model that reads so cannot be asked this: columns that it does not read, or lacks; a text alone, where it reads more."""
    hint = f"the model reads: {', '.join(reading.needed)}"
    if isinstance(asked, str):
        more = reading.columns or reading.template.sides or reading.template.entities
        return [Problem(where, "is a text alone, and this model reads more: write a row of its columns", hint)] if more else []
    wrong = [name for name in asked if name not in reading.needed]
    missing = [name for name in reading.needed if name not in asked]
    problems = [Problem(where, f"names the column '{name}', which this model does not read", hint) for name in wrong]
    return problems + [Problem(where, f"lacks the column '{name}'", hint) for name in missing]


def _as_text(node: yaml.Node) -> str | None:
    """Words and numbers as they were written, so that `no` and `007` are what they look like; nothing is nothing."""
    return None if node.tag == "tag:yaml.org,2002:null" else str(node.value)


@dataclass(frozen=True)
class Form:
    """What such a file is.

    Attributes:
        what: it is, in words.
        option: of the recipe, that names it.
        model: checks what it says.
        top: the type that the document must be of.
        example: of the form, for messages.
        wrap: makes what `model` takes of the document.
    """

    what: str
    option: str
    model: type[BaseModel]
    top: type
    example: str
    wrap: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class Own:
    """A file of the form.

    Attributes:
        file: its name, without the folder.
        digest: of its bytes.
        said: what it says, as the form's model.
    """

    file: str
    digest: str
    said: Any


def read_own(name: str | Path, root: Path, form: Form, where: str = "") -> Own:
    """What a user's file says.

    Args:
        name: path of the file, from `root` where it is relative.
        root: the recipe's folder, or the current one.
        form: what it must be.
        where: the option that names it, for messages; by default the recipe's.

    Raises:
        UsageError: it cannot be read, or says what it cannot mean; every problem of it.
    """
    refused = f"the {form.what} cannot be used"
    try:
        path = root / Path(name).expanduser()
    except RuntimeError as error:  # ~ of somebody who has no home
        problem = Problem(where or form.option, f"the file '{str(name)[:200]}' cannot be read: {error}", "check the path")
        raise UsageError(refused, problems=[problem]) from error
    marked = read_yaml_file(path, what=form.what, where=where or form.option, largest=LARGEST, most=MOST, values=_as_text)
    if marked.problems:
        raise UsageError(refused, problems=marked.problems)
    if not isinstance(marked.value, form.top) or not marked.value:
        must = f"must be a {'list' if form.top is list else 'mapping'}" + ("" if marked.value else ", and is empty")
        raise UsageError(refused, problems=[Problem(path.name, must, form.example)])
    try:
        said = form.model.model_validate(form.wrap(marked.value))
    except ValidationError as error:
        raise UsageError(refused, problems=list(dict.fromkeys(_told(error, marked, path.name, form)))) from None
    return Own(path.name, marked.digest, said)


def _told(error: ValidationError, marked: Marked, file: str, form: Form) -> Iterator[Problem]:
    """What pydantic found, in our form, each at its line."""
    for item in error.errors():
        place: Place = tuple(item["loc"])[1 if form.top is list else 0 :]
        while place and place not in marked.lines:  # names that pydantic gives to the forms of a union, and what is missing
            place = place[:-1]
        shown = ".".join(str(part) for part in (*place, *(item["loc"][-1:] if item["type"] == "missing" else ())))
        said = str(item["msg"]).removeprefix("Value error, ")
        yield Problem(f"{file}:{marked.line(place) or 1}", f"{shown}: {said}" if shown else said, form.example)
