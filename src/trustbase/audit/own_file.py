"""A YAML file that a user writes for an audit: expectations, or what must never be answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from trustbase.errors import Problem, UsageError
from trustbase.marked_yaml import Marked, read_yaml_file
from trustbase.marked_yaml import Path as Place

LARGEST = 10_000_000  # bytes
MOST = 1_000_000  # values


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
    marked = read_yaml_file(path, what=form.what, where=where or form.option, largest=LARGEST, most=MOST)
    if marked.problems:
        raise UsageError(refused, problems=marked.problems)
    if not isinstance(marked.value, form.top) or not marked.value:
        must = f"must be a {'list' if form.top is list else 'mapping'}"
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
