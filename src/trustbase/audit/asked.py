"""What a call of `trustbase audit` asks for, refused before anything is opened where it cannot work. Imports no numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from trustbase.audit.named_texts import NamedTexts
from trustbase.errors import Problem, UsageError
from trustbase.finding_id import DIMENSIONS
from trustbase.recipe.lookup import audited_dimensions
from trustbase.train.cluster import most_here

#: What can be measured where only answers are given: the others need the model itself.
GIVEN_DIMENSIONS = ("quality", "fairness")


def refuse_impossible(
    *,
    model: str | Path | None,
    data: str | Path | None,
    named: NamedTexts,
    label: str | None,
    groups: Sequence[str],
    entity: str | None,
    train: str | Path | None,
    only: Sequence[str],
    predictions: str | Path | None,
    score: str | None,
    predicted: str | None,
    workers: int = 1,
    together: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Refuse options that are missing, do not go together or would measure nothing.

    Raises:
        UsageError: every one of them.
    """
    problems: list[Problem] = []
    if (model is None) == (predictions is None):
        problems.append(Problem("", "name a model, or a file of answers with --predictions: one of the two"))
    if label is None:
        problems.append(Problem("--label", "the column of the true label must be named"))
    if model is not None and data is None:
        problems.append(Problem("--data", "a model is audited on rows: name their file"))
    if predictions is not None:
        if (score is None) == (predicted is None):
            problems.append(Problem("--score/--predicted", "name the column of scores or that of predicted labels: one of the two"))
        of_models = {"--data": data, **named.options, "--entity": entity, "--train": train, **together}
        extra = [name for name, value in of_models.items() if value is not None]
        problems += [Problem(name, "belongs to the audit of a model, and --predictions audits given answers") for name in extra]
        if workers > 1:
            problems.append(Problem("--workers", "belongs to the audit of a model, and with --predictions nothing is asked"))
    elif score is not None or predicted is not None:
        problems.append(Problem("--score/--predicted", "belong to --predictions"))
    if predictions is None:
        problems += [*named.problems(), *_of_both(together, only)]
    problems += _columns(label, score, predicted, groups)
    problems += _dimensions(only, given=predictions is not None)
    if not 1 <= workers <= most_here():
        problems.append(Problem("--workers", f"must be 1 to {most_here()} processes on this machine, got {workers}"))
    if set(only) == {"fairness"} and not groups:
        problems.append(Problem("--groups", "fairness compares groups, and none is named, so nothing would be measured", "name columns"))
    if problems:
        raise UsageError("this audit cannot start", problems=problems, hint="trustbase audit --help shows both forms")


def _of_both(together: Mapping[str, object], only: Sequence[str]) -> Iterator[Problem]:
    """Words about a second model that is not named, or that nothing would be measured of."""
    from trustbase.outputs.related import said_of_one

    yield from said_of_one(together.get("--entities"), together)
    if together.get("--entities") is not None and only and "quality" not in only:
        yield Problem("--only", "leaves out quality, which is all that is measured of two models together", "add quality")


def _columns(label: str | None, score: str | None, predicted: str | None, groups: Sequence[str]) -> list[Problem]:
    """A column in two roles says nothing: answers that are the truth are always right, groups by an answer always differ."""
    found: list[Problem] = []
    for option, column in (("--score", score), ("--predicted", predicted)):
        if column is not None and column == label:
            message = f"'{column}' is the column of the true label, and the truth would be compared with itself"
            found.append(Problem(option, message, "name the column of the answers"))
    roles = {predicted: "predicted label", score: "score", label: "true label"}
    for column in dict.fromkeys(groups):
        if column in roles:
            message = f"'{column}' is the column of the {roles[column]}, and what is compared between groups cannot be a group too"
            found.append(Problem("--groups", message, "name columns of people, such as sex"))
        if groups.count(column) > 1:
            found.append(Problem("--groups", f"'{column}' is named more than once", "name it once"))
    return found


def _dimensions(only: Sequence[str], *, given: bool) -> list[Problem]:
    """Dimensions that do not exist, or that this audit would leave unmeasured."""
    existing = [name for name in DIMENSIONS if name in audited_dimensions("classes")]
    possible = [name for name in existing if not given or name in GIVEN_DIMENSIONS]
    hint = f"can be measured{' from given answers' if given else ''}: {', '.join(possible)}"
    found: list[Problem] = []
    for name in dict.fromkeys(only):
        near = difflib.get_close_matches(name.lower(), DIMENSIONS, n=1)
        if name not in DIMENSIONS:
            found.append(Problem("--only", f"'{name}' is no dimension", f"did you mean '{near[0]}'?" if near else hint))
        elif name not in existing:
            found.append(Problem("--only", f"this version of Trustbase cannot audit {name} yet", hint))
        elif name not in possible:
            found.append(Problem("--only", f"{name} is measured on a model, and --predictions gives only its answers", hint))
        if only.count(name) > 1:
            found.append(Problem("--only", f"'{name}' is named more than once", "name it once"))
    return found
