"""The recipe as a bundle carries it: the run's own, without a trace of where files stood on the machine that ran it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from trustbase.data.facts import public_name
from trustbase.gate.options import FROM
from trustbase.model.options import portable_reference

_NOTE = """\
# The recipe of the run, but for this: files and folders of the machine that ran it are given by name alone.
# Their content is known by the digests in data_card.json and model/; the recipe as it was run stays in the run folder.
"""
# section, key in it, and how the artefact or the data card name such a thing
_NAMED: tuple[tuple[str, str | None, Callable[[str], str]], ...] = (
    ("base", None, portable_reference),
    ("data", "train", public_name),
    ("data", "validation", public_name),
    ("data", "test", public_name),
    ("gates", FROM, public_name),
)


def portable_recipe(text: str) -> str:
    """The resolved recipe for a bundle: as it is where it names no such path, else with names for paths and a note on top."""
    recipe = yaml.safe_load(text)
    if not isinstance(recipe, dict) or not _rename(recipe):
        return text
    return _NOTE + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)


def _rename(recipe: dict[str, Any]) -> bool:
    """Put names in place of paths; whether there was anything to do."""
    changed = False
    for section, key, name in _NAMED:
        holder = recipe if key is None else recipe.get(section)
        at = section if key is None else key
        if not isinstance(holder, dict):
            continue
        said = holder.get(at)
        if isinstance(said, str) and name(said) != said:
            holder[at] = name(said)
            changed = True
    return changed
