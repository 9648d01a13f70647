"""The limits of `trustbase audit --policy`, and which of them no such audit can ever judge."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trustbase.audit.asked import GIVEN_DIMENSIONS
from trustbase.finding_id import DIMENSIONS, FindingId
from trustbase.recipe.lookup import audited_dimensions

if TYPE_CHECKING:
    from trustbase.gate.policy import Policy


def limits_of(
    path: str | Path | None,
    only: Sequence[str],
    groups: Sequence[str],
    kinds: Sequence[str],
    *,
    given: bool,
    neutral: bool = True,
    choices: bool = False,
    entities: bool = False,
) -> Policy | None:
    """The limits of `--policy`, read before anything is opened or measured, for a model of one of these answer kinds.

    Raises:
        RecipeError: they cannot be used, or speak of findings that this audit can never give; every one of them.
    """
    if path is None:
        return None
    from trustbase.gate.policy import read_policy

    def never(id: FindingId) -> tuple[str, str] | None:
        told = {"neutral": neutral, "choices": choices, "entities": entities}
        found = [_why_never(id, set(only or audited_dimensions(kind)) & possible, groups, kind, **told) for kind in kinds]
        return None if None in found else found[0]

    possible = set(GIVEN_DIMENSIONS if given else DIMENSIONS)
    return read_policy(Path(path), never=never)


def _why_never(
    id: FindingId, measured: Collection[str], groups: Sequence[str], kind: str, *, neutral: bool, choices: bool, entities: bool
) -> tuple[str, str] | None:
    """Why this audit will never give a finding, in the words of the command's options; None where it can."""
    from trustbase.audit.catalogue import why_never

    existing = audited_dimensions(kind)
    if id.dimension not in existing:
        return f"the {id.dimension} audit is one that this version of Trustbase cannot do yet", "remove this limit"
    never = why_never(id, groups, kind, neutral=neutral, choices=choices, entities=entities)
    if never is not None:
        message, hint = never
        return message.replace("data.groups", "--groups"), hint.replace("data.groups", "--groups")
    if id.dimension not in measured:
        return (
            f"{id.dimension} is not measured by this audit, which measures {', '.join(sorted(measured)) or 'nothing'}",
            "remove this limit",
        )
    return None
