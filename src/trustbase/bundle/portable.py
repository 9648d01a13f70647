"""The recipe as a bundle carries it: the run's own, without a trace of where files stood on the machine that ran it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from trustbase.data.corpus.sources import card_name
from trustbase.data.facts import public_name
from trustbase.gate.options import FROM
from trustbase.model.options import portable_reference

_NOTE = """\
# The recipe of the run, but for this: files and folders of the machine that ran it are given by name alone.
# Their content is known by the digests in data_card.json and model/; the recipe as it was run stays in the run folder.
"""
Rename = Callable[[str], str]
_FILES = ("files", "sources", "sets", "train", "validation", "test", "calibration", "data")
_MODELS = ("base", "from", "extend")
# section, the keys in it (at any depth) that name such things, and how artefact and cards name them
_NAMED: tuple[tuple[str, tuple[str, ...], Rename], ...] = (
    ("base", _MODELS, portable_reference),
    ("model", _MODELS, portable_reference),
    ("tokenizer", _MODELS, portable_reference),
    ("corpus", _FILES, card_name),
    ("probes", _FILES, card_name),
    ("data", _FILES, public_name),
    ("audit", ("shift",), public_name),
    ("gates", (FROM,), public_name),
    ("audit", ("policy",), public_name),
)
_ALONE = ("base", "tokenizer", "corpus")  # may be a reference themselves, or a list of them


def portable_recipe(text: str) -> str:
    """The resolved recipe for a bundle: as it is where it names no such path, else with names for paths and a note on top."""
    recipe = yaml.safe_load(text)
    if not isinstance(recipe, dict) or not _rename(recipe):
        return text
    return _NOTE + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)


def _rename(recipe: dict[str, Any]) -> bool:
    """Put names in place of paths; whether there was anything to do."""
    changed = False
    for section, keys, name in _NAMED:
        said = recipe.get(section)
        found = _renamed(said, keys, name, named=section in _ALONE)
        if found != said:
            recipe[section] = found
            changed = True
    return changed


def _renamed(value: Any, keys: tuple[str, ...], name: Rename, *, named: bool) -> Any:
    """The same value with names for the references in it; `named` says that plain texts in it are such references."""
    if isinstance(value, dict):
        return {key: _renamed(item, keys, name, named=key in keys) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, keys, name, named=named) for item in value]
    return name(value) if named and isinstance(value, str) else value
